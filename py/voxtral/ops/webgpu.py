"""The operations as WGSL kernels: each method checks shapes, chooses kernel and grid, and records one launch
(one per part where a matrix had to be split to fit a binding).

Contracts are those of `ops.base.Ops`. Works over any `gpu.device.Device`. Memory of matrices: ops/matrices.py.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import BOS_TOKEN, MAX_HEAD_DIM, RMS_NORM_EPS, STREAMING_PAD_TOKEN, ModelConfig
from voxtral.gpu.commands import Program, Recorder, ScratchPool, finish, fold_grid
from voxtral.gpu.device import Device
from voxtral.gpu.shader_library import ShaderLibrary, kernel_for, traits_of
from voxtral.gpu.tensor import Matrix, Tensor
from voxtral.ops.base import N_CANDIDATES, Fill
from voxtral.ops.matrices import MatrixMemory, new_tensor
from voxtral.ops.products import ELEMENT_WG, MATVEC_OUTPUTS, Product, form_of, launches, row_shape
from voxtral.ops.self_check import self_check
from voxtral.quant import GgmlType
from voxtral.shards import Piece

PROGRAMS_PER_SUBMIT = 8  # the GPU works on the first while the browser still records the rest

# What has a kernel for teams and a plain one: products of one row, of few and of many, attention, the convolutions.
FORMS = ("row", "few_rows", "many_rows", "attention", "conv")
TILE = 4  # time steps and channels of a team of a convolution
SERIAL_WG = 16  # the same on software adapters: small matrices must make a workgroup for every core
ATTENTION_SERIAL_WG = 4  # one vector of lanes, as heads and rows are few
TEAM_WG = 64  # of conv1d_gelu_team
ARGMAX_SHARE = 2048  # logits of a workgroup
ARGMAX_PART_WORDS = 12  # of its result, shaders/common/best_four.wgsl
ATTENTION_WORKGROUPS = 256  # about; a wide GPU is busy, and what they leave is soon added up
SMALLEST_SPLIT = 32  # keys, as in shaders/common/attention_span.wgsl
MAX_SPLITS = 64


class WebGpuOps:
    """`ops.base.Ops` on a GPU.

    serial: give each output to one invocation instead of a team with barriers, by default on software adapters,
    which run that several times faster; `plain` holds the FORMS for which that is done. max_binding_bytes: split
    matrices there, by default at the device's limit.
    traits: forms of kernels to use (shader_library.TRAITS), by default those the device is good at.
    """

    def __init__(
        self,
        device: Device,
        serial: bool | None = None,
        max_binding_bytes: int | None = None,
        traits: frozenset[str] | None = None,
    ) -> None:
        self.device = device
        serial = device.info.is_software if serial is None else serial
        self.plain = set(FORMS) if serial else set()
        self._wg = SERIAL_WG if serial else ELEMENT_WG
        # A CPU gains nothing from larger chunks, and loses what they compute beyond the end.
        self.chunk_tokens: tuple[int, ...] = (1,) if serial else (64, 16, 4, 1)
        self.use_traits(traits_of(device.info) if traits is None else traits)
        self.tuned_for = 0  # outputs that products are to be tuned for, if not their own
        self._pool = ScratchPool(device)
        self._recorder: Recorder | None = None
        self._matrices = MatrixMemory(device, self._pool, max_binding_bytes)
        self._absent = self.zeros((4,), label="absent argument")

    def use_traits(self, traits: frozenset[str]) -> None:
        """Make what is recorded from now on of these forms of kernels."""
        self.traits = traits
        self._library = ShaderLibrary(self.device, traits)

    async def self_check(self, config: ModelConfig, kinds: Sequence[GgmlType], cache_dtype: str) -> list[str]:
        return await self_check(self, config, kinds, cache_dtype)

    # -- memory ---------------------------------------------------------------------------------
    def zeros(self, shape: tuple[int, ...], dtype: str = "float32", label: str = "") -> Tensor:
        return new_tensor(self.device, shape, dtype, label)

    def tensor(self, array: NDArray[Any], label: str = "") -> Tensor:
        result = self.zeros(array.shape, array.dtype.name, label)
        self.write(result, array)
        return result

    def matrix(self, n_rows: int, n_cols: int, kind: GgmlType, label: str = "") -> Matrix:
        return self._matrices.make(n_rows, n_cols, kind, label)

    async def fill(self, fills: Sequence[Fill[Matrix]], pieces: Sequence[Piece]) -> None:
        await self._matrices.fill(fills, pieces, self._library)

    def end_of_filling(self) -> None:
        """Give the loader's memory back."""
        self._matrices.end_of_filling()

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

    def free(self, things: Sequence[Tensor | Matrix | Program]) -> None:
        for thing in things:
            if isinstance(thing, Program):
                self._pool.unpin(thing.outputs)
                self.device.destroy_buffer(thing.params)
                continue
            for tensor in thing.tensors if isinstance(thing, Matrix) else [thing]:
                self.device.destroy_buffer(tensor.memory.buffer)

    async def settle(self) -> None:
        await self.device.settle()

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
        for first in range(0, len(programs), PROGRAMS_PER_SUBMIT):
            self.device.submit([program.tape for program in programs[first : first + PROGRAMS_PER_SUBMIT]])

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
        is_plain = "conv" in self.plain
        wg, channels = (self._wg, self._wg) if is_plain else (TEAM_WG, TILE)
        self._record.dispatch(
            "conv1d_gelu" if is_plain else "conv1d_gelu_team",
            (x, weight, bias, position or self._absent, y),
            (n_steps, n_channels, 3 * n_channels_in // 4, stride * n_channels_in // 4),
            fold_grid(math.ceil(n_channels / channels), math.ceil(n_steps / TILE)),
            WG=wg,
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
        return self._product(Product(x, weight, y, None, bias, has_gelu=gelu))

    def norm_linear(self, x: Tensor, norm: Tensor, weight: Matrix, bias: Tensor | None = None) -> Tensor:
        y = self._record.scratch((x.shape[0], weight.shape[0]), "norm_linear")
        return self._product(Product(x, weight, y, norm, bias))

    def norm_swiglu(self, x: Tensor, norm: Tensor, gate_up: Matrix) -> Tensor:
        n_rows, width = x.shape[0], gate_up.shape[0] // 2
        _require(width % 4 == 0, "norm_swiglu", x, gate_up)
        y = self._record.scratch((n_rows, width), "norm_swiglu")
        if form_of(self.tuned_for or gate_up.shape[0], n_rows) not in self.plain and len(gate_up.parts) == 1:
            return self._product(Product(x, gate_up, y, norm, is_gated=True))
        both = self.norm_linear(x, norm, gate_up)
        self._elements("swiglu", (both, y), n_rows * width // 4, (width // 4,))
        return y

    def linear_add(self, x: Tensor, weight: Matrix, residual: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._product(Product(x, weight, residual, None, bias, accumulates=True))

    def _product(self, product: Product) -> Tensor:
        """Record it, by the kernel made for its number of rows."""
        (n_rows, width), weight, y = product.x.shape, product.weight, product.y
        n_outputs = y.shape[1] * (2 if product.is_gated else 1)
        _require(weight.shape == (n_outputs, width) and y.shape[0] == n_rows, "linear", product.x, weight, y)
        _require(product.norm is None or product.norm.shape == (width,), "linear", product.x, weight, y)
        tuned_for = self.tuned_for or n_outputs
        form = form_of(tuned_for, n_rows)
        form = "plain" if form in self.plain else form
        if product.norm is not None and form in ("many_rows", "plain"):
            product = replace(product, x=self.rms_norm(product.x, product.norm), norm=None)
        for launch in launches(form, product, tuned_for, self._absent, self._wg, self._record.scratch):
            self._record.dispatch(launch.kernel, launch.arguments, launch.params, launch.grid, **launch.overrides)
        return y

    def ada_norm_weight(self, weight: Tensor, ada: Tensor, out: Tensor) -> None:
        width = weight.shape[0]
        _require(width % 4 == 0 and ada.n_bytes == weight.n_bytes, "ada_norm_weight", weight, ada)
        self._elements("ada_norm_weight", (weight, ada, out), width // 4, ())

    def norm_qkv(
        self,
        x: Tensor,
        norm: Tensor,
        weight: Matrix,
        bias: Tensor | None,
        rope: Tensor,
        kv: Tensor,
        position: Tensor,
        n_heads: int,
        n_kv_heads: int,
    ) -> Tensor:
        n_rows = x.shape[0]
        head_dim = weight.shape[0] // (n_heads + 2 * n_kv_heads)
        kv_width = n_kv_heads * head_dim
        _require(rope.shape[1:] == (head_dim // 2, 2) and head_dim % 4 == 0, "norm_qkv", weight, rope)
        _require(kv.shape[1] == 2 * kv_width and n_rows <= kv.shape[0], "norm_qkv", weight, kv)
        q = self._record.scratch((n_rows, n_heads * head_dim), "q")
        params = (n_heads * head_dim // 2, kv_width // 2, head_dim // 2, rope.shape[0], kv.shape[0])
        is_f16 = kv.dtype == "float16"
        if n_rows == 1 and "row" not in self.plain and bias is None and len(weight.parts) == 1:
            part = weight.parts[0]
            self._record.dispatch(
                kernel_for("qkv", weight.kind),
                (x, norm, part.weights, part.scales or self._absent, rope, position, q, kv),
                params,
                fold_grid(math.ceil(part.n_rows / MATVEC_OUTPUTS)),
                KV_F16=is_f16,
                **row_shape(self.tuned_for or part.n_rows, weight, has_norm=True),
            )
        else:
            qkv = self.norm_linear(x, norm, weight, bias)
            grid = fold_grid(math.ceil(n_rows * weight.shape[0] // 2 / self._wg))
            arguments = (qkv, rope, position, q, kv)
            self._record.dispatch("rope_append_kv", arguments, (*params, n_rows), grid, WG=self._wg, KV_F16=is_f16)
        return q

    def attention(self, q: Tensor, kv: Tensor, position: Tensor, n_heads: int, n_kv_heads: int, window: int) -> Tensor:
        n_rows, width = q.shape
        head_dim = width // n_heads
        capacity, kv_width = kv.shape
        group = n_heads // n_kv_heads
        _require(head_dim % 32 == 0 and head_dim <= MAX_HEAD_DIM, "attention", q, kv)
        _require(kv_width == 2 * n_kv_heads * head_dim, "attention", q, kv)
        _require(capacity >= window + n_rows - 1, "attention", q, kv)  # or a row's oldest key is overwritten
        y = self._record.scratch(q.shape, "attention")
        scale = float(head_dim**-0.5)
        is_f16 = kv.dtype == "float16"
        if "attention" in self.plain:
            grid = fold_grid(math.ceil(n_rows * n_heads / ATTENTION_SERIAL_WG))
            params = (n_rows, group, window, n_heads, head_dim // 8, capacity, kv_width // 16, scale)
            self._record.dispatch(
                "attention_serial", (q, kv, position, y), params, grid, WG=ATTENTION_SERIAL_WG, KV_F16=is_f16
            )
            return y
        n_fours = math.ceil(n_rows * group / 4)
        n_splits = attention_splits(n_kv_heads * n_fours, window)
        span = {"N_ROWS": n_rows, "GROUP": group, "WINDOW": window, "N_SPLITS": n_splits, "N_HEADS": n_heads}
        stats = self._record.scratch((n_rows * n_heads, n_splits, 2), "attention stats")
        is_split = n_splits > 1
        mixes = self._record.scratch((n_rows * n_heads, n_splits, head_dim), "attention mixes") if is_split else y
        self._record.dispatch(
            "attention",
            (q, kv, position, mixes, stats),
            (),
            (n_kv_heads, n_splits, n_fours),
            IS_SPLIT=is_split,
            KV_F16=is_f16,
            N_LANES=head_dim // 8,
            CAPACITY=capacity,
            KV_OCTETS=kv_width // 16,
            SCALE=scale,
            **span,
        )
        if is_split:
            grid = (n_heads, n_rows, head_dim // 32)
            self._record.dispatch(
                "attention_reduce", (mixes, stats, position, y), (), grid, N_QUADS=head_dim // 4, **span
            )
        return y

    def embed(self, table: Matrix, audio: Tensor, state: Tensor) -> Tensor:
        width = table.shape[1]
        _require(audio.shape[1] == width, "embed", table, audio)
        y = self._record.scratch((1, width), "embed")
        n_words = width // 8
        for part in table.parts:
            self._record.dispatch(
                kernel_for("embed", table.kind),
                (part.weights, part.scales or self._absent, audio, state, y),
                (part.first_row, part.n_rows, n_words),
                fold_grid(math.ceil(n_words / self._wg)),
                WG=self._wg,
                BOS=BOS_TOKEN,
                PAD=STREAMING_PAD_TOKEN,
            )
        return y

    def argmax_advance(self, logits: Tensor, state: Tensor, choices: Tensor) -> None:
        _require(choices.shape[1] == 2 * N_CANDIDATES, "argmax_advance", logits, choices)
        n_logits = logits.shape[1]
        n_parts = math.ceil(n_logits / ARGMAX_SHARE)
        parts = self._record.scratch((n_parts, ARGMAX_PART_WORDS), "argmax parts")
        self._record.dispatch("argmax_part", (logits, parts), (n_logits,), fold_grid(n_parts), SHARE=ARGMAX_SHARE)
        self._record.dispatch("argmax_advance", (parts, state, choices), (n_parts, choices.shape[0]), (1, 1, 1))

    def advance_encoder(self, position: Tensor, n_rows: int, state: Tensor) -> None:
        self._record.dispatch("advance_encoder", (position, state), (n_rows,), (1, 1, 1))

    def _elements(self, kernel: str, arguments: Sequence[Tensor], n_total: int, params: tuple[int, ...]) -> None:
        """A kernel with one invocation for each of n_total elements, its first parameter."""
        grid = fold_grid(math.ceil(n_total / self._wg))
        self._record.dispatch(kernel, arguments, (n_total, *params), grid, WG=self._wg)


def attention_splits(n_workgroups: int, window: int) -> int:
    """Over how many workgroups the keys of four queries are spread, when there are n_workgroups without."""
    return max(1, min(MAX_SPLITS, ATTENTION_WORKGROUPS // n_workgroups, math.ceil(window / SMALLEST_SPLIT)))


def _require(condition: bool, op: str, *operands: Tensor | Matrix) -> None:
    if not condition:
        shapes = ", ".join(str(list(operand.shape)) for operand in operands)
        raise ValueError(f"{op} cannot take shapes {shapes}; see ops/base.py")
