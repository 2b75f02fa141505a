"""Saves what was learned: consolidated.safetensors in F16, params.json, tekken.json and the Q4_0 GGUF."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tools.demo_model.network import Weights
from tools.demo_model.vocabulary import tekken_json
from voxtral.config import N_MEL_BINS, SAMPLE_RATE, ModelConfig
from voxtral.convert import convert
from voxtral.quant import GgmlType

GGUF_NAME = "voxtral-demo-q4_0.gguf"
MODEL_NAME = "Voxtral demo (digits, keywords and coffee orders)"


def save(weights: Weights, config: ModelConfig, folder: Path) -> None:
    """Write all four files."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(_params(config), indent=1) + "\n")
    tekken_json(folder / "tekken.json")
    convert(folder, folder / GGUF_NAME, GgmlType.Q4_0, _silent, MODEL_NAME)


def _silent(*_: Any) -> None:
    pass


def _params(config: ModelConfig) -> dict[str, Any]:
    encoder, decoder = config.encoder, config.decoder
    return {
        "dim": decoder.dim,
        "n_layers": decoder.n_layers,
        "head_dim": decoder.head_dim,
        "hidden_dim": decoder.ffn_dim,
        "n_heads": decoder.n_heads,
        "n_kv_heads": decoder.n_kv_heads,
        "vocab_size": decoder.vocab_size,
        "sliding_window": decoder.window,
        "multimodal": {
            "whisper_model_args": {
                "encoder_args": {
                    "dim": encoder.dim,
                    "n_layers": encoder.n_layers,
                    "head_dim": encoder.head_dim,
                    "hidden_dim": encoder.ffn_dim,
                    "n_heads": encoder.n_heads,
                    "n_kv_heads": encoder.n_heads,
                    "sliding_window": encoder.window,
                    "audio_encoding_args": {"sampling_rate": SAMPLE_RATE, "num_mel_bins": N_MEL_BINS},
                }
            }
        },
    }
