"""The whole engine in Chromium against the reference implementation: every golden set, every chunking.

And one layer of each half at the 4B model's widths, by the kernels for software adapters and by those for GPUs.
"""

from typing import Any

import full_width
import precision
import pytest
from demo_case import CLIP, MODEL, SPOKEN, TEKKEN
from golden_cases import CHUNKS, SETS, TOLERANCES
from harness import Harness

from voxtral.gpu.device import NEEDED_LIMITS

GOLDEN_FILES = ("meta.json", "golden.npz", "model.gguf")


@pytest.mark.parametrize("name", SETS)
def test_golden_set(harness: Harness, name: str) -> None:
    files = [f"tests/golden/{name}/{file}" for file in GOLDEN_FILES]
    report = harness.run("in_chromium", "run_golden", [name], files=files)
    assert report["tokens"] == {str(chunk): True for chunk in CHUNKS}
    stages = report["stages"]
    assert stages.pop("tokens") is True
    assert stages.keys() == TOLERANCES.keys()
    assert {stage: error for stage, error in stages.items() if not error <= TOLERANCES[stage]} == {}


@pytest.mark.parametrize("dtype", precision.DTYPES)
def test_matrices_of_other_types(harness: Harness, server: Any, dtype: str) -> None:
    weights = server.made / f"{dtype}.gguf"
    precision.write_gguf(weights, dtype)
    files = [f"tests/golden/precision/{dtype.lower()}/{name}" for name in precision.golden_files(dtype)]
    report = harness.run("in_chromium", "run_precision", [dtype, f"/made/{weights.name}"], files=files)
    assert report.pop("tokens") is True
    assert report.keys() == TOLERANCES.keys()
    assert {stage: error for stage, error in report.items() if not error <= TOLERANCES[stage]} == {}


def test_the_demo_network_needs_no_more_than_the_default_limits(harness: Harness) -> None:
    report = harness.run("in_chromium", "run_demo", [], files=[MODEL, TEKKEN, CLIP])
    assert report["text"] == SPOKEN
    assert report["limits"] == NEEDED_LIMITS
    assert set(report["features"]) <= {"core-features-and-limits"}  # not an optional one


@pytest.mark.parametrize(
    ("serial", "chunk_tokens", "n_positions"),
    # Teams are slow on a software adapter: one chunk for the tiles, two for few rows, two steps.
    [(True, [1], 45), (False, [16, 1], 2)],
    ids=["software", "as on a GPU"],
)
def test_full_width(harness: Harness, server: Any, serial: bool, chunk_tokens: list[int], n_positions: int) -> None:
    weights = full_width.weights_in(server.made)
    files = [f"tests/golden/full_width/{path.name}" for path in full_width.FOLDER.iterdir()]
    arguments = [f"/made/{weights.name}", serial, chunk_tokens, n_positions]
    found = harness.run("in_chromium", "run_full_width", arguments, files=files)
    assert full_width.problems(found, chunk_tokens) == []
