"""The report of a bench: everything measured, as plain JSON.

    version, date, effort     of this program; UTC; name → value, see bench/effort.py
    machine      system (user agent or operating system), cpu_threads, python
    backend      webgpu or numpy; `clock`: whose time device_ms and us are
    adapter      name, backend, is_software, features, kernel_traits (which forms of kernels are used), replaced
                 (sentences about forms that failed their check), limits; null: numpy
    model        name, parameters, layers
    load         bytes, seconds, mb_per_s; warm_up_s: from the last weight to ready
    memory       heap_bytes: WebAssembly heap after loading, which is its peak (natively: the process's peak);
                 loader_peak_bytes: JavaScript buffers that the loader held at once; gpu_bytes and gpu_peak_bytes:
                 the engine's GPU buffers, ready to listen and at most while loading; null where there is no such thing
    copy_gb_per_s             read plus write, measured here
    decoder, encoder          a row for each kernel: kernel, rows, us, gb_per_s, percent_of_copy, tflop_per_s
    decode, encode, chunks, shares, file      see bench/steps.py
    live         from the last sample of a chunk to its token on the page, see app/live_latency.js; null without a page

Times are of this run, warm, the best or the median as bench/timer.py says.
"""

import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from voxtral.bench.bandwidth import copy_gb_per_s
from voxtral.bench.effort import Effort, effort_named
from voxtral.bench.kernels import KernelBench, decoder_kernels, encoder_kernels, time_kernels
from voxtral.bench.steps import CONTEXTS, StepBench, transcribe_file
from voxtral.bench.timer import Timer, digits
from voxtral.config import GROUP, StreamingConfig
from voxtral.model.stream import Stream
from voxtral.model.voxtral import Voxtral
from voxtral.ops.webgpu import WebGpuOps
from voxtral.tekken import Tekken

Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class LoadTimes:
    """What loading took."""

    n_bytes: int
    load_s: float
    warm_up_s: float


@dataclass(frozen=True)
class Subject:
    """What is measured: a model that is ready to listen, and idle."""

    model: Voxtral
    tekken: Tekken
    streaming: StreamingConfig
    load_times: LoadTimes


async def measure(subject: Subject, machine: dict[str, Any], effort: str | None, tell: Tell) -> dict[str, Any]:
    """The report; `live` is left to who has a page.

    machine: system, cpu_threads, heap_bytes, loader_peak_bytes, as `voxtral.host.Host` tells. effort: a name, or
    None for what suits the device. tell(what): called before each part. Raises ConfigError, DeviceError.
    """
    model = subject.model
    is_software = not isinstance(model.ops, WebGpuOps) or model.ops.device.info.is_software
    chosen = effort_named(effort, is_software)
    timer = Timer(model.ops, chosen)
    report = _circumstances(subject, machine, chosen, timer)
    stream = await model.borrow()
    try:
        report |= await _measure_parts(subject, stream, timer, chosen, tell)
    finally:
        stream.start(subject.streaming)  # its rings are spoilt
        model.give_back(stream)
    await tell("a file")
    await model.warm_up(subject.streaming)
    report["file"] = await transcribe_file(model, subject.tekken, subject.streaming, chosen.audio_s)
    report["live"] = None
    return report


async def _measure_parts(subject: Subject, stream: Stream, timer: Timer, effort: Effort, tell: Tell) -> dict[str, Any]:
    model = subject.model
    parts: dict[str, Any] = {}
    await tell("copying")
    parts["copy_gb_per_s"] = copy = digits(await copy_gb_per_s(model.ops, timer, effort))
    kernels = KernelBench(model, stream)
    try:
        await tell("kernels of the decoder")
        parts["decoder"] = await time_kernels(list(decoder_kernels(kernels, CONTEXTS)), kernels, timer, copy)
        parts["encoder"] = []
        for n_tokens in stream.chunk_tokens:
            await tell(f"kernels of the encoder, {GROUP * n_tokens} rows")
            parts["encoder"] += await time_kernels(list(encoder_kernels(kernels, n_tokens)), kernels, timer, copy)
    finally:
        kernels.close()
    steps = StepBench(model, stream, subject.streaming, timer)
    await tell("decoder steps")
    parts["decode"] = await steps.decode()
    await tell("encoder calls")
    parts["encode"] = await steps.encode(_encoder_weights(model))
    await tell("chunks")
    parts["chunks"] = await steps.chunks()
    await tell("who spends the time of a step")
    parts["shares"] = await steps.shares()
    return parts


def _circumstances(subject: Subject, machine: dict[str, Any], effort: Effort, timer: Timer) -> dict[str, Any]:
    """Everything that is known before anything is measured."""
    model, times = subject.model, subject.load_times
    config, ops = model.config, model.ops
    gpu = ops.device if isinstance(ops, WebGpuOps) else None
    return {
        **engine_facts(model, machine),
        "effort": asdict(effort),
        "clock": timer.clock,
        "model": {
            "name": str(model.metadata.get("general.name", "no name")),
            "parameters": model.n_parameters,
            "layers": {"encoder": config.encoder.n_layers, "decoder": config.decoder.n_layers},
        },
        "load": {
            "bytes": times.n_bytes,
            "seconds": round(times.load_s, 3),
            "mb_per_s": digits(times.n_bytes / 1e6 / max(times.load_s, 1e-3)),
            "warm_up_s": round(times.warm_up_s, 3),
        },
        "memory": {
            "heap_bytes": machine["heap_bytes"],
            "loader_peak_bytes": machine["loader_peak_bytes"],
            "gpu_bytes": gpu and gpu.memory.now,
            "gpu_peak_bytes": gpu and gpu.memory.peak,
        },
    }


def engine_facts(model: Voxtral, machine: dict[str, Any]) -> dict[str, Any]:
    """version, date, machine, backend, adapter, as above; machine: see `measure`."""
    return {
        "version": _version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            "system": machine["system"],
            "cpu_threads": machine["cpu_threads"],
            "python": f"{platform.python_version()} on {sys.platform}",
        },
        "backend": "webgpu" if isinstance(model.ops, WebGpuOps) else "numpy",
        "adapter": _adapter(model),
    }


def _version() -> str:
    try:
        return version("voxtral")
    except PackageNotFoundError:
        return "from a checkout"


def _adapter(model: Voxtral) -> dict[str, Any] | None:
    """What computes; None for numpy."""
    ops = model.ops
    if not isinstance(ops, WebGpuOps):
        return None
    info = ops.device.info
    return {
        "name": info.name,
        "backend": info.backend,
        "is_software": info.is_software,
        "features": sorted(info.features),
        "kernel_traits": sorted(ops.traits),
        "replaced": model.replaced,
        "limits": asdict(ops.device.limits),
    }


def _encoder_weights(model: Voxtral) -> int:
    """Weights of the encoder's products, without convolutions and adapter."""
    layers = model.weights.encoder_layers
    matrices = [matrix for layer in layers for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    return sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices)
