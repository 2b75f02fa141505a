"""Makes the demo model: `python -m tools.demo_model DATA OUT`, in py/.

DATA has train.ogg, train.tsv, dev.ogg and dev.tsv (recordings.py says what is in them); dev is only listened to. In OUT
every stage leaves its result, and a stage whose result is there is not run again:

    synthetic.flac, .tsv   synthetic voices (voices.py)
    alignment.json         when every word ends (alignment.py)
    model/                 consolidated.safetensors, params.json, tekken.json, voxtral-demo-q4_0.gguf
    evaluation.json        errors on what was not learned from, losses along the way, seconds of every stage
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from tools.demo_model.alignment import align
from tools.demo_model.checkpoint import save
from tools.demo_model.configuration import NETWORK, Recipe
from tools.demo_model.evaluation import evaluate, tests
from tools.demo_model.recordings import Pack, read_pack
from tools.demo_model.scenes import Library
from tools.demo_model.training import train
from tools.demo_model.voices import make_voices
from voxtral.terminal import say


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, help="of training, instead of the recipe's")
    options = parser.parse_args()
    make(options.data, options.out, options.steps)


def make(data: Path, out: Path, n_steps: int | None) -> dict[str, Any]:
    """Run every stage whose result is missing; returns the evaluation."""
    recipe, device = Recipe(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_processes = max(1, (os.cpu_count() or 2) - 2)
    seconds: dict[str, float] = {}
    begin = time.monotonic()

    def done(stage: str) -> None:
        nonlocal begin
        seconds[stage], begin = round(time.monotonic() - begin, 1), time.monotonic()
        say(f"{stage}: {seconds[stage]:.0f} s")

    out.mkdir(parents=True, exist_ok=True)
    if not (out / "synthetic.tsv").exists():
        make_voices(out, n_processes, data=data)
        done("voices")
    packs, dev = [_pack(data, "train.ogg"), _pack(out, "synthetic.flac")], _pack(data, "dev.ogg")
    done("reading")
    if not (out / "alignment.json").exists():
        align(packs, [dev], out / "alignment.json", recipe, device)
        done("alignment")
    library = Library(packs, _word_ends_s(out / "alignment.json"), recipe.held_out_speakers)
    weights, history = train(library, recipe, device, n_processes, say, n_steps)
    save(weights, NETWORK, out / "model")
    done("training")
    report = evaluate(weights, NETWORK, tests(dev, packs[0], recipe.held_out_speakers))
    done("evaluation")
    report |= {"history": history, "seconds": seconds}
    (out / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, figures in report.items():
        if isinstance(figures, dict):
            say(f"{name}: {figures}")
    return report


def _pack(folder: Path, stream: str) -> Pack:
    return read_pack(folder / stream, (folder / stream).with_suffix(".tsv"))


def _word_ends_s(path: Path) -> dict[tuple[str, int], list[float]]:
    """What alignment.py found, by pack and number of the clip."""
    found = json.loads(path.read_text())["word_ends_s"]
    return {(key.rpartition(":")[0], int(key.rpartition(":")[2])): ends for key, ends in found.items()}


if __name__ == "__main__":
    main()
