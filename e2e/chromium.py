"""The browser of the tests and of headless.py under Playwright: a system browser first, then Playwright's own.

The flags (tools/chromium.py) switch on WebGPU in software, which any machine has, and switch off whatever the browser
would fetch for itself.
"""

from pathlib import Path

from playwright.sync_api import Browser, Playwright

from tools.chromium import QUIET_FLAGS, SOFTWARE_FLAGS, system_chromium


class NoBrowserError(Exception):
    """No browser was found; `str()` is one sentence."""


def find_chromium(playwright: Playwright) -> str:
    """Path of a Chromium that can be started. Raises NoBrowserError."""
    if found := system_chromium():
        return found
    own = playwright.chromium.executable_path
    if own and Path(own).exists():
        return own
    raise NoBrowserError(
        "no Chromium was found; run `python3 e2e/check.py` once, or `playwright install chromium`, or install the "
        "distribution's package chromium"
    )


def launch(playwright: Playwright, flags: tuple[str, ...] = (), *, webgpu: bool = True) -> Browser:
    """A headless browser with WebGPU in software, or with none at all."""
    every_flag = [*QUIET_FLAGS, *(SOFTWARE_FLAGS if webgpu else ()), *flags]
    return playwright.chromium.launch(executable_path=find_chromium(playwright), args=every_flag)
