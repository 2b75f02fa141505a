"""The engine behind the page: messages in, messages out; runs wherever a `Host` exists.

One job at a time holds the model, in the order of arrival; audio that comes meanwhile waits and is never
dropped. States: loading → ready ⇄ listening | transcribing; failed when a model was refused, until the next
`load`. Messages are those of `protocol`. Nothing here knows JavaScript: the browser is behind `Host`, tests
bring their own.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.audio_file import samples_from_sound
from voxtral.bench.report import LoadTimes, Subject, measure
from voxtral.config import (
    DEFAULT_DELAY_MS,
    DEFAULT_LEFT_PAD_TOKENS,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    StreamingConfig,
)
from voxtral.decoding import Addition
from voxtral.errors import AudioError, ConfigError, DeviceError, TooSlowError, VoxtralError
from voxtral.gpu.device import Device
from voxtral.job import Job
from voxtral.model.layers import AnyOps
from voxtral.model.loader import Progress, read_header
from voxtral.model.voxtral import Voxtral
from voxtral.model_files import parse_manifest
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.protocol import EVENTS, REQUESTS
from voxtral.resample import Resampler
from voxtral.shards import ByteSource, MemorySource, ShardedCursor, weight_names
from voxtral.sound import Sound, audible
from voxtral.tekken import Tekken
from voxtral.transcription import Transcription
from voxtral.wav import read_wav

LAST_BLOCK_LIMIT_S = 1.0  # how long a stopped recording waits for blocks that are still on their way
MAX_CPU_PARAMETERS = 100_000_000  # beyond that a CPU, as a software GPU, is no help to anyone waiting

Message = dict[str, Any]


class Host(Protocol):
    """What the worker needs from its surroundings."""

    def post(self, message: Message) -> None:
        """Send a message of plain values to the page."""

    def listen(self, port: Any, on_samples: Callable[[NDArray[np.float32]], None]) -> None:
        """Call back with every audio block that arrives on a port the page sent."""

    def samples(self, array: Any) -> NDArray[np.float32]:
        """Copy a Float32Array from a message."""

    def content(self, buffer: Any) -> bytes:
        """Copy an ArrayBuffer from a message."""

    async def fetch(self, url: str) -> bytes:
        """A resource, whole; raises ModelFileError with the URL and what went wrong."""

    async def open_source(self, url: str) -> ByteSource:
        """A resource to read in pieces that a device takes without a detour; raises ModelFileError."""

    async def open_gpu(self) -> Device:
        """A device on this machine's GPU; raises DeviceError when there is none."""

    def machine(self) -> dict[str, Any]:
        """What a bench says of the machine: system, cpu_threads, heap_bytes, loader_peak_bytes."""

    def now_s(self) -> float:
        """A clock that never goes back."""


@dataclass(frozen=True)
class _Bench:
    """A request to measure instead of a recording."""

    session: int
    effort: str | None


