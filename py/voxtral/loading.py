"""From a model's files to one that is ready to hear, on the best device for it.

load      sources, header, device, weights, kernels; nothing stays behind when one of them fails
Loaded    what came of it
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from voxtral import placement
from voxtral.bench.report import LoadTimes
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, StreamingConfig
from voxtral.document import Document, Settings, of_result
from voxtral.errors import DeviceError
from voxtral.gpu.device import Device
from voxtral.library import Library, LibraryHost
from voxtral.model.layers import AnyOps
from voxtral.model.loader import Progress, read_header
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.tekken import Tekken
from voxtral.transcription import Result


class LoadingHost(LibraryHost, Protocol):
    """What loading needs from its surroundings."""

    async def open_gpu(self) -> Device:
        """A device on this machine's GPU; raises DeviceError when there is none."""


@dataclass(frozen=True)
class Options:
    """What a `load` request asks for."""

    model_url: str | None
    files: Any
    backend: str | None
    streaming: StreamingConfig

    @classmethod
    def of(
        cls, model_url: str | None, files: Any, backend: str | None, delay_ms: int | None, left_pad_tokens: int | None
    ) -> "Options":
        """From the request's fields. Raises ConfigError."""
        delay_ms = DEFAULT_DELAY_MS if delay_ms is None else delay_ms
        left_pad_tokens = DEFAULT_LEFT_PAD_TOKENS if left_pad_tokens is None else left_pad_tokens
        return cls(model_url, files, backend, StreamingConfig(delay_ms, left_pad_tokens))


@dataclass(frozen=True)
class Loaded:
    """A model that is ready. gpu: the one it is on; found_gpu: the one that is here, be it used or not."""

    model: Voxtral
    tekken: Tekken
    streaming: StreamingConfig
    times: LoadTimes
    name: str
    gpu: Device | None
    found_gpu: Device | None

    def close(self) -> None:
        """Give everything back: all its memory goes with the device."""
        if self.found_gpu is not None:
            self.found_gpu.destroy()

    def document(self, result: Result, streaming: StreamingConfig) -> Document:
        """The transcript of what this model has just heard."""
        facts = self.facts()
        adapter = None if self.gpu is None else facts["adapter"]
        settings = Settings(streaming.delay_ms, streaming.left_pad_tokens, False, facts["backend"], adapter)
        return of_result(result.as_dict(), facts["model"], settings)

    def facts(self) -> dict[str, Any]:
        """The fields of the `ready` event."""
        return {
            "backend": "numpy" if self.gpu is None else "webgpu",
            "adapter": "CPU (numpy)" if self.gpu is None else self.gpu.info.name,
            "is_software": self.found_gpu is not None and self.found_gpu.info.is_software,
            "replaced": self.model.replaced,
            "model": str(self.model.metadata.get("general.name", self.name)),
            "description": str(self.model.metadata.get("general.description", "")),
            "vocabulary": self.tekken.words(),
            "delay_ms": self.streaming.delay_ms,
            "left_pad_tokens": self.streaming.left_pad_tokens,
            "weights_bytes": self.times.n_bytes,
            "weights_s": self.times.load_s,
        }


async def load(host: LoadingHost, library: Library, options: Options, progress_of: Callable[[str], Progress]) -> Loaded:
    """Load a model; progress_of: gives the callback for a stage of `protocol`. Raises VoxtralError."""
    asked = asyncio.ensure_future(_ask_for_gpu(host, options.backend))  # it answers while the files are looked at
    try:
        weights, tekken = await library.open(options.model_url, options.files)
        source = ShardedCursor(weights)
        try:
            index, config = await read_header(source)
        finally:
            source.close()
        tekken.require(config.decoder.vocab_size)
        found_gpu = placement.found(await asked, options.backend, index.n_parameters)
        gpu = placement.choose(found_gpu, options.backend, index.n_parameters)
        if gpu is None:  # numpy takes its bytes through Python's memory
            source = ShardedCursor([MemorySource(await part.read_at(0, part.n_bytes), part.name) for part in weights])
        ops: AnyOps = WebGpuOps(gpu) if gpu else ReferenceOps()
        model, times = await _load_on(ops, host, source, progress_of)
    except BaseException:
        if (answer := await asked) is not None and not isinstance(answer, DeviceError):
            answer.destroy()
        raise
    return Loaded(model, tekken, options.streaming, times, weights[0].name.rsplit("/", 1)[-1], gpu, found_gpu)


async def _load_on(
    ops: AnyOps, host: LoadingHost, source: ShardedCursor, progress_of: Callable[[str], Progress]
) -> tuple[Voxtral, LoadTimes]:
    started_s: list[float] = []  # when the first bytes were asked for, behind the making of room
    weights_progress = progress_of("weights")

    async def on_weights(done: int, total: int) -> None:
        started_s[:] = started_s or [host.now_s()]
        await weights_progress(done, total)

    model = await Voxtral.load(ops, source, on_weights)
    loaded_s = host.now_s()
    model.give_back(await model.borrow(progress_of("gpu"), progress_of("memory")))
    return model, LoadTimes(source.n_bytes, loaded_s - started_s[0], host.now_s() - loaded_s)


async def _ask_for_gpu(host: LoadingHost, backend: str | None) -> Device | DeviceError | None:
    """The GPU here, or why there is none; None if nobody wants it."""
    if backend == "numpy":
        return None
    try:
        return await host.open_gpu()
    except DeviceError as error:
        return error
