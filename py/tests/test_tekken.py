"""Tokenizer files and the text of token streams."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.errors import ModelFileError
from voxtral.tekken import Tekken, TokenTextStream

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "detok.json").read_text())
DEMO = Path(__file__).parents[2] / "static" / "model" / "tekken.json"


def document(*words: str, **settings: Any) -> dict[str, Any]:
    """A tokenizer of the 256 bytes and these words."""
    pieces = [bytes([i]) for i in range(256)] + [word.encode() for word in words]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(p).decode(), "token_str": None} for i, p in enumerate(pieces)]
    return {"config": {"default_vocab_size": 1000 + len(pieces), **settings}, "vocab": vocab}


def tekken(*words: str, **settings: Any) -> Tekken:
    return Tekken.from_json(json.dumps(document(*words, **settings)), "tekken.json")


def text_of(tokenizer: Tekken, ids: list[int]) -> str:
    stream = TokenTextStream(tokenizer)
    return "".join(stream.feed(i) for i in ids) + stream.flush()


@pytest.fixture(scope="module")
def golden() -> Tekken:
    return Tekken.from_json((GOLDEN / "tiny" / "tekken.json").read_bytes(), "tekken.json")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_text_is_the_recorded_text(golden: Tekken, case: dict[str, Any]) -> None:
    assert text_of(golden, case["ids"]) == case["text"]


@given(st.text(), st.lists(st.integers(0, 999), min_size=1, max_size=3))
def test_control_tokens_inside_characters_change_nothing(text: str, controls: list[int]) -> None:
    ids = [token for byte in text.encode("utf-8", "replace") for token in [1000 + byte, *controls]]
    assert text_of(tekken(), ids) == text.encode("utf-8", "replace").decode()


@given(st.binary())
def test_any_bytes_decode_as_python_decodes_them(data: bytes) -> None:
    assert text_of(tekken(), [1000 + byte for byte in data]) == data.decode(errors="replace")


def test_byte_order_mark_is_kept() -> None:
    assert text_of(tekken(), [1000 + byte for byte in b"\xef\xbb\xbfa"]) == "\ufeffa"


def test_flush_and_reset_forget_an_unfinished_character() -> None:
    stream = TokenTextStream(tekken())
    assert stream.feed(1000 + 0xC3) == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    stream.feed(1000 + 0xC3)
    stream.reset()
    assert stream.feed(1000 + 0x41) == "A"


def test_pieces_and_specials(golden: Tekken) -> None:
    assert golden.n_vocab == 1536
    assert golden.piece(999) == b""
    assert golden.piece(1000) == b"\0"
    assert golden.piece(1257) == b" t"
    assert [golden.special(i) for i in (0, 32, 33)] == ["<unk>", "[STREAMING_PAD]", "[STREAMING_WORD]"]
    assert golden.special(1000) == ""
    assert tekken().special(32) == "<SPECIAL_32>"


@pytest.mark.parametrize("token_id", [-1, 1536, 10**9])
def test_unknown_ids_are_a_file_that_does_not_fit(golden: Tekken, token_id: int) -> None:
    with pytest.raises(ModelFileError, match=r"tekken\.json.*below 1536"):
        golden.piece(token_id)


def test_a_model_needs_a_piece_for_each_row(golden: Tekken) -> None:
    golden.require(1536)
    with pytest.raises(ModelFileError, match="1537 tokens, this tokenizer only 1536"):
        golden.require(1537)


def test_entries_beyond_the_vocabulary_size_have_no_id() -> None:
    assert tekken(" a", " b", default_vocab_size=1257).n_vocab == 1257
    assert tekken(" a", " b", default_vocab_size=9999).n_vocab == 1258


def test_words_of_a_closed_vocabulary() -> None:
    assert tekken(" one", " two", " <unused2>").words() == ["one", "two"]
    assert tekken().words() is None
    assert tekken(*[f" w{i}" for i in range(199)]).words() is not None
    assert tekken(*[f" w{i}" for i in range(200)]).words() is None


def test_words_of_the_demo_model(golden: Tekken) -> None:
    words = Tekken.from_json(DEMO.read_bytes(), "tekken.json").words()
    assert words is not None
    assert len(words) == 72
    assert {"zero", "nine", "mirror", "cappuccino"} <= set(words)
    assert golden.words() is None


def damaged() -> dict[str, str]:
    entry = {"rank": 0, "token_bytes": "AA=="}
    return {
        "text": "hello",
        "cut": json.dumps(document())[:500],
        "list": "[]",
        "deep": "[" * 100_000,
        "no vocabulary": "{}",
        "vocabulary is a string": '{"vocab": "' + "x" * 300 + '"}',
        "too few pieces": json.dumps({"vocab": [entry] * 255}),
        "ranks": json.dumps({"vocab": [entry] * 300}),
        "not base64": json.dumps({"vocab": [{"token_bytes": "?"}] * 300}),
        "not a dictionary": json.dumps({"vocab": [7] * 300}),
        "no bytes": json.dumps({"vocab": [{}] * 300}),
        "special tokens": json.dumps(document(default_num_special_tokens=7)),
        "vocabulary size": json.dumps(document(default_vocab_size="many")),
        "small vocabulary size": json.dumps(document(default_vocab_size=12)),
    }


@pytest.mark.parametrize("kind", damaged())
def test_damaged_files_are_one_sentence(kind: str) -> None:
    with pytest.raises(ModelFileError, match=r"^here/tekken\.json: ") as error:
        Tekken.from_json(damaged()[kind], "here/tekken.json")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ModelFileError, match="expected JSON"):
        Tekken.from_json(b"\xff\xfe\x00GGUF", "tekken.json")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_odd_settings_and_specials_never_raise_anything_else(odd: Any) -> None:
    for change in ({"config": odd}, {"special_tokens": odd}, {"vocab": odd}):
        try:
            Tekken.from_json(json.dumps(document() | change), "tekken.json")
        except ModelFileError:
            continue
