"""How fast this device copies memory: what every kernel that reads weights is measured against."""

import numpy as np

from voxtral.bench.effort import Effort
from voxtral.bench.timer import Timed, Timer
from voxtral.gpu.commands import Program
from voxtral.gpu.device import Binding, Device, Dispatch
from voxtral.model.layers import AnyOps
from voxtral.ops.webgpu import WebGpuOps

WG = 256
BYTES_PER_INVOCATION = 16
N_PAIRS = 2  # of buffers, so that a GPU's cache holds neither
COPY_KERNEL = f"""
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> n: vec4<u32>;
@compute @workgroup_size({WG})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {{
    let i = workgroup.x * {WG}u + invocation;
    if (i < n.x) {{
        copied[i] = source[i];
    }}
}}
"""


async def copy_gb_per_s(ops: AnyOps, timer: Timer, effort: Effort) -> float:
    """Read plus write bandwidth of a plain copy between buffers that no cache holds, 1e9 bytes a second."""
    if not isinstance(ops, WebGpuOps):
        source, target = np.ones(effort.copy_bytes, np.uint8), np.empty(effort.copy_bytes, np.uint8)
        program = await ops.program(lambda: np.copyto(target, source), "copy")
        [ms] = await timer.best_ms([Timed([program])])
        return 2 * effort.copy_bytes / ms / 1e6
    device = ops.device
    buffers = [device.create_buffer(effort.copy_bytes, "copy") for _ in range(2 * N_PAIRS)]
    try:
        program = await _copies(device, buffers, effort.copy_bytes)
        [ms] = await timer.best_ms([Timed([program], N_PAIRS)])
        device.destroy_buffer(program.params)
    finally:
        for buffer in buffers:
            device.destroy_buffer(buffer)
    return 2 * effort.copy_bytes / ms / 1e6


async def _copies(device: Device, buffers: list[object], n_bytes: int) -> Program:
    """A copy from each first to each second buffer."""
    params = device.create_buffer(BYTES_PER_INVOCATION, "copy params", uniform=True)
    n_invocations = n_bytes // BYTES_PER_INVOCATION
    device.write(params, 0, np.array([n_invocations, 0, 0, 0], np.uint32))
    pipeline = await device.create_pipeline("copy", COPY_KERNEL, ("read", "read_write", "uniform"), {})
    dispatches = []
    for source, target in zip(buffers[::2], buffers[1::2], strict=True):
        bindings = [Binding(source, 0, n_bytes), Binding(target, 0, n_bytes), Binding(params, 0, BYTES_PER_INVOCATION)]
        bind_group = device.create_bind_group(pipeline, bindings)
        dispatches.append(Dispatch(pipeline, bind_group, (n_invocations // WG, 1, 1)))
    return Program("copy", device.create_tape(dispatches), len(dispatches), None, params)
