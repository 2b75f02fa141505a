"""Times the engine's programs one by one; runs on CPython and, through the harness, inside Chromium."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from voxtral.config import DEFAULT_LEFT_PAD_TOKENS, MEL_FRAMES_PER_TOKEN, N_MEL_BINS, StreamingConfig
from voxtral.model.layers import AnyOps
from voxtral.model.stream import HISTORY_MEL_FRAMES, Stream
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.shards import MemorySource, ShardedCursor

N_RUNS = 12


async def measure(ops: AnyOps, model_path: str) -> dict[str, Any]:
    """A small model: its bytes through Python."""
    path = Path(model_path)
    return await measure_from(ops, ShardedCursor([MemorySource(path.read_bytes(), path.name)]), DEFAULT_LEFT_PAD_TOKENS)


async def measure_from(ops: AnyOps, source: ShardedCursor, left_pad_tokens: int) -> dict[str, Any]:
    """Seconds to load and warm up; median milliseconds, submit to ids read back, of a chunk of each size, its encoder
    call and a decoder step."""
    report: dict[str, Any] = {}
    started = time.perf_counter()
    model = await Voxtral.load(ops, source)
    report["load, s"] = round(time.perf_counter() - started, 2)
    report["load, MB/s"] = round(source.n_bytes / 1e6 / report["load, s"])
    started = time.perf_counter()
    streaming = StreamingConfig(left_pad_tokens=left_pad_tokens)
    await model.warm_up(streaming)
    report["warm-up, s"] = round(time.perf_counter() - started, 2)
    stream = await model.borrow()
    checkpoint = (await model.prefix(stream, streaming)).checkpoint

    async def median_ms(run: Any) -> float:
        times = []
        for _ in range(1 + N_RUNS):
            stream.resume(checkpoint, streaming)
            await stream.ids()
            started = time.perf_counter()
            await run()
            times.append((time.perf_counter() - started) * 1000)
        return round(float(np.median(times[1:])), 2)

    for n_tokens in stream.chunk_tokens:
        mel = np.full((HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN, N_MEL_BINS), -0.625, np.float32)
        report[f"chunk of {n_tokens}: all, ms"] = await median_ms(lambda mel=mel: stream.advance(mel))
    for name, program in stream.programs.items():
        report[f"{name}, ms"] = await median_ms(lambda program=program: _run(ops, stream, program))
        if hasattr(program, "dispatch_count"):
            report[f"{name}, dispatches"] = program.dispatch_count
    return report


async def measure_numpy(model_path: str) -> dict[str, Any]:
    """The same for the CPU fallback."""
    return await measure(ReferenceOps(), model_path)


async def _run(ops: AnyOps, stream: Stream, program: Any) -> None:
    ops.submit([program])
    await stream.ids()
