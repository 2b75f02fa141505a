"""Arrays on a GPU: a shape over a piece of memory, and a quantised matrix in parts.

A persistent tensor has its buffer from birth. A scratch tensor, made while a program is recorded, gets one
when the recording ends (gpu/commands.py), so memory is an object that both the tensor and its users hold.
"""

import math
from dataclasses import dataclass
from typing import Any

from voxtral.quant import GgmlType

BYTES_PER_ELEMENT = {"float32": 4, "uint32": 4, "float16": 2}


@dataclass(eq=False)
class Memory:
    """n_bytes of a GPU buffer, or of one yet to be chosen."""

    n_bytes: int
    label: str
    buffer: Any = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """A row-major array at the start of `memory`; dtype is float32, uint32 or float16."""

    memory: Memory
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * BYTES_PER_ELEMENT[self.dtype]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * BYTES_PER_ELEMENT[self.dtype]


@dataclass(frozen=True, eq=False)
class MatrixPart:
    """Rows first_row … first_row + n_rows - 1 of a matrix, small enough to bind.

    Q4_0: weights uint32 [ceil(n_rows / 4), 4 n_blocks, 4] and scales uint32 [ceil(n_rows / 4), ceil(n_blocks / 2), 4],
    as of quant.repack_q4_0. Other types: weights uint32 [n_rows, bytes of a row / 4] as in the file, and no scales.
    """

    first_row: int
    n_rows: int
    weights: Tensor
    scales: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix of weights [N, K] of one type."""

    kind: GgmlType
    shape: tuple[int, int]
    parts: tuple[MatrixPart, ...]

    @property
    def n_blocks(self) -> int:
        """Blocks of K, 32 columns each."""
        return self.shape[1] // 32

    @property
    def tensors(self) -> list[Tensor]:
        """All its memory."""
        return [tensor for part in self.parts for tensor in (part.weights, part.scales) if tensor is not None]

    @property
    def n_words(self) -> int:
        """Words of 8 weights in a row."""
        return self.shape[1] // 8
