"""The models kept on a disk: listed, opened, verified, deleted, whatever has become of their folders."""

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path

import pytest
from disk_cases import fails, put
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.native_files import DirectoryDisk
from voxtral.records import RECORD, Record
from voxtral.sources import RemoteFile
from voxtral.store import ModelStore, StoredModel

TEKKEN = b'{"vocab": []}'
FILES = {"shard-ab": b"second" * 1000, "shard-aa": b"first" * 2000, "tekken.json": TEKKEN}
ORDER = ["shard-aa", "shard-ab", "tekken.json"]
N_BYTES = sum(map(len, FILES.values()))


def record(**changes):
    files = tuple(
        RemoteFile(name, f"http://host/{name}", len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest())
        for name in ORDER
    )
    return Record(**{"title": "A model", "source": "hub", "files": files, "saved_at": 1000, **changes})


async def keep(disk, key, files=FILES, **changes):
    """A stored model, whole unless files are left out."""
    folder = await disk.folder(key)
    await folder.write(RECORD, record(**changes).as_json())
    for name, data in files.items():
        await put(folder, name, data)
    return folder


@pytest.fixture
def disk(tmp_path):
    return DirectoryDisk(tmp_path / "models")


@pytest.fixture
def store(disk):
    return ModelStore(disk)


def test_an_empty_disk_has_no_models(store):
    assert asyncio.run(store.models()) == []


def test_a_whole_model_is_listed_and_opened(disk, store):
    async def check():
        await keep(disk, "one")
        await keep(disk, "two", saved_at=2000, title="Another")
        one = StoredModel("one", "A model", "hub", N_BYTES, N_BYTES, True, 1000)
        assert await store.models() == [one._replace(key="two", title="Another", saved_at=2000), one]
        weights, tekken = await store.open("one")
        assert tekken == TEKKEN
        assert [await source.read_at(0, source.n_bytes) for source in weights] == [FILES[name] for name in ORDER[:2]]

    asyncio.run(check())


def test_a_begun_model_tells_how_much_is_here_and_what_is_missing(disk, store):
    async def check():
        folder = await keep(disk, "one", {"shard-aa": FILES["shard-aa"]})
        await put(folder, "shard-ab", FILES["shard-ab"][:700], is_whole=False)
        n_bytes = len(FILES["shard-aa"]) + 700
        assert await store.models() == [StoredModel("one", "A model", "hub", n_bytes, N_BYTES, False, 1000)]
        await fails(store.open("one"), "A model: expected shard-ab, tekken.json whole", "fetch the model to go on")

    asyncio.run(check())


def test_a_file_of_another_length_does_not_count_as_whole(disk, store):
    async def check():
        await keep(disk, "one", {**FILES, "shard-ab": FILES["shard-ab"][:-1]})
        assert [(model.is_whole, model.n_bytes) for model in await store.models()] == [(False, N_BYTES - 1)]
        await fails(store.open("one"), "expected shard-ab whole")

    asyncio.run(check())


def test_sizes_nobody_told_are_those_of_what_is_whole(disk, store):
    async def check():
        files = tuple(file._replace(n_bytes=None, sha256=None) for file in record().files)
        folder = await keep(disk, "one", files=files)
        assert [model[3:6] for model in await store.models()] == [(N_BYTES, N_BYTES, True)]
        await folder.delete("shard-ab")
        assert [model[3:6] for model in await store.models()] == [(N_BYTES - len(FILES["shard-ab"]), None, False)]

    async def keep(disk, key, files):
        folder = await disk.folder(key)
        await folder.write(RECORD, record(files=files).as_json())
        for name, data in FILES.items():
            await put(folder, name, data)
        return folder

    asyncio.run(check())


def test_a_model_that_is_not_there_is_named_and_nothing_is_made(disk, store):
    async def check():
        await fails(store.open("nothing"), "nothing: expected a stored model of this name")
        await fails(store.verify("nothing", print), "nothing: expected a stored model of this name")
        await store.delete("nothing")
        assert await disk.keys() == []
        await disk.folder("empty")
        assert await store.models() == []

    asyncio.run(check())


def test_a_damaged_byte_is_found_and_only_its_file_is_missing_then(disk, store):
    async def check():
        wrong = bytes([FILES["shard-ab"][0] ^ 1]) + FILES["shard-ab"][1:]
        await keep(disk, "one", {**FILES, "shard-ab": wrong})
        told = []
        problems = await store.verify("one", lambda *progress: told.append(progress))
        assert len(problems) == 1
        assert "shard-ab" in problems[0]
        assert told[-1] == ("verify", N_BYTES, N_BYTES)
        await fails(store.open("one"), "expected shard-ab whole")
        await put(await disk.folder("one"), "shard-ab", FILES["shard-ab"])
        assert await store.verify("one", lambda *_: None) == []
        await store.delete("one")
        assert await store.models() == []

    asyncio.run(check())


HOSTILE = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    b'{"files": null}',
    b'{"files": [{}], "title": 1}',
    b'{"files": [{"name": "../../etc/passwd", "url": "x"}], "title": "t", "source": "s", "saved_at": 1}',
    b'{"files": [{"name": "a", "url": "x", "n_bytes": 1e400}], "title": "t", "source": "s", "saved_at": 1}',
    b'{"files": [], "title": "t", "source": "s", "saved_at": 1e400}',
    b"[" * 100_000,
]
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
entries = st.fixed_dictionaries({"name": values, "url": values}, optional={"n_bytes": values, "sha256": values})
records = st.fixed_dictionaries(
    {"title": values, "source": values, "files": st.lists(entries, max_size=3) | values, "saved_at": values}
).map(lambda value: json.dumps(value).encode())


def check_beside(data):
    """A folder with this record never hides the model beside it, and can be deleted."""

    async def check(disk):
        store = ModelStore(disk)
        await keep(disk, "good")
        folder = await disk.folder("odd")
        await folder.write(RECORD, data)
        models = {model.key: model for model in await store.models()}
        assert models["good"].is_whole
        assert set(models) == {"good", "odd"}
        await fails(store.open("odd"))
        await store.delete("odd")
        assert await disk.keys() == ["good"]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(DirectoryDisk(Path(folder))))


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_records_never_break_the_list(data):
    check_beside(data)


@settings(max_examples=100, deadline=None)
@given(records | st.binary(max_size=40))
def test_any_records_never_break_the_list(data):
    check_beside(data)


def test_a_folder_that_cannot_be_read_is_listed(disk, store, tmp_path):
    async def check():
        await keep(disk, "good")
        (tmp_path / "models" / "odd" / RECORD).mkdir(parents=True)
        (tmp_path / "models" / "stray.txt").write_text("no model")
        await put(await disk.folder("odd"), "shard-aa", b"12345")
        listed = {model.key: (model.is_whole, model.n_bytes) for model in await store.models()}
        assert listed == {"good": (True, N_BYTES), "odd": (False, 5)}

    asyncio.run(check())
