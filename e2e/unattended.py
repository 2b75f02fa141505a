#!/usr/bin/env python3
"""Runs functions of in_chromium.py in a Chromium without Playwright, for machines that have only a browser.

    python3 e2e/unattended.py --chromium "COMMAND" [--models DIR] [--limit-s N] CALL…

A CALL is `function` or `function:[JSON arguments]`, with `@file,file` behind it for what it reads (addresses below the
server's root). COMMAND starts a headless Chromium with WebGPU; the page's address is added to it. One JSON line per
call goes to stdout. Standard library only.
"""

import argparse
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "py")]

from serve import Handler, Server  # noqa: E402
from tools.site import Site  # noqa: E402
from tools.wheel import WheelBuilder  # noqa: E402

MODULES = ("e2e/in_chromium.py", "e2e/step_bench.py", "e2e/gpu_bench.py")
answers: "queue.Queue[dict[str, Any]]" = queue.Queue()
calls: list[dict[str, Any]] = []


class UnattendedHandler(Handler):
    """Also hands out the calls and takes the answers."""

    def do_GET(self) -> None:
        if self.path == "/calls":
            body = json.dumps({"calls": calls}).encode()
            self._send_head(HTTPStatus.OK, {"Content-Type": "application/json"}, len(body))
            self.wfile.write(body)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send_head(HTTPStatus.NO_CONTENT, {}, 0)


def parse_call(text: str) -> dict[str, Any]:
    """function:[arguments]@file,file → what the page needs."""
    text, _, files = text.partition("@")
    name, _, arguments = text.partition(":")
    shared = sorted(path.name for path in (ROOT / "py" / "tests").glob("*.py"))
    modules = [f"tests/{name}" for name in shared if not name.startswith(("test_", "conftest"))] + list(MODULES)
    files_to_load = modules + [file for file in files.split(",") if file]
    return {"module": "in_chromium", "name": name, "args": json.loads(arguments or "[]"), "files": files_to_load}


def main() -> int:
    parser = argparse.ArgumentParser(description="Call Python in a Chromium without Playwright.")
    parser.add_argument("--chromium", required=True, metavar="COMMAND")
    parser.add_argument("--models", type=Path, metavar="DIR")
    parser.add_argument("--limit-s", type=float, default=300, metavar="N", help="for each answer")
    parser.add_argument("calls", nargs="+", type=parse_call, metavar="CALL")
    options = parser.parse_args()
    calls[:] = options.calls
    site = Site(options.models, {"e2e": ROOT / "e2e", "tests": ROOT / "py" / "tests"})
    with Server("localhost", 0, site) as server:
        server.RequestHandlerClass = UnattendedHandler
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_address[1]}/e2e/unattended.html?wheel={WheelBuilder().name}"
        command = [*shlex.split(options.chromium), address]
        browser = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
        try:
            while not (answer := answers.get(timeout=options.limit_s)).get("finished"):
                print(json.dumps(answer), flush=True)
        except queue.Empty:
            print(json.dumps({"error": f"no answer within {options.limit_s} s"}), flush=True)
            return 1
        finally:
            os.killpg(browser.pid, signal.SIGTERM)  # the command may be a script with the browser below it
            server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
