"""Files behind addresses: whole, or as a `shards.ByteSource` whose bytes go to the GPU without entering Python.

A source holds one ArrayBuffer, filled anew by each read, and one response, read forwards. `loader_buffers` counts
what all sources hold. Browsers that cannot read into a given buffer (Safari before 26) deliver chunks of their own,
which are copied into it.
"""

from collections.abc import Mapping
from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException  # type: ignore[import-not-found]

from voxtral.errors import ModelFileError
from voxtral.browser.values import first_line, to_object
from voxtral.gpu.device import MemoryUse
from voxtral.shards import Piece, require_range

HTTP_PARTIAL_CONTENT = 206
MAX_SKIP_BYTES = 1 << 20

loader_buffers = MemoryUse()  # bytes of the ArrayBuffers that sources hold; a closed source holds none


async def fetch_bytes(url: str) -> bytes:
    """The body of `url`, whole. Raises ModelFileError."""
    response = await _fetch(url, {})
    try:
        data: bytes = (await response.arrayBuffer()).to_bytes()
    except JsException as error:
        raise ModelFileError(f"{url} broke off ({first_line(error)}); try again") from error
    return data


class HttpSource:
    """A file behind an address, as a `shards.ByteSource`: cheapest when read forwards.

    What goes to a device stays in JavaScript: `piece_at` gives a view of the source's buffer, good until the next read.
    """

    def __init__(self, url: str, n_bytes: int) -> None:
        self.name = url
        self.n_bytes = n_bytes
        self._body: Any = None  # _IntoBuffer or _OwnChunks
        self._position = 0  # of the body
        self._buffer: Any = None
        self._n_buffer_bytes = 0

    @classmethod
    async def open(cls, url: str) -> "HttpSource":
        """Ask for the size. Raises ModelFileError."""
        response = await _fetch(url, {"method": "HEAD"})
        length = response.headers.get("content-length")
        if not length:
            raise ModelFileError(f"{url}: expected a server that tells the file's size, this one does not")
        return cls(url, int(length))

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        data: bytes = (await self._read(offset, n_bytes)).to_bytes()
        return data

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self._read(offset, n_bytes))

    def close(self) -> None:
        """Let the connection and the buffer go; another read gets them again."""
        if self._body is not None:
            self._body.cancel()
            self._body = None
        self._resize(0)

    async def _read(self, offset: int, n_bytes: int) -> Any:
        """A Uint8Array of exactly these bytes."""
        require_range(self.name, self.n_bytes, offset, n_bytes)
        if n_bytes == 0:
            return js.Uint8Array.new(0)
        if self._body is None or offset != self._position:
            await self._seek(offset)
        await self._next(n_bytes)
        return js.Uint8Array.new(self._buffer, 0, n_bytes)

    async def _next(self, n_bytes: int) -> None:
        """Fill the buffer with the next n_bytes."""
        if self._n_buffer_bytes < n_bytes:
            self._resize(n_bytes)
        n_filled = 0
        while n_filled < n_bytes:  # once where the browser knows `min`
            reason = "the server sent no more"
            try:
                self._buffer, n_read = await self._body.read(self._buffer, n_filled, n_bytes - n_filled)
            except JsException as error:
                n_read, reason = 0, first_line(error)
            if n_read == 0:
                start, n_found = self._position, n_filled
                self._body = None
                self._resize(0)
                raise ModelFileError(
                    f"{self.name}: expected {n_bytes:,} bytes from byte {start:,} on, found {n_found:,} ({reason}); "
                    "try again"
                )
            n_filled += n_read
        self._position += n_bytes

    async def _seek(self, offset: int) -> None:
        self.close()
        response = await _fetch(self.name, {"headers": {"Range": f"bytes={offset}-"}})
        self._body = _open_body(response.body)
        self._position = offset if response.status == HTTP_PARTIAL_CONTENT else 0
        while self._position < offset:  # a server without ranges sends all of it
            await self._next(min(MAX_SKIP_BYTES, offset - self._position))

    def _resize(self, n_bytes: int) -> None:
        """A buffer of this size; none for 0."""
        loader_buffers.add(n_bytes - self._n_buffer_bytes)
        self._n_buffer_bytes = n_bytes
        self._buffer = js.ArrayBuffer.new(n_bytes) if n_bytes else None


class _IntoBuffer:
    """A response body that the browser reads straight into a buffer of ours."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> tuple[Any, int]:
        """(the buffer's new object, how many bytes were read: 0 at the end)."""
        view = js.Uint8Array.new(buffer, offset, n_bytes)
        step = await self._reader.read(view, to_object({"min": n_bytes}))
        return (step.value.buffer, step.value.byteLength) if step.value else (buffer, 0)

    def cancel(self) -> None:
        self._reader.cancel()


class _OwnChunks:
    """A response body that comes in chunks of the browser's; the same, with a copy."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._chunk: Any = None  # what is left of the last one

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> tuple[Any, int]:
        """(the buffer, how many bytes were read: 0 at the end)."""
        while not self._chunk or self._chunk.byteLength == 0:
            step = await self._reader.read()
            if step.done:
                return buffer, 0
            self._chunk = step.value
        n_read = min(n_bytes, self._chunk.byteLength)
        js.Uint8Array.new(buffer, offset, n_read).set(self._chunk.subarray(0, n_read))
        self._chunk = self._chunk.subarray(n_read)
        return buffer, n_read

    def cancel(self) -> None:
        self._chunk = None
        self._reader.cancel()


def _open_body(body: Any) -> _IntoBuffer | _OwnChunks:
    try:
        return _IntoBuffer(body.getReader(to_object({"mode": "byob"})))
    except JsException:
        return _OwnChunks(body.getReader())


async def _fetch(url: str, options: Mapping[str, Any]) -> Any:
    """A response with a good status. Raises ModelFileError."""
    try:
        response = await js.fetch(url, to_object(options))
    except JsException as error:
        sentence = f"{url} could not be fetched ({first_line(error)}); is the server still running?"
        raise ModelFileError(sentence) from error
    if not response.ok:
        raise ModelFileError(f"expected a file at {url}, the server answered {response.status} {response.statusText}")
    return response
