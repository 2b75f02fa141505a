"""The command line: transcribe files, print token ids, measure; `model_commands` has those that deal with model files.

Composition root on CPython. Anything a user did wrong is one sentence on stderr and exit code 1; with
several files the others are still transcribed.
"""

import argparse
import asyncio
import io
import json
import os
import platform
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.audio_file import read_audio
from voxtral.bench.rendering import render
from voxtral.bench.report import LoadTimes, Subject, measure
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, StreamingConfig
from voxtral.document import Document, Settings, of_result
from voxtral.errors import ConfigError, DeviceError, ModelFileError, VoxtralError
from voxtral.model.layers import AnyOps
from voxtral.model.voxtral import Voxtral
from voxtral.model_commands import add_model_commands
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.session import StreamingSession
from voxtral.shards import ShardedCursor, open_model_files
from voxtral.sound import audible
from voxtral.tekken import Tekken
from voxtral.terminal import say
from voxtral.transcript_output import Output, add_output_options
from voxtral.transcription import Transcription

DEMO_MODEL = Path(__file__).resolve().parents[2] / "static" / "model"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be bytes that are no text
    try:
        result = options.command(options)
        exit_code: int = asyncio.run(result) if asyncio.iscoroutine(result) else result
        return exit_code
    except VoxtralError as error:
        say(str(error))
        return 1
    except BrokenPipeError:  # the reader went away, as `| head` does; do not let the exit's flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voxtral", description="Voxtral Realtime speech recognition on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    transcribe = commands.add_parser("transcribe", help="audio files to text")
    transcribe.add_argument("files", nargs="+", type=Path, metavar="FILE")
    add_output_options(transcribe)
    _add_engine_options(transcribe)
    transcribe.set_defaults(command=_transcribe)

    tokens = commands.add_parser("tokens", help="an audio file to token ids, as JSON")
    tokens.add_argument("file", type=Path, metavar="FILE")
    tokens.add_argument("--chunk", type=int, default=0, metavar="SAMPLES", help="feed so many at a time; 0: all")
    tokens.add_argument("--dump", type=Path, metavar="OUT.npz", help="also write every stage: mel, conv2, …, logits")
    _add_engine_options(tokens)
    tokens.set_defaults(command=_tokens)

    bench = commands.add_parser("bench", help="measure how fast a model runs here")
    bench.add_argument("--model", type=Path, metavar="PATH", help=".gguf, or a folder with shards; default: the demo")
    bench.add_argument("--backend", choices=("webgpu", "numpy"), help="default: the better one here")
    bench.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    bench.add_argument("--browser", action="store_true", help="in the page, in a headless Chromium")
    bench.add_argument("--chromium", metavar="COMMAND", help="with --browser: starts it; the address is added")
    bench.set_defaults(command=_bench)

    add_model_commands(commands)
    return parser


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, metavar="PATH", help=".gguf, or a folder with shards")
    parser.add_argument("--delay-ms", type=int, default=DEFAULT_DELAY_MS, metavar="N", help="80…1200 by 80, or 2400")
    parser.add_argument("--left-pad", type=int, default=DEFAULT_LEFT_PAD_TOKENS, metavar="N", help="silence, in tokens")
    parser.add_argument("--backend", choices=("webgpu", "numpy"), help="default: webgpu where there is an adapter")


# -- commands -------------------------------------------------------------------------------------
async def _transcribe(options: argparse.Namespace) -> int:
    streaming = StreamingConfig(options.delay_ms, options.left_pad)
    output = Output(options, options.files)
    model, tekken = await _load(options)
    await model.warm_up(streaming)
    n_failed = 0
    for file in options.files:
        try:
            output.put(await _transcribe_file(file, model, tekken, streaming), file)
        except VoxtralError as error:
            say(str(error))
            n_failed += 1
    return 1 if n_failed else 0


async def _transcribe_file(file: Path, model: Voxtral, tekken: Tekken, streaming: StreamingConfig) -> Document:
    samples, notices = read_audio(file)
    samples, raised = audible(samples, str(file))
    for sentence in notices + raised:
        say(sentence)
    started = time.perf_counter()
    transcription = Transcription(model, tekken, streaming)
    await transcription.feed(samples)
    await transcription.finish()
    for sentence in transcription.take_notices():
        say(sentence)
    result = transcription.result(str(file), time.perf_counter() - started)
    adapter = model.ops.device.info.name if isinstance(model.ops, WebGpuOps) else None
    backend = "numpy" if adapter is None else "webgpu"
    settings = Settings(streaming.delay_ms, streaming.left_pad_tokens, False, backend, adapter)
    return of_result(result.as_dict(), str(model.metadata.get("general.name", "")), settings)


