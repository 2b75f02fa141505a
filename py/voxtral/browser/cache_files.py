"""Models in the Cache API, for browsers without sync access handles: slower, and of use only there.

A cache of its own holds a model, with these entries:

    whole/NAME, begun/NAME      JSON: size of a file, and the ID of its parts
    parts/ID/INDEX              PART_BYTES of a file, in the last one less

A begun file becomes a whole one by an entry of a few bytes; its parts stay where they are. What has not filled a part
yet is in memory until `flush`, and lost if there is no room for it then.
"""

import json
import secrets
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException, JsProxy, to_js  # type: ignore[import-not-found]

from voxtral.browser.buffers import BufferSource
from voxtral.browser.refusals import explaining, full, require_all, room, sentence
from voxtral.errors import ModelFileError
from voxtral.shards import Piece, require_range
from voxtral.storage import Room, StorageFullError, require_name

PART_BYTES = 4 << 20  # the most that closing without a flush takes from a file
PREFIX = "voxtral-model:"
ADDRESS = "https://models.invalid/"  # of no server; the Cache API wants addresses
WHOLE, BEGUN = "whole/", "begun/"


class CacheDisk:
    """`storage.Disk`: every cache whose name starts with PREFIX is a model."""

    @classmethod
    async def open(cls) -> "CacheDisk | None":
        """None where this browser has no such thing, or does not grant it."""
        try:
            await js.caches.keys()
        except (AttributeError, JsException):
            return None
        return cls()

    async def keys(self) -> list[str]:
        with explaining("the stored models"):
            names = [str(name) for name in await js.caches.keys()]
        return sorted(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))

    async def folder(self, key: str) -> "CacheFolder":
        require_name(key)
        with explaining(key):
            return CacheFolder(_Entries(key, await js.caches.open(PREFIX + key)))

    async def delete(self, key: str) -> None:
        require_name(key)
        with explaining(key):
            await js.caches.delete(PREFIX + key)

    async def room(self) -> Room:
        return await room()


class CacheFolder:
    """`storage.ModelFolder`."""

    def __init__(self, entries: "_Entries") -> None:
        self._entries = entries

    async def sizes(self) -> dict[str, int]:
        return await self._entries.sizes(WHOLE)

    async def begun(self) -> dict[str, int]:
        return await self._entries.sizes(BEGUN)

    async def open(self, name: str) -> "CacheFile":
        extent = await self._entries.find(BEGUN, name) or _Extent(secrets.token_hex(8), 0)
        file = CacheFile(name, self._entries, extent)
        await file.load_tail()
        return file

    async def finish(self, name: str) -> None:
        extent, replaced = await self._entries.get(BEGUN, name), await self._entries.find(WHOLE, name)
        await self._entries.put(WHOLE, name, extent)
        await self._entries.remove(BEGUN, name)
        if replaced is not None:
            await self._entries.remove_parts(replaced)

    async def reopen(self, name: str) -> "CacheFile":
        extent = await self._entries.get(WHOLE, name)
        if begun := await self._entries.find(BEGUN, name):
            await self._entries.remove_parts(begun)
        await self._entries.put(BEGUN, name, extent)
        await self._entries.remove(WHOLE, name)
        return await self.open(name)

    async def source(self, name: str) -> "CacheSource":
        return CacheSource(name, self._entries, await self._entries.get(WHOLE, name))

    async def read(self, name: str) -> bytes:
        source = await self.source(name)
        try:
            return await source.read_at(0, source.n_bytes)
        finally:
            source.close()

    async def blob(self, name: str) -> Any:
        """A whole file as a Blob of blobs that lie on the disk."""
        extent = await self._entries.get(WHOLE, name)
        return js.Blob.new(to_js([await self._entries.part(extent, i) for i in range(extent.n_parts)]))

    async def write(self, name: str, data: bytes) -> None:
        file = await self.open(name)
        await file.clear()
        await file.write(Piece(len(data), data))
        await file.flush()
        await self.finish(name)

    async def delete(self, name: str) -> None:
        for state in (WHOLE, BEGUN):
            if extent := await self._entries.find(state, name):
                await self._entries.remove(state, name)
                await self._entries.remove_parts(extent)


