"""Functions that tests have the harness call inside Chromium; plain JSON values in and out.

They bring the browser's device together with the very cases that CPython runs (py/tests).
"""

from functools import cache
from pathlib import Path
from typing import Any

from golden_cases import GoldenSet, stage_report, token_report
from op_cases import CASES, run_case
from polyscript import js_modules

from voxtral.gpu.browser import open_browser
from voxtral.ops.webgpu import WebGpuOps
from voxtral.shards import ShardedCursor

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
    return {"name": info.name, "backend": info.backend, "is_software": info.is_software}


async def run_op_cases(first: int, last: int, default_limits: bool = True) -> dict[str, list[str]]:
    """Name → problems, for the cases from first up to, but without, last."""
    ops = await _open_ops(default_limits)
    reports = [await run_case(ops, case) for case in CASES[first:last]]
    return {report.name: list(report.problems) for report in reports}


async def run_golden(name: str, default_limits: bool = True) -> dict[str, Any]:
    """Both reports of one golden set, whose files are there already."""
    golden = GoldenSet({file: Path("tests", "golden", name, file).read_bytes() for file in GOLDEN_FILES})
    return {
        "tokens": await token_report(golden, await _open_ops(default_limits)),
        "stages": await stage_report(golden, await _open_ops(default_limits)),
    }


async def measure_webgpu(model_path: str) -> dict[str, Any]:
    """Times of the engine's programs on the GPU; step_bench.py is there already."""
    from step_bench import measure

    return await measure(await _open_ops(False), model_path)


async def measure_numpy(model_path: str) -> dict[str, Any]:
    """The same on the CPU."""
    from step_bench import measure_numpy

    return await measure_numpy(model_path)


async def measure_kernels() -> dict[str, Any]:
    """Times of the kernels at the 4B shapes; gpu_bench.py is there already."""
    from gpu_bench import bench_kernels

    return await bench_kernels(await _open_ops(False))


async def measure_served(names: list[str], left_pad_tokens: int) -> dict[str, Any]:
    """The same for a model below /models/, whose bytes never enter Python; with the size of Python's memory."""
    import js
    import pyodide_js
    from step_bench import measure_from

    from voxtral.gpu.browser import HttpSource

    ops = await _open_ops(False)
    source = ShardedCursor([await HttpSource.open(f"{js.location.origin}/models/{name}") for name in names])
    before = pyodide_js._module.HEAPU8.length
    report = await measure_from(ops, source, left_pad_tokens)
    return {**report, "Python heap, MB": [round(before / 1e6), round(pyodide_js._module.HEAPU8.length / 1e6)]}
