"""Which tensors a Voxtral Realtime file holds, under which names and in which shapes.

The one table is `tensor_shapes`: names are Mistral's, shapes follow from a ModelConfig. `read_config`
makes that ModelConfig from a file, `check` compares the file with the table. All linear weights are
[n_out, n_in] matrices; q and k rows keep the order that rotates adjacent pairs.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voxtral.config import (
    GROUP,
    MAX_HEAD_DIM,
    N_MEL_BINS,
    N_SPECIAL_TOKENS,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
)
from voxtral.errors import ModelFileError
from voxtral.gguf import GgufIndex, TensorInfo
from voxtral.quant import WEIGHTS_PER_BLOCK, GgmlType, dequantise, type_name

EMBEDDING = "mm_streams_embeddings.embedding_module."
ENCODER = EMBEDDING + "whisper_encoder."
ADAPTER = EMBEDDING + "audio_language_projection."
TOKEN_EMBEDDINGS = EMBEDDING + "tok_embeddings.weight"  # also the LM head
ENCODER_NORM = ENCODER + "transformer.norm.weight"
DECODER_NORM = "norm.weight"
ADAPTER_IN = ADAPTER + "0.weight"
ADAPTER_OUT = ADAPTER + "2.weight"
ADA_DOWN = "ada_rms_norm_t_cond.0.weight"
ADA_UP = "ada_rms_norm_t_cond.2.weight"
ARCHITECTURE = "voxtral"  # metadata general.architecture
# Tensors of a layer that are computed as one product, their rows stacked.
QKV = ("attention.wq.weight", "attention.wk.weight", "attention.wv.weight")
GATE_UP = ("feed_forward.w1.weight", "feed_forward.w3.weight")
MATRIX_TYPES = (GgmlType.Q4_0, GgmlType.F16, GgmlType.BF16, GgmlType.F32)
OTHER_TYPES = (GgmlType.F32, GgmlType.F16, GgmlType.BF16)  # of vectors and convolutions
CONV_KERNEL = 3
MAX_COUNT = 1 << 20  # of layers, heads, window positions: more is a damaged file

Shape = tuple[int, ...]

_COUNTS = {  # metadata key below voxtral.encoder or voxtral.decoder → field of the configuration
    "block_count": "n_layers",
    "attention.head_count": "n_heads",
    "attention.head_count_kv": "n_kv_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "window",
}


def conv(i: int, rest: str) -> str:
    """Name of a tensor of convolution 0 or 1; rest is 'weight' or 'bias'."""
    return f"{ENCODER}conv_layers.{i}.conv.{rest}"


def encoder_layer(i: int, rest: str) -> str:
    """Name of a tensor of encoder layer i, such as rest = 'attention.wq.weight'."""
    return f"{ENCODER}transformer.layers.{i}.{rest}"


def decoder_layer(i: int, rest: str) -> str:
    """Name of a tensor of decoder layer i, such as rest = 'feed_forward.w2.weight'."""
    return f"layers.{i}.{rest}"


def tensor_shapes(config: ModelConfig) -> Iterator[tuple[str, Shape]]:
    """Name and shape of every tensor of such a model, in the order of the computation."""
    encoder, decoder = config.encoder, config.decoder
    yield conv(0, "weight"), (encoder.dim, N_MEL_BINS, CONV_KERNEL)
    yield conv(0, "bias"), (encoder.dim,)
    yield conv(1, "weight"), (encoder.dim, encoder.dim, CONV_KERNEL)
    yield conv(1, "bias"), (encoder.dim,)
    for i in range(encoder.n_layers):
        for rest, shape in _encoder_layer_shapes(encoder).items():
            yield encoder_layer(i, rest), shape
    yield ENCODER_NORM, (encoder.dim,)
    yield ADAPTER_IN, (decoder.dim, GROUP * encoder.dim)
    yield ADAPTER_OUT, (decoder.dim, decoder.dim)
    yield TOKEN_EMBEDDINGS, (decoder.vocab_size, decoder.dim)
    for i in range(decoder.n_layers):
        for rest, shape in _decoder_layer_shapes(decoder).items():
            yield decoder_layer(i, rest), shape
    yield DECODER_NORM, (decoder.dim,)


def tensor_types(config: ModelConfig, matrices: GgmlType) -> Iterator[tuple[str, Shape, GgmlType]]:
    """The same with the type to store each in: matrices as told, all else in F32."""
    for name, shape in tensor_shapes(config):
        yield name, shape, matrices if len(shape) == 2 else GgmlType.F32


def _encoder_layer_shapes(encoder: EncoderConfig) -> dict[str, Shape]:
    dim, q_dim = encoder.dim, encoder.n_heads * encoder.head_dim
    return {
        "attention_norm.weight": (dim,),
        "attention.wq.weight": (q_dim, dim),
        "attention.wq.bias": (q_dim,),
        "attention.wk.weight": (q_dim, dim),  # no bias
        "attention.wv.weight": (q_dim, dim),
        "attention.wv.bias": (q_dim,),
        "attention.wo.weight": (dim, q_dim),
        "attention.wo.bias": (dim,),
        "ffn_norm.weight": (dim,),
        "feed_forward.w1.weight": (encoder.ffn_dim, dim),  # gate
        "feed_forward.w3.weight": (encoder.ffn_dim, dim),  # up
        "feed_forward.w2.weight": (dim, encoder.ffn_dim),  # down
        "feed_forward.w2.bias": (dim,),
    }


def _decoder_layer_shapes(decoder: DecoderConfig) -> dict[str, Shape]:
    dim, q_dim, kv_dim = decoder.dim, decoder.n_heads * decoder.head_dim, decoder.n_kv_heads * decoder.head_dim
    return {
        "attention_norm.weight": (dim,),
        "attention.wq.weight": (q_dim, dim),
        "attention.wk.weight": (kv_dim, dim),
        "attention.wv.weight": (kv_dim, dim),
        "attention.wo.weight": (dim, q_dim),
        "ffn_norm.weight": (dim,),
        "feed_forward.w1.weight": (decoder.ffn_dim, dim),  # gate
        "feed_forward.w3.weight": (decoder.ffn_dim, dim),  # up
        "feed_forward.w2.weight": (dim, decoder.ffn_dim),  # down
        ADA_DOWN: (decoder.ada_dim, dim),
        ADA_UP: (dim, decoder.ada_dim),
    }


def read_config(index: GgufIndex) -> ModelConfig:
    """The model's dimensions: counts from `voxtral.*` metadata (else the 4B constants), widths from shapes.

    Raises ModelFileError if a tensor that tells a width is missing or a count is absurd.
    """
    return ModelConfig(
        EncoderConfig(
            **_counts(index, "encoder", EncoderConfig()),
            dim=_width(index, ENCODER_NORM, 1),
            ffn_dim=_width(index, encoder_layer(0, "feed_forward.w1.weight"), 2),
        ),
        DecoderConfig(
            **_counts(index, "decoder", DecoderConfig()),
            dim=_width(index, DECODER_NORM, 1),
            ffn_dim=_width(index, decoder_layer(0, "feed_forward.w1.weight"), 2),
            vocab_size=_width(index, TOKEN_EMBEDDINGS, 2),
            ada_dim=_width(index, decoder_layer(0, ADA_DOWN), 2),
        ),
    )


def metadata(config: ModelConfig) -> dict[str, int]:
    """The `voxtral.*` keys that `read_config` reads back."""
    halves: tuple[tuple[str, EncoderConfig | DecoderConfig], ...] = (
        ("encoder", config.encoder),
        ("decoder", config.decoder),
    )
    return {
        f"voxtral.{half}.{key}": getattr(part, field)
        for half, part in halves
        for key, field in _COUNTS.items()
        if hasattr(part, field)
    }


def _counts(index: GgufIndex, half: str, default: EncoderConfig | DecoderConfig) -> dict[str, int]:
    """The configuration fields that metadata tells."""
    fields = {field: key for key, field in _COUNTS.items() if hasattr(default, field)}
    return {field: _count(index, f"{half}.{key}", getattr(default, field)) for field, key in fields.items()}


def _count(index: GgufIndex, key: str, default: int) -> int:
    value = index.metadata.get(f"voxtral.{key}", default)
    if type(value) is not int or not 1 <= value <= MAX_COUNT:
        found = f"{value!r:.80}"
        raise ModelFileError(f"{index.name}: expected metadata voxtral.{key} to be a positive number, found {found}")
    return value


def _tensor(index: GgufIndex, name: str) -> TensorInfo:
    try:
        return index.tensors[name]
    except KeyError:
        raise ModelFileError(
            f"{index.name}: tensor {name!r} is missing among the file's {len(index.tensors)}; "
            "use a Voxtral Mini 4B Realtime model"
        ) from None


def _width(index: GgufIndex, name: str, n_dims: int) -> int:
    """Number of rows of a tensor."""
    shape = _tensor(index, name).shape
    if len(shape) != n_dims:
        raise ModelFileError(f"{index.name}: tensor {name!r} has shape {list(shape)}, expected {n_dims} dimensions")
    return shape[0]


def check(index: GgufIndex, config: ModelConfig) -> None:
    """Raise ModelFileError for the first width, tensor, shape or type that does not fit.

    Q8_0, which can be read, can not be computed with.
    """
    _check_dimensions(index.name, config)
    for name, shape in tensor_shapes(config):
        tensor = _tensor(index, name)
        if tensor.shape != shape:
            raise ModelFileError(
                f"{tensor.part}: tensor {name!r} has shape {list(tensor.shape)}, expected {list(shape)} "
                "from the model's other tensors and voxtral.* metadata; the file does not fit together"
            )
        allowed = MATRIX_TYPES if len(shape) == 2 else OTHER_TYPES
        if tensor.ggml_type not in allowed:
            *others, last = (kind.name for kind in allowed)
            expected = (
                f"{', '.join(others)} or {last} for {'a matrix' if len(shape) == 2 else 'a vector or a convolution'}"
            )
            raise ModelFileError(
                f"{tensor.part}: tensor {name!r} is {type_name(tensor.ggml_type)}, expected {expected}; "
                "convert the model again"
            )
    for stack in _stacks(config):
        _check_stack(index, stack)


def matrix_types(index: GgufIndex, config: ModelConfig) -> list[GgmlType]:
    """The types that the matrices of a checked file are of, each once."""
    return sorted({GgmlType(index.tensors[name].ggml_type) for name, shape in tensor_shapes(config) if len(shape) == 2})


def _stacks(config: ModelConfig) -> Iterator[list[str]]:
    for n_layers, layer in ((config.encoder.n_layers, encoder_layer), (config.decoder.n_layers, decoder_layer)):
        for i in range(n_layers):
            yield [layer(i, rest) for rest in QKV]
            yield [layer(i, rest) for rest in GATE_UP]


def _check_stack(index: GgufIndex, names: list[str]) -> None:
    """What is computed as one product must be of one type."""
    first = index.tensors[names[0]]
    for name in names[1:]:
        if index.tensors[name].ggml_type != first.ggml_type:
            found, expected = type_name(index.tensors[name].ggml_type), type_name(first.ggml_type)
            raise ModelFileError(
                f"{index.tensors[name].part}: tensor {name!r} is {found}, expected {expected} as {names[0]!r} is, with "
                "which it is computed; convert the model again"
            )


def _check_dimensions(name: str, config: ModelConfig) -> None:
    """Q4_0 blocks and the kernels, these for every type, want multiples of 32 in every direction."""
    encoder, decoder = config.encoder, config.decoder
    widths = {
        "encoder width": encoder.dim,
        "encoder head size": encoder.head_dim,
        "encoder feed-forward width": encoder.ffn_dim,
        "decoder width": decoder.dim,
        "decoder head size": decoder.head_dim,
        "decoder feed-forward width": decoder.ffn_dim,
        "delay conditioning width": decoder.ada_dim,
        "vocabulary size": decoder.vocab_size,
    }
    for what, width in widths.items():
        if width % WEIGHTS_PER_BLOCK:
            raise ModelFileError(f"{name}: expected the {what} to be a multiple of {WEIGHTS_PER_BLOCK}, found {width}")
    for what, head_dim in (("encoder", encoder.head_dim), ("decoder", decoder.head_dim)):
        if head_dim > MAX_HEAD_DIM:
            raise ModelFileError(
                f"{name}: expected the {what} head size to be at most {MAX_HEAD_DIM}, found {head_dim}"
            )
    if decoder.vocab_size <= N_SPECIAL_TOKENS:
        raise ModelFileError(
            f"{name}: expected a vocabulary of more than {N_SPECIAL_TOKENS} tokens, found {decoder.vocab_size}"
        )
    if decoder.n_heads % decoder.n_kv_heads:
        raise ModelFileError(
            f"{name}: expected the {decoder.n_heads} query heads to share {decoder.n_kv_heads} key heads evenly"
        )


def values(info: TensorInfo, raw: bytes) -> NDArray[np.float32]:
    """A tensor's values as float32, in its shape, from its bytes as they lie in the file."""
    return dequantise(raw, info.ggml_type, math.prod(info.shape)).reshape(info.shape)
