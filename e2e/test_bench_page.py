"""The bench in a real page, and `python -m voxtral bench --browser`: whole reports, and one sentence for failures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chromium import find_chromium
from playwright.sync_api import Page, Playwright, expect

from tools.chromium import QUIET_FLAGS, SOFTWARE_FLAGS, BrowserError, letters
from voxtral import exit_codes
from voxtral.bench.rendering import render_against
from voxtral.web.site import Site

pytestmark = pytest.mark.alone  # it measures

ROOT = Path(__file__).resolve().parents[1]
LIMIT_MS = 600_000
# The command with the least effort, which no user wants and so no option gives.
QUICK_COMMAND = """
import functools
import sys
import tools.browser_bench as browser_bench
from voxtral.cli import main
browser_bench.bench_in_browser = functools.partial(browser_bench.bench_in_browser, effort="quick")
sys.exit(main(["bench", "--browser", *sys.argv[1:]]))
"""


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "py"), str(ROOT)])}
    command = [sys.executable, "-c", QUICK_COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_MS / 1000, env=environment, check=False
    )


@pytest.fixture
def chromium(playwright: Playwright, tmp_path: Path) -> str:
    """A command that starts a browser without Playwright."""
    flags = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"]
    return " ".join([find_chromium(playwright), *flags, *QUIET_FLAGS, *SOFTWARE_FLAGS])


def test_the_page_measures_shows_and_hands_out_its_report(page: Page) -> None:
    page.goto("/?bench=quick&backend=webgpu")
    expect(page.get_by_role("log")).to_contain_text("loading the model")
    download = page.get_by_role("link", name="Download JSON")
    expect(download).to_be_visible(timeout=LIMIT_MS)
    with page.expect_download() as downloaded:
        download.click()
    report = json.loads(Path(downloaded.value.path()).read_text())
    check_live(report["live"])
    assert report["backend"] == "webgpu"
    assert report["memory"]["heap_bytes"] > 0
    assert report["memory"]["loader_peak_bytes"] > 0
    assert report["memory"]["gpu_peak_bytes"] >= report["memory"]["gpu_bytes"] > 0
    assert report["shares"]["python_ms"] is not None  # in a browser, waits can be told from work
    expect(page.get_by_text("Optional features")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(5)
    kernels = page.get_by_role("table", name="Kernels of the decoder")
    for row in report["decoder"]:
        expect(kernels.get_by_role("cell", name=row["kernel"], exact=True)).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def check_live(live: dict[str, Any]) -> None:
    assert live["chunks"] >= 10
    assert 0 < live["median_ms"] <= live["p95_ms"] <= live["max_ms"]
    assert 0 < live["painted_median_ms"] <= live["painted_p95_ms"]


@pytest.mark.expects_console_errors
def test_a_model_that_is_not_there_is_one_sentence(page: Page) -> None:
    page.goto("/?bench=quick&model=static/none.gguf")
    failure = page.locator("#bench").get_by_role("alert")
    expect(failure).to_contain_text("tekken.json", timeout=LIMIT_MS)
    expect(page.get_by_role("link", name="Download JSON")).to_have_count(0)


def test_the_command_brings_the_report_home(chromium: str, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    finished = bench("--chromium", chromium, "--backend", "numpy", "--json", out)
    assert finished.returncode == 0, finished.stderr
    report = json.loads(out.read_text())
    check_live(report["live"])
    assert report["backend"] == "numpy"
    assert report["model"]["name"] in finished.stdout
    assert "on the page" in finished.stdout
    assert "live: last sample to its token" in render_against(report, report)
    assert "measuring decoder steps" in finished.stderr


def test_what_the_page_complains_of_is_the_command_s_sentence(chromium: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    bad = tmp_path / "models" / "bad.gguf"
    bad.write_bytes(b"no model")
    finished = bench("--chromium", chromium, "--model", bad)
    assert (finished.returncode, finished.stdout) == (exit_codes.NO_ENGINE, "")
    assert "tekken.json" in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "words"), [("false", "ended with status 1"), ("/none/chromium", "cannot be started")]
)
def test_a_browser_that_does_not_live_is_one_sentence(command: str, words: str) -> None:
    finished = bench("--chromium", command)
    assert (finished.returncode, finished.stdout) == (exit_codes.NO_ENGINE, "")
    assert len(finished.stderr.splitlines()) == 1
    assert words in finished.stderr


@pytest.mark.skipif(os.name == "nt", reason="sh is a Unix shell")
@pytest.mark.usefixtures("server")  # the runtime is there
def test_a_page_that_says_nothing_is_given_up_and_its_browser_ended(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    script = f"trap 'touch {ended}; exit' TERM; while :; do sleep 0.1; done"
    with pytest.raises(BrowserError, match="said nothing"):
        next(letters(Site(), ["sh", "-c", script], "", limit_s=1))
    assert ended.exists()
