"""One run of a set in the worker: it asks the page for the sound of each clip, hears it, and makes the report.

The page knows files and how to decode them; which clips are heard, in which order and how, is decided here, so that a
run in the page is the run of `voxtral wer`.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.modules import install
from voxtral.accuracy.normalization import Normalizer, normalizer_named
from voxtral.accuracy.report import EngineFacts, ModelFacts, Report
from voxtral.accuracy.results import ClipResult, Failure
from voxtral.accuracy.sets import ClipEntry
from voxtral.config import SAMPLE_RATE
from voxtral.errors import AccuracyError, AudioError, DeviceError, VoxtralError
from voxtral.held_model import HeldModel
from voxtral.sound import Sound, to_mono

Samples = NDArray[np.float32]
Sent = tuple[Samples | None, str]  # the sound of a clip, or why there is none
MAX_LOSSES = 2  # of the GPU in one clip


class Post(Protocol):
    """Sends an event of `protocol` to the page."""

    def __call__(self, kind: str, **fields: Any) -> None: ...


@dataclass
class Measurement:
    """What a `measure` request asks for, and the sound that comes for it.

    entries: those of a `set_read` event; modules: addresses of what `modules.install` is to bring.
    """

    session: int
    set_name: str
    entries: list[ClipEntry]
    condition: Condition
    normalizer: str
    modules: Mapping[str, str]
    _wanted: dict[str, asyncio.Future[Sent]] = field(default_factory=dict)  # by the clip's id
    _is_over: bool = False  # the page wants no more of it

    @classmethod
    def of(
        cls, session: int, set_name: str, entries: Any, condition: Any, normalizer: str, modules: Any
    ) -> "Measurement":
        """From the request's fields. Raises AccuracyError, ConfigError."""
        clips = [ClipEntry(**{**entry, "word_ends_s": tuple(entry["word_ends_s"])}) for entry in entries]
        return cls(session, set_name, clips, Condition.of(condition), normalizer, modules)

    def take(self, id: str, samples: Samples | None, reason: str | None) -> None:
        """The sound of a clip that was asked for, mono at 16 kHz, or why there is none."""
        self._answer(self._wanted.get(id), (samples, reason or f"{id}: there is no sound"))

    def end(self) -> None:
        """Hear nothing more; what was heard is reported."""
        self._is_over = True
        for wanted in self._wanted.values():
            self._answer(wanted, (None, "it is no longer wanted"))

    async def run(
        self, held: HeldModel, machine: Mapping[str, Any], fetch: Callable[[str], Awaitable[bytes]], post: Post
    ) -> dict[str, Any]:
        """The report (accuracy/report.py). Raises before anything was heard only."""
        await install(self.modules, fetch)
        # What scores needs what has just been brought.
        from voxtral.accuracy.scoring import scorer_name

        assert held.loaded is not None
        engine = EngineFacts.of_loaded(held.loaded, dict(machine))
        model = ModelFacts.of_loaded(held.loaded, self.condition.streaming, None)
        normalizer = normalizer_named(self.normalizer)
        clips: list[ClipResult] = []
        failures: list[Failure] = []
        entries = self.condition.chosen(self.entries)
        for i, entry in enumerate(entries):
            for wanted in entries[i : i + 2]:  # the next one is decoded while this one is heard
                self._ask_for(wanted.id, post)
            clip, reason = None, None
            try:
                clip = await self._hear(entry, held, normalizer, post)
                clips.append(clip)
            except _OverError:
                break
            except (AccuracyError, AudioError) as error:
                reason = str(error)
                failures.append(Failure(entry.id, entry.group, reason))
            except Exception as error:  # must not take with it what an hour may have measured
                if not clips:
                    raise
                why = error if isinstance(error, VoxtralError) else f"{type(error).__name__}: {error}"
                post("notice", session=self.session, sentence=f"The rest was not heard: {why}.")
                break
            told = {"clip": clip and clip.as_dict(), "reason": reason}
            post("clip_heard", session=self.session, id=entry.id, **told, n_heard=i + 1, n_clips=len(entries))
        is_complete = len(clips) + len(failures) == len(entries)
        names = (normalizer.name, scorer_name())
        return Report(engine, model, self.set_name, is_complete, *names, clips, failures, self.condition).as_dict()

    def _ask_for(self, id: str, post: Post) -> None:
        if id not in self._wanted:
            self._wanted[id] = asyncio.get_running_loop().create_future()
            post("clip_wanted", session=self.session, id=id)

    @staticmethod
    def _answer(wanted: asyncio.Future[Sent] | None, sent: Sent) -> None:
        if wanted is not None and not wanted.done():
            wanted.set_result(sent)

    async def _hear(self, entry: ClipEntry, held: HeldModel, normalizer: Normalizer, post: Post) -> ClipResult:
        from voxtral.accuracy.run import hear, result_of

        def go_on(_heard_s: float = 0.0) -> None:
            if self._is_over:
                raise _OverError

        go_on()
        samples, reason = await self._wanted[entry.id]
        del self._wanted[entry.id]  # its sound goes with it
        go_on()
        if samples is None:
            raise AccuracyError(reason)
        notices: list[str] = []
        if entry.n_samples is None:  # a file of its own
            samples, notices = to_mono(Sound(samples[None], SAMPLE_RATE), entry.audio)
        heard_samples, shift_s = self.condition.prepared(samples, entry.id)
        for n_losses in itertools.count(1):
            assert held.loaded is not None
            try:
                heard = await hear(held.loaded, self.condition.streaming, [heard_samples], go_on)
                break
            except (_OverError, AudioError):
                raise
            except Exception as error:  # where the GPU goes away, almost anything may fail
                if n_losses > MAX_LOSSES or not await held.turns_out_lost():
                    raise
                await _recover(held, entry.id, error, post)
                notices = [*notices, "The GPU went away in it; it was heard again from its start."]
        return result_of(entry.shifted(shift_s), heard, normalizer, notices)


async def _recover(held: HeldModel, id: str, error: Exception, post: Post) -> None:
    """Have the model on the same GPU again. Raises DeviceError where it is elsewhere: figures of two do not mix."""
    if await held.load_again():
        assert held.loaded is not None
        post("ready", **held.loaded.facts())
        raise DeviceError(f"the GPU went away in {id}, and the model computes elsewhere now; measure again") from error


class _OverError(Exception):
    """The page wants no more."""
