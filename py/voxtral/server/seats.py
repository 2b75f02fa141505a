"""One session, seen from both threads: a `Seat` for whoever brings sound, a `Hearing` for the engine that computes.

They never touch each other's state. A seat posts calls to the engine's loop, and gets a `Report` back for every step;
both are in order, and neither waits for the other but where too much sound waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.decoding import Addition
from voxtral.model.voxtral import Voxtral
from voxtral.sample_queue import SampleQueue
from voxtral.sound import without_bad
from voxtral.tekken import Tekken
from voxtral.transcription import Result, Transcription, clock

MAX_WAITING_S = 30.0  # of sound in a seat; whoever feeds more waits

Post = Callable[[Callable[[], None]], None]  # has something called in the other thread's loop


@dataclass(frozen=True)
class Report:
    """What a step brought. n_came: samples that had reached the engine, n_waiting: those of them still to be heard.

    result: of a session that was heard to its end; error: why it ended before.
    """

    additions: list[Addition] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    heard_s: float = 0.0
    n_came: int = 0
    n_waiting: int = 0
    result: Result | None = None
    error: Exception | None = None


class Seat:
    """feed(samples), finish(); iterate over what is heard; cancel() at any time. `async with` cancels at its end.

    For one task or several of one event loop. notices: sentences for people about what happened on the way;
    heard_s: how far the session is; waiting_s: seconds of sound it is behind.
    """

    def __init__(self, hearing: "Hearing", post: Post) -> None:
        self.notices: list[str] = []
        self.heard_s = 0.0
        self._hearing, self._post = hearing, post
        self._additions: deque[Addition] = deque()
        self._n_fed = self._n_came = self._n_waiting = 0
        self._result: Result | None = None
        self._error: Exception | None = None
        self._is_finished = self._is_over = False
        self._reported = asyncio.Event()

    @property
    def waiting_s(self) -> float:
        return (self._n_fed - self._n_came + self._n_waiting) / SAMPLE_RATE

    async def feed(self, samples: NDArray[np.float32]) -> None:
        """Take mono samples at 16 kHz, which the caller leaves alone from now on; waits while too much is waiting.

        Raises the VoxtralError for which the session ended.
        """
        if self._is_finished:
            raise RuntimeError("the audio of this session is over")
        if len(samples) and not self._is_over:
            self._n_fed += len(samples)
            self._post(lambda: self._hearing.put(samples))
        while self.waiting_s > MAX_WAITING_S and not self._is_over:
            await self._next_report()
        if self._error:
            raise self._error

    async def finish(self) -> None:
        """The audio is over; the iteration ends behind the last word."""
        if not self._is_finished:
            self._is_finished = True
            self._post(self._hearing.finish)

    def cancel(self) -> None:
        """Stop computing; the iteration ends. Nothing happens where it has ended."""
        if not self._is_over:
            self._is_finished = self._is_over = True
            self._post(self._hearing.cancel)
            self._reported.set()

    def result(self) -> Result:
        """The whole transcript, once the iteration has ended after `finish`."""
        if self._result is None:
            raise RuntimeError("this session was not heard to its end")
        return self._result

    def __aiter__(self) -> "Seat":
        return self

    async def __anext__(self) -> Addition:
        while not self._additions:
            if self._error:
                raise self._error
            if self._is_over:
                raise StopAsyncIteration
            await self._next_report()
        return self._additions.popleft()

    async def __aenter__(self) -> "Seat":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def receive(self, report: Report) -> None:
        """In the seat's loop: what the engine reports."""
        if self._is_over:
            return
        self._additions += report.additions
        self.notices += report.notices
        self.heard_s = report.heard_s
        self._n_came, self._n_waiting = report.n_came, report.n_waiting
        self._result, self._error = report.result, report.error
        self._is_over = report.result is not None or report.error is not None
        self._reported.set()

    async def _next_report(self) -> None:
        self._reported.clear()
        await self._reported.wait()


