"""Recording: from calls that name tensors to a tape a device can replay for ever.

`Recorder` collects steps and hands out scratch tensors; `finish` then chooses buffers for the scratch, writes
every step's parameters into one uniform buffer, compiles what is missing and freezes the tape. Nothing is
uploaded afterwards: whatever changes between runs lies in persistent tensors.

Scratch memory. Steps run in order, so two scratch tensors whose first-to-last uses do not overlap share a buffer,
and so do the scratch tensors of different programs. What a program returns is pinned: its buffer is its own.
"""

import math
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from voxtral.errors import DeviceError
from voxtral.gpu.device import Binding, Device, Dispatch
from voxtral.gpu.shader_library import ShaderLibrary, Variant
from voxtral.gpu.tensor import Memory, Tensor

GRID_WIDTH = 32_768  # as in shaders/common/grid.wgsl
PARAMS_STRIDE = 256  # the largest uniform offset alignment an adapter may ask for
SMALLEST_SCRATCH_BYTES = 256

Grid = tuple[int, int, int]


def fold_grid(n_workgroups: int, depth: int = 1) -> Grid:
    """A grid of at least n_workgroups x depth that no dimension limit refuses."""
    return min(n_workgroups, GRID_WIDTH), math.ceil(n_workgroups / GRID_WIDTH), depth


class Step(NamedTuple):
    """One dispatch to be: arguments in binding order, without the uniform parameters."""

    variant: Variant
    arguments: tuple[Tensor, ...]
    params: bytes
    grid: Grid


@dataclass(frozen=True, eq=False)
class Program:
    """A recorded program. outputs: what its build function returned."""

    label: str
    tape: Any
    dispatch_count: int
    outputs: Any
    params: Any  # the uniform buffer, kept alive


class Recorder:
    """The steps of one program while it is being recorded."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.steps: list[Step] = []

    def scratch(self, shape: tuple[int, ...], label: str) -> Tensor:
        """A float32 tensor whose buffer is chosen when the recording ends."""
        return Tensor(Memory(math.prod(shape) * 4, label), shape)

    def dispatch(
        self, kernel: str, arguments: Sequence[Tensor], params: Sequence[int | float], grid: Grid, **overrides: float
    ) -> None:
        """Append one launch; params are u32 for int and f32 for float, in the order of the kernel's struct."""
        packed = b"".join(struct.pack("<f" if isinstance(value, float) else "<I", value) for value in params)
        variant = Variant(kernel, tuple(sorted((name, float(value)) for name, value in overrides.items())))
        self.steps.append(Step(variant, tuple(arguments), packed, grid))


class ScratchPool:
    """Buffers that programs borrow while they run, by size class."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._shared: defaultdict[int, list[Any]] = defaultdict(list)
        self._pinned: list[tuple[int, Any]] = []

    def place(self, steps: Sequence[Step], outputs: Any) -> None:
        """Give every scratch tensor of these steps a buffer; those in `outputs` keep theirs to themselves."""
        pinned = {id(tensor.memory) for tensor in tensors_in(outputs)}
        last_use = {id(tensor.memory): i for i, step in enumerate(steps) for tensor in step.arguments}
        free = {size: list(buffers) for size, buffers in self._shared.items()}
        borrowed: list[tuple[int, int, Any]] = []  # (last use, size class, buffer)
        for i, step in enumerate(steps):
            for tensor in step.arguments:
                memory = tensor.memory
                if memory.buffer is not None:
                    continue
                size = size_class(memory.n_bytes)
                if id(memory) in pinned:
                    memory.buffer = self._device.create_buffer(size, memory.label)
                    self._pinned.append((size, memory.buffer))
                    continue
                available = free.setdefault(size, [])
                memory.buffer = available.pop() if available else self._grow(size)
                borrowed.append((last_use[id(memory)], size, memory.buffer))
            for _, size, buffer in (loan for loan in borrowed if loan[0] == i):
                free[size].append(buffer)

    def unpin(self, outputs: Any) -> None:
        """Give back what a program kept to itself for these outputs."""
        buffers = {id(tensor.memory.buffer) for tensor in tensors_in(outputs)}
        gone = [buffer for _, buffer in self._pinned if id(buffer) in buffers]
        self._pinned = [(size, buffer) for size, buffer in self._pinned if id(buffer) not in buffers]
        for buffer in gone:
            self._device.destroy_buffer(buffer)

    def buffers(self) -> Iterator[tuple[int, Any]]:
        """(bytes, buffer) of all scratch there is."""
        yield from self._pinned
        for size, buffers in self._shared.items():
            for buffer in buffers:
                yield size, buffer

    def _grow(self, size: int) -> Any:
        buffer = self._device.create_buffer(size, f"scratch {size}")
        self._shared[size].append(buffer)
        return buffer


def size_class(n_bytes: int) -> int:
    """The next power of two, so that tensors of nearly one size can share."""
    return max(SMALLEST_SCRATCH_BYTES, 1 << (n_bytes - 1).bit_length())


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of a program's return value: a tensor, or tuples, lists and dicts of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


async def finish(
    recorder: Recorder, outputs: Any, device: Device, library: ShaderLibrary, pool: ScratchPool
) -> Program:
    """Turn what was recorded into a program; raises ShaderError or DeviceError, and then keeps nothing for it."""
    steps = recorder.steps
    limit = device.limits.max_compute_workgroups_per_dimension
    for step in steps:
        if max(step.grid) > limit:
            raise DeviceError(f"{step.variant.label} needs a grid of {step.grid}, the GPU allows {limit} per dimension")
    await library.compile(step.variant for step in steps)
    params = None
    try:
        pool.place(steps, outputs)
        params = device.create_buffer(max(len(steps), 1) * PARAMS_STRIDE, f"{recorder.label} params", uniform=True)
        device.write(params, 0, b"".join(step.params.ljust(PARAMS_STRIDE, b"\0") for step in steps))
        dispatches = []
        for i, step in enumerate(steps):
            pipeline = library[step.variant]
            bindings = [Binding(tensor.memory.buffer, 0, tensor.n_bytes) for tensor in step.arguments]
            if step.params:
                bindings.append(Binding(params, i * PARAMS_STRIDE, PARAMS_STRIDE))
            dispatches.append(Dispatch(pipeline, device.create_bind_group(pipeline, bindings), step.grid))
        return Program(recorder.label, device.create_tape(dispatches), len(steps), outputs, params)
    except BaseException:
        pool.unpin(outputs)
        if params is not None:
            device.destroy_buffer(params)
        raise
