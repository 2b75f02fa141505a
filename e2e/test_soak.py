"""The engine in the page listens on and on: memory stays flat, no word changes. For hours: soak.py."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page
from soak import KINDS, address, problems

from voxtral.config import MS_PER_TOKEN

pytestmark = pytest.mark.alone  # memory is watched while the engine hears without a rest

MINUTES = 0.75
CLIP, N_ROUNDS = "digits_3.wav", 6


def test_listening_on_takes_no_more_memory_and_changes_no_word(open_page: Callable[..., Page]) -> None:
    # numpy: what users get without a GPU, and faster than a software one
    page = open_page(f"/{address(MINUTES, 'numpy', clip=CLIP)}", webgpu=False)
    report = page.evaluate("() => soaking")
    assert problems(report) == []
    assert len(report["rows"]) >= 9
    assert report["rounds"] == N_ROUNDS
    result = report["result"]
    assert result["tokens"] == []
    assert len(result["words"]) == 7 * N_ROUNDS
    ends = [word["end"] for word in result["words"]]
    assert ends == sorted(ends)
    assert ends[-1] <= result["audio_s"] + MS_PER_TOKEN / 1000


def a_report(minutes: int, **changes: Any) -> dict[str, Any]:
    """Of a run without fault, but for these changes."""
    sizes = {"heap_bytes": 1000, "loader_bytes": 0, "gpu_bytes": 1000}
    rows = [{"heard_s": 60.0 * (i + 1), "wall_s": 1.0, **sizes} for i in range(minutes)]
    result = {"text": "one two one two", "audio_s": 60.0 * minutes, "words": []}
    shown = " one two one two"
    report = {"backend": "webgpu", "rounds": 2, "piece": "one two", "shown": shown, "rows": rows, "result": result}
    return {**report, "notices": [], "wall_s": 1.0, **changes}


@pytest.mark.parametrize(("minutes", "settled"), [(6, 2), (60, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_growth_after_settling_is_a_problem(minutes: int, settled: int, kind: str) -> None:
    report = a_report(minutes)
    assert problems(report) == []
    for row in report["rows"][: settled - 1]:
        row[f"{kind}_bytes"] = 1  # less before is how it starts
    for row in report["rows"][-1:]:
        row[f"{kind}_bytes"] += 50
    assert bool(problems(report)) == (kind == "loader"), "5 % of nothing is nothing"
    for row in report["rows"][settled : settled + 1]:
        row[f"{kind}_bytes"] += 51
    (problem,) = problems(report)
    assert problem.startswith(f"{kind} grew from ")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shown": "one two one"}, "as they came"),
        ({"rounds": 3}, "word 4 of 4 is [], in pieces ['one', 'two']"),
        ({"piece": "one three"}, "word 1 of 4 is ['two', 'one', 'two'], in pieces ['three', 'one', 'three']"),
        ({"piece": ""}, "word 0 of 4"),
        ({"notices": ["It was started anew."]}, "It was started anew."),
        ({"rows": []}, "fewer than two measurements"),
    ],
)
def test_anything_else_that_is_wrong_is_a_problem(changes: dict[str, Any], problem: str) -> None:
    (found,) = problems(a_report(60, **changes))
    assert problem in found
