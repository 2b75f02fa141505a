"""The 4B network on a device that only counts: its memory, and what WebGPU's default limits allow."""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from test_command_plan import check_dispatch

from voxtral.config import SAMPLE_RATE, ModelConfig
from voxtral.gpu.device import Dispatch, require_room
from voxtral.gpu.recording import RecordedBuffer, RecordingDevice
from voxtral.gpu.shader_library import TRAITS
from voxtral.model.voxtral import Voxtral
from voxtral.ops.webgpu import WebGpuOps
from voxtral.random_model import PRESETS, header
from voxtral.session import StreamingSession
from voxtral.shards import Piece, ShardedCursor, require_range
from voxtral.weights import tensor_shapes

MAX_GPU_BYTES = 3_700_000_000
MAX_STORAGE_BUFFERS = 8  # of a kernel


@dataclass
class CountingDevice(RecordingDevice):
    """Buffers of which there is only the size."""

    n_dispatches: int = 0

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> RecordedBuffer:
        require_room(self, n_bytes, label)
        buffer = RecordedBuffer(label, uniform, range(n_bytes))  # type: ignore[arg-type]  # has that length
        self.buffers.append(buffer)
        self.memory.add(n_bytes)
        return buffer

    def write(self, buffer: RecordedBuffer, offset: int, data: Any) -> None:
        assert 0 <= offset <= len(buffer.data) - memoryview(data).nbytes

    async def read(self, buffer: RecordedBuffer, offset: int, n_bytes: int) -> bytes:
        assert 0 <= offset <= len(buffer.data) - n_bytes
        return bytes(n_bytes)

    def copy(self, *_: Any) -> None:
        """Nothing to copy."""

    def create_tape(self, dispatches: Any) -> tuple[Dispatch, ...]:
        for dispatch in dispatches:
            check_dispatch(self, dispatch)
            storage = [access for access in dispatch.pipeline.bindings if access != "uniform"]
            assert len(storage) <= MAX_STORAGE_BUFFERS, dispatch.pipeline.label
        return tuple(dispatches)

    def submit(self, tapes: Any) -> None:
        self.n_dispatches += sum(map(len, tapes))


class EmptyFile:
    """A header with nothing behind it but zeros."""

    name = "zeros"

    def __init__(self, config: ModelConfig) -> None:
        self._header = header(config)
        self.n_bytes = len(self._header) + 3_000_000_000

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        require_range(self.name, self.n_bytes, offset, n_bytes)
        return self._header[offset : offset + n_bytes].ljust(n_bytes, b"\0")

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self.read_at(offset, n_bytes))

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(
    ("serial", "traits"), [(True, ()), (False, ()), (False, tuple(TRAITS.values()))], ids=["serial", "teams", "traits"]
)
def test_the_4b_model_fits(serial: bool, traits: tuple[str, ...]) -> None:
    """With rings for 8192 tokens and 750 positions, behind sessions of several delays; a GPU of default limits."""
    device = CountingDevice()

    async def use() -> None:
        ops = WebGpuOps(device, serial, traits=frozenset(traits))
        model = await Voxtral.load(ops, ShardedCursor([EmptyFile(PRESETS["4b"])]))
        for delay_ms, seconds in ((480, 30), (480, 1), (80, 1), (960, 1), (2400, 1)):
            session = StreamingSession(model, delay_ms)
            await session.feed(np.zeros(seconds * SAMPLE_RATE, np.float32))
            await session.finish()

    asyncio.run(use())
    assert device.n_dispatches > 30_000  # it did work
    n_weights = sum(int(np.prod(shape)) for _, shape in tensor_shapes(PRESETS["4b"]))
    rings = 2 * 2 * (32 * 750 * 2048 + 26 * 8192 * 1024)
    print(f"{device.memory.peak / 1e9:.3f} GB")
    assert n_weights * 18 // 32 + rings < device.memory.now <= device.memory.peak < MAX_GPU_BYTES
