#!/usr/bin/env python3
"""Runs functions of in_chromium.py in a Chromium without Playwright, for machines that have only a browser.

    python3 e2e/unattended.py [--chromium "COMMAND"] [--models DIR] [--limit-s N] CALL…

A CALL is `function` or `function:[JSON arguments]`, with `@file,file` behind it for what it reads (addresses below the
server's root). COMMAND starts a headless Chromium with WebGPU; the page's address is added to it. One JSON line per
call goes to stdout; the exit status is 1 when a call failed or gave no answer. Standard library only.
"""

import argparse
import json
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "py")]

from tools.chromium import BrowserError, letters  # noqa: E402
from voxtral.web.site import Site  # noqa: E402


def parse_call(text: str) -> dict[str, Any]:
    """function:[arguments]@file,file → what the page needs."""
    text, _, files = text.partition("@")
    name, _, arguments = text.partition(":")
    shared = sorted(path.name for path in (ROOT / "py" / "tests").glob("*.py"))
    modules = [f"tests/{name}" for name in shared if not name.startswith(("test_", "conftest"))]
    files_to_load = [*modules, "e2e/in_chromium.py", *(file for file in files.split(",") if file)]
    return {"module": "in_chromium", "name": name, "args": json.loads(arguments or "[]"), "files": files_to_load}


def main() -> int:
    parser = argparse.ArgumentParser(description="Call Python in a Chromium without Playwright.")
    parser.add_argument("--chromium", metavar="COMMAND", help="default: the system's Chromium")
    parser.add_argument("--limit-s", type=float, default=300, metavar="N", help="for each answer")
    parser.add_argument("--models", type=Path, metavar="DIR", help="a folder to serve as /models/")
    parser.add_argument("calls", nargs="+", type=parse_call, metavar="CALL")
    options = parser.parse_args()
    site = Site(options.models, {"e2e": ROOT / "e2e", "tests": ROOT / "py" / "tests"})
    query = urlencode({"wheel": site.wheel.name, "calls": json.dumps(options.calls)})
    command = shlex.split(options.chromium) if options.chromium else None
    n_failed = 0
    try:
        with closing(letters(site, command, f"e2e/unattended.html?{query}", options.limit_s)) as answers:
            for answer in answers:
                if answer.get("finished"):
                    break
                print(json.dumps(answer), flush=True)
                n_failed += "error" in answer
    except BrowserError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
