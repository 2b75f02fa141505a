"""Decoding and encoding of weights against the gguf package, bit for bit."""

import math
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import quants
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxtral.errors import ModelFileError
from voxtral.quant import GgmlType, dequantise, quantise, repack_q4_0, type_name

TESTS = Path(__file__).parent
DEMO = TESTS.parents[1] / "static" / "model" / "voxtral-demo-q4_0.gguf"
QUANTISED = [GgmlType.Q4_0, GgmlType.Q8_0]


def random_blocks(ggml_type: GgmlType, n_blocks: int, seed: int = 0) -> bytes:
    """Blocks with every bit pattern in the weights, and scales of both signs."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (n_blocks, ggml_type.block_bytes), dtype=np.uint8)
    blocks[:, :2] = rng.normal(0, 1, (n_blocks, 1)).astype("<f2").view(np.uint8)
    return blocks.tobytes()


def judge(raw: bytes, ggml_type: GgmlType) -> np.ndarray:
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, ggml_type.block_bytes)
    return quants.dequantize(blocks, gguf.GGMLQuantizationType(ggml_type)).reshape(-1)


@pytest.mark.parametrize("ggml_type", GgmlType)
def test_sizes_are_ggml_sizes(ggml_type: GgmlType) -> None:
    expected = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(ggml_type)]
    assert (ggml_type.block_weights, ggml_type.block_bytes) == expected
    assert ggml_type.n_bytes(320) == 320 // ggml_type.block_weights * ggml_type.block_bytes


def test_type_names_are_ggml_names() -> None:
    for ggml_type in range(31):
        if ggml_type not in (4, 5):  # withdrawn by GGML
            assert type_name(ggml_type) == gguf.GGMLQuantizationType(ggml_type).name
    assert type_name(999) == "number 999"


@pytest.mark.parametrize("ggml_type", QUANTISED)
def test_decoding_is_bit_equal_to_the_gguf_package(ggml_type: GgmlType) -> None:
    raw = random_blocks(ggml_type, 1001)
    weights = dequantise(raw, ggml_type, 1001 * 32)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, judge(raw, ggml_type))


@pytest.mark.parametrize("ggml_type", QUANTISED)
def test_quantised_weights_come_back_nearly(ggml_type: GgmlType) -> None:
    weights = np.random.default_rng(1).normal(0, 1, 3200).astype(np.float32)
    raw = quants.quantize(weights, gguf.GGMLQuantizationType(ggml_type)).tobytes()
    error = np.sqrt(np.mean((dequantise(raw, ggml_type, 3200) - weights) ** 2))
    assert error < (0.1 if ggml_type == GgmlType.Q4_0 else 0.01)


def gguf_bytes(weights: np.ndarray, ggml_type: GgmlType) -> bytes:
    with np.errstate(all="ignore"):
        return quants.quantize(weights, gguf.GGMLQuantizationType(ggml_type)).tobytes()


def rows_to_quantise() -> dict[str, np.ndarray]:
    """Blocks of every kind, float32 [n, 32]."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.03, (500, 32))
    row = np.arange(-16, 16)
    return {
        "noise": noise,
        "wide noise": noise * 10.0 ** rng.uniform(-45, 6, (500, 1)),
        "as bfloat16 has it": (noise.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
        "zeros": np.zeros((2, 32)),
        "negative zeros": -np.zeros((2, 32)),
        "one number": np.eye(32) * np.array([[7.0], [-7.0]]).repeat(16, axis=0),
        "largest negative": -np.abs(noise) - 0.01,
        "largest twice, of both signs": np.stack([row.clip(-15, 15), -row.clip(-15, 15)]),
        "halves": row / 2 * np.ones((3, 1)),
        "ties of all sizes": rng.integers(-8, 9, (2000, 32)) / rng.integers(1, 9, (2000, 1)),
        "denormal": noise * 1e-40,
        "as large as a scale may be": np.full((1, 32), 65504.0 * 7),
    }


@pytest.mark.parametrize("ggml_type", GgmlType)
@pytest.mark.parametrize("kind", rows_to_quantise())
def test_encoding_is_bit_equal_to_the_gguf_package(ggml_type: GgmlType, kind: str) -> None:
    weights = rows_to_quantise()[kind].astype(np.float32)
    if ggml_type is GgmlType.F16:
        weights = weights.clip(-65504, 65504)
    assert quantise(weights, ggml_type) == gguf_bytes(weights, ggml_type)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (2, 32), elements=st.floats(-60_000, 60_000, width=32)), st.sampled_from(GgmlType))
def test_any_numbers_are_encoded_as_the_gguf_package_does(weights: np.ndarray, ggml_type: GgmlType) -> None:
    assert quantise(weights, ggml_type) == gguf_bytes(weights, ggml_type)


@pytest.mark.parametrize("ggml_type", GgmlType)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(ggml_type: GgmlType, value: float) -> None:
    weights = np.ones((3, 32), np.float32)
    weights[1, 31] = value
    with pytest.raises(ModelFileError, match="expected numbers only, found NaN or infinity"):
        quantise(weights, ggml_type)


@pytest.mark.parametrize(
    ("ggml_type", "value"),
    [(GgmlType.F16, 70_000), (GgmlType.Q4_0, -600_000), (GgmlType.Q8_0, 9_000_000), (GgmlType.BF16, 2**128 - 2**119)],
)
def test_what_is_too_large_is_refused(ggml_type: GgmlType, value: float) -> None:
    weights = np.ones((3, 32), np.float32)
    weights[2, 5] = value
    with pytest.raises(ModelFileError, match=f"{ggml_type.name} can hold, found {abs(value):,.0f}"):
        quantise(weights, ggml_type)


