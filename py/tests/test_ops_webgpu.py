"""Each kernel against numpy on this machine's adapter; the same cases run in a browser, see e2e."""

import asyncio
from collections.abc import Iterator

import pytest
from op_cases import CASES, SCENARIOS, Case, run_case

from voxtral.gpu.native import open_native
from voxtral.ops.webgpu import WebGpuOps


@pytest.fixture(scope="module", params=["default limits", "packed integers"])
def ops(request: pytest.FixtureRequest) -> Iterator[WebGpuOps]:
    """On a device that was given no more than every adapter grants, and on one with all we use.

    Mesa's subgroups vary in size, so none are used here; Chromium's cases do (e2e).
    """
    device = asyncio.run(open_native(default_limits=request.param == "default limits"))
    ops = WebGpuOps(device)
    assert ("packed" in ops.traits) == (request.param == "packed integers")
    yield ops
    device.destroy()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_agrees_with_numpy(ops: WebGpuOps, case: Case) -> None:
    report = asyncio.run(run_case(ops, case))
    assert not report.problems, "\n".join(report.problems)


def test_every_scenario_has_a_case() -> None:
    assert {case.scenario for case in CASES} == set(SCENARIOS)
