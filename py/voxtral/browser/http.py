"""Files behind addresses: a transport for downloads, a source whose bytes go to the GPU, and small files whole.

Model files are not taken from or left in the browser's cache, and the only header sent is a plain Range: any other
would make the browser ask the server of another origin first, which those of model files refuse.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException, jsnull  # type: ignore[import-not-found]

from voxtral import transport
from voxtral.answers import BEYOND_THE_END, OK, PARTIAL, PASSING
from voxtral.browser.buffers import Chunks, StreamSource
from voxtral.browser.values import first_line, to_object
from voxtral.errors import ModelFileError
from voxtral.shards import Piece
from voxtral.transport import BrokenOffError

TRIES = 4  # in a row without a new byte
FIRST_PAUSE_S = 0.5


class FetchTransport:
    """`transport.Transport` by fetch."""

    async def open(self, url: str, start: int = 0) -> "FetchBody":
        return await _open(url, start or None)


class FetchBody:
    """`transport.Body` of a Response."""

    def __init__(self, response: Any, controller: Any) -> None:
        self.status = int(response.status)
        self.url = str(response.url)
        self._headers = response.headers
        self._controller = controller
        self._chunks = Chunks(response.body) if response.body else None

    def header(self, name: str) -> str | None:
        value = self._headers.get(name)
        return None if value is jsnull else str(value)

    async def read(self) -> Piece | None:
        if self._chunks is None:
            return None
        try:
            with _limited(self._controller, transport.STALL_S):
                chunk = await self._chunks.next()
        except JsException as error:
            raise BrokenOffError(first_line(error.message)) from error
        return None if chunk is None else Piece(chunk.length, chunk)

    def close(self) -> None:
        self._controller.abort()
        if self._chunks is not None:
            self._chunks.stopped()


class HttpSource(StreamSource):
    """A file behind an address, as a `shards.ByteSource`; a connection that breaks off is opened again."""

    def __init__(self, url: str, n_bytes: int) -> None:
        super().__init__(url, n_bytes)
        self._body: FetchBody | None = None
        self._body_position = 0

    @classmethod
    async def open(cls, url: str, n_bytes: int | None = None) -> "HttpSource":
        """n_bytes: the size where it is known, else the server is asked. Raises ModelFileError."""
        return cls(url, await _n_bytes(url) if n_bytes is None else n_bytes)

    async def _next(self) -> Any:
        n_failed = 0
        while True:
            try:
                return await self._read_on()
            except BrokenOffError:
                self._stop()
                n_failed += 1
                if n_failed == TRIES:
                    raise
            await asyncio.sleep(FIRST_PAUSE_S * 2 ** (n_failed - 1))

    async def _read_on(self) -> Any:
        """The next chunk from `_position` on, of the connection there is or of a new one."""
        if self._body is None:
            self._body, self._body_position = await self._connect()
        while True:
            piece = await self._body.read()
            if piece is None:
                raise BrokenOffError("the server sent no more")
            n_before = self._position - self._body_position  # from a server without ranges all of it comes
            self._body_position += piece.n_bytes
            if piece.n_bytes > n_before:
                return piece.data.subarray(n_before) if n_before else piece.data

    async def _connect(self) -> tuple[FetchBody, int]:
        """(the answer, the position of its first byte)."""
        body = await _open(self.name, self._position)
        if body.status == PARTIAL:
            shown = body.header("content-range")
            if shown is None or shown.startswith(f"bytes {self._position}-"):
                return body, self._position
        elif body.status == OK:
            return body, 0
        body.close()
        if body.status in PASSING:
            raise BrokenOffError(f"the server answered {body.status}")
        if body.status == BEYOND_THE_END:
            expected = f"expected {self.n_bytes:,} bytes, the server has at most {self._position:,}"
            raise ModelFileError(f"{self.name}: {expected}; ask who offers it")
        if body.status == PARTIAL:
            expected = f"expected the bytes from {self._position:,} on, the server sent {shown!r:.80}"
            raise ModelFileError(f"{self.name}: {expected}; ask who offers it")
        raise _refused(self.name, body)

    def _stop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


async def fetch_bytes(url: str) -> bytes:
    """A small file, whole; the browser may have it in its cache. Raises ModelFileError."""
    parts = []
    try:
        body = await _open(url, None, cache="default")
        try:
            if body.status != OK:
                raise _refused(url, body)
            while piece := await body.read():
                parts.append(piece.in_python())
        finally:
            body.close()
    except BrokenOffError as error:
        raise ModelFileError(f"{url} could not be fetched ({error}); is the server still running?") from error
    return b"".join(parts)


async def _n_bytes(url: str) -> int:
    """The size of a file, asked of its server. Raises ModelFileError."""
    try:
        body = await _open(url, None, method="HEAD")
    except BrokenOffError as error:
        raise ModelFileError(f"{url} could not be fetched ({error}); is the server still running?") from error
    body.close()
    if body.status != OK:
        raise _refused(url, body)
    length = body.header("content-length")
    if not length:
        raise ModelFileError(f"{url}: expected a server that tells the file's size, this one does not")
    return int(length)


def _refused(url: str, body: FetchBody) -> ModelFileError:
    return ModelFileError(f"expected a file at {url}, the server answered {body.status}; check the address")


async def _open(url: str, range_start: int | None, method: str = "GET", cache: str = "no-store") -> FetchBody:
    """An answer to a request, with a Range header unless range_start is None. Raises BrokenOffError."""
    controller = js.AbortController.new()
    headers = {} if range_start is None else {"Range": f"bytes={range_start}-"}
    options = {"method": method, "cache": cache, "credentials": "omit", "headers": headers}
    try:
        with _limited(controller, transport.CONNECT_S):
            response = await js.fetch(url, to_object({**options, "signal": controller.signal}))
            return FetchBody(response, controller)
    except JsException as error:
        raise BrokenOffError(first_line(error.message)) from error
    except asyncio.CancelledError:
        controller.abort()
        raise


@contextmanager
def _limited(controller: Any, seconds: float) -> Iterator[None]:
    """Abort what takes longer; by the browser's own timer, as Python's event loop here keeps every timer to its end."""
    error = js.Error.new(f"nothing came for {seconds:.0f} seconds")
    timer = js.setTimeout(controller.abort.bind(controller, error), seconds * 1000)
    try:
        yield
    finally:
        js.clearTimeout(timer)
