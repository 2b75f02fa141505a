"""The one test command: installs what the tests need into .venv, fetches the runtime, runs every test.

    python3 e2e/check.py [pytest arguments…]

Arguments that name no file or folder, such as `-m slow`, run both halves of the tests, one after the other: in one
process each would spoil the other's event loop, and some files of the two have the same name.

What is there already is used: a system Chromium before Playwright's own, any Vulkan adapter before Mesa's.
Standard library only, Python 3.11+. A machine without browser or adapter that cannot be given one is an error.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed-from"
NONE_CHOSEN = 5  # pytest's exit status

ASK_FOR_DRIVER = """
from playwright.sync_api import sync_playwright
with sync_playwright():
    pass
"""
ASK_FOR_CHROMIUM = """
import sys
sys.path[:0] = ["e2e", "py", "."]
from playwright.sync_api import sync_playwright
from chromium import find_chromium
with sync_playwright() as playwright:
    find_chromium(playwright)
"""
# OpenGL is an adapter for wgpu, too, but has no subgroups, which tests compile kernels for.
ASK_FOR_ADAPTER = """
import sys
sys.path.insert(0, "py")
from voxtral.gpu.native import list_adapters
found = [f"{one.name} on {one.backend}" for one in list_adapters() if one.is_chosen]
if not found or found[0].endswith("OpenGL"):
    sys.exit(f"found {found[0] if found else 'none'}")
"""
ASK_FOR_PORTAUDIO = "import sounddevice"
FETCH = """
import sys
sys.path.insert(0, "py")
from voxtral.web import runtime
try:
    runtime.ensure()
except runtime.RuntimeFetchError as error:
    sys.exit(str(error))
"""


def main(arguments: list[str]) -> int:
    """Prepare, test; the exit status is pytest's, or 1 when this machine cannot be prepared."""
    if sys.version_info < (3, 11):  # noqa: UP036 - users may start it with any python3
        print(f"e2e/check.py needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    # Small products on two busy cores: threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    steps = (
        _install_packages,
        _install_driver,
        _install_chromium,
        _install_adapter,
        _install_portaudio,
        _fetch_runtime,
    )
    for step in steps:
        if sentence := step():
            print(sentence, file=sys.stderr)
            return 1
    if any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        return _pytest(*arguments)
    if arguments:
        found = {_pytest(folder, *arguments) for folder in ("py/tests", "e2e")}
        return max(found - {NONE_CHOSEN}, default=NONE_CHOSEN)  # one half may have none of them
    # Browser tests come after the others, the ones that live by the clock last and one at a time.
    return max(
        _pytest("py/tests", "-n", "auto", "--dist", "loadfile"),
        _pytest("e2e", "-m", "not alone and not slow", "-n", "2", "--dist", "loadfile"),
        _pytest("e2e", "-m", "alone and not slow"),
    )


def _pytest(*arguments: str) -> int:
    return subprocess.run([PYTHON, "-m", "pytest", *arguments], check=False).returncode


def _install_packages() -> str | None:
    """Our package and its pinned test requirements, once for each state of pyproject.toml."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return None
    _say("installing the package and the test requirements into .venv")
    if not _make_venv() and not (_apt_install("python3-venv") and _make_venv()):
        return "a virtual environment cannot be made; install your distribution's package python3-venv"
    pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--editable", ".[test]"]
    if subprocess.run(pip, check=False).returncode != 0:
        return "pip could not install the requirements in pyproject.toml; its reason is above"
    STAMP.write_text(wanted)
    return None


def _make_venv() -> bool:
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _install_driver() -> str | None:
    """Playwright brings its own Node, which wants one library that bare systems lack."""
    if _fails(ASK_FOR_DRIVER):
        _apt_install("libatomic1")
    if reason := _fails(ASK_FOR_DRIVER):
        return f"Playwright does not start ({reason})"
    return None


def _install_chromium() -> str | None:
    """A system browser, Playwright's own, or the distribution's package; in that order."""
    if not _fails(ASK_FOR_CHROMIUM):
        return None
    _say("no Chromium here; trying Playwright's own")
    download = [PYTHON, "-m", "playwright", "install", "chromium"]
    subprocess.run(download, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if _fails(ASK_FOR_CHROMIUM):
        _apt_install("chromium-headless-shell")
    if reason := _fails(ASK_FOR_CHROMIUM):
        return f"no Chromium could be installed ({reason}); install your distribution's package chromium"
    return None


def _install_adapter() -> str | None:
    """Something Vulkan that wgpu can use; Mesa's software adapter is enough."""
    if _fails(ASK_FOR_ADAPTER):
        _apt_install("mesa-vulkan-drivers")
    if reason := _fails(ASK_FOR_ADAPTER):
        return f"wgpu finds no fit adapter ({reason}); install your distribution's package mesa-vulkan-drivers"
    return None


def _install_portaudio() -> str | None:
    """What microphones are heard with; its wheels for Linux come without the library."""
    if _fails(ASK_FOR_PORTAUDIO):
        _apt_install("libportaudio2")
    if reason := _fails(ASK_FOR_PORTAUDIO):
        return f"sounddevice does not load ({reason}); install your distribution's package libportaudio2"
    return None


def _fetch_runtime() -> str | None:
    """As serve.py does it, but with .venv's Python, which surely has pip; and npm is installed if need be."""
    if subprocess.run([PYTHON, "-c", FETCH], check=False).returncode == 0:
        return None
    if not shutil.which("npm") and _apt_install("npm"):
        _say("trying again")
        if subprocess.run([PYTHON, "-c", FETCH], check=False).returncode == 0:
            return None
    return "the runtime could not be fetched; the reason is above"


def _fails(code: str) -> str | None:
    """None when the code runs; else the last line of what it complained about."""
    finished = subprocess.run([PYTHON, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    if finished.returncode == 0:
        return None
    return (finished.stderr.strip().splitlines() or ["no reason given"])[-1]


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
