"""The operations in numpy: the executable specification of every kernel, and the CPU fallback.

Tensors are plain arrays. A weight matrix of any type is expanded to float32 once, when it is loaded: this backend
is for networks small enough to afford that, and a CPU gains nothing from weights of fewer bits.
Contracts are those of `ops.base.Ops`; comments here say only what numpy adds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import BOS_TOKEN, RMS_NORM_EPS, STREAMING_PAD_TOKEN, ModelConfig
from voxtral.ops.base import N_CANDIDATES, NO_TOKEN, DecoderState, Fill
from voxtral.quant import GgmlType, dequantise
from voxtral.shards import Piece, cut_out

Tensor = NDArray[Any]
Floats = NDArray[np.float32]

_ERF_STEPS_PER_UNIT = 64
_ERF_LIMIT = 6.0  # erf(6) is 1 in float64


@dataclass
class Program:
    """A function to call at each run, and what it returned last."""

    build: Callable[[], Any]
    outputs: Any = None


class ReferenceOps:
    """`ops.base.Ops` on numpy arrays."""

    chunk_tokens: tuple[int, ...] = (8, 1)

    # -- memory ---------------------------------------------------------------------------------
    def zeros(self, shape: tuple[int, ...], dtype: str = "float32", label: str = "") -> Tensor:  # noqa: ARG002
        return np.zeros(shape, dtype)

    def tensor(self, array: Tensor, label: str = "") -> Tensor:  # noqa: ARG002
        return np.array(array, order="C")

    def matrix(self, n_rows: int, n_cols: int, kind: GgmlType, label: str = "") -> Floats:  # noqa: ARG002
        return np.zeros((n_rows, n_cols), np.float32)

    async def fill(self, fills: Sequence[Fill[Floats]], pieces: Sequence[Piece]) -> None:
        for matrix, kind, first_block, n_blocks, offset in fills:
            first, n_weights = first_block * kind.block_weights, n_blocks * kind.block_weights
            raw = cut_out(pieces, offset, kind.n_bytes(n_weights))
            matrix.reshape(-1)[first : first + n_weights] = dequantise(raw, kind, n_weights)

    def end_of_filling(self) -> None:
        """Nothing to do: filling keeps nothing."""

    def write(self, tensor: Tensor, array: Tensor, row: int = 0) -> None:
        tensor[row : row + len(array)] = array

    async def read(self, tensor: Tensor) -> Tensor:
        return tensor.copy()

    def copy_rows(self, source: Tensor, target: Tensor, n_rows: int) -> None:
        target[:n_rows] = source[:n_rows]

    def view(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        return tensor.reshape(-1)[: math.prod(shape)].reshape(shape)

    # -- programs -------------------------------------------------------------------------------
    async def program(self, build: Callable[[], Any], label: str) -> Program:  # noqa: ARG002
        return Program(build)

    def outputs(self, program: Program) -> Any:
        return program.outputs

    def submit(self, programs: Sequence[Program]) -> None:
        for program in programs:
            program.outputs = program.build()

    async def settle(self) -> None:
        """Nothing to wait for: numpy refuses at once."""

    def free(self, things: Sequence[Tensor | Program]) -> None:
        """Nothing to do: arrays go when the last reference goes."""

    async def self_check(self, config: ModelConfig, kinds: Sequence[GgmlType], cache_dtype: str) -> list[str]:  # noqa: ARG002
        """Nothing to do: this is what others are compared with."""
        return []

    # -- mathematics ----------------------------------------------------------------------------
    def conv1d_gelu(
        self, x: Floats, weight: Floats, bias: Floats, stride: int, position: Tensor | None = None
    ) -> Floats:
        n_in, n_channels = x.shape
        starts = np.arange(0, n_in - 2, stride)
        windows = x.reshape(-1)[starts[:, None] * n_channels + np.arange(3 * n_channels)]
        y = gelu(windows @ weight.T + bias)
        if position is not None and position[0] == 0:
            y[0] = 0.0
        return y

    def rms_norm(self, x: Floats, weight: Floats) -> Floats:
        mean_square = np.mean(np.square(x), axis=1, keepdims=True)
        y: Floats = x / np.sqrt(mean_square + np.float32(RMS_NORM_EPS)) * weight
        return y

    def linear(
        self, x: Floats, weight: Floats, bias: Floats | None = None, gelu: bool = False, out: Floats | None = None
    ) -> Floats:
        y: Floats = x @ weight.T
        if bias is not None:
            y += bias
        if gelu:
            y = _gelu(y)
        if out is None:
            return y
        out[: len(y)] = y
        return out[: len(y)]

    def norm_linear(self, x: Floats, norm: Floats, weight: Floats, bias: Floats | None = None) -> Floats:
        return self.linear(self.rms_norm(x, norm), weight, bias)

    def norm_swiglu(self, x: Floats, norm: Floats, gate_up: Floats) -> Floats:
        gate, up = np.split(self.norm_linear(x, norm, gate_up), 2, axis=1)
        # exp of more than 88 overflows float32
        y: Floats = np.asarray(gate / (1.0 + np.exp(-np.clip(gate, -80.0, None))) * up, np.float32)
        return y

    def linear_add(self, x: Floats, weight: Floats, residual: Floats, bias: Floats | None = None) -> Floats:
        residual += x @ weight.T
        if bias is not None:
            residual += bias
        return residual

    def ada_norm_weight(self, weight: Floats, ada: Floats, out: Floats) -> None:
        out[:] = weight * (1.0 + ada.reshape(-1))

    def norm_qkv(
        self,
        x: Floats,
        norm: Floats,
        weight: Floats,
        bias: Floats | None,
        rope: Floats,
        kv: Tensor,
        position: Tensor,
        n_heads: int,
        n_kv_heads: int,
    ) -> Floats:
        qkv = self.norm_linear(x, norm, weight, bias)
        n_rows, width = qkv.shape
        head_dim = width // (n_heads + 2 * n_kv_heads)
        positions = int(position[0]) + np.arange(n_rows)
        heads = qkv.reshape(n_rows, -1, head_dim)
        heads[:, : n_heads + n_kv_heads] = _rotate(heads[:, : n_heads + n_kv_heads], rope[positions % len(rope)])
        kv[positions % len(kv)] = heads[:, n_heads:].reshape(n_rows, -1)
        return heads[:, :n_heads].reshape(n_rows, -1)

    def attention(self, q: Floats, kv: Tensor, position: Tensor, n_heads: int, n_kv_heads: int, window: int) -> Floats:
        n_rows, width = q.shape
        head_dim = width // n_heads
        start = int(position[0])
        first = max(0, start - window + 1)
        key_positions = np.arange(first, start + n_rows)
        seen = kv[key_positions % len(kv)].astype(np.float32, copy=False).reshape(-1, 2, n_kv_heads, head_dim)
        k, v = seen[:, 0].transpose(1, 2, 0), seen[:, 1].transpose(1, 0, 2)
        # Query heads of one kv head are rows of the same product: [n_kv_heads, group * n_rows, head_dim].
        group = n_heads // n_kv_heads
        queries = q.reshape(n_rows, n_kv_heads, group, head_dim).transpose(1, 2, 0, 3)
        scores = queries.reshape(n_kv_heads, group * n_rows, head_dim) @ k * np.float32(head_dim**-0.5)
        age = (start + np.arange(n_rows))[:, None] - key_positions
        hidden = (age < 0) | (age >= window)
        scores = scores.reshape(n_kv_heads, group, n_rows, -1)
        scores[..., hidden] = -1e30
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores)
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = weights.reshape(n_kv_heads, group * n_rows, -1) @ v
        rows: Floats = mixed.reshape(n_kv_heads, group, n_rows, head_dim).transpose(2, 0, 1, 3).reshape(n_rows, -1)
        return rows

    def embed(self, table: Floats, audio: Floats, state: Tensor) -> Floats:
        position = int(state[DecoderState.POSITION])
        token = int(state[DecoderState.TOKEN])
        if position < int(state[DecoderState.N_PROMPT]):
            token = BOS_TOKEN if position == 0 else STREAMING_PAD_TOKEN
        row = int(state[DecoderState.AUDIO_ROW])
        x: Floats = (audio[row] + table[token])[None]
        return x

    def argmax_advance(self, logits: Floats, state: Tensor, choices: Tensor) -> None:
        values = logits[0]
        n = min(N_CANDIDATES, len(values))
        largest = np.flatnonzero(values >= np.partition(values, -n)[-n])  # more than n, if there are ties
        ids = largest[np.argsort(-values[largest], kind="stable")][:n]
        best = values[ids[0]]
        log_sum = math.log(np.sum(np.exp(values - best), dtype=np.float64))
        choice = choices[int(state[DecoderState.POSITION]) % len(choices)]
        choice[:N_CANDIDATES], choice[N_CANDIDATES:] = NO_TOKEN, np.float32(-1e30).view(np.uint32)
        choice[:n], choice[N_CANDIDATES:][:n] = ids, (values[ids] - best - log_sum).astype(np.float32).view(np.uint32)
        state[DecoderState.TOKEN] = ids[0]
        state[DecoderState.POSITION] += 1
        state[DecoderState.AUDIO_ROW] += 1

    def advance_encoder(self, position: Tensor, n_rows: int, state: Tensor) -> None:
        position[0] += n_rows
        state[DecoderState.AUDIO_ROW] = 0


def _rotate(heads: Floats, rope: Floats) -> Floats:
    """Turn adjacent pairs of heads [n, n_heads, head_dim] by rope [n, head_dim / 2, 2]."""
    pairs = heads.reshape(*heads.shape[:2], -1, 2)
    cos, sin = rope[:, None, :, 0], rope[:, None, :, 1]
    turned = np.empty_like(pairs)
    turned[..., 0] = pairs[..., 0] * cos - pairs[..., 1] * sin
    turned[..., 1] = pairs[..., 0] * sin + pairs[..., 1] * cos
    return turned.reshape(heads.shape)


@cache
def _erf_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """erf and its slope per step on a grid over [0, limit]."""
    x = np.arange(int(_ERF_LIMIT * _ERF_STEPS_PER_UNIT) + 2) / _ERF_STEPS_PER_UNIT
    slope = 2.0 / math.sqrt(math.pi) * np.exp(-x * x) / _ERF_STEPS_PER_UNIT
    return np.array([math.erf(value) for value in x]), slope


def erf(x: NDArray[Any]) -> NDArray[np.float64]:
    """The error function to 1e-9, by cubic Hermite interpolation (numpy has none)."""
    values, slopes = _erf_table()
    at = np.minimum(np.abs(x).astype(np.float64), _ERF_LIMIT) * _ERF_STEPS_PER_UNIT
    i = at.astype(np.intp)
    t = at - i
    y0, y1, d0, d1 = values[i], values[i + 1], slopes[i], slopes[i + 1]
    rise = y1 - y0
    y: NDArray[np.float64] = y0 + t * (d0 + t * (3.0 * rise - 2.0 * d0 - d1 + t * (d0 + d1 - 2.0 * rise)))
    signed: NDArray[np.float64] = np.copysign(y, x)
    return signed


def gelu(x: Floats) -> Floats:
    """Exact (erf) GELU."""
    y: Floats = (0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))).astype(np.float32)
    return y


_gelu = gelu  # the name is also an argument of `linear`
