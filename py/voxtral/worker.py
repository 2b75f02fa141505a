"""The engine behind the page: messages in, messages out; runs wherever a `Host` exists.

One job at a time holds the model, in the order of arrival; audio that comes meanwhile waits and is never dropped. A
`load` waits for its turn like a recording, then takes the place of the model before it. States: loading → ready ⇄
listening | transcribing; failed when a model was refused, until the next `load`. What is kept on this machine is
`library`'s, which works beside. Messages are those of `protocol`. Nothing here knows JavaScript: the browser is behind
`Host`, tests bring their own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.audio_file import samples_from_sound
from voxtral.bench.report import Subject, measure
from voxtral.config import SAMPLE_RATE, SAMPLES_PER_TOKEN
from voxtral.decoding import Addition
from voxtral.errors import AudioError, ConfigError, TooSlowError, VoxtralError
from voxtral.job import Job
from voxtral.library import Library
from voxtral.loading import Loaded, LoadingHost, Options, load
from voxtral.model.loader import Progress
from voxtral.protocol import EVENTS, REQUESTS
from voxtral.resample import Resampler
from voxtral.sound import Sound, audible
from voxtral.transcription import Transcription
from voxtral.wav import read_wav

LAST_BLOCK_LIMIT_S = 1.0  # how long a stopped recording waits for blocks that are still on their way
PROGRESS_S = 0.03  # between two events of one stage

Message = dict[str, Any]


class Host(LoadingHost, Protocol):
    """What the worker needs from its surroundings."""

    def post(self, message: Message) -> None:
        """Send a message of plain values to the page."""

    def listen(self, port: Any, on_samples: Callable[[NDArray[np.float32]], None]) -> None:
        """Call back with every audio block that arrives on a port the page sent."""

    def samples(self, array: Any) -> NDArray[np.float32]:
        """Copy a Float32Array from a message."""

    def content(self, buffer: Any) -> bytes:
        """Copy an ArrayBuffer from a message."""

    def machine(self) -> dict[str, Any]:
        """What a bench says of the machine: system, cpu_threads, heap_bytes, loader_peak_bytes."""


@dataclass(frozen=True)
class _Load:
    """A request for a model."""

    options: Message


@dataclass(frozen=True)
class _Bench:
    """A request to measure instead of a recording."""

    session: int
    effort: str | None


class Worker:
    """Maps requests to sessions and sessions to events. Create one, then hand it every message."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._library = Library(host, self._post)
        self._loaded: Loaded | None = None
        self._jobs: dict[int, Job] = {}
        self._queue: asyncio.Queue[Job | _Bench | _Load] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None
        self.is_idle = False  # nothing is being loaded, heard or measured, or waits for that

    def receive(self, message: Message) -> None:
        """Act on one request; never raises: what goes wrong becomes an `error` event."""
        session = message.get("session")
        try:
            kind = message.get("type")
            if kind not in REQUESTS:
                raise ConfigError(f"the page sent a message of unknown type {kind!r}; reload the page")
            getattr(self, f"_on_{kind}")(**{name: message.get(name) for name in REQUESTS[kind]})
        except Exception as error:
            self._error(session, _sentence(error))

    # -- requests -------------------------------------------------------------------------------
    def _on_load(self, **options: Any) -> None:
        self._queue.put_nowait(_Load(options))
        if self._runner is None:
            self._runner = asyncio.ensure_future(self._run_queue())

    def _on_listen(self, session: int, port: Any, sample_rate: float) -> None:
        rate = round(sample_rate)
        job = Job(session, "microphone", live=True, resampler=None if rate == SAMPLE_RATE else Resampler(rate))
        self._host.listen(port, job.push)
        self._enqueue(job)

    def _on_stop(self, session: int) -> None:
        """Blocks come by another way than this message: the empty one among them is the end, if it comes."""
        if job := self._jobs.get(session):
            asyncio.get_event_loop().call_later(LAST_BLOCK_LIMIT_S, job.stop)

    def _on_transcribe(self, session: int, name: str, bytes: Any, channels: Any, sample_rate: float | None) -> None:
        if bytes is not None:
            sound = read_wav(self._host.content(bytes), name)
        else:
            arrays = [self._host.samples(channel) for channel in channels]
            sound = Sound(np.stack(arrays) if arrays else np.zeros((0, 0), np.float32), round(sample_rate or 0), [])
        samples, notices = samples_from_sound(sound, name)
        samples, raised = audible(samples, name)
        for sentence in notices + raised:
            self._post("notice", session=session, sentence=sentence)
        self._enqueue(Job(session, name, False, [samples], total_s=len(samples) / SAMPLE_RATE, stopped=True))

    def _on_cancel(self, session: int) -> None:
        if job := self._jobs.get(session):
            job.cancel()

    def _on_bench(self, session: int, effort: str | None) -> None:
        self._queue.put_nowait(_Bench(session, effort))

    def _on_list_models(self, server: str | None) -> None:
        self._library.list_models(server)

    def _on_fetch(self, source: str | None, files: Any) -> None:
        self._library.fetch(source, files)

    def _on_pause(self, key: str) -> None:
        self._library.pause(key)

    def _on_discard(self, key: str) -> None:
        self._library.discard(key)

    def _on_verify(self, key: str) -> None:
        self._library.verify(key)

    def _on_delete(self, key: str) -> None:
        self._library.delete(key)

    def _on_export(self, key: str) -> None:
        self._library.export(key)

    def _enqueue(self, job: Job) -> None:
        self._jobs[job.session] = job
        self._queue.put_nowait(job)

    # -- loading --------------------------------------------------------------------------------
    async def _load(self, options: Message) -> None:
        self._let_go()
        self._state("loading")
        try:
            self._loaded = await load(self._host, self._library, Options.of(**options), self._progress)
        except Exception as error:
            self._state("failed")
            self._post("refused", sentence=_sentence(error), can_insist=isinstance(error, TooSlowError))
            return
        self._post("ready", **self._loaded.facts())
        self._state("ready")

    def _let_go(self) -> None:
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = None

    def _progress(self, stage: str) -> Progress:
        """A callback that tells the page, as often as it can show it, and lets messages in."""
        next_s = 0.0

        async def report(done: int, total: int) -> None:
            nonlocal next_s
            now_s = self._host.now_s()
            if now_s >= next_s or done >= total:
                next_s = now_s + PROGRESS_S
                self._post("progress", stage=stage, done=done, total=total)
            await asyncio.sleep(0)

        return report

    # -- running --------------------------------------------------------------------------------
    async def _run_queue(self) -> None:
        while True:
            job = await self._queue.get()
            self.is_idle = False
            if isinstance(job, _Load):
                await self._load(job.options)
                if self._loaded is not None:
                    await self._recover()
            elif self._loaded is None:
                self._jobs.pop(job.session, None)
                self._error(job.session, "no model is loaded; load one, then try again")
            else:
                await (self._bench(job) if isinstance(job, _Bench) else self._run(job))
                await self._recover()
            self.is_idle = self._queue.empty()

    async def _run(self, job: Job) -> None:
        assert self._loaded is not None
        transcription = Transcription(self._loaded.model, self._loaded.tekken, self._loaded.streaming)
        if not job.cancelled:
            self._state("listening" if job.live else "transcribing")
        try:
            await self._transcribe(job, transcription)
        except Exception as error:
            self._error(job.session, _sentence(error))
        finally:
            transcription.cancel()
            del self._jobs[job.session]
        self._state("ready")

    async def _recover(self) -> None:
        """Hear the silence before a recording at leisure, the first time or after a long session took the place of it.

        Nobody waits for that to be `ready`; what fails here fails in the next session, aloud.
        """
        assert self._loaded is not None
        if self._queue.empty():
            with contextlib.suppress(VoxtralError):
                await self._loaded.model.warm_up(self._loaded.streaming)

    async def _transcribe(self, job: Job, transcription: Transcription) -> None:
        # A file goes through in slices of the largest chunk, so that progress and cancel come through.
        slice_samples = transcription.chunk_tokens * SAMPLES_PER_TOKEN
        wall_s = 0.0  # computing only: a live session mostly waits for its speaker
        while not job.cancelled:
            samples = job.take(slice_samples)
            if len(samples) == 0:
                if job.stopped:
                    break
                job.arrived.clear()
                await job.arrived.wait()
                continue
            started = self._host.now_s()
            self._words(job, await transcription.feed(samples))
            wall_s += self._host.now_s() - started
            heard_s = transcription.heard_s
            waiting_s = job.waiting_s
            self._post("heard", session=job.session, heard_s=heard_s, waiting_s=waiting_s, total_s=job.total_s)
            await asyncio.sleep(0)  # let messages in
        if job.cancelled:
            self._post("cancelled", session=job.session)
            return
        if transcription.audio_s == 0:
            raise AudioError(f"{job.name}: no sound arrived before the recording was stopped; speak, then stop")
        started = self._host.now_s()
        self._words(job, await transcription.finish())
        wall_s += self._host.now_s() - started
        self._post("done", session=job.session, result=transcription.result(job.name, wall_s).as_dict())

    async def _bench(self, job: _Bench) -> None:
        assert self._loaded is not None

        async def tell(what: str) -> None:
            self._post("measuring", session=job.session, what=what)
            await asyncio.sleep(0)

        loaded = self._loaded
        subject = Subject(loaded.model, loaded.tekken, loaded.streaming, loaded.times)
        try:
            report = await measure(subject, self._host.machine(), job.effort, tell)
        except Exception as error:
            self._error(job.session, _sentence(error))
            return
        self._post("done", session=job.session, result=report)

    # -- events ---------------------------------------------------------------------------------
    def _words(self, job: Job, addition: Addition) -> None:
        if addition.text or addition.words:
            words = [word.as_dict() for word in addition.words]
            self._post("words", session=job.session, text=addition.text, words=words)

    def _state(self, state: str) -> None:
        self._post("state", state=state)

    def _error(self, session: int | None, sentence: str, fatal: bool = False) -> None:
        self._post("error", session=session, sentence=sentence, fatal=fatal)

    def _post(self, kind: str, **fields: Any) -> None:
        assert tuple(fields) == EVENTS[kind], f"{kind} must carry {EVENTS[kind]}"
        self._host.post({"type": kind, **fields})


def _sentence(error: Exception) -> str:
    """What to tell the user: our own errors speak for themselves, any other is a fault of the engine."""
    if isinstance(error, VoxtralError):
        return str(error)
    return f"The engine failed ({type(error).__name__}: {error}); reload the page and try again."