class Hearing:
    """The engine's side; everything here is called in its thread.

    put, finish, cancel: from the seat; the rest: from the scheduler. admitted: done when it has its place on the
    device; stir: called when there is something to do again.
    """

    def __init__(self, name: str, is_live: bool, streaming: StreamingConfig) -> None:
        self.name, self.is_live = name, is_live
        self.report: Callable[[Report], None]  # to the seat
        self.stir: Callable[[], None] = lambda: None
        self.admitted: asyncio.Future[None]
        self.is_gone = False  # nobody wants it any more, or it is over
        self.begun_s = 0.0  # by the engine's clock
        self.lost_s: float | None = None  # where it stood when a step failed last
        self._streaming = streaming
        self._early = SampleQueue()  # came before there was a transcription
        self._n_came = 0
        self._is_finishing = False
        self._is_ready = False  # to hear: behind the silence before the sound
        self._wall_s = 0.0
        self._transcription: Transcription | None = None

    # -- from the seat --------------------------------------------------------------------------
    def put(self, samples: NDArray[np.float32]) -> None:
        if self.is_gone:
            return
        samples = without_bad(np.asarray(samples, np.float32))
        self._n_came += len(samples)
        if self._transcription:
            self._transcription.put(samples)
        else:
            self._early.append(samples)
        self.stir()

    def finish(self) -> None:
        self._is_finishing = True
        self.stir()

    def cancel(self) -> None:
        self.is_gone = True
        self._early.clear()
        self.stir()

    # -- from the scheduler ---------------------------------------------------------------------
    @property
    def has_place(self) -> bool:
        """It has been on the device."""
        return self.admitted.done()

    @property
    def has_work(self) -> bool:
        return not self._is_ready or self.waiting_s > 0 or self._is_finishing or self.is_gone

    @property
    def heard_s(self) -> float:
        return self._transcription.heard_s if self._transcription else 0.0

    @property
    def waiting_s(self) -> float:
        return self._transcription.waiting_s if self._transcription else len(self._early) / SAMPLE_RATE

    def begin(self, model: Voxtral, tekken: Tekken, now_s: float) -> None:
        """It has a seat."""
        self.begun_s = now_s
        self._transcription = Transcription(model, tekken, self._streaming, keeps_tokens=False)
        self._transcription.put(self._early.take(len(self._early)))

    async def advance(self, n_tokens: int, now_s: Callable[[], float]) -> bool:
        """Hear up to n_tokens and report; True behind the end."""
        assert self._transcription
        transcription, started_s = self._transcription, now_s()
        additions: list[Addition] = []
        is_over = False
        self._is_ready = await transcription.approach(n_tokens)
        if self._is_ready and transcription.waiting_s:
            additions = await transcription.step(n_tokens)
        elif self._is_ready and self._is_finishing:
            additions = await transcription.finish()
            is_over = True
        self._wall_s += now_s() - started_s
        self._tell(additions, is_over)
        return is_over

    async def go_on(self, model: Voxtral) -> None:
        """The model was loaded anew, and all it remembered is lost."""
        assert self._transcription
        lost_s = self.heard_s
        addition = await self._transcription.go_on(model)
        self._is_ready = False
        notice = (
            f"The GPU went away at {clock(lost_s)}; the model was loaded again, keeps the words written so far, and "
            f"hears on from {clock(self.heard_s)}."
        )
        self._tell([addition], False, [notice])

    def fail(self, error: Exception) -> None:
        if not self.admitted.done():
            self.admitted.set_exception(error)
        self.report(Report(error=error))

    def leave(self) -> None:
        """It is over."""
        self.is_gone = True
        self.stand_up()

    def stand_up(self) -> None:
        """Give its place on the device back."""
        if self._transcription:
            self._transcription.cancel()
        self._transcription = None

    def _tell(self, additions: list[Addition], is_over: bool, notices: list[str] | None = None) -> None:
        assert self._transcription
        transcription = self._transcription
        result = transcription.result(self.name, self._wall_s) if is_over else None
        self.report(
            Report(
                additions=[_apart(addition) for addition in additions if addition != Addition()],
                notices=(notices or []) + transcription.take_notices(),
                heard_s=transcription.heard_s,
                n_came=self._n_came,
                n_waiting=round(transcription.waiting_s * SAMPLE_RATE),
                result=result,
            )
        )


def _apart(addition: Addition) -> Addition:
    """A copy; the words themselves may still grow in the engine's thread."""
    return Addition(
        addition.text,
        [replace(word) for word in addition.words],
        [replace(revision, words=[replace(word) for word in revision.words]) for revision in addition.revisions],
    )
