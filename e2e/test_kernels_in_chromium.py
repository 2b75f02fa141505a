"""Each kernel against numpy inside Chromium: the cases of py/tests/op_cases.py, through Tint instead of naga."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Harness
from op_cases import CASES
from recorded import has_forms

CASES_PER_CALL = 8
STARTS = range(0, len(CASES), CASES_PER_CALL)


@pytest.mark.parametrize("first", STARTS, ids=lambda first: f"from {CASES[first].name}")
def test_kernels_agree_with_numpy(harness: Harness, first: int) -> None:
    last = min(first + CASES_PER_CALL, len(CASES))
    report = harness.run("in_chromium", "run_op_cases", [first, last])
    assert list(report) == [case.name for case in CASES[first:last]]
    assert [problem for problems in report.values() for problem in problems] == []


def test_kernels_made_for_optional_features_agree_with_numpy(harness: Harness) -> None:
    """On a device with all that SwiftShader has: subgroups of four and packed products."""
    with ThreadPoolExecutor(1) as elsewhere:  # it runs an event loop of its own, beside Playwright's
        positions = [i for i, has in enumerate(elsewhere.map(has_forms, CASES)) if has]
    assert len(positions) > 20
    for start in range(0, len(positions), CASES_PER_CALL):
        part = positions[start : start + CASES_PER_CALL]
        report = harness.run("in_chromium", "run_op_cases_at", [part])
        assert list(report) == [CASES[i].name for i in part]
        assert [problem for problems in report.values() for problem in problems] == []


def test_the_device_is_the_browser_s_own(harness: Harness) -> None:
    adapter = harness.run("in_chromium", "describe_adapter", [])
    assert adapter["is_software"], adapter
    assert adapter["name"]
    assert adapter["default features"] == []
    assert "subgroups" in adapter["features"]
