"""The whole engine in Chromium against the reference implementation: every golden set, every chunking."""

import pytest
from golden_cases import CHUNKS, SETS, TOLERANCES
from harness import Harness

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
