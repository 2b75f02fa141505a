"""Functions that tests have the harness call inside Chromium; plain JSON values in and out.

They bring the browser's device together with the very cases that CPython runs (py/tests).
"""

from functools import cache
from pathlib import Path
from typing import Any

import full_width
import js
import numpy as np
from demo_case import transcribe_clip
from golden_cases import GoldenSet, stage_report, token_report
from op_cases import CASES, Case, run_case
from polyscript import js_modules

from voxtral.browser import BrowserHost, HttpSource, Port, heap_bytes, loader_buffers, now_ms, open_browser
from voxtral.config import MEL_FRAMES_PER_TOKEN, REFERENCE_LEFT_PAD_TOKENS, SAMPLES_PER_TOKEN, StreamingConfig
from voxtral.download import download
from voxtral.gpu.device import NEEDED_LIMITS
from voxtral.library import Library
from voxtral.loading import Options, load
from voxtral.mel import log_mel
from voxtral.model.stream import HISTORY_MEL_FRAMES
from voxtral.model.voxtral import Voxtral
from voxtral.ops.base import FILL_BYTES
from voxtral.ops.webgpu import WebGpuOps
from voxtral.shards import ByteSource, ShardedCursor
from voxtral.sources import read_offer
from voxtral.store import ModelStore

FULL_WIDTH = Path("tests", "golden", "full_width")
GOLDEN_FILES = ("meta.json", "golden.npz", "model.gguf")


@cache
def _devices() -> dict[bool, Any]:
    return {}


async def _open_ops(default_limits: bool = True) -> WebGpuOps:
    """One device for all calls, with exactly the default limits and no feature, or with all it has."""
    devices = _devices()
    if default_limits not in devices:
        devices[default_limits] = await open_browser(js_modules.tape.replay, default_limits=default_limits)
    return WebGpuOps(devices[default_limits])


async def describe_adapter() -> dict[str, Any]:
    """What the GPU says of itself."""
    info = (await _open_ops()).device.info
    features = (await _open_ops(default_limits=False)).device.info.features
    return {
        "name": info.name,
        "backend": info.backend,
        "is_software": info.is_software,
        "default features": sorted(info.features),
        "features": sorted(features),
    }


async def run_op_cases(first: int, last: int, default_limits: bool = True) -> dict[str, list[str]]:
    """Name → problems, for the cases from first up to, but without, last."""
    return await _problems(CASES[first:last], default_limits)


async def run_op_cases_at(positions: list[int]) -> dict[str, list[str]]:
    """The same for those at these positions, with every optional feature the device has."""
    return await _problems([CASES[i] for i in positions], default_limits=False)


async def _problems(cases: list[Case], default_limits: bool) -> dict[str, list[str]]:
    ops = await _open_ops(default_limits)
    reports = [await run_case(ops, case) for case in cases]
    return {report.name: list(report.problems) for report in reports}


async def run_golden(name: str, default_limits: bool = True) -> dict[str, Any]:
    """Both reports of one golden set, whose files are there already."""
    golden = GoldenSet({file: Path("tests", "golden", name, file).read_bytes() for file in GOLDEN_FILES})
    return {
        "tokens": await token_report(golden, await _open_ops(default_limits)),
        "stages": await stage_report(golden, await _open_ops(default_limits)),
    }


async def run_precision(dtype: str, address: str) -> dict[str, Any]:
    """The stages of a set of golden/precision, whose weights are served at this address of the origin."""
    folder = Path("tests", "golden", "precision", dtype.lower())
    weights = await HttpSource.open(f"{js.location.origin}{address}")
    golden = GoldenSet({path.name: path.read_bytes() for path in folder.iterdir()}, weights)
    return await stage_report(golden, await _open_ops())


async def run_demo() -> dict[str, Any]:
    """What the demo network hears in its clip, and what the device it heard it with was given."""
    ops = await _open_ops()
    given = ops.device._device
    return {
        "text": await transcribe_clip(ops, Path()),
        "limits": {name: getattr(given.limits, name) for name in NEEDED_LIMITS},
        "features": [str(name) for name in given.features],
    }


