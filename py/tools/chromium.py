"""A headless Chromium without Playwright, for machines that have only a browser, and the mail its page sends.

`letters` serves the app, opens a page in a browser and hands out what the page POSTs; `report_of` reads them up to the
report they end with. Also where a browser is found and the flags it needs, for all of e2e. Standard library only.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

from serve import Handler, Server
from voxtral.web import runtime
from voxtral.web.responses import Response
from voxtral.web.site import Site, served_model

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
SOFTWARE_FLAGS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
# Whatever adapter there is; on Linux Chromium wants to be asked for Vulkan.
HARDWARE_FLAGS = (
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--disable-vulkan-surface",
    "--ignore-gpu-blocklist",
)
POLL_S = 0.5
MAX_LETTER_BYTES = 16 << 20


class BrowserError(Exception):
    """No browser, or it fell silent; `str()` is one sentence."""


def system_chromium() -> str | None:
    """Path of a Chromium on this machine."""
    return next((found for name in SYSTEM_NAMES if (found := shutil.which(name))), None)


def default_command(profile: Path) -> list[str]:
    """Starts the system's Chromium on its best adapter; profile: a new folder. Raises BrowserError."""
    if found := system_chromium():
        headless = ("--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}")
        return [found, *headless, *QUIET_FLAGS, *HARDWARE_FLAGS]
    raise BrowserError("no Chromium was found; install your distribution's package chromium, or name one: --chromium")


class _MailHandler(Handler):
    """Also takes letters."""

    server: "_MailServer"

    def do_POST(self) -> None:
        n_bytes = int(self.headers.get("Content-Length", "0"))
        if n_bytes > MAX_LETTER_BYTES:
            self._not_allowed()
            return
        self.server.letters.put(json.loads(self.rfile.read(n_bytes)))
        self._send(Response(HTTPStatus.NO_CONTENT, {}, None, 0, 0))


class _MailServer(Server):
    def __init__(self, site: Site) -> None:
        super().__init__("localhost", 0, site)
        self.RequestHandlerClass = _MailHandler
        self.letters: queue.Queue[dict[str, Any]] = queue.Queue()


def offered_model(model: Path | None) -> tuple[Path | None, str | None]:
    """What a Site is to serve, and the page's address of it; both None for the demo. Raises BrowserError."""
    if model is None:
        return None, None
    if not (found := served_model(model)):
        raise BrowserError(f"{model}: expected a .gguf file or a folder with a model, found nothing there")
    return found


def letters(
    site: Site, command: Sequence[str] | None, address: str, limit_s: float
) -> Generator[dict[str, Any], None, None]:
    """Every object that the page at `address` (below the server's root) POSTs; close the iterator to end all.

    command: starts a headless Chromium, None for the system's; the page's address is added to it. Raises BrowserError
    when the browser cannot be started, ends, or the page is silent for limit_s.
    """
    try:
        runtime.ensure(lambda line: print(line, file=sys.stderr))
    except runtime.RuntimeFetchError as error:
        raise BrowserError(str(error)) from error
    with _MailServer(site) as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True)
        thread.start()
        url = f"http://localhost:{server.server_address[1]}/{address}"
        complaints = Path(folder, "stderr")
        browser = _start([*(command or default_command(Path(folder, "profile"))), url], complaints)
        try:
            while True:
                yield _next_letter(server.letters, browser, limit_s, complaints)
        finally:
            _end(browser)
            server.shutdown()
            thread.join()


def report_of(
    mail: Generator[dict[str, Any], None, None], on_letter: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The report among these letters, which end with it; on_letter gets those before it. Raises BrowserError."""
    with closing(mail):
        for letter in mail:
            if "error" in letter:
                raise BrowserError(letter["error"])
            if "report" in letter:
                found: dict[str, Any] = letter["report"]
                return found
            on_letter(letter)
    raise AssertionError("letters() ends by an error only")


def _start(command: Sequence[str], complaints: Path) -> "subprocess.Popen[bytes]":
    try:
        with complaints.open("wb") as stderr:
            return subprocess.Popen(command, stdout=stderr, stderr=stderr, start_new_session=True)
    except OSError as error:
        sentence = f"the browser {command[0]} cannot be started ({error.strerror}); name another: --chromium"
        raise BrowserError(sentence) from error


def _next_letter(
    letters: "queue.Queue[dict[str, Any]]", browser: "subprocess.Popen[bytes]", limit_s: float, complaints: Path
) -> dict[str, Any]:
    waited_s = 0.0
    while waited_s < limit_s:
        try:
            return letters.get(timeout=POLL_S)
        except queue.Empty:
            waited_s += POLL_S
        if browser.poll() is not None and letters.empty():
            lines = complaints.read_text(errors="replace").strip().splitlines()
            words = f": {lines[-1]}" if lines else ""
            raise BrowserError(f"the browser ended with status {browser.returncode} before the page had done{words}")
    raise BrowserError(f"the page in the browser said nothing for {limit_s:g} s; open it by hand to see why")


def _end(browser: "subprocess.Popen[bytes]") -> None:
    """The command may be a script with the browser below it, so all of its group."""
    if os.name != "posix":
        browser.terminate()
        browser.wait()
        return
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(browser.pid, kind)
            browser.wait(5)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
