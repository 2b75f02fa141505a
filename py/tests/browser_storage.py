"""Storage inside Chromium, called by e2e/test_storage_in_chromium.py: every function runs in the worker of one tab."""

import asyncio
import hashlib
import random
import traceback

import disk_cases

from voxtral.errors import ModelFileError
from voxtral.shards import Piece
from voxtral.storage import StorageFullError

MEGABYTE = 1 << 20


async def _open(kind):
    from voxtral.browser.cache_files import CacheDisk
    from voxtral.browser.opfs import OpfsDisk

    return await {"opfs": OpfsDisk, "cache": CacheDisk}[kind].open()


async def _empty(kind):
    disk = await _open(kind)
    for key in await disk.keys():
        await disk.delete(key)
    return disk


async def empty_all():
    """Nothing is stored then."""
    for kind in ("opfs", "cache"):
        await _empty(kind)


def _piece(i):
    """A megabyte of its own, as a typed array."""
    import js
    from pyodide.ffi import to_js

    array = js.Uint8Array.new(MEGABYTE)
    array.set(to_js(random.Random(i).randbytes(1000)))
    array[MEGABYTE - 1] = i
    return Piece(MEGABYTE, array)


async def run_disk_cases(kind):
    """Name → what went wrong, of the cases that did."""
    problems = {}
    for name, case in disk_cases.CASES.items():
        try:
            await case(await _empty(kind))
        except Exception:
            problems[name] = traceback.format_exc()
    return problems


