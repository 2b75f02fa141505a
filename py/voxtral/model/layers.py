"""The transformer block both halves share, its weights, and the ring that holds its keys and values.

One block, x [M, dim]:  x += Wo · attention(rope(Wqkv · norm(x)));  x += Wdown · swiglu(Wgate_up · norm(x))
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import ROPE_THETA
from voxtral.model.allocation import Allocation
from voxtral.ops.base import Ops

AnyOps = Ops[Any, Any, Any]


@dataclass(frozen=True)
class LayerWeights:
    """One block. q, k, v rows lie stacked in `qkv`, w1 (gate) and w3 (up) in `gate_up`; the decoder has no biases."""

    attention_norm: Any  # [dim]
    qkv: Any  # [(n_heads + 2 n_kv_heads) * head_dim, dim]
    qkv_bias: Any | None
    out: Any  # [dim, n_heads * head_dim]
    out_bias: Any | None
    ffn_norm: Any  # [dim]
    gate_up: Any  # [2 * ffn_dim, dim]
    down: Any  # [dim, ffn_dim]
    down_bias: Any | None


@dataclass(frozen=True)
class KVCache:
    """Ring of rotated keys and values; absolute position j lies in slot j % capacity."""

    kv: Any  # [capacity, 2 * width]
    capacity: int
    width: int  # n_kv_heads * head_dim, of the keys of one position
    dtype: str  # float32 or float16

    @classmethod
    def allocate(cls, memory: Allocation, capacity: int, width: int, dtype: str, label: str) -> "KVCache":
        return cls(memory.zeros((capacity, 2 * width), dtype, f"{label} kv"), capacity, width, dtype)

    @property
    def row_bytes(self) -> int:
        return 2 * self.width * np.dtype(self.dtype).itemsize


class RopeTable:
    """cos and sin of upcoming positions, kept on the device as a ring of rows.

    Angles are computed in float64: in float32 they are off by 1e-3 after half an hour of audio.
    """

    def __init__(self, memory: Allocation, head_dim: int, n_rows: int) -> None:
        self._ops = memory.ops
        self._frequencies = ROPE_THETA ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        self._n_rows = n_rows
        self.tensor = memory.zeros((n_rows, head_dim // 2, 2), label="rope")

    def prepare(self, position: int, n: int) -> None:
        """Write the rows of positions position … position + n - 1; n is at most n_rows."""
        table = rope_rows(position, n, self._frequencies)
        row = position % self._n_rows
        n_before_wrap = min(n, self._n_rows - row)
        self._ops.write(self.tensor, table[:n_before_wrap], row)
        if n_before_wrap < n:
            self._ops.write(self.tensor, table[n_before_wrap:], 0)


def rope_rows(position: int, n: int, frequencies: NDArray[np.float64]) -> NDArray[np.float32]:
    """cos and sin, interleaved: [n, head_dim / 2, 2]."""
    angles = (position + np.arange(n, dtype=np.float64))[:, None] * frequencies
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def apply_layer(
    ops: AnyOps,
    weights: LayerWeights,
    x: Any,
    cache: KVCache,
    rope: RopeTable,
    position: Any,
    n_heads: int,
    n_kv_heads: int,
    window: int,
    ffn_norm: Any,
) -> None:
    """Record one block; updates x [M, dim] in place and appends M rows to the cache."""
    heads = (n_heads, n_kv_heads)
    norm = weights.attention_norm
    q = ops.norm_qkv(x, norm, weights.qkv, weights.qkv_bias, rope.tensor, cache.kv, position, *heads)
    ops.linear_add(ops.attention(q, cache.kv, position, *heads, window), weights.out, x, weights.out_bias)
    ops.linear_add(ops.norm_swiglu(x, ffn_norm, weights.gate_up), weights.down, x, weights.down_bias)
