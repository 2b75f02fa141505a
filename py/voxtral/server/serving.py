"""Uvicorn as this server wants it: bounded everywhere, patient with sound, and drained before it ends.

first SIGTERM or SIGINT   new work is refused; what runs has grace_s; live sessions then end with what they heard
second                    the end, at once
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from voxtral.server.draining import Draining
from voxtral.server.realtime import MAX_FRAME_BYTES

MAX_CONNECTIONS = 1024  # of all kinds; WebSockets have a limit of their own
MAX_HEAD_BYTES = 32 << 10  # of a request's head
HEAD_TIMEOUT_S = 20.0  # for a request's head to come
KEEP_ALIVE_S = 15
PING_EVERY_S = 20.0
UNSENT_TIMEOUT_MS = 120_000  # a client that takes nothing of what waits for it is dropped by the kernel
LAST_WORDS_S = 5.0  # for live sessions to be told their last words
LAST_ANSWERS_S = 2
AT_ONCE_S = 2.0


class PatientHttp(H11Protocol):
    """Uvicorn's HTTP, which lets a client take for ever to send a request's head; this one does not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._head_timer.cancel()
        self._expect_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(error)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        if self.transport.get_protocol() is self and self.conn.their_state is h11.IDLE:
            self.transport.close()


class Server(uvicorn.Server):
    """Serves until it is told to end, and has drained.

    close_engine: ends what still runs then, so that whoever waits for it is told.
    """

    def __init__(
        self, app: ASGIApp, draining: Draining, close_engine: Callable[[float], Awaitable[None]], grace_s: float
    ) -> None:
        config = uvicorn.Config(
            app,
            http=PatientHttp,
            ws="websockets-sansio",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_ANSWERS_S,
            ws_max_size=MAX_FRAME_BYTES,
            ws_ping_interval=PING_EVERY_S,
            ws_ping_timeout=None,  # who sends faster than can be heard is not read meanwhile, and so are their pongs
            ws_per_message_deflate=False,
        )
        super().__init__(config)
        self.signal: signal.Signals | None = None  # the first that came
        self._draining, self._close_engine, self._grace_s = draining, close_engine, grace_s
        self._ending: asyncio.Task[None] | None = None

    async def run_on(self, listener: socket.socket) -> int:
        """Serve until a signal; returns the exit code. Raises OSError if another program took the address meanwhile."""
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        _raise_file_limit()
        await self.serve([listener])
        return 128 + self.signal if self.force_exit and self.signal else 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is None:
            self.signal = signal.Signals(sig)
            return
        self.should_exit = self.force_exit = True
        # Something may hold the process that nobody can cancel.
        threading.Thread(target=_exit_soon, args=(128 + sig,), daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        if self.signal is not None and self._ending is None:
            self._ending = asyncio.create_task(self._drain())
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        self._draining.begun.set()
        await self._until_idle(self._grace_s)
        self._draining.expired.set()
        await self._until_idle(LAST_WORDS_S)
        await self._close_engine(0)
        await self._until_idle(LAST_ANSWERS_S)
        self.should_exit = True

    async def _until_idle(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not self._draining.is_idle and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)


def listen(host: str, port: int) -> socket.socket:
    """A socket with that address, on which nobody is accepted yet; port 0 takes a free one. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_TIMEOUT_MS)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _is_news(record: logging.LogRecord) -> bool:
    """What clients do wrong is none for the operator."""
    return "Invalid UTF-8" not in record.getMessage()


def _raise_file_limit() -> None:
    """As many connections as the system allows this process, up to what the server takes."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MAX_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _exit_soon(code: int) -> None:
    time.sleep(AT_ONCE_S)
    os._exit(code)
