"""What the demo model is known to reach on the built-in set, and whether a run falls behind it.

    PYTHONPATH=py python -m tools.accuracy_figures [REPORT]     records py/tests/accuracy_figures.json

from REPORT, made by `voxtral wer --backend numpy --json REPORT`, or from a run made here (some minutes). The guard,
py/tests/test_accuracy_guard.py, asks `complaints` about its own runs.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from voxtral.accuracy.recordings import BUILT_IN
from voxtral.accuracy.report import Report
from voxtral.accuracy.results import ClipResult
from voxtral.web.places import HERE

FIGURES = Path(__file__).parents[1] / "tests" / "accuracy_figures.json"
MOST_WER = 0.01  # above what was recorded, absolute
MOST_FALSE_WORDS_PER_MIN = 0.5
RECORD = "record figures by `PYTHONPATH=py python -m tools.accuracy_figures`"


def main() -> int:
    parser = argparse.ArgumentParser(description="record what the demo model reaches on the built-in set")
    parser.add_argument(
        "report", nargs="?", type=Path, metavar="REPORT", help="of the whole set; default: a run is made"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.report or Path(folder) / "report.json"
        if not options.report:
            subprocess.run([sys.executable, "-m", "voxtral", "wer", "--backend", "numpy", "--json", path], check=True)
        report = Report.of_json(path.read_bytes(), str(path))
    if report.set_name != BUILT_IN or not report.is_complete or report.model.sha256 != sha256_of_model():
        print(f"{path}: expected a whole run of the demo model over the built-in set", file=sys.stderr)
        return 1
    FIGURES.write_text(json.dumps(figures_of(report), indent=1) + "\n", encoding="utf-8")
    return 0


def figures_of(report: Report) -> dict[str, Any]:
    """What is recorded of a run: rates for people, and the errors of each clip that has some."""
    groups = {
        name: {rate: summary[rate] and summary[rate]["value"] for rate in ("wer", "cer", "false_words_per_min")}
        for name, summary in report.summary()["groups"].items()
    }
    return {
        "model_sha256": report.model.sha256,
        "set_sha256": sha256_of_set(),
        "delay_ms": report.model.delay_ms,
        "left_pad_tokens": report.model.left_pad_tokens,
        "normalizer": report.normalizer,
        "groups": groups,
        "errors": {clip.id: n_errors for clip in report.clips if (n_errors := _n_errors(clip))},
    }


def complaints(report: Report, figures: dict[str, Any], by_group: bool = True) -> list[str]:
    """Where a run is worse than recorded on the same clips, a sentence each; by_group: or only in all of them."""
    made_of = ("model_sha256", "set_sha256", "delay_ms", "left_pad_tokens", "normalizer")
    now = figures_of(report)
    if others := [name for name in made_of if now[name] != figures[name]]:
        return [f"the run differs from the recorded one in {', '.join(others)}; if that is meant, {RECORD}"]
    groups = {clip.group for clip in report.clips} if by_group else set()
    parts = [("all groups", list(report.clips))]
    parts += [(group, [clip for clip in report.clips if clip.group == group]) for group in sorted(groups)]
    return [sentence for name, clips in parts for sentence in _worse(name, clips, figures["errors"])]


def _worse(name: str, clips: Sequence[ClipResult], recorded: dict[str, int]) -> Iterable[str]:
    spoken = [clip for clip in clips if not clip.should_be_silent]
    silent = [clip for clip in clips if clip.should_be_silent]
    n_words = sum(clip.word_counts.n_reference for clip in spoken)
    minutes = sum(clip.audio_s for clip in silent) / 60
    for of_kind, n, most, rate in (
        (spoken, n_words, MOST_WER, "word error rate"),
        (silent, minutes, MOST_FALSE_WORDS_PER_MIN, "false words a minute"),
    ):
        was = sum(recorded.get(clip.id, 0) for clip in of_kind)
        is_now = sum(map(_n_errors, of_kind))
        if n and (is_now - was) / n > most:
            yield (
                f"{name}: {rate} {is_now / n:.4f}, recorded {was / n:.4f}, at most {most:g} more; mend it, or if that "
                f"is meant, {RECORD}"
            )


def _n_errors(clip: ClipResult) -> int:
    return clip.false_words if clip.should_be_silent else clip.word_counts.errors


def sha256_of_model() -> str:
    """Of the demo model's weights."""
    (weights,) = HERE.demo_model.glob("*.gguf")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def sha256_of_set() -> str:
    """Of the built-in set, sound and table."""
    files = (HERE.accuracy_set / f"set.{suffix}" for suffix in ("ogg", "tsv"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
