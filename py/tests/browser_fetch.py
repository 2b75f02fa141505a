"""Files behind addresses and in the hands of a person, inside Chromium; called by e2e/test_storage_in_chromium.py."""

import asyncio
import hashlib
from contextlib import contextmanager

from browser_loading import chunks_of_the_browsers_own

from voxtral import transport
from voxtral.errors import ModelFileError
from voxtral.transport import BrokenOffError


@contextmanager
def _limits(connect_s, stall_s):
    before = transport.CONNECT_S, transport.STALL_S
    transport.CONNECT_S, transport.STALL_S = connect_s, stall_s
    try:
        yield
    finally:
        transport.CONNECT_S, transport.STALL_S = before


async def get(url, start=0, byob=True, connect_s=30.0, stall_s=60.0):
    """What a transport brings: status, size, SHA-256 and some headers; `reason` where it broke off."""
    from voxtral.browser import FetchTransport, loader_buffers

    held = loader_buffers.now
    report = {"n_bytes": 0, "reason": None}
    sums = hashlib.sha256()
    body = None
    with _limits(connect_s, stall_s):
        try:
            if byob:
                body = await FetchTransport().open(url, start)
            else:
                with chunks_of_the_browsers_own():
                    body = await FetchTransport().open(url, start)
            report |= {"status": body.status, "url": body.url, "length": body.header("Content-Length")}
            report["range"] = body.header("Content-Range")
            while (piece := await body.read()) is not None:
                assert 0 < piece.n_bytes == piece.data.length
                report["n_bytes"] += piece.n_bytes
                sums.update(piece.in_python())
        except BrokenOffError as error:
            report["reason"] = str(error)
    if body:
        body.close()
        body.close()
    return report | {"sha256": sums.hexdigest(), "held": loader_buffers.now - held}


async def close_while_it_waits(url):
    """What becomes of a read, and of an opening, that is given up."""
    from voxtral.browser import FetchTransport

    body = await FetchTransport().open(url)
    n_read = 0

    async def read():
        nonlocal n_read
        while piece := await body.read():
            n_read += piece.n_bytes

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0.3)
    body.close()
    try:
        await asyncio.wait_for(reading, 5)
        closed = "end"
    except BrokenOffError:
        closed = "broken off"
    opening = asyncio.ensure_future(FetchTransport().open(url))
    await asyncio.sleep(0.3)
    opening.cancel()
    await asyncio.wait([opening], timeout=5)
    return {"n_read": n_read > 0, "closed": closed, "cancelled": opening.cancelled()}


async def read_source(url, n_bytes, piece_bytes, byob=True, tries=4):
    """The SHA-256 of a file read forwards through an HttpSource, or the sentence; and what it held then, and closed."""
    from voxtral.browser import HttpSource, http, loader_buffers

    before = http.FIRST_PAUSE_S, http.TRIES
    http.FIRST_PAUSE_S, http.TRIES = 0, tries
    held = loader_buffers.now
    sums, sentence = hashlib.sha256(), None
    source = await HttpSource.open(url, n_bytes)
    try:
        for offset in range(0, n_bytes, piece_bytes):
            n = min(piece_bytes, n_bytes - offset)
            if byob:
                sums.update((await source.piece_at(offset, n)).in_python())
            else:
                with chunks_of_the_browsers_own():
                    sums.update((await source.piece_at(offset, n)).in_python())
    except ModelFileError as error:
        sentence = str(error)
    finally:
        http.FIRST_PAUSE_S, http.TRIES = before
    held_while_open = loader_buffers.now - held
    source.close()
    held_in_the_end = loader_buffers.now - held
    return {"sha256": sums.hexdigest(), "sentence": sentence, "held": [held_while_open > 0, held_in_the_end]}


