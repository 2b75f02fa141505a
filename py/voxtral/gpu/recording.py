"""A Device that executes nothing and remembers everything, for tests of plans on any machine.

Buffers do hold what is written and copied, so `read` answers; dispatches leave no trace but their record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxtral.errors import DeviceError
from voxtral.gpu.device import AdapterInfo, Binding, Dispatch, Limits, MemoryUse, refused, require_room


@dataclass(eq=False)
class RecordedBuffer:
    label: str
    uniform: bool
    data: bytearray = field(repr=False)
    destroyed: bool = False


@dataclass(frozen=True, eq=False)
class RecordedPipeline:
    label: str
    wgsl: str
    bindings: tuple[str, ...]
    overrides: dict[str, float]


@dataclass
class RecordingDevice:
    """`gpu.device.Device` for tests. writes: (buffer, offset, bytes); submits: dispatches of each.

    room_bytes: what it has room for; as in a browser, that more is refused turns out in `settle`.
    """

    info: AdapterInfo = field(default_factory=lambda: AdapterInfo("recording", "none", is_software=False))
    limits: Limits = field(default_factory=Limits)
    memory: MemoryUse = field(default_factory=MemoryUse)
    buffers: list[RecordedBuffer] = field(default_factory=list)
    writes: list[tuple[RecordedBuffer, int, int]] = field(default_factory=list)
    pipelines: list[RecordedPipeline] = field(default_factory=list)
    submits: list[list[Dispatch]] = field(default_factory=list)
    destroyed: bool = False
    room_bytes: int | None = None
    refusal: DeviceError | None = None

    def on_lost(self, callback: Callable[[DeviceError], None]) -> None:
        """This one never goes away."""

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> RecordedBuffer:
        require_room(self, n_bytes, label)
        if self.room_bytes is not None and self.memory.now + n_bytes > self.room_bytes:
            self.refusal = self.refusal or refused(self, n_bytes, label, self.memory.now, "out of memory")
        buffer = RecordedBuffer(label, uniform, bytearray(n_bytes))
        self.buffers.append(buffer)
        self.memory.add(n_bytes)
        return buffer

    async def settle(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def destroy_buffer(self, buffer: RecordedBuffer) -> None:
        buffer.destroyed = True
        self.memory.add(-len(buffer.data))

    def write(self, buffer: RecordedBuffer, offset: int, data: Any) -> None:
        new = bytes(data)
        buffer.data[offset : offset + len(new)] = new
        self.writes.append((buffer, offset, len(new)))

    async def read(self, buffer: RecordedBuffer, offset: int, n_bytes: int) -> bytes:
        return bytes(buffer.data[offset : offset + n_bytes])

    def copy(
        self, source: RecordedBuffer, source_offset: int, target: RecordedBuffer, target_offset: int, n_bytes: int
    ) -> None:
        target.data[target_offset : target_offset + n_bytes] = source.data[source_offset : source_offset + n_bytes]

    async def create_pipeline(
        self, label: str, wgsl: str, bindings: Sequence[str], overrides: Mapping[str, float]
    ) -> RecordedPipeline:
        pipeline = RecordedPipeline(label, wgsl, tuple(bindings), dict(overrides))
        self.pipelines.append(pipeline)
        return pipeline

    def create_bind_group(self, pipeline: RecordedPipeline, bindings: Sequence[Binding]) -> tuple[Binding, ...]:
        assert len(bindings) == len(pipeline.bindings)
        return tuple(bindings)

    def create_tape(self, dispatches: Sequence[Dispatch]) -> tuple[Dispatch, ...]:
        return tuple(dispatches)

    def submit(self, tapes: Sequence[tuple[Dispatch, ...]]) -> None:
        dispatches = [dispatch for tape in tapes for dispatch in tape]
        for dispatch in dispatches:
            assert not any(binding.buffer.destroyed for binding in dispatch.bind_group), dispatch.pipeline.label
        self.submits.append(dispatches)

    async def time_ms(self, tapes: Sequence[tuple[Dispatch, ...]]) -> float | None:
        self.submit(tapes)
        return None

    def destroy(self) -> None:
        self.memory.now = 0
        self.destroyed = True
