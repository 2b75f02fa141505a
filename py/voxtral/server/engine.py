"""One model for many sessions: a thread computes, and event loops elsewhere wait for words.

    engine = Engine(load, StreamingConfig()); await engine.start(); …; await engine.close(grace_s)
    async with await engine.open("talk.mp3", is_live=False) as seat:
        await seat.feed(samples); await seat.finish()
        async for addition in seat: …
        seat.result()

The thread has a loop of its own, in which the model lives from its loading to its end: reading from a GPU blocks, and
so does computing with numpy. `scheduler` is what happens in it, `seats` what goes between it and everybody else.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.loading import Loaded
from voxtral.server.errors import STOPPING, DownError
from voxtral.server.scheduler import Health, Load, Scheduler
from voxtral.server.seats import Hearing, Report, Seat

MAX_QUEUED_FILES = 64
LAST_STEP_S = 10.0  # the thread may still be in a step when all is over, or waiting for a GPU that never answers


@dataclass(frozen=True)
class Facts:
    """What there is to know of a model that serves. model: its name for people; model_id: for programs."""

    model: str
    model_id: str
    created: int  # seconds since 1970
    delay_ms: int
    left_pad_tokens: int
    backend: str  # webgpu or numpy
    adapter: str
    n_seats: int
    max_queued_files: int
    sample_rate: int = SAMPLE_RATE  # Hz


class Engine:
    """start; open → Seat; facts, health; close. For one event loop, but health and require_room, which are for any.

    load: gives the model, warmed up, in the engine's thread, and again where the GPU went away. n_seats: sessions at
    once, None: as many as seem to fit; model_id: by default made of the model's own name.
    """

    def __init__(
        self,
        load: Load,
        streaming: StreamingConfig,
        n_seats: int | None = None,
        max_queued_files: int = MAX_QUEUED_FILES,
        model_id: str | None = None,
    ) -> None:
        self._streaming, self._model_id = streaming, model_id
        self._scheduler = Scheduler(load, n_seats, max_queued_files)
        self._facts: Facts | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the thread's

    @property
    def facts(self) -> Facts:
        """Once it has started."""
        assert self._facts
        return self._facts

    @property
    def health(self) -> Health:
        return self._scheduler.health

    def require_room(self, is_live: bool, n_coming: int = 0) -> None:
        """Raise what `open` would raise if n_coming others came before: for who would first bring a whole upload."""
        self._scheduler.require_room(is_live, n_coming)

    async def start(self) -> None:
        """Load the model. Raises VoxtralError."""
        caller = asyncio.get_running_loop()
        started: asyncio.Future[None] = caller.create_future()

        def settle(error: BaseException | None) -> None:
            if started.done():
                return
            if error:
                started.set_exception(error)
            else:
                started.set_result(None)

        def tell(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                caller.call_soon_threadsafe(settle, error)

        self._thread = threading.Thread(target=self._run, args=(tell,), name="voxtral engine", daemon=True)
        self._thread.start()
        await started

    async def open(self, name: str, is_live: bool, delay_ms: int | None = None) -> Seat:
        """A seat for one recording; a file waits for it in the queue.

        Raises BusyError when there is none and, for a file, no room in the queue; DownError when there is no model;
        ConfigError for a delay outside the model's range.
        """
        streaming = self._streaming
        if delay_ms is not None:
            streaming = StreamingConfig(delay_ms, streaming.left_pad_tokens)
        if self._loop is None or self._loop.is_closed():
            raise DownError(STOPPING)
        caller = asyncio.get_running_loop()
        hearing = Hearing(name, is_live, streaming)
        seat = Seat(hearing, self._post)

        def report(report: Report) -> None:
            try:
                caller.call_soon_threadsafe(seat.receive, report)
            except RuntimeError:  # its loop has ended
                hearing.cancel()

        hearing.report = report
        try:
            admission = asyncio.run_coroutine_threadsafe(self._scheduler.admit(hearing), self._loop)
            await asyncio.wrap_future(admission)
        except BaseException:
            seat.cancel()
            raise
        return seat

    async def close(self, grace_s: float) -> None:
        """No new sessions; end when those that are here are done, or after grace_s, when the others are cut off."""
        if self._thread is None:
            return
        self._post(self._scheduler.stop)
        await asyncio.to_thread(self._thread.join, grace_s)
        self._post(self._scheduler.cut_off)
        await asyncio.to_thread(self._thread.join, LAST_STEP_S)

    def _post(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended, and every session with it
                self._loop.call_soon_threadsafe(call)

    # -- in the thread --------------------------------------------------------------------------
    def _run(self, tell: Callable[[BaseException | None], None]) -> None:
        asyncio.run(self._live(tell))

    async def _live(self, tell: Callable[[BaseException | None], None]) -> None:
        scheduler = self._scheduler
        try:
            await scheduler.start()
        except BaseException as error:
            tell(error)
            return
        assert scheduler.loaded
        self._facts = self._facts_of(scheduler.loaded)
        self._loop = asyncio.get_running_loop()
        tell(None)
        try:
            await scheduler.run()
        finally:
            scheduler.cut_off()
            scheduler.loaded.close()

    def _facts_of(self, loaded: Loaded) -> Facts:
        facts = loaded.facts()
        return Facts(
            model=facts["model"],
            model_id=self._model_id or _id_of(facts["model"]),
            created=int(time.time()),
            delay_ms=self._streaming.delay_ms,
            left_pad_tokens=self._streaming.left_pad_tokens,
            backend=facts["backend"],
            adapter=facts["adapter"],
            n_seats=self._scheduler.n_seats,
            max_queued_files=self._scheduler.max_queued,
        )


def _id_of(name: str) -> str:
    """'Voxtral demo (spoken digits)' → 'voxtral-demo'."""
    plain = re.sub(r"[^a-z0-9._]+", "-", name.split("(")[0].lower()).strip("-")
    return plain or "voxtral"
