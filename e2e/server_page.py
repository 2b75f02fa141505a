"""The page beside servers that turn speech into text (vllm_server.py): what its tests do there again and again, and how
its states look. Engine: fake_engine.js; the microphone beeps."""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from playwright.sync_api import Browser, Page, expect
from test_accessibility import AXE, LOOKS, RUN_AXE, serious
from vllm_server import VllmServer
from watch import watched

SECOND = 2 * 16_000  # bytes of 16-bit sound at 16 kHz
WAV = struct.pack(
    "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + SECOND, b"WAVE", b"fmt ", 16, 1, 1, 16_000, SECOND, 2, 16, b"data", SECOND
)
CLIP: Any = {"name": "talk.wav", "mimeType": "audio/wav", "buffer": WAV + bytes(SECOND)}
LIMIT_MS = 60_000

Serve = Callable[..., VllmServer]


@contextmanager
def directed_page(browser: Browser, base_url: str, request: pytest.FixtureRequest) -> Iterator[Director]:
    """A page with the fake engine; requests may go to the page's server and to localhost, nowhere else."""
    context = browser.new_context(base_url=base_url, permissions=["microphone"], service_workers="block")
    errors_expected = request.node.get_closest_marker("expects_console_errors") is not None
    with watched(context, base_url, errors_expected=errors_expected) as watch:
        page = context.new_page()
        page.emulate_media(reduced_motion="reduce")
        use_fake_engine(page)
        yield Director(page)
        watch.foreign = [address for address in watch.foreign if not address.startswith("http://localhost:")]


def propose(director: Director, server: VllmServer, scenario: str = "ready") -> Page:
    page = director.page
    page.goto(f"/?model=fake:{scenario}&server={server.url}")
    expect(page.locator("#offer")).to_contain_text(f"proposes that {server.host}")
    return page


def allow(director: Director, server: VllmServer) -> Page:
    page = propose(director, server)
    page.get_by_role("button", name="Look at it").click()
    say_yes(page, server)
    return page


def say_yes(page: Page, server: VllmServer) -> None:
    page.get_by_role("button", name=f"Yes, send sound to {server.host}").click()
    expect(page.locator("#elsewhere")).to_contain_text(f"Sound will be sent to {server.host}")


def speak(page: Page, n_words: int = 1) -> None:
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_role("article").last.locator(".word").nth(n_words - 1)).to_be_visible(timeout=LIMIT_MS)


def stop(page: Page) -> None:
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("article").last).to_have_attribute("data-status", "done", timeout=LIMIT_MS)


def add(page: Page, address: str, key: str = "") -> None:
    """In the settings, which may be open."""
    if page.locator("#settings").get_attribute("open") is None:
        page.get_by_role("button", name="Settings").click()
    page.get_by_label("Address of a server").fill(address)
    page.get_by_label("Key, if it wants one").fill(key)
    page.get_by_role("button", name="Add and test").click()


def document_of(director: Director) -> dict[str, Any]:
    """What the last transcript's export asks the engine to write."""
    director.page.get_by_role("button", name="Keep as a file").last.click()
    director.page.get_by_role("menuitem", name=re.compile(".json")).click()
    document: dict[str, Any] = director.asked("render")["document"]
    return document


def look_at(page: Page, request: pytest.FixtureRequest, state: str) -> None:
    """axe finds nothing serious now, light on a phone and dark on a desktop; with --screenshot=on, pictures of both."""
    size, found = page.viewport_size, {}
    page.evaluate(AXE)
    for scheme, (width, height) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found[scheme] = serious(page.evaluate(RUN_AXE))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is wider than the window"
        if request.config.getoption("--screenshot") == "on":
            name = f"{state}-{width}-{scheme}.png"
            page.screenshot(path=f"{request.config.getoption('--output')}/servers/{name}")
    assert {scheme: problems for scheme, problems in found.items() if problems} == {}, state
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    if size:
        page.set_viewport_size(size)
