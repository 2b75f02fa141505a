"""A model from a folder or a file of this machine, on the best device there is for it; for the command and the server.

load_native       files, header, tokenizer, device, weights; nothing stays behind when one of them fails
EngineOptions     what a command line says of that: --model, --backend, --adapter
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxtral import placement
from voxtral.bench.report import LoadTimes
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, StreamingConfig
from voxtral.errors import ConfigError, DeviceError, ModelFileError, TooSlowError
from voxtral.gpu.device import Device
from voxtral.loading import Loaded
from voxtral.model.layers import AnyOps
from voxtral.model.loader import Progress, read_header
from voxtral.model.voxtral import Voxtral
from voxtral.model_path import open_model_files
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.plausibility import require_plausible
from voxtral.tekken import Tekken
from voxtral.web.places import HERE

DELAY_HELP = f"how far the text is behind the voice: 80…1200 by 80, or 2400; default: {DEFAULT_DELAY_MS}"
LEFT_PAD_HELP = f"tokens of silence before the sound; default: {DEFAULT_LEFT_PAD_TOKENS}"

Warn = Callable[[str], None]


@dataclass(frozen=True)
class EngineOptions:
    """Which model, and on what. backend: None for the best there is; adapter: None, part of a name, or a number."""

    model: Path
    backend: str | None = None
    adapter: str | None = None

    def __post_init__(self) -> None:
        if self.backend == "numpy" and self.adapter is not None:
            raise ConfigError("--adapter names a GPU, but --backend numpy computes on the CPU; leave one of them out")

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """--model, --backend and --adapter; `of` reads them."""
        group = parser.add_argument_group("model and device")
        group.add_argument(
            "--model", type=Path, metavar="PATH", help="a model's file or folder, as `inspect` takes it; default: demo"
        )
        group.add_argument("--backend", choices=("webgpu", "numpy"), help="default: webgpu where there is a GPU")
        group.add_argument("--adapter", metavar="NAME", help="part of a GPU's name, or its number: `voxtral adapters`")
        parser.set_defaults(needs_model=True)

    @classmethod
    def of(cls, options: argparse.Namespace) -> "EngineOptions":
        """From what argparse read. Raises ConfigError."""
        return cls(options.model or HERE.demo_model, options.backend, options.adapter)


def native_machine() -> dict[str, Any]:
    """What reports say of this machine, as `voxtral.host.Host.machine` does."""
    return {"system": platform.platform(), "cpu_threads": os.cpu_count()}


def add_streaming_options(parser: argparse.ArgumentParser) -> None:
    """--delay-ms and --left-pad."""
    parser.add_argument("--delay-ms", type=int, default=DEFAULT_DELAY_MS, metavar="N", help=DELAY_HELP)
    parser.add_argument("--left-pad", type=int, default=DEFAULT_LEFT_PAD_TOKENS, metavar="N", help=LEFT_PAD_HELP)


async def load_native(
    options: EngineOptions,
    streaming: StreamingConfig,
    warn: Warn,
    progress: Progress | None = None,
    warms_up: bool = True,
) -> Loaded:
    """A model that is ready to hear, and has heard the silence before its first word if it warms up.

    Raises ModelFileError, DeviceError.

    warn: called with a sentence where it computes on the CPU although nobody asked for that, and for each kernel that
    had to be replaced; progress: bytes of its weights.
    """
    source, tekken_path = open_model_files(options.model)
    tekken = _read_tekken(tekken_path)
    index, config = await read_header(source)
    await require_plausible(source, index)
    tekken.require(config.decoder.vocab_size)
    answer = await _ask_for_gpu(options)
    backend = "webgpu" if options.adapter is not None else options.backend  # who names one wants that one
    try:
        found = placement.found(answer, backend, index.n_parameters)
        gpu = _choose(found, backend, index.n_parameters)
        if gpu is None and options.backend is None:
            warn(f"computing on the CPU with numpy, because {_reason(answer)}")
        ops: AnyOps = WebGpuOps(gpu) if gpu else ReferenceOps()
        source.seek(0)
        started_s = time.perf_counter()
        model = await Voxtral.load(ops, source, progress)
        loaded_s = time.perf_counter()
        if warms_up:
            await model.warm_up(streaming)
    except BaseException:
        if answer is not None and not isinstance(answer, DeviceError):
            answer.destroy()
        raise
    finally:
        source.close()
    for sentence in model.replaced:
        warn(sentence)
    times = LoadTimes(source.n_bytes, loaded_s - started_s, time.perf_counter() - loaded_s)
    return Loaded(model, tekken, streaming, times, options.model.name, gpu, found)


def _choose(found: Device | None, backend: str | None, n_parameters: int) -> Device | None:
    try:
        return placement.choose(found, backend, n_parameters)
    except TooSlowError as error:
        raise TooSlowError(f"{error}; --backend webgpu insists") from error


def _reason(answer: Device | DeviceError | None) -> str:
    if answer is None or isinstance(answer, DeviceError):
        return str(answer)
    return f"the only GPU here is {answer.info.name}, software (--backend webgpu uses it)"


async def _ask_for_gpu(options: EngineOptions) -> Device | DeviceError | None:
    """The GPU that is asked for, or why there is none; None if nobody wants it."""
    if options.backend == "numpy":
        return None
    try:
        native = import_native()
        device: Device = await native.open_native(options.adapter)
        return device
    except DeviceError as error:
        return error


def import_native() -> Any:
    """voxtral.gpu.native, which needs wgpu. Raises DeviceError."""
    try:
        from voxtral.gpu import native
    except (ImportError, OSError, RuntimeError) as error:  # its library may not load
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"the package wgpu does not load ({cause}); run `pip install wgpu`") from error
    return native


def _read_tekken(path: Path) -> Tekken:
    try:
        return Tekken.from_json(path.read_bytes(), str(path))
    except OSError as error:
        sentence = f"{path}: cannot be read ({error.strerror}); the tokenizer belongs beside the model"
        raise ModelFileError(sentence) from error
