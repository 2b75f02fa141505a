"""Fixtures every test may use. A missing GPU adapter is an error, not a skip."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings

from voxtral.gpu.recording import RecordingDevice
from voxtral.ops import webgpu
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps

# Every server asked here is on this machine, where a proxy of the person's cannot reach it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"

# How fast examples come says how busy the machine is, and nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def check_once():
    """Kernels are checked once for each device and shape of model, not at each load; test_self_check.py has its own.

    A recording device computes nothing, so nothing it computes is held against it.
    """
    check, known = webgpu.self_check, {}

    async def self_check(ops, config, kinds, cache_dtype):
        if isinstance(ops.device, RecordingDevice):
            return []
        key = (ops.device, frozenset(ops.plain), ops.traits, config, tuple(kinds), cache_dtype)
        if key not in known:
            known[key] = await check(ops, config, kinds, cache_dtype)
        return known[key]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(webgpu, "self_check", self_check)
        yield


@pytest.fixture(scope="session")
def device():
    """A WebGPU device on this machine; llvmpipe is enough."""
    from voxtral.gpu.native import open_native

    return asyncio.run(open_native())


@pytest.fixture(params=["numpy", "webgpu", "webgpu as on a GPU"])
def ops(request):
    """Both backends; WebGPU with the kernels for software adapters, and with those for GPUs."""
    if request.param == "numpy":
        return ReferenceOps()
    return WebGpuOps(request.getfixturevalue("device"), serial=None if request.param == "webgpu" else False)
