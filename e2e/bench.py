#!/usr/bin/env python3
"""Measures what a person at the page waits for, in headless Chromium; prints one JSON object for SPEED.md.

    python e2e/bench.py

Page open to ready for someone new and for someone who has been there, RTF of a minute of speech, a spoken word to its
appearance: for software WebGPU and for numpy. What the engine spends is told by `python -m voxtral bench --browser`.
Run it on a quiet machine: every number is wall time.
"""

import json
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "py"), str(ROOT / "e2e")]

from chromium import launch  # noqa: E402
from playwright.sync_api import Playwright, sync_playwright  # noqa: E402

from serve import make_server  # noqa: E402
from voxtral.web import runtime  # noqa: E402

SAMPLES = ROOT / "static" / "samples"
SPOKEN = SAMPLES / "digits_3.wav"
LIMIT_MS = 600_000
PREFIX_MS = 8_000  # the engine hears the silence before a recording by then
N_VISITORS = 3

TRANSCRIBE = """async (address) => {
    const file = new File([await (await fetch(address)).blob()], "bench.wav");
    return await window.voxtral.transcribeFile(file);
}"""

# What the page does at leisure for the next visit: the app is kept, and so is the bytecode.
KEPT = """async () => {
    const isKept = async () =>
        (await navigator.serviceWorker.getRegistration())?.active?.state === "activated" &&
        (await (await caches.open("voxtral bytecode")).keys()).length;
    while (!(await isKept())) await new Promise((resolve) => setTimeout(resolve, 100));
}"""

# A word's end is known to the engine in the recording's time; the first level of the microphone says when that began.
LISTEN = """async (seconds) => {
    const arrivals = [];
    let began = null;
    const recording = await window.voxtral.listen((event) => {
        if (event.type === "level") began ??= performance.now() - 80;
        if (event.type === "words" && event.text.trim()) arrivals.push([event.text.trim(), performance.now() - began]);
    });
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const result = await recording.stop();
    return { arrivals, words: result.words };
}"""


def main() -> int:
    runtime.ensure(lambda line: print(line, file=sys.stderr))
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {platform.platform()}"}
    with make_server("localhost", 0) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://localhost:{server.server_address[1]}"
        for backend in ("webgpu", "numpy"):
            report[backend] = {**page_times(playwright, url, backend), **live_times(playwright, url, backend)}
        server.shutdown()
    print(json.dumps(report, indent=1))
    return 0


def page_times(playwright: Playwright, url: str, backend: str) -> dict[str, Any]:
    """Seconds from navigation to ready, the first time and again, and RTF of a minute of speech."""
    with launch(playwright) as browser:
        report: dict[str, Any] = {"browser": browser.version}
        times: dict[str, list[float]] = {"first visit": [], "next visit": []}
        for _ in range(N_VISITORS):
            context = browser.new_context()
            page = context.new_page()
            page.set_default_timeout(LIMIT_MS)
            for seconds in times.values():
                started = time.perf_counter()
                page.goto(f"{url}/?backend={backend}")
                report["adapter"] = page.evaluate("async () => (await window.voxtral.ready).adapter")
                seconds.append(round(time.perf_counter() - started, 2))
                page.evaluate(KEPT)
            report["RTF"] = page.evaluate(TRANSCRIBE, "static/samples/long_60s.wav")["rtf"]
            context.close()
        return report | {f"ready on {visit}, s, sorted": sorted(seconds) for visit, seconds in times.items()}


def live_times(playwright: Playwright, url: str, backend: str) -> dict[str, Any]:
    """Milliseconds from a word's end to its appearance, when it is spoken into the microphone."""
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={SPOKEN}%noloop",
        "--autoplay-policy=no-user-gesture-required",
    )
    with launch(playwright, flags) as browser:
        page = browser.new_page()
        page.set_default_timeout(LIMIT_MS)
        page.goto(f"{url}/?backend={backend}")
        page.evaluate("async () => { await window.voxtral.ready; }")
        page.wait_for_timeout(PREFIX_MS)
        heard = page.evaluate(LISTEN, 9)
    delays = [at_ms - 1000 * word["end"] for (_, at_ms), word in zip(heard["arrivals"], heard["words"], strict=False)]
    if not delays:
        return {}
    return {"word end to appearance, median ms": round(float(np.median(delays))), "words": len(delays)}


if __name__ == "__main__":
    sys.exit(main())
