"""GGML tensor types we read and write: sizes, decoding to float32 and back, and the GPU's layout of Q4_0.

A Q4_0 block is 18 bytes for 32 weights: an f16 scale d (may be negative), then 16 bytes whose low
nibbles are weights 0…15 and high nibbles weights 16…31; weight = (nibble - 8) d. A Q8_0 block is 34
bytes: f16 d, then 32 int8. Blocks run along rows and never cross them. Of F32, F16 and BF16 (the upper half of F32)
every weight is a block.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import ModelFileError

WEIGHTS_PER_BLOCK = 32


class GgmlType(IntEnum):
    """Tensor types with GGML's numbers."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q8_0 = 8
    BF16 = 30

    @property
    def block_weights(self) -> int:
        """Weights in a block."""
        return _BLOCKS[self][0]

    @property
    def block_bytes(self) -> int:
        """Bytes in a block."""
        return _BLOCKS[self][1]

    def n_bytes(self, n_elements: int) -> int:
        """Bytes of n_elements weights, a multiple of block_weights."""
        return n_elements // self.block_weights * self.block_bytes


_BLOCKS = {
    GgmlType.F32: (1, 4),
    GgmlType.F16: (1, 2),
    GgmlType.BF16: (1, 2),
    GgmlType.Q4_0: (WEIGHTS_PER_BLOCK, 18),
    GgmlType.Q8_0: (WEIGHTS_PER_BLOCK, 34),
}

# Types we do not read, by the name people know them.
_OTHER_TYPES = {
    3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K",
    15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
    23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
}  # fmt: skip


def type_name(ggml_type: int) -> str:
    """'Q4_0', 'BF16', … or the bare number of a type nobody has named."""
    try:
        return GgmlType(ggml_type).name
    except ValueError:
        return _OTHER_TYPES.get(ggml_type, f"number {ggml_type}")


def _blocks(raw: bytes, ggml_type: GgmlType, n_elements: int) -> NDArray[np.uint8]:
    """raw as [n_blocks, block_bytes]."""
    expected = ggml_type.n_bytes(n_elements)
    if len(raw) != expected or n_elements % ggml_type.block_weights:
        raise ModelFileError(f"{n_elements} {ggml_type.name} weights take {expected} bytes, found {len(raw)}")
    return np.frombuffer(raw, np.uint8).reshape(-1, ggml_type.block_bytes)


def dequantise(raw: bytes, ggml_type: int, n_elements: int) -> NDArray[np.float32]:
    """The weights as float32 [n_elements]. Raises ModelFileError if size or type do not fit."""
    try:
        kind = GgmlType(ggml_type)
    except ValueError:
        known = "F32, F16, BF16, Q4_0 or Q8_0"
        raise ModelFileError(f"expected weights of type {known}, found {type_name(ggml_type)}") from None
    blocks = _blocks(raw, kind, n_elements)
    if kind is GgmlType.F32:
        return np.frombuffer(raw, "<f4").astype(np.float32)
    if kind is GgmlType.F16:
        return np.frombuffer(raw, "<f2").astype(np.float32)
    if kind is GgmlType.BF16:
        return _widened(np.frombuffer(raw, "<u2"))
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)  # [n_blocks, 1]
    if kind is GgmlType.Q8_0:
        integers = blocks[:, 2:].copy().view(np.int8)
    else:
        nibbles = blocks[:, None, 2:] >> np.array([0, 4], np.uint8)[:, None] & 15  # [n_blocks, 2, 16]
        integers = (nibbles.astype(np.int8) - np.int8(8)).reshape(-1, WEIGHTS_PER_BLOCK)
    with np.errstate(invalid="ignore"):  # a damaged file may hold an infinite scale
        return (integers * scales).reshape(-1)


