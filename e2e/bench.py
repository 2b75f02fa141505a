#!/usr/bin/env python3
"""Measures the page in headless Chromium on software WebGPU; prints one JSON object for SPEED.md.

    python e2e/bench.py

What a person waits for (page open to ready, RTF of a minute of speech, a spoken word to its appearance) and what the
engine spends (milliseconds and dispatches of each program), for WebGPU and for the CPU fallback. Run it on a quiet
machine: every number is wall time.
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
from harness import Harness  # noqa: E402
from playwright.sync_api import Playwright, sync_playwright  # noqa: E402

from serve import make_server  # noqa: E402
from tools import runtime  # noqa: E402

SAMPLES = ROOT / "static" / "samples"
SPOKEN = SAMPLES / "digits_3.wav"
MODEL = "static/model/voxtral-demo-q4_0.gguf"
LIMIT_MS = 600_000

TRANSCRIBE = """async (address) => {
    const file = new File([await (await fetch(address)).blob()], "bench.wav");
    return await window.voxtral.transcribeFile(file);
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
    mounts = {"e2e": ROOT / "e2e", "tests": ROOT / "py" / "tests"}
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {platform.platform()}"}
    with make_server("localhost", 0, mounts=mounts) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://localhost:{server.server_address[1]}"
        for backend in ("webgpu", "numpy"):
            report[backend] = {**page_times(playwright, url, backend), **live_times(playwright, url, backend)}
        report["webgpu"].update(step_times(playwright, url, "measure_webgpu"))
        report["numpy"].update(step_times(playwright, url, "measure_numpy"))
        server.shutdown()
    print(json.dumps(report, indent=1))
    return 0


def page_times(playwright: Playwright, url: str, backend: str) -> dict[str, Any]:
    """Seconds from navigation to ready, and RTF of a minute of speech."""
    with launch(playwright) as browser:
        page = browser.new_page()
        page.set_default_timeout(LIMIT_MS)
        started = time.perf_counter()
        page.goto(f"{url}/?backend={backend}")
        ready = page.evaluate("async () => await window.voxtral.ready")
        ready_s = time.perf_counter() - started
        result = page.evaluate(TRANSCRIBE, "static/samples/long_60s.wav")
        adapter = ready["adapter"]
        return {"browser": browser.version, "adapter": adapter, "ready, s": round(ready_s, 2), "RTF": result["rtf"]}


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
        heard = page.evaluate(LISTEN, 9)
    delays = [at_ms - 1000 * word["end"] for (_, at_ms), word in zip(heard["arrivals"], heard["words"], strict=False)]
    if not delays:
        return {}
    return {"word end to appearance, median ms": round(float(np.median(delays))), "words": len(delays)}


def step_times(playwright: Playwright, url: str, function: str) -> dict[str, Any]:
    """The engine's programs inside Chromium."""
    with launch(playwright) as browser:
        context = browser.new_context(base_url=url)
        page = context.new_page()
        page.set_default_timeout(LIMIT_MS)
        harness = Harness(page, ROOT / "py" / "tests")
        result: dict[str, Any] = harness.run("in_chromium", function, [MODEL], files=["e2e/step_bench.py", MODEL])
        return result


if __name__ == "__main__":
    sys.exit(main())
