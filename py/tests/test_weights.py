"""The table of tensors: real files pass, and each misfit is one sentence."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.errors import ModelFileError
from voxtral.gguf import GgufIndex, TensorInfo, read_index
from voxtral.mapped_file import FileSource
from voxtral.quant import GgmlType
from voxtral.weights import (
    ADAPTER,
    ENCODER,
    ENCODER_NORM,
    QKV,
    TOKEN_EMBEDDINGS,
    check,
    conv,
    decoder_layer,
    encoder_layer,
    matrix_types,
    read_config,
    tensor_shapes,
    tensor_types,
    values,
)

TESTS = Path(__file__).parent
TINY = TESTS / "golden" / "tiny" / "model.gguf"
DEMO = TESTS.parents[1] / "static" / "model" / "voxtral-demo-q4_0.gguf"
MODELS = [*sorted((TESTS / "golden").glob("*/model.gguf")), DEMO]
FULL_SIZE = ModelConfig(EncoderConfig(), DecoderConfig())


def index_of(path: Path) -> GgufIndex:
    return asyncio.run(read_index(FileSource(path)))


def imagined(config: ModelConfig, metadata: dict[str, Any], matrices: GgmlType = GgmlType.Q4_0) -> GgufIndex:
    """The index of a file that holds such a model, without the file."""
    tensors, offset = {}, 0
    for name, shape, kind in tensor_types(config, matrices):
        tensors[name] = TensorInfo(
            name, shape, kind, offset, kind.n_bytes(int(np.prod(shape, dtype=np.int64))), "m.gguf"
        )
        offset += tensors[name].n_bytes
    return GgufIndex(3, metadata, tensors, 0, "m.gguf")


@pytest.fixture(scope="module")
def tiny() -> GgufIndex:
    index = index_of(TINY)
    tensors = {name: replace(tensor, part="m.gguf") for name, tensor in index.tensors.items()}
    return replace(index, name="m.gguf", tensors=tensors)


@pytest.mark.parametrize("path", MODELS, ids=[path.parent.name for path in MODELS])
def test_real_files_hold_exactly_the_table(path: Path) -> None:
    index = index_of(path)
    config = read_config(index)
    check(index, config)
    assert {name for name, _ in tensor_shapes(config)} == set(index.tensors)


def test_configuration_of_the_demo_model() -> None:
    assert read_config(index_of(DEMO)) == ModelConfig(
        EncoderConfig(n_layers=8, dim=256, n_heads=4, head_dim=64, ffn_dim=1024, window=250),
        DecoderConfig(6, 384, 6, 2, 64, 1152, 32, 1344, 32),
    )


def test_full_size_model_without_metadata() -> None:
    """The published file may carry no metadata: every number then is a constant or a shape."""
    index = imagined(FULL_SIZE, {})
    assert read_config(index) == FULL_SIZE
    check(index, FULL_SIZE)
    assert len(index.tensors) == 711
    assert sum(t.n_bytes for t in index.tensors.values() if t.ggml_type == GgmlType.Q4_0) == 2_488_393_728
    assert sum(t.n_bytes for t in index.tensors.values() if t.ggml_type == GgmlType.F32) == 23_473_152


def test_names() -> None:
    assert conv(1, "bias") == ENCODER + "conv_layers.1.conv.bias"
    assert encoder_layer(31, "attention.wq.bias") == ENCODER + "transformer.layers.31.attention.wq.bias"
    assert decoder_layer(0, "ffn_norm.weight") == "layers.0.ffn_norm.weight"
    assert ADAPTER.startswith("mm_streams_embeddings.embedding_module.")


@pytest.mark.parametrize("path", [TINY, TESTS / "golden" / "delay960_f16" / "model.gguf"], ids=["f32", "f16"])
def test_values_are_those_of_the_gguf_package(path: Path) -> None:
    source, index = FileSource(path), index_of(path)
    for tensor in gguf.GGUFReader(path).tensors:
        info = index.tensors[tensor.name]
        raw = asyncio.run(source.read_at(info.offset, info.n_bytes))
        assert raw == tensor.data.tobytes()
        found = values(info, raw)
        assert found.shape == info.shape
        expected = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(info.shape)
        np.testing.assert_array_equal(found, expected, err_msg=tensor.name)


def without(name: str) -> Callable[[GgufIndex], GgufIndex]:
    return lambda index: replace(index, tensors={n: t for n, t in index.tensors.items() if n != name})


def changed(name: str, **fields: Any) -> Callable[[GgufIndex], GgufIndex]:
    return lambda index: replace(index, tensors=index.tensors | {name: replace(index.tensors[name], **fields)})


def with_metadata(key: str, value: Any) -> Callable[[GgufIndex], GgufIndex]:
    return lambda index: replace(index, metadata=index.metadata | {"voxtral." + key: value})


WQ = encoder_layer(1, "attention.wq.weight")
WK = encoder_layer(1, "attention.wk.weight")
UP = decoder_layer(0, "feed_forward.w3.weight")
MISFITS = {
    "missing norm": (without(ENCODER_NORM), "norm.weight' is missing"),
    "missing embeddings": (without(TOKEN_EMBEDDINGS), "tok_embeddings.weight' is missing among the file's 67"),
    "missing matrix": (without(WQ), "layers.1.attention.wq.weight' is missing"),
    "missing bias": (without(encoder_layer(0, "attention.wv.bias")), "wv.bias' is missing"),
    "no layers": (without(decoder_layer(0, "feed_forward.w1.weight")), "is missing"),
    "shape": (changed(WQ, shape=(128, 96)), "has shape [128, 96], expected [128, 64]"),
    "transposed": (changed(WQ, shape=(64, 128)), "expected [128, 64]"),
    "dimensions": (changed(ENCODER_NORM, shape=(8, 8)), "expected 1 dimensions"),
    "matrix in Q8_0": (changed(WQ, ggml_type=8), "is Q8_0, expected Q4_0, F16, BF16 or F32 for a matrix; convert"),
    "norm in Q4_0": (changed(ENCODER_NORM, ggml_type=2), "is Q4_0, expected F32, F16 or BF16 for a vector"),
    "conv in Q8_0": (changed(conv(0, "weight"), ggml_type=8), "is Q8_0, expected F32, F16 or BF16 for a vector"),
    "k in F16": (changed(WK, ggml_type=1), f"{WK!r} is F16, expected Q4_0 as {WQ!r} is, with which it is computed"),
    "q in BF16": (changed(WQ, ggml_type=30), f"{WK!r} is Q4_0, expected BF16 as {WQ!r} is"),
    "up in F32": (changed(UP, ggml_type=0), f"{UP!r} is F32, expected Q4_0 as "),
    "head count": (with_metadata("encoder.attention.head_count", 5), "expected [160, 64]"),
    "key length": (with_metadata("decoder.attention.key_length", 64), "expected [384, 96]"),
    "more layers": (with_metadata("decoder.block_count", 4), "layers.3.attention_norm.weight' is missing"),
    "very many layers": (with_metadata("encoder.block_count", 2**20), "layers.2.attention_norm.weight' is missing"),
    "uneven heads": (with_metadata("decoder.attention.head_count_kv", 4), "share 4 key heads evenly"),
    "not a whole number": (with_metadata("encoder.attention.key_length", 8.0), "found 8.0"),
    "zero": (with_metadata("decoder.attention.sliding_window", 0), "found 0"),
    "negative": (with_metadata("decoder.attention.head_count", -6), "found -6"),
    "huge": (with_metadata("decoder.attention.head_count", 2**64 - 1), "found 18446744073709551615"),
    "text": (with_metadata("encoder.block_count", "2"), "found '2'"),
    "true": (with_metadata("encoder.block_count", True), "found True"),
    "odd vocabulary": (changed(TOKEN_EMBEDDINGS, shape=(1537, 96)), "vocabulary size to be a multiple of 32"),
    "small vocabulary": (changed(TOKEN_EMBEDDINGS, shape=(992, 96)), "more than 1000 tokens"),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_misfits_are_one_sentence(tiny: GgufIndex, kind: str) -> None:
    change, sentence = MISFITS[kind]
    index = change(tiny)
    with pytest.raises(ModelFileError) as error:
        check(index, read_config(index))
    assert str(error.value).startswith("m.gguf: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [GgmlType.F32, GgmlType.F16, GgmlType.BF16])
def test_matrices_may_be_of_other_types_than_each_other(tiny: GgufIndex, kind: GgmlType) -> None:
    config = read_config(tiny)
    names = [TOKEN_EMBEDDINGS, encoder_layer(0, "attention.wo.weight"), *(encoder_layer(1, rest) for rest in QKV)]
    index = tiny
    for name in names:
        index = changed(name, ggml_type=kind)(index)
    check(index, config)
    assert set(matrix_types(index, config)) == {GgmlType.Q4_0, kind}
    whole = imagined(config, {}, kind)
    check(whole, config)
    assert matrix_types(whole, config) == [kind]


def test_head_sizes_are_multiples_of_32() -> None:
    config = replace(FULL_SIZE, encoder=replace(FULL_SIZE.encoder, n_heads=128, head_dim=16))
    with pytest.raises(ModelFileError, match="encoder head size to be a multiple of 32, found 16"):
        check(imagined(config, {}), config)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_each_tensor_is_needed_in_its_shape(tiny: GgufIndex, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tiny.tensors)))
    shape = tuple(data.draw(st.lists(st.integers(1, 2**40), min_size=1, max_size=4)))
    for index in (without(name)(tiny), changed(name, shape=shape)(tiny)):
        if index.tensors == tiny.tensors:
            continue
        with pytest.raises(ModelFileError):
            check(index, read_config(index))
