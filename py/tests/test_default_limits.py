"""The whole demo network on a device that was given what every WebGPU adapter grants, and nothing more; also in e2e."""

import asyncio
from pathlib import Path

import pytest
from demo_case import SPOKEN, transcribe_clip

from voxtral.gpu.device import NEEDED_LIMITS
from voxtral.gpu.native import open_native
from voxtral.ops.webgpu import WebGpuOps

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("serial", [True, False], ids=["software", "as on a GPU"])
def test_the_demo_network_needs_no_more_than_the_defaults(serial: bool) -> None:
    device = asyncio.run(open_native(default_limits=True))
    granted = {name.replace("-", "").lower(): value for name, value in device._device.limits.items()}
    assert {name: granted[name.lower()] for name in NEEDED_LIMITS} == NEEDED_LIMITS
    assert not device.info.features
    assert asyncio.run(transcribe_clip(WebGpuOps(device, serial), ROOT)) == SPOKEN
    device.destroy()
