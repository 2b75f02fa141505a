"""Checkpoints to convert, made of the GGUF files there are: in Mistral's form, and in those of transformers."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.weights import tensor_shapes

ENCODER = "mm_streams_embeddings.embedding_module.whisper_encoder."
ADAPTER = "mm_streams_embeddings.embedding_module.audio_language_projection."
EMBEDDINGS = "mm_streams_embeddings.embedding_module.tok_embeddings.weight"
IN_ENCODER = {"attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm"}
IN_DECODER = {
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ada_rms_norm_t_cond.0": "ada_rms_norm.linear1",
    "ada_rms_norm_t_cond.2": "ada_rms_norm.linear2",
}
IN_BOTH = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}

TINY = Path(__file__).parent / "golden" / "tiny" / "model.gguf"
TINY_CONFIG = ModelConfig(
    EncoderConfig(2, 64, 4, 32, 160, 20), DecoderConfig(3, 96, 6, 2, 32, 256, 24, vocab_size=1536, ada_dim=32)
)

Weights = dict[str, NDArray[np.float32]]


def weights_of(path: Path) -> Weights:
    """The tensors of a GGUF file as the gguf package decodes them, in PyTorch's shapes."""
    return {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
        .reshape([int(size) for size in reversed(tensor.shape)])
        .astype(np.float32)
        for tensor in gguf.GGUFReader(path).tensors
    }


