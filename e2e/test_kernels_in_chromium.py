"""Each kernel against numpy inside Chromium: the cases of py/tests/op_cases.py, through Tint instead of naga."""

import pytest
from harness import Harness
from op_cases import CASES

CASES_PER_CALL = 8
STARTS = range(0, len(CASES), CASES_PER_CALL)


@pytest.mark.parametrize("first", STARTS, ids=lambda first: f"from {CASES[first].name}")
def test_kernels_agree_with_numpy(harness: Harness, first: int) -> None:
    last = min(first + CASES_PER_CALL, len(CASES))
    report = harness.run("in_chromium", "run_op_cases", [first, last])
    assert list(report) == [case.name for case in CASES[first:last]]
    assert [problem for problems in report.values() for problem in problems] == []


def test_the_device_is_the_browser_s_own(harness: Harness) -> None:
    adapter = harness.run("in_chromium", "describe_adapter", [])
    assert adapter["is_software"], adapter
    assert adapter["name"]