def _widened(upper_halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """BF16 as float32."""
    return (upper_halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def quantise(weights: NDArray[np.float32], ggml_type: GgmlType) -> bytes:
    """float32 weights, whole blocks of them, as this type has them; bit by bit what GGML makes of them.

    Raises ModelFileError where a weight is not a number, or too large for the type.
    """
    if not np.isfinite(weights).all():
        raise ModelFileError("expected numbers only, found NaN or infinity")
    if ggml_type is GgmlType.F32:
        return weights.astype("<f4", copy=False).tobytes()
    with np.errstate(all="ignore"):  # what does not fit is found below; what is too small becomes zero
        if ggml_type is GgmlType.F16:
            halves = weights.astype("<f2")
            raw = halves.tobytes()
        elif ggml_type is GgmlType.BF16:
            upper_halves = _bf16(weights)
            halves, raw = _widened(upper_halves), upper_halves.astype("<u2", copy=False).tobytes()
        else:
            blocks = weights.reshape(-1, WEIGHTS_PER_BLOCK)
            scales, integers = (_q4_0 if ggml_type is GgmlType.Q4_0 else _q8_0)(blocks)
            halves = scales.astype("<f2")
            raw = np.concatenate([halves.view(np.uint8), integers], axis=1).tobytes()
    if not np.isfinite(halves).all():
        raise ModelFileError(f"expected numbers that {ggml_type.name} can hold, found {np.abs(weights).max():,.0f}")
    return raw


def _bf16(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves, rounded to the nearest, and to the even one of two."""
    bits = weights.astype(np.float32, copy=False).view(np.uint32)
    odd = bits >> np.uint32(16) & np.uint32(1)
    return ((bits + (odd + np.uint32(0x7FFF))) >> np.uint32(16)).astype(np.uint16)


def _q4_0(blocks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scales [n, 1] and nibbles [n, 16]: the weight of the largest size becomes -8, whatever its sign."""
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    scales = largest / np.float32(-8)
    levels = blocks * _inverse(scales)
    levels += np.float32(8.5)
    nibbles = np.minimum(levels.astype(np.uint8), np.uint8(15))  # all are from 0 to 16.5
    half = WEIGHTS_PER_BLOCK // 2
    return scales, nibbles[:, :half] | nibbles[:, half:] << np.uint8(4)


def _q8_0(blocks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scales [n, 1] and bytes [n, 32]: the weight of the largest size becomes 127 or -127."""
    scales = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    levels = blocks * _inverse(scales)
    whole = np.trunc(levels)
    whole += np.trunc((levels - whole) * 2)  # halves away from zero
    return scales, whole.astype(np.int8).view(np.uint8)


def _inverse(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / scales, and 0 for 0."""
    return np.where(scales == 0, np.float32(0), np.float32(1) / scales)


def repack_q4_0(raw: bytes, n_cols: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Rows of Q4_0 blocks in the GPU's layout: four rows, a quad, interleaved; one load brings the same place of all.

    raw: whole rows of n_cols weights. Returns nibbles uint32 [n_quads, n_cols / 8, 4]: word k of row r of the quad has
    weight 8k + j in the low and 8k + 4 + j in the high nibble of byte j; and scales uint32 [n_quads, n_pairs, 4]: the
    f16 bits of a row's block 2i in the low half, of 2i + 1 in the high half. What lies beyond the last row or block is
    zero. Raises ModelFileError if raw is not whole rows.
    """
    n_blocks = n_cols // WEIGHTS_PER_BLOCK
    n_rows = len(raw) // (n_blocks * GgmlType.Q4_0.block_bytes)
    blocks = _blocks(raw, GgmlType.Q4_0, n_rows * n_cols)
    n_quads, n_pairs = math.ceil(n_rows / 4), math.ceil(n_blocks / 2)
    weights = (blocks[:, None, 2:] >> np.array([0, 4], np.uint8)[:, None] & 15).reshape(n_rows, 4 * n_blocks, 2, 4)
    nibbles = np.zeros((4 * n_quads, n_blocks * 4, 4), np.uint8)
    nibbles[:n_rows] = weights[:, :, 0] | weights[:, :, 1] << 4
    scales = np.zeros((4 * n_quads, 2 * n_pairs), "<u2")
    scales[:n_rows, :n_blocks] = blocks[:, :2].copy().view("<u2").reshape(n_rows, n_blocks)
    return _interleave(nibbles.view("<u4")[..., 0]), _interleave(scales.view("<u4"))


def _interleave(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """[4 n, m] as [n, m, 4]."""
    quads = rows.reshape(-1, 4, rows.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(quads).astype(np.uint32, copy=False)
