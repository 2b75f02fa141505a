"""What every `storage.Disk` must do, on whatever it lies: run on CPython and inside Chromium.

Each case gets a disk without models and returns nothing; what is wrong it raises.
"""

import random

from voxtral.errors import ModelFileError
from voxtral.shards import Piece

ODD_NAMES = ["", ".", "..", "a/b", "../b", "a\\b", "a\0b", "a\nb"]


async def fails(action, *words):
    """The sentence of a ModelFileError that must come, and hold these words."""
    try:
        await action
    except ModelFileError as error:
        sentence = str(error)
        assert all(word in sentence for word in words), sentence
        assert "\n" not in sentence, sentence
        return sentence
    raise AssertionError("expected a ModelFileError")


async def put(folder, name, data, is_whole=True):
    """A file of this content."""
    file = await folder.open(name)
    await file.write(Piece(len(data), data))
    await file.flush()
    file.close()
    if is_whole:
        await folder.finish(name)


async def folders_come_and_go(disk):
    assert await disk.keys() == []
    for key in ("b-model", "a"):
        await put(await disk.folder(key), "x", b"12345")
    assert await disk.keys() == ["a", "b-model"]
    await disk.delete("a")
    assert await disk.keys() == ["b-model"]
    await disk.delete("a")
    await disk.delete("b-model")
    assert await disk.keys() == []
    room = await disk.room()
    assert room.quota_bytes is None or room.quota_bytes > (room.used_bytes or 0) >= 0


async def a_begun_file_grows_across_openings(disk):
    folder = await disk.folder("model")
    chance = random.Random(1)
    data = chance.randbytes(300_000)
    position = 0
    while position < len(data):
        file = await folder.open("shard-aa")
        assert file.n_bytes == position
        for _ in range(3):
            part = data[position : position + chance.randrange(1, 40_000)]
            await file.write(Piece(len(part), part))
            position += len(part)
            assert file.n_bytes == position
        middle = chance.randrange(position)
        assert await file.read(middle, position - middle) == data[middle:position]
        await fails(file.read(position - 1, 2))
        await file.flush()
        file.close()
        file.close()
        assert await folder.begun() == {"shard-aa": position}
        assert await folder.sizes() == {}
    await fails(folder.source("shard-aa"), "shard-aa")
    await folder.finish("shard-aa")
    assert await folder.begun() == {}
    assert await folder.sizes() == {"shard-aa": len(data)}
    assert await folder.read("shard-aa") == data
    source = await folder.source("shard-aa")
    for _ in range(50):
        start = chance.randrange(len(data))
        n_bytes = chance.randrange(len(data) - start)
        assert await source.read_at(start, n_bytes) == data[start : start + n_bytes]
        piece = await source.piece_at(start, n_bytes)
        assert piece.n_bytes == n_bytes
        assert piece.in_python() == data[start : start + n_bytes]
        if chance.random() < 0.2:
            source.close()
    await fails(source.read_at(len(data) - 1, 2))
    source.close()
    source.close()


async def a_file_can_be_cleared_and_written_anew(disk):
    folder = await disk.folder("model")
    await put(folder, "x", b"wrong bytes", is_whole=False)
    file = await folder.open("x")
    await file.clear()
    assert file.n_bytes == 0
    await file.write(Piece(5, b"right"))
    await file.flush()
    file.close()
    await folder.finish("x")
    assert await folder.read("x") == b"right"
    await put(folder, "none", b"")
    assert await folder.read("none") == b""
    assert await folder.sizes() == {"x": 5, "none": 0}


async def finishing_takes_the_place_of_what_was_whole(disk):
    folder = await disk.folder("model")
    await put(folder, "x", b"old content")
    await put(folder, "x", b"new", is_whole=False)
    assert await folder.read("x") == b"old content"
    await folder.finish("x")
    assert await folder.read("x") == b"new"
    assert await folder.begun() == {}
    await fails(folder.finish("x"), "x")
    await fails(folder.finish("never begun"), "never begun")


async def a_whole_file_can_be_reopened_and_mended(disk):
    folder = await disk.folder("model")
    await put(folder, "x", b"0123456789")
    file = await folder.reopen("x")
    assert await folder.sizes() == {}
    assert await folder.begun() == {"x": 10}
    assert await file.read(3, 4) == b"3456"
    await file.write(Piece(2, b"ab"))
    await file.flush()
    file.close()
    await folder.finish("x")
    assert await folder.read("x") == b"0123456789ab"
    await fails(folder.reopen("missing"), "missing")


async def a_small_file_is_written_at_once(disk):
    folder = await disk.folder("model")
    for data in (b"first", b"x" * 100_000, b""):
        await folder.write("record.json", data)
        assert await folder.read("record.json") == data
        assert await folder.sizes() == {"record.json": len(data)}
        assert await folder.begun() == {}
    await fails(folder.read("missing.json"), "missing.json")


async def files_are_deleted_whole_and_begun(disk):
    folder = await disk.folder("model")
    await put(folder, "x", b"whole")
    await put(folder, "x", b"begun", is_whole=False)
    await put(folder, "y", b"stays")
    await folder.delete("x")
    await folder.delete("x")
    assert await folder.sizes() == {"y": 5}
    assert await folder.begun() == {}
    assert await disk.keys() == ["model"]


async def any_name_of_a_file_will_do_and_no_other(disk):
    folder = await disk.folder("model")
    names = [
        "shard-aa",
        "Voxtral Mini (4B) Q4_0.gguf",
        "größe 東京.gguf",
        "%41.json",
        "100%",
        "a" * 120 + ".gguf",
        "a#b?c",
    ]
    for name in names:
        await put(folder, name, name.encode())
    assert await folder.sizes() == {name: len(name.encode()) for name in names}
    for name in names:
        assert await folder.read(name) == name.encode()
    for name in ODD_NAMES:
        await fails(folder.open(name))
        await fails(folder.read(name))
        await fails(folder.source(name))
        await fails(folder.write(name, b"x"))
        await fails(disk.folder(name))
    assert await folder.sizes() == {name: len(name.encode()) for name in names}
    assert await disk.keys() == ["model"]


CASES = {
    case.__name__: case
    for case in (
        folders_come_and_go,
        a_begun_file_grows_across_openings,
        a_file_can_be_cleared_and_written_anew,
        finishing_takes_the_place_of_what_was_whole,
        a_whole_file_can_be_reopened_and_mended,
        a_small_file_is_written_at_once,
        files_are_deleted_whole_and_begun,
        any_name_of_a_file_will_do_and_no_other,
    )
}
