"""Bytes on their way to a device that never enter Python: ArrayBuffers which sources fill anew by each read.

    BufferSource    base of every source here: one buffer, whose bytes are good until the next read
    StreamSource    one over a stream, cheapest when read forwards
    BlobSource      a File or Blob, whatever it lies on
    Chunks          what a stream brings, in a buffer that is used again

`loader_buffers` counts what all of them hold; who is closed holds none. Browsers that cannot read into a given buffer
(Safari before 26) deliver chunks of their own.
"""

from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException  # type: ignore[import-not-found]

from voxtral.browser.values import first_line, to_object
from voxtral.errors import ModelFileError
from voxtral.gpu.device import MemoryUse
from voxtral.shards import Piece, require_range
from voxtral.transport import BrokenOffError

CHUNK_BYTES = 1 << 20

loader_buffers = MemoryUse()


class BufferSource:
    """A `shards.ByteSource` whose `fill` writes into the ArrayBuffer it holds."""

    def __init__(self, name: str, n_bytes: int) -> None:
        self.name = name
        self.n_bytes = n_bytes
        self._buffer: Any = None
        self._n_buffer_bytes = 0

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        data: bytes = (await self._read(offset, n_bytes)).to_bytes()
        return data

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self._read(offset, n_bytes))

    def close(self) -> None:
        """Let go of the buffer and what else reading took; another read takes them again."""
        self._resize(0)

    async def _read(self, offset: int, n_bytes: int) -> Any:
        """A Uint8Array of exactly these bytes."""
        require_range(self.name, self.n_bytes, offset, n_bytes)
        if n_bytes == 0:
            return js.Uint8Array.new(0)
        if self._n_buffer_bytes < n_bytes:
            self._resize(n_bytes)
        view = js.Uint8Array.new(self._buffer, 0, n_bytes)
        try:
            await self.fill(offset, view)
        except BaseException:
            self.close()
            raise
        return view

    async def fill(self, offset: int, view: Any) -> None:
        """Fill a Uint8Array with the bytes from `offset` on, which are all there. Raises ModelFileError."""
        raise NotImplementedError

    def _resize(self, n_bytes: int) -> None:
        """A buffer of this size; none for 0."""
        loader_buffers.add(n_bytes - self._n_buffer_bytes)
        self._n_buffer_bytes = n_bytes
        self._buffer = js.ArrayBuffer.new(n_bytes) if n_bytes else None


class StreamSource(BufferSource):
    """A source that reads one stream as long as it is read forwards; `_next` and `_stop` know the stream."""

    def __init__(self, name: str, n_bytes: int) -> None:
        super().__init__(name, n_bytes)
        self._position = 0  # of the next byte of _rest, or of the stream when there is no rest
        self._rest: Any = None  # what nobody has read yet of the last chunk

    def close(self) -> None:
        self._rest = None
        self._stop()
        super().close()

    async def fill(self, offset: int, view: Any) -> None:
        if offset != self._position:
            self._rest = None
            self._stop()
            self._position = offset
        n_bytes, n_filled = int(view.length), 0
        while n_filled < n_bytes:
            if self._rest is None:
                try:
                    self._rest = await self._next()
                except BrokenOffError as error:
                    expected = f"expected {n_bytes:,} bytes from byte {offset:,} on"
                    raise ModelFileError(f"{self.name}: {expected}, found {n_filled:,} ({error}); try again") from error
            n_chunk, n_taken = self._rest.length, min(self._rest.length, n_bytes - n_filled)
            view.set(self._rest.subarray(0, n_taken), n_filled)
            self._rest = self._rest.subarray(n_taken) if n_taken < n_chunk else None
            self._position += n_taken
            n_filled += n_taken

    async def _next(self) -> Any:
        """The next chunk from `_position` on, not empty. Raises BrokenOffError, also at the end, and ModelFileError."""
        raise NotImplementedError

    def _stop(self) -> None:
        """Let the stream go, if there is one; `_next` opens another."""
        raise NotImplementedError


class BlobSource(StreamSource):
    """A File or Blob, on a disk of any kind."""

    def __init__(self, blob: Any, name: str) -> None:
        super().__init__(name, blob.size)
        self._blob = blob
        self._chunks: Chunks | None = None

    async def _next(self) -> Any:
        try:
            if self._chunks is None:
                self._chunks = Chunks(self._blob.slice(self._position).stream())
            chunk = await self._chunks.next()
        except JsException as error:
            raise BrokenOffError(first_line(error)) from error
        if chunk is None:
            raise BrokenOffError("the file became shorter")
        return chunk

    def _stop(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None


class Chunks:
    """What a ReadableStream brings, piece by piece."""

    def __init__(self, stream: Any) -> None:
        self._is_over = False  # there is nothing to stop
        self._buffer: Any = None  # stays None where the browser brings its own
        try:
            self._reader = stream.getReader(to_object({"mode": "byob"}))
        except JsException:
            self._reader = stream.getReader()
            return
        self._buffer = js.ArrayBuffer.new(CHUNK_BYTES)
        loader_buffers.add(CHUNK_BYTES)

    async def next(self) -> Any | None:
        """A Uint8Array of some bytes, good until the next call; None at the end. Raises JsException."""
        while True:
            view = () if self._buffer is None else (js.Uint8Array.new(self._buffer),)
            try:
                step = await self._reader.read(*view)
            except JsException:
                self._is_over = True
                raise
            if self._buffer is not None and step.value:
                self._buffer = step.value.buffer  # the same bytes, held by a new object
            if step.done:
                return None
            if step.value.length:
                return step.value

    def stopped(self) -> None:
        """The stream was stopped by other means."""
        self._is_over = True
        self.close()

    def close(self) -> None:
        """Let go; may be called twice."""
        if self._buffer is not None:
            self._buffer = None
            loader_buffers.add(-CHUNK_BYTES)
        if not self._is_over:
            self._is_over = True
            self._reader.cancel()
