"""Fixtures every test may use. A missing GPU adapter is an error, not a skip."""

import asyncio

import pytest

from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps


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