class Worker:
    """Maps requests to sessions and sessions to events. Create one, then hand it every message."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._model: Voxtral | None = None
        self._gpu: Device | None = None
        self._tekken: Tekken | None = None
        self._streaming = StreamingConfig()
        self._jobs: dict[int, Job] = {}
        self._queue: asyncio.Queue[Job | _Bench] = asyncio.Queue()
        self._load_times: LoadTimes | None = None
        self._runner: asyncio.Task[None] | None = None

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
        if self._runner is not None:
            raise ConfigError("a model is loaded or on its way; reload the page to load another one")
        self._runner = asyncio.ensure_future(self._load_and_run(options))

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

    def _enqueue(self, job: Job) -> None:
        self._jobs[job.session] = job
        self._queue.put_nowait(job)

    # -- loading --------------------------------------------------------------------------------
    async def _load_and_run(self, options: Message) -> None:
        self._state("loading")
        try:
            await self._load(**options)
        except Exception as error:
            self._let_go()
            self._state("failed")
            self._post("refused", sentence=_sentence(error), can_insist=isinstance(error, TooSlowError))
            return
        self._state("ready")
        while True:
            job = await self._queue.get()
            await (self._bench(job) if isinstance(job, _Bench) else self._run(job))
            await self._recover()

    def _let_go(self) -> None:
        """Give back what a model took that could not be loaded: all its memory goes with the device."""
        if self._gpu is not None:
            self._gpu.destroy()
        self._gpu = self._model = self._tekken = self._runner = None

    async def _load(
        self, model_url: str, backend: str | None, delay_ms: int | None, left_pad_tokens: int | None
    ) -> None:
        delay_ms = DEFAULT_DELAY_MS if delay_ms is None else delay_ms
        self._streaming = StreamingConfig(
            delay_ms, DEFAULT_LEFT_PAD_TOKENS if left_pad_tokens is None else left_pad_tokens
        )
        urls, self._tekken = await self._find_model(model_url)
        sources = ShardedCursor([await self._host.open_source(url) for url in urls])
        try:
            index, config = await read_header(sources)
        finally:
            sources.close()
        self._tekken.require(config.decoder.vocab_size)
        device = await self._choose_device(backend, index.n_parameters)
        if device is None:  # numpy takes its bytes through Python's memory
            sources = ShardedCursor([MemorySource(await self._host.fetch(url), url) for url in urls])
        ops: AnyOps = WebGpuOps(device) if device else ReferenceOps()

        started_s: list[float] = []  # when the first bytes were asked for, behind the check of the kernels

        async def on_weights(done: int, total: int) -> None:
            started_s[:] = started_s or [self._host.now_s()]
            await weights_progress(done, total)

        weights_progress = self._progress("weights")
        self._model = await Voxtral.load(ops, sources, on_weights)
        loaded_s = self._host.now_s()
        stages = [self._progress(stage) for stage in ("gpu", "warmup", "memory")]
        await self._model.warm_up(self._streaming, *stages)
        self._load_times = LoadTimes(sources.n_bytes, loaded_s - started_s[0], self._host.now_s() - loaded_s)
        metadata = self._model.metadata
        self._post(
            "ready",
            backend="numpy" if device is None else "webgpu",
            adapter="CPU (numpy)" if device is None else device.info.name,
            is_software=self._gpu is not None and self._gpu.info.is_software,
            replaced=self._model.replaced,
            model=str(metadata.get("general.name", model_url.rsplit("/", 1)[-1])),
            description=str(metadata.get("general.description", "")),
            vocabulary=self._tekken.words(),
            delay_ms=self._streaming.delay_ms,
            left_pad_tokens=self._streaming.left_pad_tokens,
        )

    async def _find_model(self, model_url: str) -> tuple[list[str], Tekken]:
        """URLs of the weights, a .gguf file or what a folder's manifest.json lists, and the tekken.json there."""
        folder, _, name = model_url.rpartition("/")
        names = [name] if name.endswith(".gguf") else await self._shard_names(f"{folder}/manifest.json")
        tekken_url = f"{folder}/tekken.json"
        tekken = Tekken.from_json(await self._host.fetch(tekken_url), tekken_url)
        return [f"{folder}/{name}" for name in names], tekken

    async def _shard_names(self, manifest_url: str) -> list[str]:
        """Names of a folder's weight files, in the order of their bytes."""
        files = parse_manifest(await self._host.fetch(manifest_url), manifest_url)
        return weight_names([file.name for file in files], manifest_url)

    async def _choose_device(self, backend: str | None, n_parameters: int) -> Device | None:
        """The GPU for a model of that size, or None: the CPU. Raises DeviceError if neither is any good."""
        is_large = n_parameters > MAX_CPU_PARAMETERS
        model = f"this model has {n_parameters / 1e9:.1f} billion parameters and needs a GPU"
        if backend == "numpy":
            if is_large:
                raise DeviceError(f"{model}, but the address asks for the CPU; take backend=numpy out of it")
            return None
        try:
            self._gpu = await self._host.open_gpu()
        except DeviceError as error:
            if is_large:
                raise DeviceError(f"{model}: {error}") from error
            if backend == "webgpu":
                raise
            return None
        if backend == "webgpu" or not self._gpu.info.is_software:
            return self._gpu
        if is_large:
            raise TooSlowError(
                f"{model}, but the only one here is {self._gpu.info.name}, software on the CPU: it would need minutes "
                "for every second of speech; use a machine with a GPU, or check that hardware acceleration is on"
            )
        return None  # the CPU itself is faster than one that pretends to be a GPU

    def _progress(self, stage: str) -> Progress:
        """A callback that tells the page, and lets messages in."""

        async def report(done: int, total: int) -> None:
            self._post("progress", stage=stage, done=done, total=total)
            await asyncio.sleep(0)

        return report

    # -- running --------------------------------------------------------------------------------
    async def _run(self, job: Job) -> None:
        assert self._model is not None
        assert self._tekken is not None
        transcription = Transcription(self._model, self._tekken, self._streaming)
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
        """Compute again, at leisure, what a long session took from the next one; what fails here fails there, aloud."""
        assert self._model is not None
        if self._queue.empty():
            with contextlib.suppress(VoxtralError):
                await self._model.warm_up(self._streaming)

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
        assert self._model is not None
        assert self._tekken is not None
        assert self._load_times is not None

        async def tell(what: str) -> None:
            self._post("measuring", session=job.session, what=what)
            await asyncio.sleep(0)

        subject = Subject(self._model, self._tekken, self._streaming, self._load_times)
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
