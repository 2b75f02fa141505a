"""Who computes next, and who gets a seat: everything of the engine that happens in its own thread.

Sessions take small steps in turns: every live one that has sound waiting, then one file, and again. So a live session
waits for one step of everyone else at most, and nobody starves.

A session needs a seat, and a seat is mostly memory on the device (a stream's rings). Live sessions never wait for one;
files do, in a queue. Where the device turns out to have room for fewer seats, there are fewer from then on.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, NamedTuple

from voxtral.errors import AudioError, ConfigError, DeviceError, MemoryRefusedError, VoxtralError
from voxtral.loading import Loaded
from voxtral.model.memory import cache_bytes
from voxtral.model.voxtral import Voxtral
from voxtral.server.errors import CUT_OFF, STOPPING, UNFORESEEN, ApiError, BusyError, DownError
from voxtral.server.seats import Hearing

LIVE_STEP_TOKENS = 16  # 1.3 s; so much waits only where a session is behind
FILE_STEP_TOKENS = 16
FILE_STEP_BESIDE_LIVE_TOKENS = 4

RINGS_BYTES = 8_000_000_000  # of all seats together, where nobody says how many there should be
FEWEST_SEATS, MOST_SEATS = 2, 12
FILES_SHARE = 4  # one seat in so many is the most that files may have

PAUSES_S = (0.0, 2.0, 8.0)  # before each try to load the model again: a GPU may be missing for some seconds
KEPT_HOLDS = 16  # of which the time is averaged that a session keeps its seat
LONGEST_RETRY_S = 300.0

log = logging.getLogger(__name__)


Load = Callable[[], Awaitable[Loaded]]  # warmed up
State = Literal["loading", "ready", "recovering", "draining", "failed"]


class Health(NamedTuple):
    """Only when it is ready it takes new work. sentence: why it failed; how many sessions there are."""

    state: State
    sentence: str
    n_live: int
    n_files: int
    n_queued: int


class Scheduler:
    """start, then run until it is over; admit; stop, and cut_off.

    load: gives the model, again where the GPU went away; n_seats: None for as many as seem to fit.
    `health` and `require_room` may be asked by any thread.
    """

    def __init__(self, load: Load, n_seats: int | None, max_queued: int) -> None:
        self.loaded: Loaded | None = None
        self.n_seats = n_seats or 0
        self.max_queued = max_queued
        self._load = load
        self._state: State = "loading"
        self._sentence = ""
        self._live: deque[Hearing] = deque()
        self._files: deque[Hearing] = deque()
        self._queue: deque[Hearing] = deque()
        self._holds_s: dict[bool, deque[float]] = {is_live: deque(maxlen=KEPT_HOLDS) for is_live in (True, False)}
        self._stirred = asyncio.Event()

    @property
    def health(self) -> Health:
        return Health(self._state, self._sentence, len(self._live), len(self._files), len(self._queue))

    async def start(self) -> None:
        """Load the model. Raises VoxtralError."""
        self.loaded = await self._load()
        self.n_seats = self.n_seats or default_seats(self.loaded.model)
        self._state = "ready"

    # -- seats ----------------------------------------------------------------------------------
    def require_room(self, is_live: bool, n_coming: int = 0) -> None:
        """Raise what `admit` would raise now, if n_coming others came before."""
        health = self.health
        if health.state == "draining":
            raise DownError(STOPPING, retry_after_s=10)
        if health.state in ("loading", "failed"):
            raise DownError(health.sentence or "The model is still being loaded; try again in a moment")
        n_free, retry_after_s = self._n_free(is_live), self._retry_after_s(is_live)
        if is_live and not n_free:
            taken = f"live: {health.n_live}, files: {health.n_files}"
            raise BusyError(f"All seats are taken ({taken}); try again in a moment", retry_after_s)
        if not is_live and health.n_queued + n_coming >= self.max_queued + n_free:
            raise BusyError(f"The queue is full (files that wait: {self.max_queued}); try again later", retry_after_s)

    async def admit(self, hearing: Hearing) -> None:
        """Give it a seat and its place on the device; for a file, that may take a while."""
        hearing.admitted = asyncio.get_running_loop().create_future()
        hearing.stir = self._stirred.set
        self.require_room(hearing.is_live)
        if self._n_free(hearing.is_live):
            self._seat(hearing)
        else:
            self._queue.append(hearing)
        await hearing.admitted

    def _n_free(self, is_live: bool) -> int:
        """Seats that one of its kind may take: the last is never a live session's, files have their share at most."""
        n_live, n_files = len(self._live), len(self._files)
        most = self.n_seats - 1 if is_live else self.n_seats // FILES_SHARE
        n_free = max(1, most) - (n_live if is_live else n_files)
        return max(0, min(n_free, self.n_seats - n_live - n_files))

    def _seat(self, hearing: Hearing) -> None:
        assert self.loaded
        hearing.begin(self.loaded.model, self.loaded.tekken, time.monotonic())
        (self._live if hearing.is_live else self._files).append(hearing)
        self._stirred.set()

    def _leave(self, hearing: Hearing) -> None:
        """Its seat, or its place in the queue, is free."""
        hearing.leave()
        for line in (self._live, self._files, self._queue):
            if hearing in line:
                line.remove(hearing)
                if line is not self._queue and hearing.has_place:
                    self._holds_s[hearing.is_live].append(time.monotonic() - hearing.begun_s)
        while self._queue and self._n_free(is_live=False) and self._state != "failed":
            self._seat(self._queue.popleft())

    def _retry_after_s(self, is_live: bool) -> float:
        """When a seat should be free: how long sessions keep one here, over how many keep one."""
        line = tuple(self._live if is_live else self._files)
        now_s = time.monotonic()
        holds_s = [*tuple(self._holds_s[is_live]), *(now_s - hearing.begun_s for hearing in line)]
        mean_s = sum(holds_s) / len(holds_s) if holds_s else 0.0
        return min(LONGEST_RETRY_S, max(1.0, mean_s / max(1, len(line))))

    # -- turns ----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Until it was stopped and nobody is left."""
        turns = self._turns()
        while self._state != "draining" or self._everyone():
            for hearing in [queued for queued in self._queue if queued.is_gone]:
                self._leave(hearing)
            if turn := next(turns):
                await self._turn(turn)
                await asyncio.sleep(0)  # let calls in
            else:
                self._stirred.clear()
                await self._stirred.wait()

    def _turns(self) -> Iterator[Hearing | None]:
        """Round after round: every live session with work, then one file; None for a round without any."""
        while True:
            n_turns = 0
            for hearing in tuple(self._live):
                if hearing in self._live and hearing.has_work:
                    n_turns += 1
                    yield hearing
            for hearing in tuple(self._files):
                if hearing.has_work:
                    self._files.remove(hearing)
                    self._files.append(hearing)
                    n_turns += 1
                    yield hearing
                    break
            if not n_turns:
                yield None

    async def _turn(self, hearing: Hearing) -> None:
        if hearing.is_gone:
            self._leave(hearing)
            return
        try:
            is_over = await hearing.advance(self._n_tokens(hearing), time.monotonic)
        except (AudioError, ConfigError) as error:
            self._fail(hearing, error)
        except Exception as error:
            if isinstance(error, MemoryRefusedError) and not hearing.has_place:
                self._do_with_fewer_seats(hearing, error)
            else:
                await self._recover(hearing, error)
        else:
            if not hearing.admitted.done():
                hearing.admitted.set_result(None)
            if is_over:
                self._leave(hearing)

    def _n_tokens(self, hearing: Hearing) -> int:
        if hearing.is_live:
            return LIVE_STEP_TOKENS
        return FILE_STEP_BESIDE_LIVE_TOKENS if self._live else FILE_STEP_TOKENS

    def _everyone(self) -> list[Hearing]:
        return [*self._live, *self._files, *self._queue]

    # -- when something fails -------------------------------------------------------------------
    def _fail(self, hearing: Hearing, error: VoxtralError) -> None:
        hearing.fail(error)
        self._leave(hearing)

    def _do_with_fewer_seats(self, hearing: Hearing, error: MemoryRefusedError) -> None:
        """The device has no room for this one, beside those that are there."""
        n_there = sum(other is not hearing and other.has_place for other in (*self._live, *self._files))
        if n_there == 0:
            self._fail(hearing, error)
            return
        log.warning("There is room for %d sessions at once, not for %d: %s", n_there, self.n_seats, error)
        self.n_seats = n_there
        if hearing.is_live:
            busy = f"All seats are taken (the GPU has room for {n_there}); try again in a moment"
            self._fail(hearing, BusyError(busy, self._retry_after_s(is_live=True)))
        else:
            hearing.stand_up()
            self._files.remove(hearing)
            self._queue.appendleft(hearing)

    async def _recover(self, hearing: Hearing, error: Exception) -> None:
        """A step failed: load the model anew, and go on; who fails twice at the same place is to blame."""
        log.error("A step of %s failed", hearing.name, exc_info=error)
        if hearing.lost_s is not None and hearing.heard_s <= hearing.lost_s:
            self._fail(hearing, error if isinstance(error, VoxtralError) else ApiError(UNFORESEEN, 500))
            return
        hearing.lost_s = hearing.heard_s
        self._state = "recovering"
        try:
            self.loaded = await self._load_again()
        except Exception as failure:
            log.error("The model could not be loaded again", exc_info=failure)
            reason = failure if isinstance(failure, DeviceError) else UNFORESEEN  # the rest names files of this machine
            self._state = "failed"
            self._sentence = f"The GPU went away, and the model could not be loaded again: {reason}"
            for other in self._everyone():
                self._fail(other, DownError(self._sentence))
            return
        if self._state == "recovering":
            self._state = "ready"
        for other in (*self._live, *self._files):
            await other.go_on(self.loaded.model)

    async def _load_again(self) -> Loaded:
        """Raises what the last try raised."""
        assert self.loaded
        self.loaded.close()
        for pause_s in PAUSES_S[:-1]:
            await asyncio.sleep(pause_s)
            try:
                return await self._load()
            except VoxtralError as error:
                log.warning("Loading the model again failed: %s", error)
        await asyncio.sleep(PAUSES_S[-1])
        return await self._load()

    # -- the end --------------------------------------------------------------------------------
    def stop(self) -> None:
        """Take no new sessions; `run` ends when those that are here are done."""
        self._state = "draining"
        self._stirred.set()

    def cut_off(self) -> None:
        """End every session where it is."""
        self.stop()
        for hearing in self._everyone():
            self._fail(hearing, DownError(CUT_OFF, retry_after_s=10))


def default_seats(model: Voxtral) -> int:
    """As many as have room in RINGS_BYTES, within reason."""
    rings_bytes = cache_bytes(model.config, model.ops.chunk_tokens[0])
    return max(FEWEST_SEATS, min(MOST_SEATS, RINGS_BYTES // rings_bytes))