async def _tokens(options: argparse.Namespace) -> int:
    """Ends at `</s>`, as the reference implementation does, so that ids can be compared one by one."""
    streaming = StreamingConfig(options.delay_ms, options.left_pad, stop_at_eos=True)
    if options.chunk < 0:
        raise ConfigError(f"--chunk must be a number of samples, 0 or more, got {options.chunk}")
    samples, _ = read_audio(options.file)
    source, _ = open_model_files(options.model)
    model = await _load_model(options, source)
    stages: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    probe = (lambda name, rows: stages[name].append(rows)) if options.dump else None
    session = StreamingSession(model, streaming.delay_ms, streaming.left_pad_tokens, streaming.stop_at_eos, probe)
    events = []
    for start in range(0, len(samples), options.chunk or len(samples)):
        events += await session.feed(samples[start : start + (options.chunk or len(samples))])
    events += await session.finish()
    tokens = [event.token for event in events]
    if options.dump:
        dump: dict[str, Any] = {name: np.concatenate(rows) for name, rows in stages.items()}
        np.savez_compressed(options.dump, allow_pickle=False, **dump, tokens=np.array(tokens))
    print(json.dumps(tokens))
    return 0


async def _bench(options: argparse.Namespace) -> int:
    if options.chromium and not options.browser:
        raise ConfigError("--chromium belongs to --browser; add it, or leave --chromium out")
    if options.json and not options.json.resolve().parent.is_dir():
        raise ConfigError(f"--json {options.json}: its folder does not exist; make it, or name another")
    report = _bench_in_browser(options) if options.browser else await _bench_here(options)
    print(render(report))
    if options.json:
        _write(options.json, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 0


async def _bench_here(options: argparse.Namespace) -> dict[str, Any]:
    source, tekken_path = open_model_files(options.model or DEMO_MODEL)
    tekken, streaming = _read_tekken(tekken_path), StreamingConfig()
    started = time.perf_counter()
    model = await _load_model(options, source)
    tekken.require(model.config.decoder.vocab_size)
    loaded = time.perf_counter()
    await model.warm_up(streaming)
    times = LoadTimes(source.n_bytes, loaded - started, time.perf_counter() - loaded)
    return await measure(Subject(model, tekken, streaming, times), _machine(), None, _tell)


def _bench_in_browser(options: argparse.Namespace) -> dict[str, Any]:
    """Page, server and runtime belong to a checkout; an installed package has none of them."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "serve.py").is_file():
        raise ConfigError("bench --browser needs a checkout, with the page and serve.py; run it there: PYTHONPATH=py")
    sys.path[:0] = [str(root), str(root / "py")]
    from tools.browser_bench import bench_in_browser
    from tools.chromium import BrowserError

    command = shlex.split(options.chromium) if options.chromium else None
    try:
        return bench_in_browser(options.model, options.backend, command, say)
    except BrowserError as error:
        raise DeviceError(str(error)) from error


async def _tell(what: str) -> None:
    say(f"measuring {what}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _machine() -> dict[str, Any]:
    """As `voxtral.worker.Host.machine`; the heap is the process's."""
    return {
        "system": platform.platform(),
        "cpu_threads": os.cpu_count(),
        "heap_bytes": _peak_memory_bytes(),
        "loader_peak_bytes": None,
    }


def _peak_memory_bytes() -> int | None:
    """Of this process; None on systems that do not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# -- composition ------------------------------------------------------------------------------------
async def _load(options: argparse.Namespace) -> tuple[Voxtral, Tekken]:
    source, tekken_path = open_model_files(options.model)
    tekken = _read_tekken(tekken_path)
    model = await _load_model(options, source)
    tekken.require(model.config.decoder.vocab_size)
    return model, tekken


async def _load_model(options: argparse.Namespace, source: ShardedCursor) -> Voxtral:
    model = await Voxtral.load(await _open_ops(options.backend), source)
    for sentence in model.replaced:
        say(sentence)
    return model


def _read_tekken(path: Path) -> Tekken:
    try:
        return Tekken.from_json(path.read_bytes(), str(path))
    except OSError as error:
        sentence = f"{path}: cannot be read ({error.strerror}); the tokenizer belongs beside the model"
        raise ModelFileError(sentence) from error


async def _open_ops(backend: str | None) -> AnyOps:
    """WebGPU when asked for or possible, else numpy with a warning."""
    if backend == "numpy":
        return ReferenceOps()
    try:
        from voxtral.gpu.native import open_native

        return WebGpuOps(await open_native())
    except (DeviceError, ImportError) as error:
        reason = str(error) if isinstance(error, DeviceError) else "the package wgpu is not installed"
        if backend == "webgpu":
            sentence = f"{reason}; install it with `pip install 'voxtral[gpu]'`, or use --backend numpy"
            raise DeviceError(sentence) from error
        say(f"computing on the CPU with numpy, because {reason}")
        return ReferenceOps()