async def run_full_width(address: str, serial: bool, chunk_tokens: list[int], n_positions: int) -> dict[str, Any]:
    """full_width.report of the set whose weights are served at this address of the origin."""
    golden = GoldenSet(
        {path.name: path.read_bytes() for path in FULL_WIDTH.iterdir()},
        await HttpSource.open(f"{js.location.origin}{address}"),
    )
    ops = WebGpuOps((await _open_ops()).device, serial)
    report = await full_width.report(golden, ops, chunk_tokens, n_positions=n_positions)
    ops.device.destroy()
    _devices().clear()  # there is no other way to have its memory back
    return report


async def hear_silence(addresses: list[str], n_tokens: int) -> dict[str, Any]:
    """Load a model of these shards and let it hear silence until it has said n_tokens; what that took.

    Works with all that the device has, as the page does.
    """
    sources = [await HttpSource.open(f"{js.location.origin}{address}") for address in addresses]
    ops = await _open_ops(default_limits=False)
    started_ms = now_ms()
    model = await Voxtral.load(ops, ShardedCursor(sources))
    loaded_ms = now_ms()
    stream = await model.borrow()
    streaming = StreamingConfig(delay_ms=80, left_pad_tokens=REFERENCE_LEFT_PAD_TOKENS)
    choices = list((await model.prefix(stream, streaming)).choices)
    mel = log_mel(np.zeros((n_tokens + 2) * SAMPLES_PER_TOKEN, np.float32))[: HISTORY_MEL_FRAMES + MEL_FRAMES_PER_TOKEN]
    while len(choices) < streaming.n_prompt_tokens - 1 + n_tokens:
        choices += await stream.advance(mel)
    return {
        "n_parameters": model.n_parameters,
        "tokens": [choice[0].token for choice in choices[streaming.n_prompt_tokens - 1 :]],
        "load_s": (loaded_ms - started_ms) / 1000,
        "positions": len(choices),
        "positions_s": (now_ms() - loaded_ms) / 1000,
        "heap_bytes": heap_bytes(),
        "loader_peak_bytes": loader_buffers.peak,
        "gpu_peak_bytes": ops.device.memory.peak,
    }


async def measure_store(folder: str, n_reads: int = 2) -> dict[str, Any]:
    """Keep the model in a folder of the origin, read it and load it, as the page does: bytes, and seconds of each.

    read_s: the weights from the store in order, once for each of n_reads, and to no purpose. ready_s: from there to a
    model that can hear, as often; stages_s: the beginning and end of each stage of it.
    """
    host = BrowserHost(Port(js.globalThis), js_modules.tape.replay)
    disk = await host.open_disk()
    assert disk is not None
    offer = await read_offer(host.network(), f"{js.location.origin}/{folder}")
    started_ms = now_ms()
    ended_ms: dict[str, float] = {}  # of each stage, the last of it
    kept = await disk.folder(offer.key)
    await download(offer, kept, host.network(), lambda stage, *_: ended_ms.update({stage: now_ms()}))
    report: dict[str, Any] = {"kept_s": (now_ms() - started_ms) / 1000, "read_s": [], "ready_s": [], "stages_s": []}
    for _ in range(n_reads):
        weights, _tekken = await ModelStore(disk).open(offer.key)
        report["weights_bytes"] = sum(source.n_bytes for source in weights)
        report["read_s"].append(await _read_through(weights))
    library = Library(host, lambda *_arguments, **_fields: None)
    for _ in range(n_reads):
        clock = _StageClock()
        loaded = await load(host, library, Options.of(f"stored:{offer.key}", None, "webgpu", None, None), clock.of)
        report["ready_s"].append(clock.now_s())
        report["stages_s"].append(clock.ended_s)
        loaded.close()
    report["heap_bytes"] = heap_bytes()
    await disk.delete(offer.key)
    return report


async def _read_through(sources: list[ByteSource]) -> float:
    """Seconds that all bytes take, in the pieces in which a model is loaded."""
    started_ms = now_ms()
    for source in sources:
        for offset in range(0, source.n_bytes, FILL_BYTES):
            await source.piece_at(offset, min(FILL_BYTES, source.n_bytes - offset))
        source.close()
    return (now_ms() - started_ms) / 1000


class _StageClock:
    """When the first and the last word of each stage of loading came."""

    def __init__(self) -> None:
        self._started_ms = now_ms()
        self.ended_s: dict[str, list[float]] = {}

    def now_s(self) -> float:
        return (now_ms() - self._started_ms) / 1000

    def of(self, stage: str) -> Any:
        async def report(_done: int, _total: int) -> None:
            self.ended_s.setdefault(stage, [self.now_s()])[1:] = [self.now_s()]

        return report
