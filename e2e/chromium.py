"""The browser of the tests and of headless.py: where it is, and the flags it needs.

A system browser first, then Playwright's own. The flags switch on WebGPU in software, which any machine
has, and switch off whatever the browser would fetch for itself.
"""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, Playwright

SYSTEM_NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
QUIET_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WEBGPU_FLAGS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")


class NoBrowserError(Exception):
    """No browser was found; `str()` is one sentence."""


def find_chromium(playwright: Playwright) -> str:
    """Path of a Chromium that can be started. Raises NoBrowserError."""
    for name in SYSTEM_NAMES:
        if found := shutil.which(name):
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
    every_flag = [*QUIET_FLAGS, *(WEBGPU_FLAGS if webgpu else ()), *flags]
    return playwright.chromium.launch(executable_path=find_chromium(playwright), args=every_flag)
