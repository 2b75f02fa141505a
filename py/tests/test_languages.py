"""The model's languages, and any text at all, from tokens to words: nothing is lost, parted or written too early."""

import base64
import json
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listener import Listener

from voxtral.config import N_SPECIAL_TOKENS
from voxtral.decoding import TokenEvent, Transcript
from voxtral.scripts import is_separator
from voxtral.tekken import Tekken

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "languages.json").read_text()
)  # tekken_cases.py
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "nl", "pt", "zh", "ja", "ko", "ru")
PAD, WORD = 32, 33
BYTES = Tekken([bytes([i]) for i in range(256)], {}, "bytes")
pads = st.integers(0, 3)


@pytest.fixture(scope="module")
def vocabulary() -> Tekken:
    """Mistral's, as far as the sentences use it."""
    pieces = [b""] * (RECORD["n_vocab"] - N_SPECIAL_TOKENS)
    for token, piece in RECORD["pieces"].items():
        pieces[int(token) - N_SPECIAL_TOKENS] = base64.b64decode(piece)
    return Tekken(pieces, {}, "tekken.json")


def listen(tekken: Tekken, tokens: list[int], n_at_once: int = 1) -> Listener:
    """Who is told of these tokens, one in 80 ms, n at a time; looks at what is shown meanwhile."""
    transcript, listener = Transcript(tekken), Listener()
    events = [TokenEvent(i, token, 0.08 * i + 0.04) for i, token in enumerate(tokens)]
    for start in range(0, len(events), n_at_once):
        listener.take(transcript.feed(events[start : start + n_at_once]))
        assert listener.text == transcript.text
    listener.take(transcript.flush())
    assert listener.text == transcript.text
    assert listener.words == transcript.words
    assert listener.tail == ""
    return listener


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def test_every_language_is_there() -> None:
    assert tuple(RECORD["sentences"]) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_sentence_is_written_as_it_is(vocabulary: Tekken, language: str, data: st.DataObject) -> None:
    sentence = RECORD["sentences"][language]
    tokens = []
    for word in sentence["tokens"]:
        tokens += [PAD] * data.draw(pads) + [WORD]
        for token in word:
            tokens += [token] + [PAD] * (data.draw(pads) if data.draw(st.booleans()) else 0)
    found = listen(vocabulary, tokens, data.draw(st.integers(1, 9)))
    assert found.text == sentence["text"]
    assert [word.text for word in found.words] == sentence["words"]
    assert any(word.joins for word in found.words) == (language in ("zh", "ja"))
    assert not any(is_mark(word.text[0]) for word in found.words)
    edges = [time for word in found.words for time in (word.start, word.end)]
    assert all(a <= b + 1e-9 for a, b in pairwise(edges))
    ends = [0.08 * i + 0.04 for i, token in enumerate(tokens) if token == WORD]
    assert [word.end for word in found.words] == pytest.approx(ends)


@pytest.mark.parametrize("language", LANGUAGES)
def test_characters_appear_only_whole(language: str) -> None:
    """The same sentence byte by byte, with pads and markers inside the characters."""
    sentence = RECORD["sentences"][language]
    tokens = []
    for i, byte in enumerate(sentence["text"].encode()):
        tokens += [N_SPECIAL_TOKENS + byte, (PAD, WORD)[i % 3 == 0]]
    transcript, seen = Transcript(BYTES), ""
    for i, token in enumerate(tokens):
        addition = transcript.feed([TokenEvent(i, token, 0.08 * i)])
        assert "\ufffd" not in addition.text
        assert sentence["text"].startswith(transcript.text)
        assert len(transcript.text) >= len(seen)
        seen = transcript.text
    assert seen == sentence["text"]
    assert not any(is_mark(word.text[0]) for word in transcript.words)


@settings(max_examples=60, deadline=None)
@given(
    st.text() | st.text("aé 你か。「」ー\u0301\u0915\u093f\u064e🙂\u00a0 ?,", max_size=40),
    st.lists(st.sampled_from([(), (PAD,), (WORD,), (PAD, WORD), (WORD, PAD, PAD)]), min_size=1),
    st.integers(1, 20),
)
def test_any_text_comes_out_unchanged(text: str, between: list[tuple[int, ...]], n_at_once: int) -> None:
    data = text.encode("utf-8", "replace")
    tokens = [token for i, byte in enumerate(data) for token in (*between[i % len(between)], N_SPECIAL_TOKENS + byte)]
    found = listen(BYTES, tokens, n_at_once)
    spaced = "".join(" " if is_separator(character) else character for character in data.decode())
    assert found.text == " ".join(part for part in spaced.split(" ") if part)
    for word in found.words:
        assert word.text == word.text.strip(" ")
        assert not (word.joins and is_mark(word.text[0]))


def words_of(text: str) -> list[tuple[str, bool]]:
    """The words of text in which "|" stands for a marker."""
    tokens = [WORD if byte == ord("|") else N_SPECIAL_TOKENS + byte for byte in text.encode()]
    return [(word.text, word.joins) for word in listen(BYTES, tokens).words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("|你好|世界", ["你好", "世界"]),
        ("|你|好，世界。", ["你", "好，", "世界。"]),  # behind a clause without a marker
        ("|你|，|好", ["你，", "好"]),  # punctuation sticks, marker or not
        ("|说|「好」|吧", ["说", "「好」", "吧"]),
        ("|パ|ーティー|っと", ["パーティーっと"]),  # what never begins a word
        ("|用|Python|写", ["用", "Python", "写"]),
        ("|Hal|lo", ["Hallo"]),  # no space, no word
        ("|안|녕", ["안녕"]),
        ("|क|ि", ["कि"]),
        ("|don’|t", ["don’t"]),
    ],
)
def test_words_without_spaces(text: str, words: list[str]) -> None:
    assert words_of(text) == [(word, i > 0) for i, word in enumerate(words)]


def test_a_space_before_punctuation_is_part_of_the_word() -> None:
    assert words_of("|Ça| va| ?| Oui| : 10| %") == [
        ("Ça", False),
        ("va ?", False),
        ("Oui :", False),
        ("10 %", False),
    ]