def in_halves(weights: Weights, config: ModelConfig) -> Weights:
    """The same under the names of transformers, without a prefix, with its order of q and k rows."""
    renamed = {}
    for name, values in weights.items():
        is_encoder = name.startswith(ENCODER)
        if ".attention.wq." in name or ".attention.wk." in name:
            head_dim = (config.encoder if is_encoder else config.decoder).head_dim
            rows = []
            for head in range(0, len(values), head_dim):
                rows += [head + 2 * j for j in range(head_dim // 2)] + [head + 2 * j + 1 for j in range(head_dim // 2)]
            values = values[rows]
        renamed[_transformers_name(name, is_encoder)] = values
    return renamed


def as_saved(halves: Weights) -> Weights:
    """Under the names that save_pretrained writes."""
    prefix = "language_model."
    return {name.replace(prefix, f"{prefix}model."): values for name, values in halves.items()}


def _transformers_name(name: str, is_encoder: bool) -> str:
    plain = name.removeprefix(ENCODER).removeprefix("transformer.")
    if name == EMBEDDINGS:
        return "language_model.embed_tokens.weight"
    if name.startswith(ADAPTER):
        return {
            "0.weight": "multi_modal_projector.linear_1.weight",
            "2.weight": "multi_modal_projector.linear_2.weight",
        }[name.removeprefix(ADAPTER)]
    tower = "audio_tower" if is_encoder else "language_model"
    if plain.startswith("conv_layers."):
        _, i, _, kind = plain.split(".")
        return f"audio_tower.embedder.conv{int(i) + 1}.{kind}"
    if plain == "norm.weight":
        return f"{tower}.norm.weight"
    _, layer, rest = plain.split(".", 2)
    rest, kind = rest.rsplit(".", 1)
    return f"{tower}.layers.{layer}.{(IN_BOTH | (IN_ENCODER if is_encoder else IN_DECODER))[rest]}.{kind}"


def params_json(config: ModelConfig) -> str:
    """As Mistral writes it, as far as it is read."""
    encoder, decoder = config.encoder, config.decoder
    audio = {
        "dim": encoder.dim, "n_layers": encoder.n_layers, "n_heads": encoder.n_heads, "head_dim": encoder.head_dim,
        "hidden_dim": encoder.ffn_dim, "sliding_window": encoder.window,
    }  # fmt: skip
    text = {
        "dim": decoder.dim, "n_layers": decoder.n_layers, "n_heads": decoder.n_heads, "n_kv_heads": decoder.n_kv_heads,
        "head_dim": decoder.head_dim, "hidden_dim": decoder.ffn_dim, "sliding_window": str(decoder.window),
    }  # fmt: skip
    return json.dumps(text | {"multimodal": {"whisper_model_args": {"encoder_args": audio}}})


def config_json(config: ModelConfig) -> str:
    """As transformers writes it, as far as it is read."""

    def part(half: Any, **more: int) -> dict[str, int]:
        return {
            "num_hidden_layers": half.n_layers, "num_attention_heads": half.n_heads, "head_dim": half.head_dim,
            "sliding_window": half.window, "hidden_size": half.dim, **more,
        }  # fmt: skip

    decoder = part(config.decoder, num_key_value_heads=config.decoder.n_kv_heads)
    return json.dumps({"audio_config": part(config.encoder), "text_config": decoder})


def stored(values: NDArray[np.float32], dtype: str) -> bytes:
    """Numbers as a checkpoint holds them; BF16 is cut off, not rounded."""
    if dtype == "BF16":
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def write_safetensors(path: Path, weights: Weights, dtype: str = "F32") -> Path:
    """All in one file, in the order of their names."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    parts, offset = [], 0
    for name in sorted(weights):
        data = stored(weights[name], dtype)
        header[name] = {
            "dtype": dtype, "shape": list(weights[name].shape), "data_offsets": [offset, offset + len(data)],
        }  # type: ignore[dict-item]  # fmt: skip
        offset += len(data)
        parts.append(data)
    path.write_bytes(safetensors_bytes(header, b"".join(parts)))
    return path


def save(folder: Path, form: str, weights: Weights, config: ModelConfig, dtype: str = "F32") -> Path:
    """A checkpoint with what lies beside it; returns its file."""
    folder.mkdir(exist_ok=True)
    if form == "mistral":
        (folder / "params.json").write_text(params_json(config))
        return write_safetensors(folder / "consolidated.safetensors", weights, dtype)
    halves = in_halves(weights, config)
    if form == "transformers":
        halves = {f"model.{name}": values for name, values in halves.items()}
    else:
        halves = as_saved(halves)
        halves["language_model.lm_head.weight"] = halves["language_model.model.embed_tokens.weight"]
    (folder / "config.json").write_text(config_json(config))
    return write_safetensors(folder / "model.safetensors", halves, dtype)


def tensors_of(path: Path) -> dict[str, tuple[Any, ...]]:
    """By the gguf package."""
    return {
        tensor.name: (tensor.tensor_type, [int(size) for size in tensor.shape], tensor.data.tobytes())
        for tensor in gguf.GGUFReader(path).tensors
    }


def made_by_the_gguf_package(weights: Weights, matrices: str = "Q4_0") -> dict[str, tuple[Any, ...]]:
    """What `tensors_of` should find: matrices in that type, all else in F32."""
    found = {}
    for name, values in weights.items():
        kind = gguf.GGMLQuantizationType[matrices if values.ndim == 2 else "F32"]
        found[name] = (kind, list(reversed(values.shape)), gguf.quantize(np.asarray(values), kind).tobytes())
    return found


def save_in_parts(folder: Path, weights: Weights, config: ModelConfig, dtype: str = "F32") -> Path:
    """As transformers saves large models; returns the index."""
    names = sorted(in_halves(weights, config))
    halves, weight_map = in_halves(weights, config), {}
    folder.mkdir()
    for i in range(3):
        file = f"model-0000{i + 1}-of-00003.safetensors"
        write_safetensors(folder / file, {name: halves[name] for name in names[i::3]}, dtype)
        weight_map |= dict.fromkeys(names[i::3], file)
    (folder / "config.json").write_text(config_json(config))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def sparse_checkpoint(folder: Path, config: ModelConfig) -> tuple[Path, int]:
    """A checkpoint of zeros in BF16, which takes no room on disk, and its bytes."""
    header, offset = {}, 0
    for name, shape in tensor_shapes(config):
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    raw = safetensors_bytes(header)
    source = folder / "consolidated.safetensors"
    with source.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + offset)
    (folder / "params.json").write_text(params_json(config))
    return source, offset