class CacheFile:
    """`storage.OpenFile`."""

    def __init__(self, name: str, entries: "_Entries", extent: "_Extent") -> None:
        self.n_bytes = extent.n_bytes
        self._name = name
        self._entries = entries
        self._extent = extent  # what is stored
        self._parts = _Parts(name, entries)
        self._tail: Any = None  # a Uint8Array; what comes after the last full part

    async def load_tail(self) -> None:
        """Have what was stored of the last part, which is to become full."""
        self._tail = js.Uint8Array.new(PART_BYTES)
        n_tail = self.n_bytes % PART_BYTES
        if n_tail:
            await self._parts.read(self._extent, self.n_bytes - n_tail, self._tail.subarray(0, n_tail))

    async def write(self, piece: Piece) -> None:
        data = piece.data if isinstance(piece.data, JsProxy) else to_js(piece.data)
        for start in range(0, piece.n_bytes, PART_BYTES):
            await self._append(data.subarray(start, min(start + PART_BYTES, piece.n_bytes)))

    async def _append(self, data: Any) -> None:
        n_data, n_tail = data.length, self.n_bytes % PART_BYTES
        n_fitting = min(n_data, PART_BYTES - n_tail)
        self._tail.set(data.subarray(0, n_fitting), n_tail)
        if n_tail + n_fitting == PART_BYTES:
            await self._store(self.n_bytes + n_fitting, self._tail)
            self._tail.set(data.subarray(n_fitting))
        self.n_bytes += n_data

    async def read(self, offset: int, n_bytes: int) -> bytes:
        require_range(self._name, self.n_bytes, offset, n_bytes)
        view = js.Uint8Array.new(n_bytes)
        n_tail = self.n_bytes % PART_BYTES
        n_stored = max(0, min(n_bytes, self.n_bytes - n_tail - offset))
        await self._parts.read(self._extent, offset, view.subarray(0, n_stored))
        start = offset + n_stored - (self.n_bytes - n_tail)
        view.set(self._tail.subarray(start, start + n_bytes - n_stored), n_stored)
        data: bytes = view.to_bytes()
        return data

    async def clear(self) -> None:
        old, self._extent, self.n_bytes = self._extent, _Extent(secrets.token_hex(8), 0), 0
        await self._entries.put(BEGUN, self._name, self._extent)
        await self._entries.remove_parts(old)

    async def flush(self) -> None:
        if self._extent.n_bytes < self.n_bytes or self.n_bytes == 0:
            await self._store(self.n_bytes, self._tail.subarray(0, self.n_bytes % PART_BYTES))

    def close(self) -> None:
        self._tail = None
        self._parts.forget()

    async def _store(self, n_bytes: int, last_part: Any) -> None:
        """Put the last part, and say that the file has n_bytes."""
        extent = _Extent(self._extent.parts, n_bytes)
        self._parts.forget()
        try:
            if n_bytes:
                await self._entries.put_part(self._name, extent, last_part)
            await self._entries.put(BEGUN, self._name, extent)
        except StorageFullError:
            self.n_bytes = self._extent.n_bytes
            raise
        self._extent = extent


class CacheSource(BufferSource):
    """A whole file to read."""

    def __init__(self, name: str, entries: "_Entries", extent: "_Extent") -> None:
        super().__init__(name, extent.n_bytes)
        self._extent = extent
        self._parts = _Parts(name, entries)

    def close(self) -> None:
        self._parts.forget()
        super().close()

    async def fill(self, offset: int, view: Any) -> None:
        await self._parts.read(self._extent, offset, view)


class _Extent(NamedTuple):
    """Where the bytes of a file are, and how many."""

    parts: str
    n_bytes: int

    @property
    def n_parts(self) -> int:
        return -(-self.n_bytes // PART_BYTES)


class _Parts:
    """Reads a file's parts; the last one read is at hand."""

    def __init__(self, name: str, entries: "_Entries") -> None:
        self._name = name
        self._entries = entries
        self._index = -1
        self._blob: Any = None

    async def read(self, extent: _Extent, offset: int, view: Any) -> None:
        """Fill a Uint8Array with the bytes from `offset` on. Raises ModelFileError."""
        n_bytes, n_read = view.length, 0
        while n_read < n_bytes:
            index, start = divmod(offset + n_read, PART_BYTES)
            if index != self._index:
                self._blob, self._index = await self._entries.part(extent, index), index
            with explaining(self._name):
                data = js.Uint8Array.new(await self._blob.slice(start, start + n_bytes - n_read).arrayBuffer())
            require_all(self._name, offset + n_read, min(n_bytes - n_read, PART_BYTES - start), data.length)
            view.set(data, n_read)
            n_read += data.length

    def forget(self) -> None:
        self._blob, self._index = None, -1


class _Entries:
    """The entries of one model's cache."""

    def __init__(self, key: str, cache: Any) -> None:
        self._key = key
        self._cache = cache

    async def sizes(self, state: str) -> dict[str, int]:
        """Of all files that are whole, or begun."""
        with explaining(self._key):
            paths = [str(request.url).removeprefix(ADDRESS) for request in await self._cache.keys()]
        names = [unquote(path.removeprefix(state)) for path in paths if path.startswith(state)]
        return {name: extent.n_bytes for name in names if (extent := await self.find(state, name))}

    async def find(self, state: str, name: str) -> _Extent | None:
        require_name(name)
        with explaining(name):
            response = await self._cache.match(_address(state, name))
            return _Extent(*json.loads(await response.text())) if response else None

    async def get(self, state: str, name: str) -> _Extent:
        if extent := await self.find(state, name):
            return extent
        raise ModelFileError(f"{name}: expected among the stored files, it is not there; fetch the model again")

    async def put(self, state: str, name: str, extent: _Extent) -> None:
        await self._put(name, _address(state, name), json.dumps(extent))

    async def remove(self, state: str, name: str) -> None:
        with explaining(name):
            await self._cache.delete(_address(state, name))

    async def part(self, extent: _Extent, index: int) -> Any:
        """A Blob."""
        with explaining(self._key):
            response = await self._cache.match(_address("parts/", f"{extent.parts}/{index}"))
            if not response:
                raise ModelFileError(f"{self._key}: part of a stored file is missing; fetch the model again")
            return await response.blob()

    async def put_part(self, name: str, extent: _Extent, data: Any) -> None:
        """The last one."""
        await self._put(name, _address("parts/", f"{extent.parts}/{extent.n_parts - 1}"), data)

    async def remove_parts(self, extent: _Extent) -> None:
        with explaining(self._key):
            for i in range(extent.n_parts):
                await self._cache.delete(_address("parts/", f"{extent.parts}/{i}"))

    async def _put(self, name: str, address: str, data: Any) -> None:
        try:
            await self._cache.put(address, js.Response.new(data))
        except JsException as error:
            if error.name == "QuotaExceededError":
                raise full() from error
            raise ModelFileError(sentence(name, error)) from error


def _address(state: str, name: str) -> str:
    return ADDRESS + state + quote(name)
