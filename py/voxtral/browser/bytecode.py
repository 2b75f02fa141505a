"""The bytecode of everything a start imports, kept in the browser for the next start.

Pyodide brings its standard library, and wheels bring their modules, as source: compiling them is half of a first start.
`keep_bytecode` does that once more at leisure and puts the result into the Cache API, where app/interpreter.mjs finds
it. Nothing depends on it: the sources stay where they are, modules out of wheels are compiled again if their source is
another than the one whose hash their bytecode carries, and a page without all this starts slower.

The kept file: 4 bytes (little endian) for the size of a JSON list [[path, size], …], the list, the files' bytes.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import marshal
import shutil
import struct
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import js  # type: ignore[import-not-found]
import pyodide_js  # type: ignore[import-not-found]
from pyodide.ffi import JsException, to_js  # type: ignore[import-not-found]

from voxtral.browser.values import to_object

CACHE = "voxtral bytecode"
STDLIB = Path("/lib/python313.zip")
COMPILED = Path("/lib/compiled.zip")  # the same, with bytecode beside each source that was used
SITE_PACKAGES = Path(__file__).parents[2]
PAUSE_S = 0.02  # after every module, which takes about half as long
POLL_S = 0.25
UNCHECKED, CHECKED = 0b01, 0b11  # flags of bytecode that is valid by its source's hash instead of a date


_tasks: set[asyncio.Task[None]] = set()

Idle = Callable[[], bool]


def keep_bytecode(is_idle: Idle) -> None:
    """Compile what is imported and keep it, unless that was done for these very files; at work when is_idle only."""
    _tasks.add(asyncio.ensure_future(_keep(is_idle)))


async def _keep(is_idle: Idle) -> None:
    await _pause(is_idle)
    if not hasattr(js, "caches"):  # the page is no secure context
        return
    with contextlib.suppress(JsException):  # no room, or no permission: the next start compiles again
        address = f"{js.location.origin}/bytecode/{pyodide_js.version}"
        cache = await js.caches.open(CACHE)
        known = await cache.match(address)
        if not known or known.headers.get("made-from") != _identity():
            await cache.put(address, await _response(is_idle))


async def _pause(is_idle: Idle) -> None:
    await asyncio.sleep(PAUSE_S)
    while not is_idle():
        await asyncio.sleep(POLL_S)


def _identity() -> str:
    """Of the installed wheels; the standard library belongs to the version in the address."""
    records = sorted(SITE_PACKAGES.glob("*.dist-info/RECORD"))
    return hashlib.sha256(b"".join(record.read_bytes() for record in records)).hexdigest()


async def _response(is_idle: Idle) -> Any:
    index, parts = [], []
    async for path, data in _compiled(is_idle):
        index.append([path, data.length])
        parts.append(data)
    header = json.dumps(index).encode()
    body = js.Blob.new(to_js([to_js(struct.pack("<I", len(header)) + header), *parts]))
    digest = await js.crypto.subtle.digest("SHA-256", await body.arrayBuffer())
    headers = {"made-from": _identity(), "sha256": digest.to_bytes().hex()}
    return js.Response.new(body, to_object({"headers": headers}))


async def _compiled(is_idle: Idle) -> AsyncIterator[tuple[str, Any]]:
    """(path, Uint8Array) of every file to have in place before Python starts."""
    files = {str(getattr(module, "__file__", None)) for module in sys.modules.values()}
    copy = Path.home() / COMPILED.name  # in this tab's memory, like every file here
    shutil.copyfile(STDLIB, copy)
    with zipfile.ZipFile(copy, "a") as archive:
        used = {file.partition(".zip/")[2].removesuffix("c") for file in files}
        for name in sorted(used & set(archive.namelist())):
            archive.writestr(f"{name}c", _bytecode(archive.read(name), f"{COMPILED}/{name}", UNCHECKED))
            await _pause(is_idle)
    yield str(COMPILED), pyodide_js.FS.readFile(str(copy))
    copy.unlink()
    for file in sorted(files):
        if file.startswith(f"{SITE_PACKAGES}/") and file.endswith(".py"):
            code = _bytecode(Path(file).read_bytes(), file, CHECKED)
            yield importlib.util.cache_from_source(file), to_js(code)
            await _pause(is_idle)


def _bytecode(source: bytes, file: str, flags: int) -> bytes:
    """A .pyc as PEP 552 describes it."""
    code = marshal.dumps(compile(source, file, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + struct.pack("<I", flags) + importlib.util.source_hash(source) + code
