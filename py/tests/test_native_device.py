"""The wgpu-py device: bytes in and out, and its refusals as sentences."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from voxtral.errors import DeviceError
from voxtral.gpu import native
from voxtral.gpu.device import Limits
from voxtral.gpu.native import NativeDevice, open_native


def test_bytes_survive_write_copy_and_read(device: NativeDevice) -> None:
    source, target = device.create_buffer(64, "source"), device.create_buffer(64, "target")
    device.write(source, 16, np.arange(8, dtype=np.uint32).reshape(2, 4))
    device.write(source, 0, b"\x01\0\0\0")
    device.copy(source, 20, target, 4, 12)
    assert np.frombuffer(asyncio.run(device.read(source, 0, 28)), np.uint32).tolist() == [1, 0, 0, 0, 0, 1, 2]
    assert np.frombuffer(asyncio.run(device.read(target, 0, 20)), np.uint32).tolist() == [0, 1, 2, 3, 0]


def test_default_limits_are_those_of_every_adapter() -> None:
    device = asyncio.run(open_native(default_limits=True))
    assert device.limits == Limits()
    with pytest.raises(DeviceError, match="has no room for the 537 MB of 'weights' beside the 0 bytes that it holds"):
        device.create_buffer(2**29, "weights")
    device.destroy()


@pytest.mark.parametrize(("vendor_id", "smallest", "largest", "expected"), [
    (0x10DE, 4, 128, 32),  # what wgpu says of every Vulkan adapter; NVIDIA has but one size
    (0x8086, 8, 32, 0),
    (0x1002, 64, 64, 64),
])  # fmt: skip
def test_the_size_of_subgroups_is_known_where_it_never_varies(vendor_id, smallest, largest, expected) -> None:
    info = {"vendor_id": vendor_id, "stackgroup_min_size": smallest, "stackgroup_max_size": largest}
    assert native._subgroup_size(SimpleNamespace(info=info)) == expected


def test_an_unknown_adapter_is_refused_with_those_there_are(device: NativeDevice) -> None:
    with pytest.raises(DeviceError, match="no GPU adapter is called 'imaginary'; found: ") as caught:
        asyncio.run(open_native("imaginary"))
    assert repr(device.info.name) in str(caught.value)


def test_an_adapter_is_found_by_part_of_its_name(device: NativeDevice) -> None:
    again = asyncio.run(open_native(device.info.name[:6].upper()))
    assert again.info.name == device.info.name
    again.destroy()


def test_a_device_that_went_away_says_so_whatever_it_is_asked_for(capfd) -> None:
    device = asyncio.run(open_native())
    buffer = device.create_buffer(64, "bytes")
    told: list[DeviceError] = []
    device.on_lost(told.append)
    device._device.destroy()
    asked = [
        lambda: device.write(buffer, 0, bytes(4)),
        lambda: device.create_buffer(64, "more"),
        lambda: device.copy(buffer, 0, buffer, 32, 16),
        lambda: device.submit([()]),
        lambda: asyncio.run(device.read(buffer, 0, 4)),
        lambda: asyncio.run(device.time_ms([()])),
        lambda: asyncio.run(device.create_pipeline("p", "@compute @workgroup_size(1) fn main() {}", [], {})),
    ]
    for ask in asked:
        with pytest.raises(DeviceError, match="went away") as caught:
            ask()
        assert caught.value is told[0]
    assert len(told) == 1
    assert capfd.readouterr().err == ""  # nor does wgpu write what it knows there
