"""One recording or file on its way through the worker: what is heard next, what the page is told of it.

In the order of importance: sound that waits; a second hearing of what is over, as long as no live sound waits for it.
Where the GPU goes away the model is loaded again, and the recording goes on behind its last complete word.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from voxtral.config import SAMPLES_PER_TOKEN, StreamingConfig
from voxtral.decoding import Addition
from voxtral.errors import AudioError, MemoryRefusedError
from voxtral.held_model import HeldModel
from voxtral.job import Job
from voxtral.transcription import Transcription, clock

LIVE_CHUNK_TOKENS = 16  # 1.3 s at once when sound waits: nearly as fast as more, and the lag that is told is no older
MAX_LOSSES = 3  # of the GPU at the same place
MAX_CAREFUL_S = 15.0  # for which somebody waits who has stopped speaking


class Post(Protocol):
    """Sends an event of `protocol` to the page."""

    def __call__(self, kind: str, **fields: Any) -> None: ...


class Recording:
    """run() hears a job to its end. post: sends events; now_s: a clock that never goes back."""

    def __init__(
        self, job: Job, held: HeldModel, streaming: StreamingConfig, post: Post, now_s: Callable[[], float]
    ) -> None:
        assert held.loaded is not None
        self._job, self._held, self._post, self._now_s = job, held, post, now_s
        self._transcription = Transcription(
            *(held.loaded.model, held.loaded.tekken, streaming, job.start_s),
            keeps_tokens=not job.live,
            has_second_pass=job.has_second_pass,
        )
        largest = self._transcription.chunk_tokens
        self._chunk_tokens = min(largest, LIVE_CHUNK_TOKENS) if job.live else largest
        self._is_heard = False  # to its end
        self._heard_at_s = 0.0  # by the clock
        self._wall_s = 0.0  # spent on computing: a live session mostly waits for its speaker
        self._n_losses = 0  # of the GPU at _lost_s
        self._lost_s = -1.0

    async def run(self) -> None:
        """Hear it, or until nobody wants it any more. Raises VoxtralError; what was written until then was posted."""
        job = self._job
        if not job.cancelled:
            self._tell_state()
        try:
            is_over = False
            while not (is_over or job.cancelled):
                try:
                    is_over = await self._advance()
                except AudioError:
                    raise
                except Exception as error:
                    await self._recover(error)
        finally:
            self._transcription.cancel()
        if job.cancelled:
            self._post("cancelled", session=job.session)
        else:
            result = self._transcription.result(job.name, self._wall_s)
            self._post("done", session=job.session, result=result.as_dict())

    async def _advance(self) -> bool:
        """Hear up to the largest chunk, so that progress and cancel come through; True behind the end."""
        job, transcription = self._job, self._transcription
        has_second = self._has_second()
        if not transcription.waiting_s and not has_second:
            transcription.put(job.take(self._chunk_tokens * SAMPLES_PER_TOKEN))
        started_s = self._now_s()
        if has_second:
            additions = await self._step_carefully()
        elif transcription.waiting_s:
            additions = await transcription.step(self._chunk_tokens)
        elif not job.stopped:
            job.arrived.clear()
            await job.arrived.wait()
            return False
        elif transcription.audio_s == 0:
            raise AudioError(f"{job.name}: no sound arrived before the recording was stopped; speak, then stop")
        elif not self._is_heard:
            additions = await transcription.finish()
            self._is_heard, self._heard_at_s = True, self._now_s()
        else:
            return True
        self._wall_s += self._now_s() - started_s
        self._tell(additions)
        await asyncio.sleep(0)  # let messages in
        return False

    # -- the second pass ------------------------------------------------------------------------
    def _has_second(self) -> bool:
        """Whether a passage is to be heard again now; a file can wait for that, a speaker cannot."""
        second_pass = self._transcription.second_pass
        if second_pass is None or not second_pass.has_work:
            return False
        if self._is_heard and self._now_s() - self._heard_at_s > MAX_CAREFUL_S:
            second_pass.cancel()
            self._transcription.second_pass = None
            self._notice(
                "This machine is too slow to hear all of it a second time; the rest stays as it was heard first."
            )
            return False
        return not (self._job.live and (self._transcription.waiting_s or self._job.samples))

    async def _step_carefully(self) -> list[Addition]:
        try:
            return await self._transcription.step_carefully()
        except MemoryRefusedError as error:
            self._transcription.second_pass = None
            self._notice(f"What is over is not heard a second time: {error}.")
            return []

    # -- a GPU that goes away -------------------------------------------------------------------
    async def _recover(self, error: Exception) -> None:
        """Go on with the model on a new device. Raises `error` if that is no help, or what is in the way."""
        heard_s = self._transcription.heard_s
        self._n_losses = self._n_losses + 1 if heard_s <= self._lost_s else 1
        self._lost_s = heard_s
        if not await self._held.turns_out_lost() or self._n_losses > MAX_LOSSES:
            raise error
        self._post("state", state="recovering")
        is_elsewhere = await self._held.load_again()
        assert self._held.loaded is not None
        if is_elsewhere:
            self._post("ready", **self._held.loaded.facts())
        self._is_heard = False
        self._tell([await self._transcription.go_on(self._held.loaded.model)])
        again_s = self._transcription.heard_s
        self._notice(
            f"The GPU went away at {clock(heard_s)}; the model was loaded again, keeps the words written so far, and "
            f"hears on from {clock(again_s)}."
        )
        self._tell_state()

    # -- events ---------------------------------------------------------------------------------
    def _tell_state(self) -> None:
        self._post("state", state="listening" if self._job.live else "transcribing")

    def _notice(self, sentence: str) -> None:
        self._post("notice", session=self._job.session, sentence=sentence)

    def _tell(self, additions: list[Addition]) -> None:
        session = self._job.session
        for addition in additions:
            for revision in addition.revisions:
                self._post("revised", session=session, **revision.as_dict())
            if addition.text or addition.words:
                words = [word.as_dict() for word in addition.words]
                self._post("words", session=session, text=addition.text, words=words)
        for sentence in self._transcription.take_notices():
            self._notice(sentence)
        heard_s, waiting_s = self._transcription.heard_s, self._transcription.waiting_s + self._job.waiting_s
        self._post("heard", session=session, heard_s=heard_s, waiting_s=waiting_s, total_s=self._job.total_s)
