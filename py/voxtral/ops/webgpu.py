"""The operations as WGSL kernels: each method checks shapes, chooses kernel and grid, and records one launch
(one per part where a matrix had to be split to fit a binding).

Contracts are those of `ops.base.Ops`. Works over any `gpu.device.Device`. Matrices must be Q4_0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import BOS_TOKEN, MAX_HEAD_DIM, RMS_NORM_EPS, STREAMING_PAD_TOKEN
from voxtral.gpu.commands import Program, Recorder, ScratchPool, finish, fold_grid
from voxtral.gpu.device import Device
from voxtral.gpu.shader_library import ShaderLibrary
from voxtral.gpu.tensor import Matrix, MatrixPart, Memory, Tensor
from voxtral.ops.base import FILL_BYTES
from voxtral.quant import WEIGHTS_PER_BLOCK, GgmlType
from voxtral.shards import Piece

BLOCK_BYTES = GgmlType.Q4_0.block_bytes  # as stored in the file
NIBBLE_BYTES = 16  # of a block, on the GPU
MAX_BYTES_UNDER_WAY = 64 << 20  # written but perhaps not yet on the GPU

ELEMENT_WG = 64  # invocations per workgroup where each works for itself
SERIAL_WG = 16  # the same on software adapters: small matrices must make a workgroup for every core
ATTENTION_SERIAL_WG = 4  # one vector of lanes, as heads and rows are few
TILE = 4  # rows and outputs of one invocation of matmul_q4_0, time steps of one of conv1d_gelu
MATVEC_OUTPUTS = 16  # of a workgroup: WG 128 / LANES 32 teams of 4


class WebGpuOps:
    """`ops.base.Ops` on a GPU.

    serial: give each output to one invocation instead of a team with barriers, by default on software adapters,
    which run that several times faster. max_binding_bytes: split matrices there, by default at the device's limit.
    """

    def __init__(self, device: Device, serial: bool | None = None, max_binding_bytes: int | None = None) -> None:
        self.device = device
        self._serial = device.info.is_software if serial is None else serial
        self._max_binding_bytes = max_binding_bytes or device.limits.max_storage_buffer_binding_size
        self._wg = SERIAL_WG if self._serial else ELEMENT_WG
        self._library = ShaderLibrary(device)
        self._pool = ScratchPool(device)
        self._recorder: Recorder | None = None
        self._staging: Tensor | None = None
        self._n_bytes_under_way = 0
        self._absent = self.zeros((4,), label="absent argument")

    # -- memory ---------------------------------------------------------------------------------
    def zeros(self, shape: tuple[int, ...], dtype: str = "float32", label: str = "") -> Tensor:
        n_bytes = math.prod(shape) * 4
        return Tensor(Memory(n_bytes, label, self.device.create_buffer(n_bytes, label)), shape, dtype)

    def tensor(self, array: NDArray[Any], label: str = "") -> Tensor:
        result = self.zeros(array.shape, array.dtype.name, label)
        self.write(result, array)
        return result

    def matrix(self, n_rows: int, n_cols: int, label: str = "") -> Matrix:
        n_blocks = n_cols // WEIGHTS_PER_BLOCK
        max_rows = self._max_binding_bytes // (n_blocks * NIBBLE_BYTES) & ~1  # even: scales go in pairs
        parts = []
        for first_row in range(0, n_rows, max_rows):
            n_part_rows = min(max_rows, n_rows - first_row)
            n_pairs = math.ceil(n_part_rows * n_blocks / 2)
            nibbles = self.zeros((2 * n_pairs, 4), "uint32", f"{label} nibbles")
            scales = self.zeros((n_pairs,), "uint32", f"{label} scales")
            parts.append(MatrixPart(first_row, n_part_rows, nibbles, scales))
        return Matrix((n_rows, n_cols), tuple(parts))

    async def fill(self, matrix: Matrix, first_block: int, pieces: Sequence[Piece]) -> None:
        if self._staging is None:
            self._staging = self.zeros((FILL_BYTES // 4,), "uint32", "blocks as in the file")
        n_bytes = 0
        for piece in pieces:
            self.device.write(self._staging.memory.buffer, n_bytes, piece.data)
            n_bytes += piece.n_bytes
        recorder = Recorder("repack")
        end_block = first_block + n_bytes // BLOCK_BYTES
        for part in matrix.parts:
            part_start = part.first_row * matrix.n_blocks
            start = max(first_block, part_start)
            n_blocks = min(end_block, part_start + part.n_rows * matrix.n_blocks) - start
            if n_blocks > 0:
                n_pairs = math.ceil(n_blocks / 2)
                params = (n_pairs, (start - first_block) // 2, (start - part_start) // 2)
                grid = fold_grid(math.ceil(n_pairs / ELEMENT_WG))
                recorder.dispatch(
                    "repack_q4_0", (self._staging, part.nibbles, part.scales), params, grid, WG=ELEMENT_WG
                )
        program = await finish(recorder, None, self.device, self._library, self._pool)
        self.submit([program])
        self.device.destroy_buffer(program.params)
        self._n_bytes_under_way += n_bytes
        if self._n_bytes_under_way >= MAX_BYTES_UNDER_WAY:
            self._n_bytes_under_way = 0
            await self.device.read(self._staging.memory.buffer, 0, 4)  # what is queued is held twice: let it drain

    def end_of_filling(self) -> None:
        """Give the loader's memory back."""
        if self._staging is not None:
            self.free([self._staging])
            self._staging = None

    def write(self, tensor: Tensor, array: NDArray[Any], row: int = 0) -> None:
        data = np.ascontiguousarray(array, tensor.dtype)
        self.device.write(tensor.memory.buffer, row * tensor.row_bytes, data)

    async def read(self, tensor: Tensor) -> NDArray[Any]:
        data = await self.device.read(tensor.memory.buffer, 0, tensor.n_bytes)
        return np.frombuffer(data, tensor.dtype).reshape(tensor.shape).copy()

    def copy_rows(self, source: Tensor, target: Tensor, n_rows: int) -> None:
        self.device.copy(source.memory.buffer, 0, target.memory.buffer, 0, n_rows * source.row_bytes)

    def view(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        return Tensor(tensor.memory, shape, tensor.dtype)

    def free(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            self.device.destroy_buffer(tensor.memory.buffer)

    def poison(self) -> None:
        """Fill all scratch memory with NaN, so that a test sees what no kernel has written."""
        for n_bytes, buffer in self._pool.buffers():
            self.device.write(buffer, 0, b"\xff" * n_bytes)

    # -- programs -------------------------------------------------------------------------------
    async def program(self, build: Callable[[], Any], label: str) -> Program:
        self._recorder = Recorder(label)
        try:
            outputs = build()
            recorder = self._recorder
        finally:
            self._recorder = None
        return await finish(recorder, outputs, self.device, self._library, self._pool)

    def outputs(self, program: Program) -> Any:
        return program.outputs

    def submit(self, programs: Sequence[Program]) -> None:
        self.device.submit([program.tape for program in programs])

    @property
    def _record(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError("mathematics is recorded: call it inside the function given to program()")
        return self._recorder

    # -- mathematics ----------------------------------------------------------------------------
    def conv1d_gelu(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int, position: Tensor | None = None
    ) -> Tensor:
        n_in, n_channels_in = x.shape
        n_channels = weight.shape[0]
        _require(weight.shape[1] == 3 * n_channels_in and n_channels_in % 4 == 0, "conv1d_gelu", x, weight)
        n_steps = (n_in - 3) // stride + 1
        y = self._record.scratch((n_steps, n_channels), "conv1d_gelu")
        self._record.dispatch(
            "conv1d_gelu",
            (x, weight, bias, position or self._absent, y),
            (n_steps, n_channels, 3 * n_channels_in // 4, stride * n_channels_in // 4),
            fold_grid(math.ceil(n_channels / self._wg), math.ceil(n_steps / TILE)),
            WG=self._wg,
            ZERO_FIRST=position is not None,
        )
        return y

    def rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        n_rows, width = x.shape
        _require(weight.shape == (width,) and width % 4 == 0, "rms_norm", x, weight)
        y = self._record.scratch(x.shape, "rms_norm")
        self._record.dispatch("rms_norm", (x, weight, y), (n_rows, width // 4), fold_grid(n_rows), EPS=RMS_NORM_EPS)
        return y

    def linear(
        self, x: Tensor, weight: Matrix, bias: Tensor | None = None, gelu: bool = False, out: Tensor | None = None
    ) -> Tensor:
        shape = (x.shape[0], weight.shape[0])
        y = self._record.scratch(shape, "linear") if out is None else self.view(out, shape)
        self._linear(x, weight, bias, y, HAS_GELU=gelu)
        return y

    def linear_add(self, x: Tensor, weight: Matrix, residual: Tensor, bias: Tensor | None = None) -> Tensor:
        self._linear(x, weight, bias, residual, ACCUMULATE=True)
        return residual

    def _linear(self, x: Tensor, weight: Matrix, bias: Tensor | None, y: Tensor, **overrides: float) -> None:
        n_rows, width = x.shape
        n_columns = weight.shape[0]
        _require(weight.shape[1] == width and y.shape == (n_rows, n_columns), "linear", x, weight, y)
        overrides["HAS_BIAS"] = bias is not None
        for part in weight.parts:
            arguments = (x, part.nibbles, part.scales, bias or self._absent, y)
            params = (part.n_rows, weight.n_blocks, part.first_row)
            if n_rows == 1 and not self._serial:
                grid = fold_grid(math.ceil(part.n_rows / MATVEC_OUTPUTS))
                self._record.dispatch("matvec_q4_0", arguments, params, grid, **overrides)
            else:
                rows = 1 if n_rows == 1 else TILE
                grid = fold_grid(math.ceil(part.n_rows / (TILE * self._wg)), math.ceil(n_rows / rows))
                self._record.dispatch(
                    "matmul_q4_0", arguments, (*params, n_rows, n_columns), grid, WG=self._wg, ROWS=rows, **overrides
                )

    def swiglu(self, gate_up: Tensor) -> Tensor:
        n_rows, width = gate_up.shape
        y = self._record.scratch((n_rows, width // 2), "swiglu")
        _require(width % 8 == 0, "swiglu", gate_up)
        self._elements("swiglu", (gate_up, y), n_rows * width // 8, (width // 8,))
        return y

    def ada_norm_weight(self, weight: Tensor, ada: Tensor, out: Tensor) -> None:
        width = weight.shape[0]
        _require(width % 4 == 0 and ada.n_bytes == weight.n_bytes, "ada_norm_weight", weight, ada)
        self._elements("ada_norm_weight", (weight, ada, out), width // 4, ())

    def rope_append_kv(
        self,
        qkv: Tensor,
        rope: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        n_heads: int,
        n_kv_heads: int,
    ) -> Tensor:
        n_rows, width = qkv.shape
        head_dim = width // (n_heads + 2 * n_kv_heads)
        _require(rope.shape[1:] == (head_dim // 2, 2), "rope_append_kv", qkv, rope)
        _require(keys.shape[1] == n_kv_heads * head_dim and n_rows <= keys.shape[0], "rope_append_kv", qkv, keys)
        q = self._record.scratch((n_rows, n_heads * head_dim), "q")
        self._record.dispatch(
            "rope_append_kv",
            (qkv, rope, position, q, keys, values),
            (n_rows, n_heads, n_kv_heads, head_dim // 2, rope.shape[0], keys.shape[0]),
            fold_grid(math.ceil(n_rows * width // 2 / self._wg)),
            WG=self._wg,
        )
        return q

    def attention(
        self,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        n_heads: int,
        n_kv_heads: int,
        window: int,
    ) -> Tensor:
        n_rows, width = q.shape
        head_dim = width // n_heads
        capacity, kv_width = keys.shape
        _require(head_dim % 32 == 0 and head_dim <= MAX_HEAD_DIM, "attention", q, keys)
        _require(capacity >= window + n_rows - 1, "attention", q, keys)  # or a row's oldest key is overwritten
        y = self._record.scratch(q.shape, "attention")
        arguments = (q, keys, values, position, y)
        params = (n_heads, n_heads // n_kv_heads, head_dim // 4, capacity, window, kv_width // 4, float(head_dim**-0.5))
        if self._serial:
            grid = fold_grid(math.ceil(n_rows * n_heads / ATTENTION_SERIAL_WG))
            self._record.dispatch("attention_serial", arguments, (*params, n_rows), grid, WG=ATTENTION_SERIAL_WG)
        else:
            self._record.dispatch("attention", arguments, params, (n_heads, n_rows, 1))
        return y

    def embed(self, table: Matrix, audio: Tensor, state: Tensor) -> Tensor:
        width = table.shape[1]
        _require(audio.shape[1] == width, "embed", table, audio)
        y = self._record.scratch((1, width), "embed")
        n_words = width // 8
        for part in table.parts:
            self._record.dispatch(
                "embed_q4_0",
                (part.nibbles, part.scales, audio, state, y),
                (part.first_row, part.n_rows, n_words),
                fold_grid(math.ceil(n_words / self._wg)),
                WG=self._wg,
                BOS=BOS_TOKEN,
                PAD=STREAMING_PAD_TOKEN,
            )
        return y

    def argmax_advance(self, logits: Tensor, state: Tensor, tokens: Tensor) -> None:
        self._record.dispatch("argmax_advance", (logits, state, tokens), (logits.shape[1], tokens.shape[0]), (1, 1, 1))

    def advance_encoder(self, position: Tensor, n_rows: int, state: Tensor) -> None:
        self._record.dispatch("advance_encoder", (position, state), (n_rows,), (1, 1, 1))

    def _elements(self, kernel: str, arguments: Sequence[Tensor], n_total: int, params: tuple[int, ...]) -> None:
        """A kernel with one invocation for each of n_total elements, its first parameter."""
        grid = fold_grid(math.ceil(n_total / self._wg))
        self._record.dispatch(kernel, arguments, (n_total, *params), grid, WG=self._wg)


def _require(condition: bool, op: str, *operands: Tensor | Matrix) -> None:
    if not condition:
        shapes = ", ".join(str(list(operand.shape)) for operand in operands)
        raise ValueError(f"{op} cannot take shapes {shapes}; see ops/base.py")
