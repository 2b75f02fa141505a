"""The networks of golden/precision: weights drawn again from their seed, and the file that the gguf package writes."""

import json
from pathlib import Path

import gguf
import numpy as np
from checkpoints import Weights

from tools import oracle
from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.quant import GgmlType, dequantise, quantise

GOLDEN = Path(__file__).parent / "golden" / "precision"
DTYPES = ("F32", "F16", "BF16")


def golden_files(dtype: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (GOLDEN / dtype.lower()).iterdir()}


def config_of(said: dict[str, int]) -> ModelConfig:
    encoder = [said[f"enc_{key}"] for key in ("layers", "dim", "heads", "head_dim", "ffn", "window")]
    decoder = [said[f"dec_{key}"] for key in ("layers", "dim", "heads", "kv_heads", "head_dim", "ffn", "window")]
    return ModelConfig(EncoderConfig(*encoder), DecoderConfig(*decoder, vocab_size=said["vocab"], ada_dim=32))


def weights_of(dtype: str) -> Weights:
    """As a checkpoint of that dtype holds them."""
    meta = json.loads(golden_files(dtype)["meta.json"])
    return {name: rounded(values, dtype) for name, values in oracle.make_weights(meta["config"], meta["seed"]).items()}


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    kind = GgmlType[dtype]
    return dequantise(quantise(values, kind), kind, values.size).reshape(values.shape)


def write_gguf(path: Path, dtype: str) -> None:
    """By the gguf package, with the metadata that the oracle gives its files."""
    said = json.loads(golden_files(dtype)["meta.json"])["config"]
    writer = gguf.GGUFWriter(path, "voxtral")
    for field, key in oracle.KV_KEYS.items():
        writer.add_uint32(key, said[field])
    for name, values in weights_of(dtype).items():
        kind = gguf.GGMLQuantizationType[dtype if values.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
