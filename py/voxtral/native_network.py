"""The network of an ordinary Python: urllib, each wait in a thread of its own.

NativeTransport, NativeBody    `transport.Transport` and `transport.Body`
"""

import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from voxtral import transport
from voxtral.shards import Piece
from voxtral.transport import BrokenOffError

READ_BYTES = 1 << 20

T = TypeVar("T")


class NativeTransport:
    """`transport.Transport` by urllib, each wait in a thread of its own."""

    async def open(self, url: str, start: int = 0) -> "NativeBody":
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-store", "User-Agent": "voxtral"}
        if start:
            headers["Range"] = f"bytes={start}-"
        line = _Line()
        opener = urllib.request.build_opener(_HttpHandler(line), _HttpsHandler(line))

        def connect() -> Any:
            try:
                return opener.open(urllib.request.Request(url, headers=headers), timeout=transport.CONNECT_S)
            except urllib.error.HTTPError as answer:
                return answer

        try:
            return NativeBody(await _in_thread(connect, _close_quietly), line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BrokenOffError(_reason(error, transport.CONNECT_S)) from error
        except asyncio.CancelledError:
            line.cut()
            raise


class NativeBody:
    """`transport.Body` of an http.client.HTTPResponse; what the server packed is unpacked, as fetch does."""

    def __init__(self, response: Any, line: "_Line") -> None:
        self.status = int(response.status)
        self.url = str(response.url)
        self._response, self._line = response, line
        self._n_left = _whole_number(response.headers.get("Content-Length"))  # None: until the server ends
        self._packing = (response.headers.get("Content-Encoding") or "identity").lower()
        self._unpacker = zlib.decompressobj(wbits=31) if self._packing == "gzip" else None
        line.limit(transport.STALL_S)

    def header(self, name: str) -> str | None:
        value: str | None = self._response.headers.get(name)
        return value

    async def read(self) -> Piece | None:
        if self._packing not in ("identity", "gzip"):
            raise BrokenOffError(f"the server packs the file in a way that is not known here, {self._packing[:20]!r}")
        try:
            data = await _in_thread(self._read, lambda _: None)
        except (OSError, http.client.HTTPException, ValueError, AttributeError, zlib.error) as error:
            raise BrokenOffError(_reason(error, transport.STALL_S)) from error
        return Piece(len(data), data) if data else None

    def close(self) -> None:
        self._line.cut()
        _close_quietly(self._response)

    def _read(self) -> bytes:
        """In a thread. What has arrived, as soon as something has."""
        if self._unpacker is None:
            return self._read_raw(READ_BYTES)
        while not self._unpacker.eof:
            raw = self._unpacker.unconsumed_tail or self._read_raw(READ_BYTES)
            if not raw:
                raise BrokenOffError("it broke off")
            if data := self._unpacker.decompress(raw, READ_BYTES):
                return data
        return b""

    def _read_raw(self, n_bytes: int) -> bytes:
        if self._n_left == 0:
            return b""
        data: bytes = self._response.read1(min(n_bytes, self._n_left or n_bytes))
        if self._n_left is not None:
            if not data:
                raise BrokenOffError(f"it broke off {self._n_left:,} bytes too early")
            self._n_left -= len(data)
        return data


class _Line:
    """The socket of a connection, so that it can be cut while a thread waits at it."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []  # more than one after redirects
        self._is_cut = False

    def add(self, found: socket.socket) -> None:
        self._sockets.append(found)
        if self._is_cut:
            self.cut()

    def limit(self, seconds: float) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.settimeout(seconds)

    def cut(self) -> None:
        self._is_cut = True
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_connection(http.client.HTTPConnection, self._line), request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_connection(http.client.HTTPSConnection, self._line), request)


def _connection(kind: type[http.client.HTTPConnection], line: _Line) -> Any:
    class Connection(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            super().connect()
            line.add(self.sock)

    return Connection


async def _in_thread(action: Callable[[], T], undo: Callable[[T], None]) -> T:
    """What an action returns that takes its time; undo: for a result that nobody waits for any more.

    The thread is a daemon, so that no exit waits for it either.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            if error is None:
                undo(result)  # type: ignore[arg-type]
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = action()
        except Exception as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if failure is None:
                undo(result)  # type: ignore[arg-type]

    threading.Thread(target=run, daemon=True).start()
    return await future


def _close_quietly(response: Any) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
        response.close()


def _reason(error: Exception, limit_s: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"nothing came for {limit_s:.0f} seconds"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 16 else None
