"""The one test command: installs what the tests need into .venv, fetches the runtime, runs every test.

    python3 e2e/check.py [pytest arguments…]

What is there already is used: a system Chromium before Playwright's own, any Vulkan adapter before Mesa's.
Standard library only, Python 3.11+. A machine without browser or adapter that cannot be given one is an error.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed-from"

ASK_FOR_CHROMIUM = """
import sys
sys.path.insert(0, "e2e")
from playwright.sync_api import sync_playwright
from chromium import find_chromium
with sync_playwright() as playwright:
    find_chromium(playwright)
"""
ASK_FOR_ADAPTER = """
import asyncio
import sys
sys.path.insert(0, "py")
from voxtral.gpu.native import open_native
asyncio.run(open_native())
"""


def main(arguments: list[str]) -> int:
    """Prepare, test; the exit status is pytest's, or 1 when this machine cannot be prepared."""
    if sys.version_info < (3, 11):  # noqa: UP036 - users may start it with any python3
        print(f"e2e/check.py needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    for step in (_install_packages, _install_chromium, _install_adapter, _fetch_runtime):
        if sentence := step():
            print(sentence, file=sys.stderr)
            return 1
    return subprocess.run([PYTHON, "-m", "pytest", *arguments], check=False).returncode


def _install_packages() -> str | None:
    """Our package and its pinned test requirements, once for each state of pyproject.toml."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return None
    _say("installing the package and the test requirements into .venv")
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        if not _apt_install("python3-venv"):
            return "a virtual environment cannot be made; install your distribution's package python3-venv"
        venv.create(VENV, with_pip=True, clear=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[test]"]
    if subprocess.run(pip, check=False).returncode != 0:
        return "pip could not install the requirements in pyproject.toml; its reason is above"
    STAMP.write_text(wanted)
    return None


def _install_chromium() -> str | None:
    """A system browser, Playwright's own, or the distribution's package; in that order."""
    if _succeeds(ASK_FOR_CHROMIUM):
        return None
    _say("no Chromium here; trying Playwright's own")
    subprocess.run([PYTHON, "-m", "playwright", "install", "chromium"], check=False, stderr=subprocess.DEVNULL)
    if _succeeds(ASK_FOR_CHROMIUM) or (_apt_install("chromium-headless-shell") and _succeeds(ASK_FOR_CHROMIUM)):
        return None
    return "no Chromium was found and none could be installed; install your distribution's package chromium"


def _install_adapter() -> str | None:
    """Something Vulkan that wgpu can use; Mesa's software adapter is enough."""
    if _succeeds(ASK_FOR_ADAPTER) or (_apt_install("mesa-vulkan-drivers") and _succeeds(ASK_FOR_ADAPTER)):
        return None
    return (
        "wgpu finds no GPU adapter and none could be installed; install your distribution's package mesa-vulkan-drivers"
    )


def _fetch_runtime() -> str | None:
    sys.path.insert(0, str(ROOT / "py"))
    from tools import runtime

    try:
        runtime.ensure(_say)
    except runtime.RuntimeFetchError as error:
        return str(error)
    return None


def _succeeds(code: str) -> bool:
    return subprocess.run([PYTHON, "-c", code], check=False, capture_output=True, timeout=120).returncode == 0


def _apt_install(package: str) -> bool:
    """Install a package of a Debian-like distribution; needs root."""
    apt = shutil.which("apt-get")
    if apt is None or os.name == "nt" or os.geteuid() != 0:
        return False
    _say(f"installing the distribution's package {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([apt, "update", "-qq"], check=False, env=environment, stdout=subprocess.DEVNULL)
    install = [apt, "install", "-y", "-qq", "--no-install-recommends", package]
    return subprocess.run(install, check=False, env=environment, stdout=subprocess.DEVNULL).returncode == 0


def _say(line: str) -> None:
    print(f"check: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
