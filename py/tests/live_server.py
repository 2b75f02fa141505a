"""The whole server in a thread of this process, on a free port; and an engine without a model, directed by a test."""

import asyncio
import base64
import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from voxtral.config import SAMPLE_RATE
from voxtral.decoding import Addition, Word
from voxtral.server.app import Parts, make_app
from voxtral.server.draining import Draining
from voxtral.server.engine import Facts
from voxtral.server.errors import BusyError
from voxtral.server.scheduler import Health, State
from voxtral.server.security import Access
from voxtral.server.serving import Server, listen
from voxtral.transcription import Result

START_S = 60.0
LOOPBACK = Access("127.0.0.1")
MODEL = "voxtral-test"


@dataclass
class Live:
    """A server that runs: where, and its parts."""

    port: int
    server: Server
    draining: Draining
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def stop(self) -> None:
        """As SIGTERM does."""
        self.server.handle_exit(signal.SIGTERM, None)


@contextlib.contextmanager
def live_server(engine: Any, access: Access = LOOPBACK, grace_s: float = 0.5, **parts: Any) -> Iterator[Live]:
    """Start the engine, serve, and end both as a signal would."""
    listener = listen("127.0.0.1", 0)
    draining, ready = Draining(), threading.Event()
    found: list[Live] = []

    async def run() -> None:
        await engine.start()
        names = tuple(dict.fromkeys([engine.facts.model_id, MODEL]))
        app = make_app(Parts(engine, names, parts.pop("site", None), access, draining=draining, **parts))
        server = Server(app, draining, engine.close, grace_s)
        found.append(Live(listener.getsockname()[1], server, draining, asyncio.get_running_loop()))
        listener.listen()
        ready.set()
        await server.run_on(listener)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="server under test")
    thread.start()
    try:
        assert ready.wait(START_S)
        yield found[0]
    finally:
        if found and found[0].server.signal is None:
            found[0].stop()
        thread.join(START_S)
        assert not thread.is_alive()
        listener.close()


# -- an engine without a model --------------------------------------------------------------------
@dataclass
class FakeEngine:
    """Hears a word in every second of sound. n_seats: more sessions are refused; failure: what `open` raises."""

    n_seats: int = 1000
    failure: Exception | None = None
    on_seat: Callable[["FakeSeat"], None] = lambda _: None
    seats: list["FakeSeat"] = field(default_factory=list)
    state: State = "ready"

    @property
    def facts(self) -> Facts:
        return Facts("Fake", "fake", 1, 480, 76, "numpy", "CPU (numpy)", self.n_seats, 8)

    @property
    def health(self) -> Health:
        return Health(self.state, "", sum(not seat.is_over for seat in self.seats), 0, 0)

    async def start(self) -> None:
        self.state = "ready"

    async def close(self, _: float) -> None:
        self.state = "draining"

    async def open(self, _: str, is_live: bool, delay_ms: int | None = None) -> "FakeSeat":
        assert is_live
        if self.failure:
            raise self.failure
        if self.health.n_live >= self.n_seats:
            raise BusyError("All seats are taken; try again in some seconds", 7)
        seat = FakeSeat(delay_ms)
        self.on_seat(seat)
        self.seats.append(seat)
        return seat


class FakeSeat:
    """gate: closed, `feed` waits; failure: raised to whoever reads on."""

    def __init__(self, delay_ms: int | None) -> None:
        self.delay_ms = delay_ms
        self.notices: list[str] = []
        self.n_samples = self.n_feeds = 0
        self.is_over = self.is_cancelled = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._additions: asyncio.Queue[Addition | Exception | None] = asyncio.Queue()
        self._words: list[Word] = []

    @property
    def heard_s(self) -> float:
        return self.n_samples / SAMPLE_RATE

    @property
    def waiting_s(self) -> float:
        return 0.0

    async def feed(self, samples: np.ndarray) -> None:
        assert samples.dtype == np.float32
        self.n_feeds += 1
        await self.gate.wait()
        self.n_samples += len(samples)
        while len(self._words) < self.n_samples // SAMPLE_RATE:
            self.say(f"word{len(self._words)}")

    def say(self, text: str) -> None:
        """As if it was heard."""
        n = len(self._words)
        self._words.append(Word(text, float(n), n + 1.0))
        self._additions.put_nowait(Addition(f" {text}" if n else text, [self._words[-1]]))

    def fail(self, error: Exception) -> None:
        self._additions.put_nowait(error)

    async def finish(self) -> None:
        self._end()

    def cancel(self) -> None:
        self.is_cancelled = not self.is_over
        self._end()

    def _end(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._additions.put_nowait(None)

    def __aiter__(self) -> "FakeSeat":
        return self

    async def __anext__(self) -> Addition:
        addition = await self._additions.get()
        if isinstance(addition, Exception):
            raise addition
        if addition is None:
            raise StopAsyncIteration
        return addition

    def result(self) -> Result:
        return Result("fake", " ".join(word.text for word in self._words), self._words, self.heard_s, 0.1, [])


# -- a client -------------------------------------------------------------------------------------
def append(samples: np.ndarray) -> str:
    """The message that brings these samples."""
    pcm = np.clip(samples * 32768, -32768, 32767).astype("<i2").tobytes()
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})


def seconds(n: float, rate: int = SAMPLE_RATE) -> str:
    """The message that brings so much silence."""
    return append(np.zeros(round(n * rate), np.float32))


def commit(**fields: Any) -> str:
    return json.dumps({"type": "input_audio_buffer.commit", **fields})


def update(**fields: Any) -> str:
    return json.dumps({"type": "session.update", **fields})


FINAL = commit(final=True)


class Client:
    """What a program does with the websockets library, and what it got."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.socket.send(message)

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), START_S))
        return event

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to the first of a kind."""
        events = [await self.next()]
        while events[-1]["type"] != kind:
            events.append(await self.next())
        return events

    async def close_code(self) -> int | None:
        """Once the server has closed."""
        await asyncio.wait_for(self.socket.wait_closed(), START_S)
        return self.socket.close_code


@contextlib.asynccontextmanager
async def client(live: Live, query: str = "", **options: Any):
    """A client behind its session.created."""
    async with connect(live.socket_url + query, max_size=None, **options) as socket:
        one = Client(socket)
        assert (await one.next())["type"] == "session.created"
        yield one
