"""The wgpu-py device: bytes in and out, and its refusals as sentences."""

import asyncio

import numpy as np
import pytest

from voxtral.errors import DeviceError
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


def test_an_unknown_adapter_is_refused_with_those_there_are(device: NativeDevice) -> None:
    with pytest.raises(DeviceError, match="no GPU adapter is called 'imaginary'; found: ") as caught:
        asyncio.run(open_native("imaginary"))
    assert repr(device.info.name) in str(caught.value)


def test_an_adapter_is_found_by_part_of_its_name(device: NativeDevice) -> None:
    again = asyncio.run(open_native(device.info.name[:6].upper()))
    assert again.info.name == device.info.name
    again.destroy()