async def write_until_full(kind, n_pieces):
    """What a file holds when the disk was full, and the sentence; without one if all pieces fitted."""
    folder = await (await _open(kind)).folder("full")
    file = await folder.open("shard-aa")
    sentence = None
    try:
        for i in range(file.n_bytes // MEGABYTE, n_pieces):
            await file.write(_piece(i))
        await file.flush()
    except StorageFullError as error:
        sentence = str(error)
    n_bytes, n_whole = file.n_bytes, file.n_bytes // MEGABYTE
    wrong = [i for i in range(n_whole) if await file.read(i * MEGABYTE, MEGABYTE) != _piece(i).in_python()]
    file.close()
    if sentence is None:
        await folder.finish("shard-aa")
    return {"n_bytes": n_bytes, "sentence": sentence, "wrong": wrong, "begun": await folder.begun()}


async def which_disk():
    """The class of the disk that is chosen."""
    from voxtral.browser import open_disk

    return type(await open_disk()).__name__


async def which_disk_without(missing):
    """The same in a browser that lacks these: createSyncAccessHandle, caches."""
    import js

    take = js.Function.new(
        "names",
        """const owner = (name) => (name === "caches" ? self : FileSystemFileHandle.prototype);
        const kept = names.map((name) => [name, Object.getOwnPropertyDescriptor(owner(name), name)]);
        for (const name of names) Object.defineProperty(owner(name), name, { value: undefined, configurable: true });
        return () => {
            for (const [name, was] of kept) {
                delete owner(name)[name];
                if (was) Object.defineProperty(owner(name), name, was);
            }
        };""",
    )
    from pyodide.ffi import to_js

    put_back = take(to_js(missing))
    try:
        return await which_disk()
    finally:
        put_back()


# -- two tabs -----------------------------------------------------------------------------------------
_held = {}


async def store(name, n_pieces):
    """A whole file."""
    folder = await (await _empty("opfs")).folder("shared")
    await disk_cases.put(folder, name, b"".join(_piece(i).in_python() for i in range(n_pieces)))


async def hold_reader(name):
    """Read from a file, and keep it open; the place of its first wrong byte, and by what it was read."""
    source = _held["reader"] = await (await (await _open("opfs")).folder("shared")).source(name)
    for i in range(source.n_bytes // MEGABYTE):
        if await source.read_at(i * MEGABYTE, MEGABYTE) != _piece(i).in_python():
            return f"piece {i} is wrong"
    return "handle" if source._access is not None else "file"


async def try_to_write(name):
    """The sentences of who wants to change a file, and delete it, while another tab reads it."""
    disk = await _open("opfs")
    folder = await disk.folder("shared")
    sentences = []
    for attempt in (folder.reopen(name), folder.delete(name), disk.delete("shared")):
        try:
            await attempt
            sentences.append("")
        except ModelFileError as error:
            sentences.append(str(error))
    return sentences


def let_go():
    """Close what is held."""
    _held.pop("reader").close()


def exclusive_handles_only():
    """From now on this tab is a browser that knows no shared access handles."""
    import js

    prototype = js.FileSystemFileHandle.prototype
    body = "return function () { return open.call(this); }"
    prototype.createSyncAccessHandle = js.Function.new("open", body)(prototype.createSyncAccessHandle)


def take_lock(key):
    """Ask for a lock in the background; `lock_state` tells how that goes."""
    from voxtral.browser import model_lock

    state = _held[key] = {"waited": 0, "has": False, "leave": asyncio.Event()}

    def on_wait():
        state["waited"] += 1

    async def hold():
        try:
            async with model_lock(key, on_wait):
                state["has"] = True
                await state["leave"].wait()
        finally:
            state["has"] = None

    state["task"] = asyncio.ensure_future(hold())


def lock_state(key):
    """How often it had to wait, and whether we have it: None when that is over."""
    return [_held[key]["waited"], _held[key]["has"]]


def leave_lock(key):
    """Let it go."""
    _held[key]["leave"].set()


def give_up_lock(key):
    """Cancel who waits for it, or has it."""
    _held[key]["task"].cancel()


async def lock_again_and_again(key):
    """Leave a lock, or be cancelled inside, and take it again at once: how often that has to wait for itself."""
    from voxtral.browser import model_lock

    waits = []
    for _ in range(20):
        async with model_lock(key, lambda: waits.append("left")):
            await asyncio.sleep(0)

        async def hold():
            async with model_lock(key, lambda: waits.append("cancelled")):
                await asyncio.sleep(60)

        task = asyncio.ensure_future(hold())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    return waits


def start_download(source):
    """Fetch a model under its lock, in the background."""
    _held["download"] = state = {"waited": 0, "here": None, "key": None}

    def on_wait():
        state["waited"] += 1

    async def run():
        from voxtral.browser import FetchTransport, model_lock, open_disk
        from voxtral.download import download
        from voxtral.sources import read_offer

        transport = FetchTransport()
        offer = await read_offer(transport, source)
        state["key"] = offer.key
        async with model_lock(offer.key, on_wait):
            folder = await (await open_disk()).folder(offer.key)
            state["here"] = await _n_stored(folder)
            await download(offer, folder, transport, lambda *_: None)

    state["task"] = asyncio.ensure_future(run())


async def download_state():
    """How often it waited for the lock, the bytes that were here when it had it, and those that are here now."""
    from voxtral.browser import open_disk

    state = _held["download"]
    n_stored = await _n_stored(await (await open_disk()).folder(state["key"])) if state["key"] else 0
    return [state["waited"], state["here"], n_stored]


async def _n_stored(folder):
    from voxtral.records import RECORD

    return sum(n for name, n in {**await folder.begun(), **await folder.sizes()}.items() if name != RECORD)


async def end_of_download():
    """What the store has then, and what is wrong with it."""
    from voxtral.browser import open_disk
    from voxtral.store import ModelStore

    await _held["download"]["task"]
    store = ModelStore(await open_disk())
    [model] = [model for model in await store.models() if model.key == _held["download"]["key"]]
    problems = await store.verify(model.key, lambda *_: None)
    weights, tekken = await store.open(model.key)
    data = b"".join([await source.read_at(0, source.n_bytes) for source in weights])
    for source in weights:
        source.close()
    return {"is_whole": model.is_whole, "problems": problems, "sha256": hashlib.sha256(data + tekken).hexdigest()}


async def damage_and_verify(name, offset):
    """What a check of the model that was downloaded finds after one byte of a file has changed on the disk."""
    from pyodide.ffi import to_js

    from voxtral.browser import open_disk
    from voxtral.store import ModelStore

    disk = await open_disk()
    folder = await disk.folder(_held["download"]["key"])
    access = await (await folder._handle(name)).createSyncAccessHandle()
    access.write(to_js(b"\xff\x00"), at=offset)
    access.close()
    return await ModelStore(disk).verify(_held["download"]["key"], lambda *_: None)
