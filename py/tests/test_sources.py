"""Every kind of source leads to the same list of files, and a hostile list to one sentence."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from bad_server import HUB_REPO, BadServer, bad_hub, bad_server, manifest_of
from hypothesis import given
from hypothesis import strategies as st

from voxtral import answers, sources
from voxtral.errors import ModelFileError
from voxtral.model_files import Listed, is_file_name
from voxtral.native_network import NativeTransport
from voxtral.sources import Offer, RemoteFile, read_offer

SHARDS = {"shard-aa": b"GGUF" * 10, "shard-ab": b"rest", "tekken.json": b"{}"}
WHOLE = {"voxtral q4.gguf": b"GGUF" * 11, "tekken.json": b"{}"}
TREE = f"api/models/{HUB_REPO}/tree/main"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    with bad_hub({**SHARDS, "voxtral-q4.gguf": b"GGUF"}) as running:
        monkeypatch.setattr(sources, "HUB_ADDRESS", running.address)
        yield running


def offer_of(source: str) -> Offer:
    return asyncio.run(read_offer(NativeTransport(), source))


def names_of(offer: Offer) -> list[str]:
    return [file.name for file in offer.files]


def test_hub_means_the_public_model_by_its_shards(hub: BadServer) -> None:
    offer = offer_of("hub")
    assert names_of(offer) == ["shard-aa", "shard-ab", "tekken.json"]
    assert [file.n_bytes for file in offer.files] == [40, 4, 2]
    assert all(file.sha256 for file in offer.files)
    assert offer.files[0].url == f"{hub.address}/{HUB_REPO}/resolve/main/shard-aa"
    assert is_file_name(offer.key)
    assert offer.key.startswith("trevorjs-voxtral-mini-realtime-gguf-")
    assert hub.requests == [(TREE, None)]
    for same in (f"hub:{HUB_REPO}", f"{hub.address}/{HUB_REPO}", f"{hub.address}/{HUB_REPO}/tree/main/"):
        assert offer_of(same) == offer


@pytest.mark.parametrize("page", ["blob", "resolve"])
def test_one_file_of_the_hub(hub: BadServer, page: str) -> None:
    offer = offer_of(f"{hub.address}/{HUB_REPO}/{page}/main/voxtral-q4.gguf")
    assert names_of(offer) == ["voxtral-q4.gguf", "tekken.json"]
    assert offer.source == f"{hub.address}/{HUB_REPO}/resolve/main/voxtral-q4.gguf"
    assert all(file.sha256 for file in offer.files)
    with pytest.raises(ModelFileError, match=r"expected other\.gguf in the list"):
        offer_of(f"{hub.address}/{HUB_REPO}/{page}/main/other.gguf")


def test_another_repository_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_hub(WHOLE, "someone/model.v1", "refs%2Fpr%2F1") as hub:
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        path = "api/models/someone/model.v1/tree/refs%2Fpr%2F1"
        hub.files["api/models/someone/model.v1/tree/refs/pr/1"] = hub.files.pop(path)
        offer = offer_of("hub:someone/model.v1@refs/pr/1")
        assert names_of(offer) == ["voxtral q4.gguf", "tekken.json"]
        assert offer.source == "hub:someone/model.v1@refs/pr/1"
        assert offer.files[0].url == f"{hub.address}/someone/model.v1/resolve/refs%2Fpr%2F1/voxtral%20q4.gguf"
        with pytest.raises(ModelFileError, match="expected a public model someone/else on the hub, there is none"):
            offer_of("hub:someone/else")


@pytest.mark.parametrize("mood", ["hang up", 500, 429])
def test_shards_are_looked_for_when_the_hub_gives_no_list(hub: BadServer, mood: object) -> None:
    usual = offer_of("hub")
    hub.moods[TREE] = [mood] * 9
    offer = offer_of("hub")
    assert names_of(offer) == ["shard-aa", "shard-ab", "tekken.json"]
    assert [file[2:] for file in offer.files] == [(40, None), (4, None), (None, None)]
    assert (offer.key, offer.source) == (usual.key, usual.source)


def test_one_of_several_models_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_hub({"q4.gguf": b"GGUF", "q8.gguf": b"GGUF8", "tekken.json": b"{}"}) as hub:
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        with pytest.raises(
            ModelFileError, match=r"expected one \.gguf file, found q4\.gguf, q8\.gguf; name one of them"
        ):
            offer_of("hub")
        assert names_of(offer_of(f"{hub.address}/{HUB_REPO}/blob/main/q8.gguf")) == ["q8.gguf", "tekken.json"]


def test_a_private_model_is_one_sentence(hub: BadServer) -> None:
    hub.moods[TREE] = [401]
    with pytest.raises(ModelFileError, match=r"expected a public model TrevorJS/.* on the hub"):
        offer_of("hub")


@pytest.mark.parametrize("ending", ["", "/", "?x=1", "#here"])
def test_a_folder_with_a_manifest(ending: str) -> None:
    files = {**SHARDS, "README.md": b"no file of the model", "other.txt": b""}
    with bad_server(
        {f"a/b c/{name}": data for name, data in {**SHARDS, "manifest.json": manifest_of(files)}.items()}
    ) as s:
        offer = offer_of(f"{s.address}/a/b c{ending}")
        assert offer.source == f"{s.address}/a/b%20c/"
        assert offer.title == "b c"
        assert names_of(offer) == list(SHARDS)
        assert offer.files[1] == RemoteFile("shard-ab", f"{s.address}/a/b%20c/shard-ab", 4, offer.files[1].sha256)


def test_a_manifest_without_the_tokenizer_and_without_sizes() -> None:
    with bad_server({"manifest.json": b'{"files": [{"name": "m.gguf"}]}'}) as server:
        offer = offer_of(server.address)
        assert [file[0::2] for file in offer.files] == [("m.gguf", None), ("tekken.json", None)]
        assert offer.title == server.address.removeprefix("http://")


def test_plain_shards_are_counted() -> None:
    files = {f"shard-{letters}": b"x" * 5 for letters in ("aa", "ab", "ac", "ae")}
    with bad_server(files) as server:
        server.moods["shard-ab"] = [503, "hang up"]
        server.moods["shard-ad"] = ["page"]  # as hosts of single-page apps answer
        server.moods["manifest.json"] = ["hang up"] * 9  # as where a page of elsewhere may not see a 404
        offer = offer_of(server.address)
        assert names_of(offer) == ["shard-aa", "shard-ab", "shard-ac", "tekken.json"]
        assert [file.n_bytes for file in offer.files] == [5, 5, 5, None]


def test_a_list_that_cannot_be_had_now_is_not_done_without() -> None:
    with bad_server(SHARDS) as server:
        server.moods["manifest.json"] = [503] * 9
        with pytest.raises(ModelFileError, match=r"manifest\.json could not be fetched"):
            offer_of(server.address)


def test_one_gguf_by_its_address() -> None:
    offer = offer_of("https://example.org/models/Voxtral%20Q4.gguf?download=true")
    assert names_of(offer) == ["Voxtral Q4.gguf", "tekken.json"]
    assert [file.url for file in offer.files] == [
        "https://example.org/models/Voxtral%20Q4.gguf?download=true",
        "https://example.org/models/tekken.json",
    ]
    assert offer.title == "Voxtral Q4"


@pytest.mark.parametrize(
    "source",
    [
        "", "hubs", "hub:", "hub:alone", "hub:a/b/c", "hub:a/b@x y", "hub:../..", "hub:a/b@../c",
        "file:///etc/passwd", "ftp://host/x.gguf", "http://",
        "http://[", "C:\\models", "javascript:alert(1)", "/models/x.gguf", "https://host/a%2Fb.gguf",
    ],
)  # fmt: skip
def test_what_is_no_source_is_one_sentence(source: str) -> None:
    with pytest.raises(ModelFileError, match=r"expected [^\n]+"):
        offer_of(source)


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (b"<!doctype html>", "expected JSON with a list of files by name"),
        (b"[" * 100_000, "expected JSON with a list of files by name"),
        (b" " * (10 << 20), r"expected at most 1,048,576 bytes, found more; it is another file"),
        (manifest_of({"../x.gguf": b""}), "expected the plain name of a file"),
        (manifest_of({"x" * 300 + ".gguf": b""}), "expected the plain name of a file"),
        (b'{"files": [{"name": "m.gguf", "n_bytes": -1}]}', "expected a size in bytes"),
        (b'{"files": [{"name": "m.gguf", "n_bytes": 1152921504606846976}]}', "expected a size in bytes"),
        (b'{"files": [{"name": "m.gguf"}, {"name": "m.gguf"}]}', "expected every file once, found one twice"),
        (b'{"files": [{"name": "a.gguf"}, {"name": "b.gguf"}]}', r"expected one \.gguf file, found a\.gguf, b\.gguf"),
        (b'{"files": [{"name": "README.md"}]}', r"expected a \.gguf file or shards"),
        (b'{"files": [{"name": "m.gguf.part"}]}', r"expected a \.gguf file or shards"),
        (b'{"files": []}', r"expected a \.gguf file or shards"),
    ],
    ids=range(12),
)
def test_a_bad_manifest_is_one_sentence(manifest: bytes, sentence: str) -> None:
    with bad_server({"manifest.json": manifest}) as server:
        with pytest.raises(ModelFileError, match=sentence) as raised:
            offer_of(server.address)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 500


def test_nothing_at_an_address_is_one_sentence() -> None:
    with bad_server({}) as server, pytest.raises(ModelFileError, match=r"expected manifest\.json or shard-aa in http"):
        offer_of(server.address)


ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["file", "directory", 3]),
        "path": st.sampled_from(["shard-aa", "m.gguf", "../m.gguf", "sub/m.gguf", "tekken.json", ".."])
        | st.text()
        | st.none(),
        "size": st.integers() | st.floats() | st.none() | st.booleans(),
        "lfs": st.none() | st.text() | st.fixed_dictionaries({}, optional={"oid": st.text() | st.just("0" * 64)}),
    },
)


@given(st.binary(max_size=40) | st.lists(ENTRY, max_size=4).map(json.dumps).map(str.encode))
def test_nothing_else_comes_out_of_a_hub_s_list(data: bytes) -> None:
    with suppress(ModelFileError):
        for file in sources._parse_tree(data, "here"):
            assert isinstance(file, Listed)
            assert is_file_name(file.name)
            assert file.n_bytes is None or 0 <= file.n_bytes < 1 << 53


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_are_short_safe_and_different(first: str, second: str) -> None:
    keys = {sources._key(first, first), sources._key(second, second)}
    assert len(keys) == len({first, second})
    for key in keys:
        assert is_file_name(key)
        assert key.isascii()
        assert len(key) <= 50