async def through_the_disk(url, n_bytes):
    """A file from the network to the disk and from there to a device: the growth of Python's memory, in bytes."""
    from voxtral.browser import FetchTransport, heap_bytes, loader_buffers, open_disk

    disk = await open_disk()
    folder = await disk.folder("through")
    before = heap_bytes()
    body = await FetchTransport().open(url)
    file = await folder.open("shard-aa")
    while (piece := await body.read()) is not None:
        await file.write(piece)
    body.close()
    await file.flush()
    sums = hashlib.sha256()
    for offset in range(0, n_bytes, 1 << 20):
        sums.update(await file.read(offset, min(1 << 20, n_bytes - offset)))
    file.close()
    await folder.finish("shard-aa")
    source = await folder.source("shard-aa")
    held = loader_buffers.peak = loader_buffers.now
    for offset in range(0, n_bytes, 4 << 20):
        piece = await source.piece_at(offset, min(4 << 20, n_bytes - offset))
        assert piece.data.length == piece.n_bytes
    source.close()
    grown = heap_bytes() - before
    await disk.delete("through")
    return {"sha256": sums.hexdigest(), "grown": grown, "held": [loader_buffers.peak - held, loader_buffers.now - held]}


def _file(name, data):
    import js
    from pyodide.ffi import to_js

    return js.File.new(to_js([to_js(data)]), name)


async def chosen_files():
    """What is wrong with files that a person chose."""
    from pyodide.ffi import to_js

    from voxtral.browser import ChosenFiles, loader_buffers, open_disk

    held = loader_buffers.now
    data = bytes(range(256)) * 20_000
    chosen = ChosenFiles(to_js([_file("b.gguf", data), _file("tekken.json", b"{}"), _file("empty", b"")]))
    problems = []

    def expect(is_so, what):
        if not is_so:
            problems.append(what)

    expect(chosen.sizes == {"b.gguf": len(data), "tekken.json": 2, "empty": 0}, f"sizes {chosen.sizes}")
    for start, status in ((0, 200), (1, 206), (4_999_999, 206), (len(data), 416), (len(data) + 1, 416)):
        body = await chosen.transport.open("file:b.gguf", start)
        expect(body.status == status, f"status {body.status} from {start}")
        if status == 416:
            continue
        expect(body.header("Content-Length") == str(len(data) - start), "length")
        expected = None if status == 200 else f"bytes {start}-{len(data) - 1}/{len(data)}"
        expect(body.header("content-range") == expected, "range")
        got = b""
        while piece := await body.read():
            got += piece.in_python()
        body.close()
        expect(got == data[start:], f"bytes from {start}")
    expect((await chosen.transport.open("file:other")).status == 404, "a file nobody chose")
    source = chosen.source("b.gguf")
    for offset, n_bytes in ((0, 100), (100, 3_000_000), (50, 5), (len(data) - 1, 1), (7, 0)):
        expect((await source.piece_at(offset, n_bytes)).in_python() == data[offset : offset + n_bytes], f"at {offset}")
    source.close()
    expect(loader_buffers.now == held, "buffers are held")
    try:
        ChosenFiles(to_js([_file("x", b"1"), _file("x", b"2")]))
        problems.append("one name twice")
    except ModelFileError as error:
        expect("x: found twice" in str(error), str(error))
    folder = await (await open_disk()).folder("gone")
    await folder.write("gone.gguf", data)
    gone = ChosenFiles(to_js([await folder.blob("gone.gguf")])).source("gone.gguf")
    await folder.delete("gone.gguf")
    try:
        await gone.read_at(0, 10)
        problems.append("a file that is gone was read")
    except ModelFileError as error:
        expect("gone.gguf: expected 10 bytes from byte 0 on, found 0" in str(error), str(error))
    return problems


async def exported():
    """Names and content of what is exported, and whether a record is among it."""
    from voxtral.browser import export, open_disk
    from voxtral.records import RECORD

    folder = await (await open_disk()).folder("kept")
    await folder.write(RECORD, b"{}")
    await folder.write("tekken.json", b"tokens")
    await folder.write("shard-aa", b"weights")
    files = await export("kept")
    return [[file["name"], await file["blob"].text(), file["blob"].constructor.name] for file in files]
