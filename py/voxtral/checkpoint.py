"""The network in a checkpoint as Mistral or transformers save it: its tensors under Mistral's names, its dimensions.

    read_network    what `convert` writes; ModelFileError if it is no Voxtral Realtime network
    mistral_name    the names of transformers as Mistral's

Shapes do not tell all dimensions: the number of heads and layers and the windows are in params.json (Mistral) or
config.json (transformers) beside the checkpoint.
"""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.errors import ModelFileError
from voxtral.gguf import GgufIndex, TensorInfo
from voxtral.model_files import explaining
from voxtral.quant import GgmlType
from voxtral.safetensors import Checkpoint, StoredTensor
from voxtral.weights import (
    ADA_DOWN,
    ADA_UP,
    ADAPTER_IN,
    ADAPTER_OUT,
    DECODER_NORM,
    EMBEDDING,
    ENCODER_NORM,
    TOKEN_EMBEDDINGS,
    check,
    conv,
    decoder_layer,
    encoder_layer,
    metadata,
    read_config,
    tensor_shapes,
)

Said = tuple[dict[str, Any], dict[str, Any]]  # fields of encoder and decoder; what they are is not yet checked

# Models whose numbers are known when nothing beside the checkpoint tells them: the 4B model, the demo, and the demo of
# digits and keywords that came before it.
KNOWN = (
    ModelConfig(EncoderConfig(), DecoderConfig()),
    ModelConfig(EncoderConfig(8, 256, 4, 64, 1024, 250), DecoderConfig(6, 384, 6, 2, 64, 1152, 32, 1344, 32)),
    ModelConfig(EncoderConfig(8, 256, 4, 64, 1024, 250), DecoderConfig(6, 384, 6, 2, 64, 1152, 75, 1280, 32)),
)

# Dtypes of weights → the same in GGUF
OWN_TYPES = {"F32": GgmlType.F32, "F16": GgmlType.F16, "BF16": GgmlType.BF16}

# The LM head is the token embedding; some save it twice.
TIED = {"output.weight", "lm_head.weight", "language_model.lm_head.weight"}

# transformers → Mistral, without model. in front, and without .weight or .bias behind
LAYER_NAME = re.compile(r"(audio_tower|language_model)\.layers\.(\d+)\.(.+)\.(weight|bias)")
IN_LAYER = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "self_attn_layer_norm": "attention_norm",
    "input_layernorm": "attention_norm",
    "final_layer_norm": "ffn_norm",
    "post_attention_layernorm": "ffn_norm",
    "ada_rms_norm.linear1": ADA_DOWN.removesuffix(".weight"),
    "ada_rms_norm.linear2": ADA_UP.removesuffix(".weight"),
}
OUTSIDE_LAYERS = {
    "audio_tower.embedder.conv1.weight": conv(0, "weight"),
    "audio_tower.embedder.conv1.bias": conv(0, "bias"),
    "audio_tower.embedder.conv2.weight": conv(1, "weight"),
    "audio_tower.embedder.conv2.bias": conv(1, "bias"),
    "audio_tower.norm.weight": ENCODER_NORM,
    "multi_modal_projector.linear_1.weight": ADAPTER_IN,
    "multi_modal_projector.linear_2.weight": ADAPTER_OUT,
    "language_model.embed_tokens.weight": TOKEN_EMBEDDINGS,
    "language_model.norm.weight": DECODER_NORM,
}

# Fields of the configuration → their keys in params.json, and in config.json
MISTRAL_KEYS = {
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "n_kv_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "window": "sliding_window",
    "dim": "dim",
    "ffn_dim": "hidden_dim",
    "vocab_size": "vocab_size",
}
TRANSFORMERS_KEYS = {
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "window": "sliding_window",
    "dim": "hidden_size",
    "ffn_dim": "intermediate_size",
    "vocab_size": "vocab_size",
}
WIDTHS = ("dim", "ffn_dim", "vocab_size")  # which shapes tell, too


class Network(NamedTuple):
    """tensors: by Mistral's names. in_halves: its q and k rows are in the order that rotates halves of a head."""

    config: ModelConfig
    tensors: dict[str, StoredTensor]
    in_halves: bool


