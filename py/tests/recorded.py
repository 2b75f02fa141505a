"""Runs cases on the recording device: what would be dispatched, without a GPU."""

import asyncio

import numpy as np
from op_cases import SCENARIOS, Case

from voxtral.gpu.device import PACKED_DOT, AdapterInfo, Dispatch
from voxtral.gpu.recording import RecordingDevice
from voxtral.ops.webgpu import WebGpuOps


def record_case(case: Case, *features: str) -> RecordingDevice:
    """The device, with these optional features, after `case` ran on it; its arrays stay as they were uploaded."""
    device = RecordingDevice(
        AdapterInfo("recording", "none", is_software=False, features=frozenset(features), subgroup_size=32)
    )
    ops = WebGpuOps(device, case.serial, case.max_binding_bytes)
    asyncio.run(SCENARIOS[case.scenario](ops, np.random.default_rng(0), **case.arguments))
    return device


def launches(device: RecordingDevice) -> list[list[Dispatch]]:
    """What was submitted, without the filling of matrices."""
    return [submit for submit in device.submits if not submit[0].pipeline.label.startswith("repack_q4_0")]


def has_forms(case: Case) -> bool:
    """Whether what a device is good at (subgroups, packed products) gives the case other kernels."""
    kernels = [
        {pipeline.wgsl for pipeline in record_case(case, *features).pipelines}
        for features in ((), ("subgroups", PACKED_DOT))
    ]
    return kernels[0] != kernels[1]