@given(hnp.arrays(np.uint16, st.integers(0, 50)))
def test_every_half_and_float_bit_pattern(bits: np.ndarray) -> None:
    halves = dequantise(bits.tobytes(), GgmlType.F16, len(bits))
    np.testing.assert_array_equal(halves, bits.view("<f2").astype(np.float32))
    floats = bits.astype("<u4") << 16
    np.testing.assert_array_equal(dequantise(floats.tobytes(), GgmlType.F32, len(bits)), floats.view("<f4"))
    np.testing.assert_array_equal(dequantise(bits.tobytes(), GgmlType.BF16, len(bits)), floats.view("<f4"))


def test_bf16_rounds_to_the_nearest_and_to_the_even_one_of_two() -> None:
    bits = [0x3F80_0000, 0x3F80_7FFF, 0x3F80_8000, 0x3F80_8001, 0x3F81_8000, 0xBF81_8000, 0x0000_8001, 0x7F7F_7FFF]
    raw = quantise(np.array(bits, np.uint32).view(np.float32), GgmlType.BF16)
    expected = [0x3F80, 0x3F80, 0x3F80, 0x3F81, 0x3F82, 0xBF82, 0x0001, 0x7F7F]
    assert np.frombuffer(raw, "<u2").tolist() == expected


@pytest.mark.parametrize("ggml_type", QUANTISED)
def test_damaged_scales_make_no_noise(ggml_type: GgmlType) -> None:
    """Infinite and NaN scales are values like any other: no warning, which here would be an error."""
    for scale in (np.inf, np.nan):
        raw = np.float16(scale).tobytes() + bytes([0x88]) * (ggml_type.block_bytes - 2)
        assert not np.isfinite(dequantise(raw, ggml_type, 32)).any()


def test_one_block_by_hand() -> None:
    raw = np.float16(-0.5).tobytes() + bytes([0x0F, *[0x88] * 14, 0xF0])
    weights = dequantise(raw, GgmlType.Q4_0, 32)
    assert weights[[0, 1, 15, 16, 17, 31]].tolist() == [-3.5, 0, 4, 4, 0, -3.5]


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(1, 7), st.integers(0, 2**32))
def test_repacking_keeps_every_weight(n_rows: int, n_blocks: int, seed: int) -> None:
    n_cols = n_blocks * 32
    raw = random_blocks(GgmlType.Q4_0, n_rows * n_blocks, seed)
    nibbles, scales = repack_q4_0(raw, n_cols)
    n_quads = math.ceil(n_rows / 4)
    assert (nibbles.shape, nibbles.dtype) == ((n_quads, 4 * n_blocks, 4), np.uint32)
    assert (scales.shape, scales.dtype) == ((n_quads, math.ceil(n_blocks / 2), 4), np.uint32)
    rows = nibbles.transpose(0, 2, 1).reshape(4 * n_quads, 4 * n_blocks)
    halves = scales.transpose(0, 2, 1).reshape(4 * n_quads, math.ceil(n_blocks / 2))
    assert not rows[n_rows:].any()
    assert not halves[n_rows:].any()
    weights = dequantise(raw, GgmlType.Q4_0, n_rows * n_cols).reshape(n_rows, n_cols)
    for row in range(n_rows):
        for k in range(n_cols):
            byte = int(rows[row, k // 8]) >> 8 * (k % 4) & 0xFF
            nibble = byte >> 4 if k % 8 >= 4 else byte & 0xF
            half = int(halves[row, k // 64]) >> 16 * (k // 32 % 2) & 0xFFFF
            scale = np.uint16(half).view(np.float16).astype(np.float32)
            assert np.float32(nibble - 8) * scale == weights[row, k] or np.isnan(scale)
    if n_blocks % 2:
        assert not (halves[:, -1] >> 16).any()


def test_repacked_words_by_hand() -> None:
    raw = bytes([1, 2, *range(0x10, 0x20)]) + bytes([3, 4, *range(0x40, 0x50)])
    nibbles, scales = repack_q4_0(raw, 32)
    first, second, *none = nibbles[0].T.tolist()
    assert [hex(word) for word in first] == ["0x73625140", "0xfbead9c8", "0x11111111", "0x11111111"]
    assert [hex(word) for word in second] == ["0x73625140", "0xfbead9c8", "0x44444444", "0x44444444"]
    assert not np.any(none)
    assert [hex(word) for word in scales[0, 0]] == ["0x201", "0x403", "0x0", "0x0"]


def test_the_demo_model_decodes_as_the_gguf_package_decodes_it() -> None:
    for tensor in gguf.GGUFReader(DEMO).tensors:
        raw = tensor.data.tobytes()
        weights = dequantise(raw, int(tensor.tensor_type), int(tensor.n_elements))
        expected = quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
        np.testing.assert_array_equal(weights, expected, err_msg=tensor.name)


@pytest.mark.parametrize("ggml_type", GgmlType)
def test_wrong_sizes_are_one_sentence(ggml_type: GgmlType) -> None:
    with pytest.raises(ModelFileError, match=f"64 {ggml_type.name} weights take"):
        dequantise(bytes(ggml_type.n_bytes(64) - 1), ggml_type, 64)
    with pytest.raises(ModelFileError):
        dequantise(bytes(ggml_type.n_bytes(64)), ggml_type, 65)


def test_other_types_and_cut_blocks_are_refused() -> None:
    with pytest.raises(ModelFileError, match="found Q4_K"):
        dequantise(bytes(144), 12, 256)
    with pytest.raises(ModelFileError):
        repack_q4_0(bytes(18 * 3), 64)