def read_network(checkpoint: Checkpoint) -> Network:
    """The network with all its tensors, none empty, each of a dtype in OWN_TYPES.

    Raises ModelFileError for the first misfit.
    """
    in_halves = not any(name.startswith(EMBEDDING) for name in checkpoint.tensors)
    tensors: dict[str, StoredTensor] = {}
    for name, stored in checkpoint.tensors.items():
        plain = name.removeprefix("model.").replace("language_model.model.", "language_model.", 1)
        if plain in TIED:
            continue
        new_name = mistral_name(plain) if in_halves else name
        if new_name is None or new_name in tensors:
            expected = "a Voxtral Realtime network with the tensor names of Mistral or transformers"
            raise ModelFileError(f"{stored.path}: expected {expected}, found {name!r}; name another checkpoint")
        if stored.dtype not in OWN_TYPES:
            raise ModelFileError(
                f"{stored.path}: tensor {name!r} is {stored.dtype}, expected {', '.join(OWN_TYPES)}; "
                "use the checkpoint as it was before it was quantised"
            )
        if 0 in stored.shape:
            raise ModelFileError(
                f"{stored.path}: tensor {name!r} has shape {list(stored.shape)}, expected no empty dimension"
            )
        tensors[new_name] = stored
    return Network(_config(checkpoint, tensors, in_halves), tensors, in_halves)


def mistral_name(name: str) -> str | None:
    """Mistral's name of a tensor of transformers, given without `model.` in front; None if it has none."""
    if match := LAYER_NAME.fullmatch(name):
        tower, i, rest, kind = match.groups()
        if rest not in IN_LAYER or len(i) > 4:
            return None
        layer = encoder_layer if tower == "audio_tower" else decoder_layer
        return layer(int(i), f"{IN_LAYER[rest]}.{kind}")
    return OUTSIDE_LAYERS.get(name)


def _config(checkpoint: Checkpoint, tensors: dict[str, StoredTensor], in_halves: bool) -> ModelConfig:
    """The dimensions, by the shapes and what lies beside the checkpoint, when all its tensors fit them."""
    path, beside = str(checkpoint.path), checkpoint.files[0].parent / ("config.json" if in_halves else "params.json")
    shapes = {name: stored.shape for name, stored in tensors.items()}
    # As the index of what it may become, so that one table and one check serve both; types are no concern here.
    kinds = {1: GgmlType.F32, 2: GgmlType.Q4_0, 3: GgmlType.F32}
    infos = {name: TensorInfo(name, shape, kinds.get(len(shape), 0), 0, 0, path) for name, shape in shapes.items()}
    said = _said(beside, in_halves)
    index = GgufIndex(3, metadata(_filled(said)) if said else {}, infos, 0, path)
    config = read_config(index)
    if said is None:
        for known in KNOWN:
            if dict(tensor_shapes(known)) == shapes:
                return known
        raise ModelFileError(f"{path}: expected {beside.name} beside it, which tells the number of heads; put it there")
    _require_widths(beside, said, config)
    try:
        check(index, config)
    except ModelFileError as error:
        raise ModelFileError(f"{error}; the numbers of its layers and heads are from {beside}") from error
    if more := shapes.keys() - {name for name, _ in tensor_shapes(config)}:
        raise ModelFileError(f"{path}: expected the tensors of Voxtral Realtime, found {min(more)!r} too; name another")
    return config


def _said(path: Path, in_halves: bool) -> Said | None:
    """What a file beside the checkpoint says of the network; None if it is not there."""
    try:
        with explaining(path):
            if not path.exists():
                return None
            found = json.loads(path.read_bytes())
        if in_halves:
            encoder, decoder, keys = found["audio_config"], found["text_config"], TRANSFORMERS_KEYS
        else:
            encoder, decoder, keys = found["multimodal"]["whisper_model_args"]["encoder_args"], found, MISTRAL_KEYS
        return _numbers(EncoderConfig, encoder, keys), _numbers(DecoderConfig, decoder, keys)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelFileError(
            f"{path}: expected the numbers of a Voxtral Realtime network in JSON; put the right one there"
        ) from error


def _numbers(half: type[EncoderConfig | DecoderConfig], said: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Fields of a half that JSON has; null stands for the default, and a number may be a text."""
    names = {field.name for field in fields(half)}
    found = {name: said.get(key) for name, key in keys.items() if name in names}
    return {name: int(value) if isinstance(value, str) else value for name, value in found.items() if value is not None}


def _filled(said: Said) -> ModelConfig:
    """With defaults for what is not said."""
    return ModelConfig(replace(EncoderConfig(), **said[0]), replace(DecoderConfig(), **said[1]))


def _require_widths(path: Path, said: Said, config: ModelConfig) -> None:
    """Who says other widths than the tensors have tells of another network."""
    for half, numbers in zip((config.encoder, config.decoder), said, strict=True):
        for name in WIDTHS:
            if name in numbers and numbers[name] != (found := getattr(half, name)):
                raise ModelFileError(
                    f"{path}: says {numbers[name]!r:.40} where the tensors beside it have {found} ({name} of "
                    f"{type(half).__name__}); put the file there that belongs to the checkpoint"
                )
