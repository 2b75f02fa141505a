"""The engine behind the page: messages in, messages out; runs wherever a `Host` exists.

One job at a time holds the model, in the order of arrival; audio that comes meanwhile waits and is never dropped. A
`load` waits for its turn like a recording, then takes the place of the model before it. States: loading → ready ⇄
listening | transcribing; recovering where the GPU went away; failed when a model was refused, until the next `load`.
What is kept on this machine is `library`'s, which works beside. Messages are those of `protocol`. Nothing here knows
JavaScript: the browser is behind `Host`, tests bring their own.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

from voxtral.accuracy.desk import Desk
from voxtral.accuracy.measurement import Measurement
from voxtral.bench.report import Subject, measure
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.document import render
from voxtral.errors import ConfigError, DeviceError, TooSlowError, VoxtralError
from voxtral.held_model import HeldModel
from voxtral.host import Host, Message
from voxtral.job import Job
from voxtral.library import Library
from voxtral.loading import Loaded, Options
from voxtral.model.loader import Progress
from voxtral.protocol import EVENTS, REQUESTS
from voxtral.recording import Recording
from voxtral.resample import Resampler, resample
from voxtral.sound import Levels, audible, to_mono
from voxtral.wav import read_wav

LAST_BLOCK_LIMIT_S = 1.0  # how long a stopped recording waits for blocks that are still on their way
PROGRESS_S = 0.03  # between two events of one stage


@dataclass(frozen=True)
class _Load:
    """A request for a model."""

    options: Message


@dataclass(frozen=True)
class _Prepare:
    """A request to be ready for a recording, which is what the worker does whenever its queue is empty."""


@dataclass(frozen=True)
class _Recover:
    """The GPU went away, and nobody may have needed it."""


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
        self._held = HeldModel(host, self._library, self._progress, self._on_lost)
        self._jobs: dict[int, Job] = {}
        self._desk = Desk(host, self._post, _sentence)
        self._queue: asyncio.Queue[Job | Measurement | _Bench | _Load | _Prepare | _Recover] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None
        self._prepared_delay_ms: int | None = None  # of the recording that is expected next; None: the model's
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

    def _on_listen(
        self,
        session: int,
        name: str,
        port: Any,
        sample_rate: float,
        is_live: bool,
        start_s: float,
        total_s: float | None,
        delay_ms: int | None,
        has_second_pass: bool,
    ) -> None:
        rate = round(sample_rate)
        resampler = None if rate == SAMPLE_RATE else Resampler(rate)
        job = Job(session, name, is_live, _checked(delay_ms), start_s, total_s, has_second_pass, resampler=resampler)
        if not is_live:
            job.levels = Levels(name, lambda sentence: self._post("notice", session=session, sentence=sentence))
        job.close = self._host.listen(port, job.push)
        self._enqueue(job)

    def _on_stop(self, session: int) -> None:
        """Blocks come by another way than this message: the empty one among them is the end, if it comes."""
        if job := self._jobs.get(session):
            asyncio.get_event_loop().call_later(LAST_BLOCK_LIMIT_S, job.stop)

    def _on_transcribe(self, session: int, name: str, bytes: Any, delay_ms: int | None) -> None:
        delay_ms = _checked(delay_ms)
        sound = read_wav(self._host.content(bytes), name)
        mono, odd = to_mono(sound, name)
        samples, raised = audible(resample(mono, sound.sample_rate, name), name)
        for sentence in sound.notices + odd + raised:
            self._post("notice", session=session, sentence=sentence)
        total_s = len(samples) / SAMPLE_RATE
        job = Job(session, name, False, delay_ms, total_s=total_s, stopped=True)
        job.samples.append(samples)
        self._enqueue(job)

    def _on_cancel(self, session: int) -> None:
        if job := self._jobs.get(session):
            job.cancel()

    def _on_prepare(self, delay_ms: int | None) -> None:
        self._prepared_delay_ms = _checked(delay_ms)
        self._queue.put_nowait(_Prepare())

    def _on_render(self, id: int, document: Any, format: str, limits: Any) -> None:
        try:
            content, sentence = render(self._host.plain(document), format, self._host.plain(limits)), None
        except Exception as error:
            content, sentence = None, _sentence(error)
        self._post("rendered", id=id, content=content, sentence=sentence)

    def _on_inspect(self) -> None:
        gpu = self._held.loaded and self._held.loaded.gpu
        self._post("inspected", **self._host.memory(), gpu_bytes=gpu.memory.now if gpu else 0)

    def _on_bench(self, session: int, effort: str | None) -> None:
        self._queue.put_nowait(_Bench(session, effort))

    def _on_read_set(self, **fields: Any) -> None:
        self._desk.read_set(**fields)

    def _on_read_reports(self, **fields: Any) -> None:
        self._desk.read_reports(**fields)

    def _on_measure(self, **fields: Any) -> None:
        self._queue.put_nowait(self._desk.open(**fields))

    def _on_clip(self, **fields: Any) -> None:
        self._desk.take_clip(**fields)

    def _on_end_measure(self, session: int) -> None:
        self._desk.end(session)

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

    # -- the model ------------------------------------------------------------------------------
    async def _load(self, fields: Message) -> None:
        self._held.let_go()
        self._state("loading")
        try:
            await self._held.load(Options.of(**fields))
        except Exception as error:
            self._refuse(error)
            return
        self._tell_ready()
        self._state("ready")

    async def _recover(self) -> None:
        """Its GPU went away while nobody needed it, or the recording that did has seen to it."""
        if not self._held.is_lost:
            return
        self._state("recovering")
        try:
            if await self._held.load_again():
                self._tell_ready()
        except Exception as error:
            self._refuse(error)
            return
        self._state("ready")

    def _on_lost(self) -> None:
        self._queue.put_nowait(_Recover())

    def _refuse(self, error: Exception) -> None:
        self._state("failed")
        self._post("refused", sentence=_sentence(error), can_insist=isinstance(error, TooSlowError))

    def _tell_ready(self) -> None:
        assert self._held.loaded is not None
        self._post("ready", **self._held.loaded.facts())

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
            elif isinstance(job, _Recover):
                await self._recover()
            elif isinstance(job, Job | Measurement | _Bench) and self._held.loaded is None:
                self._forget(job.session)
                self._error(job.session, "no model is loaded; load one, then try again")
            elif isinstance(job, _Bench):
                await self._bench(job)
            elif isinstance(job, Measurement):
                await self._measure(job)
            elif isinstance(job, Job):
                await self._run(job)
            if self._held.loaded is not None:
                await self._warm_up(self._held.loaded)
            self.is_idle = self._queue.empty()

    async def _run(self, job: Job) -> None:
        assert self._held.loaded is not None
        streaming = _with_delay(self._held.loaded.streaming, job.delay_ms)
        try:
            await Recording(job, self._held, streaming, self._post, self._host.now_s).run()
        except Exception as error:
            self._error(job.session, _sentence(error))
            if self._held.loaded is None:
                self._refuse(error)
        finally:
            self._forget(job.session)
        if self._held.loaded is not None:
            self._state("ready")

    def _forget(self, session: int) -> None:
        self._desk.forget(session)
        if job := self._jobs.pop(session, None):
            job.close()

    async def _warm_up(self, loaded: Loaded) -> None:
        """Hear the silence before a recording at leisure, the first time or after a long session took the place of it.

        Nobody waits for that to be `ready`; what fails here fails in the next session, aloud.
        """
        if self._queue.empty():
            with contextlib.suppress(VoxtralError):
                await loaded.model.warm_up(_with_delay(loaded.streaming, self._prepared_delay_ms))

    async def _bench(self, job: _Bench) -> None:
        loaded = self._held.loaded
        assert loaded is not None

        async def tell(what: str) -> None:
            self._post("measuring", session=job.session, what=what)
            await asyncio.sleep(0)

        subject = Subject(loaded.model, loaded.tekken, loaded.streaming, loaded.times)
        try:
            report = await measure(subject, self._host.machine(), job.effort, tell)
        except Exception as error:
            self._error(job.session, _sentence(error))
            return
        self._post("done", session=job.session, result=report)

    async def _measure(self, measurement: Measurement) -> None:
        try:
            report = await measurement.run(self._held, self._host.machine(), self._host.fetch, self._post)
        except Exception as error:
            self._error(measurement.session, _sentence(error))
        else:
            self._post("done", session=measurement.session, result=report)
        self._forget(measurement.session)
        if self._held.loaded is None:
            self._refuse(DeviceError("the GPU went away and does not come back; reload the page"))

    # -- events ---------------------------------------------------------------------------------
    def _state(self, state: str) -> None:
        self._post("state", state=state)

    def _error(self, session: int | None, sentence: str, fatal: bool = False) -> None:
        self._post("error", session=session, sentence=sentence, fatal=fatal)

    def _post(self, kind: str, **fields: Any) -> None:
        assert tuple(fields) == EVENTS[kind], f"{kind} must carry {EVENTS[kind]}"
        self._host.post({"type": kind, **fields})


def _checked(delay_ms: int | None) -> int | None:
    """A delay the model allows, or None. Raises ConfigError."""
    return None if delay_ms is None else StreamingConfig(delay_ms).delay_ms


def _with_delay(streaming: StreamingConfig, delay_ms: int | None) -> StreamingConfig:
    """How a recording with this delay is heard; None: as any."""
    return streaming if delay_ms is None else replace(streaming, delay_ms=delay_ms)


def _sentence(error: Exception) -> str:
    """What to tell the user: our own errors speak for themselves, any other is a fault of the engine."""
    if isinstance(error, VoxtralError):
        return str(error)
    return f"The engine failed ({type(error).__name__}: {error}); reload the page and try again."
