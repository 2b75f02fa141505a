"""Matrices of weights in a GPU's memory: room for them, cut by rows where a binding ends, and how they are filled.

F16, BF16 and F32 lie there as they lie in the file, and are copied into place; blocks of Q4_0 are repacked on the way
(shaders/repack_q4_0.wgsl). What is read goes through one staging buffer, run by run.
"""

import math
from collections.abc import Iterator, Sequence

from voxtral.gpu.commands import Recorder, ScratchPool, finish, fold_grid
from voxtral.gpu.device import Device
from voxtral.gpu.shader_library import ShaderLibrary
from voxtral.gpu.tensor import BYTES_PER_ELEMENT, Matrix, MatrixPart, Memory, Tensor
from voxtral.ops.base import FILL_BYTES, Fill
from voxtral.ops.products import ELEMENT_WG, QUAD
from voxtral.quant import WEIGHTS_PER_BLOCK, GgmlType
from voxtral.shards import Piece

NIBBLE_BYTES = 16  # of a block of Q4_0, on the GPU
MAX_BYTES_UNDER_WAY = 64 << 20  # written but perhaps not yet on the GPU


def new_tensor(device: Device, shape: tuple[int, ...], dtype: str, label: str) -> Tensor:
    """A zero-filled tensor in a buffer of its own."""
    n_bytes = math.prod(shape) * BYTES_PER_ELEMENT[dtype]
    return Tensor(Memory(n_bytes, label, device.create_buffer(n_bytes, label)), shape, dtype)


class MatrixMemory:
    """Makes and fills matrices of one device. max_binding_bytes: cut them there, by default at the device's limit."""

    def __init__(self, device: Device, pool: ScratchPool, max_binding_bytes: int | None) -> None:
        self._device, self._pool = device, pool
        self._max_binding_bytes = max_binding_bytes or device.limits.max_storage_buffer_binding_size
        self._staging: Tensor | None = None
        self._n_bytes_under_way = 0

    def make(self, n_rows: int, n_cols: int, kind: GgmlType, label: str) -> Matrix:
        """See `ops.base.Ops.matrix`."""
        n_blocks = n_cols // WEIGHTS_PER_BLOCK
        row_bytes = n_blocks * NIBBLE_BYTES if kind is GgmlType.Q4_0 else kind.n_bytes(n_cols)
        max_rows = self._max_binding_bytes // row_bytes // QUAD * QUAD
        parts = []
        for first_row in range(0, n_rows, max_rows):
            n_part_rows = min(max_rows, n_rows - first_row)
            if kind is GgmlType.Q4_0:
                n_quads = math.ceil(n_part_rows / QUAD)
                nibbles = self._zeros((n_quads, 4 * n_blocks, QUAD), f"{label} nibbles")
                scales = self._zeros((n_quads, math.ceil(n_blocks / 2), QUAD), f"{label} scales")
                parts.append(MatrixPart(first_row, n_part_rows, nibbles, scales))
            else:
                parts.append(MatrixPart(first_row, n_part_rows, self._zeros((n_part_rows, row_bytes // 4), label)))
        return Matrix(kind, (n_rows, n_cols), tuple(parts))

    def _zeros(self, shape: tuple[int, ...], label: str) -> Tensor:
        return new_tensor(self._device, shape, "uint32", label)

    async def fill(self, fills: Sequence[Fill[Matrix]], pieces: Sequence[Piece], library: ShaderLibrary) -> None:
        """See `ops.base.Ops.fill`. library: of the kernels in use."""
        if self._staging is None:
            self._staging = self._zeros((FILL_BYTES // 4,), "blocks as in the file")
        staging = self._staging.memory.buffer
        recorder = Recorder("repack")
        for fill in fills:
            if fill.kind is GgmlType.Q4_0:
                _repack(recorder, self._staging, fill)
        program = await finish(recorder, None, self._device, library, self._pool) if recorder.steps else None
        n_bytes = 0  # nothing is waited for from here on: two may fill at once, but there is one staging buffer
        for piece in pieces:
            self._device.write(staging, n_bytes, piece.data)
            n_bytes += piece.n_bytes
        if program:
            self._device.submit([program.tape])
            self._device.destroy_buffer(program.params)
        for fill in fills:
            if fill.kind is not GgmlType.Q4_0:
                self._copy(staging, fill)
        self._n_bytes_under_way += n_bytes
        if self._n_bytes_under_way >= MAX_BYTES_UNDER_WAY:
            self._n_bytes_under_way = 0
            await self._device.read(staging, 0, 4)  # what is queued is held twice: let it drain

    def _copy(self, staging: object, fill: Fill[Matrix]) -> None:
        """Copy weights into each part of the matrix that they reach."""
        block_bytes = fill.kind.block_bytes
        for part, source, goal, n in _reached(fill):
            n_bytes, target = n * block_bytes, part.weights.memory.buffer
            self._device.copy(staging, fill.offset + source * block_bytes, target, goal * block_bytes, n_bytes)

    def end_of_filling(self) -> None:
        """See `ops.base.Ops.end_of_filling`."""
        if self._staging is not None:
            self._device.destroy_buffer(self._staging.memory.buffer)
            self._staging = None


def _reached(fill: Fill[Matrix]) -> Iterator[tuple[MatrixPart, int, int, int]]:
    """Each part of a matrix that blocks go to: the first of them, its number in the part, and how many."""
    row_blocks = fill.matrix.shape[1] // fill.kind.block_weights
    for part in fill.matrix.parts:
        part_start = part.first_row * row_blocks
        start = max(fill.first_block, part_start)
        n = min(fill.first_block + fill.n_blocks, part_start + part.n_rows * row_blocks) - start
        if n > 0:
            yield part, start - fill.first_block, start - part_start, n


def _repack(recorder: Recorder, raw: Tensor, fill: Fill[Matrix]) -> None:
    """Record that blocks of Q4_0 go from `raw` to their places, in each part of the matrix that they reach."""
    for part, source, goal, n in _reached(fill):
        assert part.scales is not None
        halves = (fill.offset + source * fill.kind.block_bytes) // 2
        params = (n, halves, goal, fill.matrix.n_blocks)
        grid = fold_grid(math.ceil(n / ELEMENT_WG))
        recorder.dispatch("repack_q4_0", (raw, part.weights, part.scales), params, grid, WG=ELEMENT_WG)
