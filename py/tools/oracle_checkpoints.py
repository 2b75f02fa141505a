#!/usr/bin/env python3
"""Golden data for weights of full precision: oracle.py's random network with every weight rounded to F32, F16 or BF16.

    python oracle_checkpoints.py --out OUT        (with the packages that oracle.py names)

For each dtype OUT/DTYPE has what transformers computes with such weights in float32 (golden.npz, meta.json), and the
network in three forms: mistral/ (consolidated.safetensors, params.json), transformers/ (shards as save_pretrained
writes them, with index and config.json) and model.gguf, tekken.json beside each.

py/tests/golden/precision keeps golden.npz and meta.json of each, and the index and config.json, which are the same for
all. The weights are not kept: numpy draws them again from the seed, and meta.json has their sums.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import oracle  # type: ignore[import-not-found]  # beside this file
import torch
from safetensors import safe_open
from safetensors.torch import save_file

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CONFIG = dict(oracle.PRESETS["tiny"], vocab=1088)
SEED, SECONDS, DELAY_MS, LEFT_PAD = 5, 1.0, 480, 32
STAGES = ("audio", "mel", "conv2", "enc_out", "audio_embeds", "logits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    torch.set_num_threads(2)
    out.mkdir(parents=True, exist_ok=True)
    tekken = out / "tekken.json"
    oracle.write_tekken(str(tekken), CONFIG["vocab"], DELAY_MS, LEFT_PAD)
    audio = oracle.synth(SECONDS, SEED)
    drawn = {name: torch.from_numpy(values) for name, values in oracle.make_weights(CONFIG, SEED).items()}
    for dtype, kind in DTYPES.items():
        folder = out / dtype.lower()
        weights = {name: values.to(kind) for name, values in drawn.items()}
        model = oracle.build_model(CONFIG, oracle.to_hf({n: w.float().numpy() for n, w in weights.items()}, CONFIG))
        golden = oracle.run(model, str(tekken), audio, DELAY_MS)
        meta = {
            "config": CONFIG, "seed": SEED, "delay_ms": DELAY_MS, "left_pad": LEFT_PAD, "dtype": dtype,
            "tokens": golden["tokens"].tolist(),
            "crosscheck": oracle.crosscheck(model, str(tekken), golden, DELAY_MS),
            "mistral_sha256": write_mistral(folder / "mistral", weights),
            "transformers_sha256": write_transformers(folder / "transformers", model.to(kind)),
        }  # fmt: skip
        write_gguf(folder / "model.gguf", weights, dtype)
        for place in (folder, folder / "mistral", folder / "transformers"):
            shutil.copy(tekken, place)
        oracle.np.savez_compressed(folder / "golden.npz", **{name: golden[name] for name in STAGES})
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
        print({key: value for key, value in meta.items() if key != "config"})


def write_mistral(folder: Path, weights: dict[str, Any]) -> str:
    """consolidated.safetensors and params.json; returns the sum of its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "consolidated.safetensors")
    audio = {
        "dim": CONFIG["enc_dim"], "n_layers": CONFIG["enc_layers"], "n_heads": CONFIG["enc_heads"],
        "head_dim": CONFIG["enc_head_dim"], "hidden_dim": CONFIG["enc_ffn"], "sliding_window": CONFIG["enc_window"],
    }  # fmt: skip
    params = {
        "dim": CONFIG["dec_dim"], "n_layers": CONFIG["dec_layers"], "n_heads": CONFIG["dec_heads"],
        "n_kv_heads": CONFIG["dec_kv_heads"], "head_dim": CONFIG["dec_head_dim"], "hidden_dim": CONFIG["dec_ffn"],
        "sliding_window": CONFIG["dec_window"], "vocab_size": CONFIG["vocab"],
        "multimodal": {"whisper_model_args": {"encoder_args": audio}},
    }  # fmt: skip
    (folder / "params.json").write_text(json.dumps(params, indent=1) + "\n")
    return digest([folder / "consolidated.safetensors"])


def write_transformers(folder: Path, model: Any) -> str:
    """As transformers saves it; returns the sum of its tensors."""
    model.save_pretrained(folder, max_shard_size="1MB")
    return digest(sorted(folder.glob("*.safetensors")))


def write_gguf(path: Path, weights: dict[str, Any], dtype: str) -> None:
    """By the gguf package; matrices of that type, all else F32."""
    import gguf

    writer = gguf.GGUFWriter(path, "voxtral")
    for field, key in oracle.KV_KEYS.items():
        writer.add_uint32(key, CONFIG[field])
    for name, values in weights.items():
        kind = gguf.GGMLQuantizationType[dtype if values.ndim == 2 else "F32"]
        raw = gguf.quantize(values.float().numpy(), kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def digest(paths: list[Path]) -> str:
    """SHA-256 of all tensors' names and bytes, in the order of their names."""
    tensors: dict[str, Any] = {}
    for path in paths:
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    sums = hashlib.sha256()
    for name in sorted(tensors):
        sums.update(name.encode() + b"\0" + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return sums.hexdigest()


if __name__ == "__main__":
    main()
