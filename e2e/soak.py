#!/usr/bin/env python3
"""Hours of audio through the page's own engine, faster than real time: memory must stay flat, and the words the same.

    python3 e2e/soak.py [--minutes 60] [--backend numpy|webgpu] [--chromium "COMMAND"] [--report FILE]

The audio is a minute of speech again and again, with a pause of another length each time. Every minute of it the
engine is asked for its memory, and a line printed. COMMAND starts a headless Chromium; the page's address is added to
it. Exit status 1: memory grew, or words differ from those of the same audio in pieces. Standard library only.
"""

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "py")]

from tools.chromium import BrowserError, letters, report_of  # noqa: E402
from voxtral.web.site import Site  # noqa: E402

SETTLING_S = 300.0  # until then everything that is needed has been used once
MAX_GROWTH = 0.05
KINDS = ("heap", "loader", "gpu")


def address(minutes: float, backend: str, **more: str) -> str:
    """Of the page that does it, below the server's root."""
    return f"e2e/soak.html?{urlencode({'minutes': minutes, 'backend': backend, **more})}"


def run(minutes: float, backend: str, command: Sequence[str] | None, limit_s: float) -> dict[str, Any]:
    """The report that soak.js describes; prints a line each minute of audio. Raises BrowserError."""
    site = Site(mounts={"e2e": ROOT / "e2e"})
    n_rows = 0

    def show(letter: dict[str, Any]) -> None:
        nonlocal n_rows
        if "row" in letter:
            if n_rows == 0:
                print("minute   wall s" + "".join(f"{kind + ' MB':>12}" for kind in KINDS))
            n_rows += 1
        print(_line(letter["row"]) if "row" in letter else letter["line"], flush=True)

    return report_of(letters(site, command, address(minutes, backend, post=""), limit_s), show)


def problems(report: dict[str, Any]) -> list[str]:
    """Sentences about what is not as it must be."""
    found: list[str] = []
    settled = settled_rows(report)
    if len(settled) < 2:
        found.append("there are fewer than two measurements to compare; let it run longer")
    for kind, growth in growths(settled).items():
        if growth > MAX_GROWTH:
            first, largest = settled[0][f"{kind}_bytes"], max(row[f"{kind}_bytes"] for row in settled)
            found.append(
                f"{kind} grew from {first:,} to {largest:,} bytes after minute {settled[0]['heard_s'] / 60:.1f}"
            )
    if report["backend"] == "webgpu" and not all(row["gpu_bytes"] for row in report["rows"]):
        found.append("a GPU computed, but none of its memory was counted")
    heard, expected = report["result"]["text"].split(), report["piece"].split() * report["rounds"]
    if not expected or heard != expected:
        pairs = enumerate(zip(heard, expected, strict=False))
        at = next((i for i, (word, other) in pairs if word != other), min(len(heard), len(expected)))
        found.append(f"word {at} of {len(heard)} is {heard[at : at + 5]}, in pieces {expected[at : at + 5]}")
    if report["shown"].split() != heard:
        found.append("the words as they came are not those of the result")
    found += report["notices"]
    return found


def settled_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The measurements that are compared: those after five minutes, or after a third of a short run."""
    settling_s = min(SETTLING_S, report["result"]["audio_s"] / 3)
    return [row for row in report["rows"] if row["heard_s"] >= settling_s]


def growths(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How much more the largest of each kind of memory is than the first, as a fraction."""
    found = {}
    for kind in KINDS:
        sizes = [row[f"{kind}_bytes"] for row in rows] or [0]
        found[kind] = (max(sizes) - sizes[0]) / (sizes[0] or 1)
    return found


def summary(report: dict[str, Any]) -> str:
    audio_s, wall_s = report["result"]["audio_s"], report["wall_s"]
    settled = settled_rows(report)
    since = f"memory since minute {settled[0]['heard_s'] / 60:.1f}: " if settled else ""
    grown = ", ".join(f"{kind} {growth:+.1%}" for kind, growth in growths(settled).items())
    return (
        f"{audio_s / 60:.1f} minutes in {wall_s:.0f} s ({audio_s / wall_s:.1f} × real time), "
        f"{report['rounds']} rounds, {len(report['result']['words'])} words; {since}{grown}"
    )


def _line(row: dict[str, Any]) -> str:
    sizes = "".join(f"{row[f'{kind}_bytes'] / 1e6:12.2f}" for kind in KINDS)
    return f"{row['heard_s'] / 60:6.1f} {row['wall_s']:8.1f}{sizes}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60, metavar="N", help="of audio, default 60")
    parser.add_argument("--backend", choices=("numpy", "webgpu"), default="numpy")
    parser.add_argument("--chromium", metavar="COMMAND", help="default: the system's Chromium")
    parser.add_argument("--limit-s", type=float, default=600, metavar="N", help="for each line, default 600")
    parser.add_argument("--report", type=Path, metavar="FILE", help="JSON file for all figures")
    options = parser.parse_args()
    command = shlex.split(options.chromium) if options.chromium else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the browser is ended in any case
    try:
        report = run(options.minutes, options.backend, command, options.limit_s)
    except BrowserError as error:
        print(error)
        return 1
    except KeyboardInterrupt:
        return 130
    found = problems(report)
    if options.report:
        options.report.write_text(json.dumps({**report, "problems": found}, indent=1) + "\n")
    print(summary(report))
    for problem in found:
        print(f"FAILED: {problem}")
    if not found:
        print("memory stayed flat, and every word is the one that the same audio gives in pieces")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
