"""The page that `voxtral serve` serves, with the demo on numpy behind it: the server is offered by itself, and what it
hears is what this machine would have heard. Engine of the page: fake_engine.js."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import launch
from fake_page import E2E, Director, use_fake_engine
from live_server import live_server
from playwright.sync_api import Page, Playwright, expect
from server_fixture import SAMPLES, demo_engine
from watch import Watch

from voxtral.web import runtime
from voxtral.web.site import Site

pytestmark = pytest.mark.alone  # a voice comes at its own pace, and two engines hear

LIMIT_MS = 240_000
KEPT_SOUND = """async (id) => {
    const { recordingOf } = await import("/app/recorder.js");
    const bytes = new Uint8Array(await (await (await recordingOf(id)).wav()).arrayBuffer());
    let text = "";
    for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(text);
}"""


@pytest.fixture
def director(playwright: Playwright) -> Iterator[Director]:
    """A page of the server, where the microphone says digits."""
    runtime.ensure()
    clip = SAMPLES / "digits_1.wav"
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    browser = launch(playwright, (*flags, f"--use-file-for-fake-audio-capture={clip}%noloop"))
    with live_server(demo_engine(), site=Site(mounts={"e2e": E2E})) as live:
        context = browser.new_context(base_url=live.url, permissions=["microphone"], service_workers="block")
        watch = Watch(context, live.url)
        page = context.new_page()
        use_fake_engine(page)
        yield Director(page)
        browser.close()
        watch.check()


def exported(director: Director) -> dict[str, Any]:
    director.page.get_by_role("button", name="Keep as a file").last.click()
    director.page.get_by_role("menuitem", name="Everything").click()
    document: dict[str, Any] = director.asked("render")["document"]
    return document


def heard_here(wav: Path) -> list[dict[str, Any]]:
    """The words that the command line hears in a file."""
    command = [sys.executable, "-m", "voxtral", "transcribe", str(wav), "--backend", "numpy", "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=E2E.parent / "py")
    words: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])["words"]
    return words


def of_page(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: word[name] for name in word if name != "heard"} for word in document["words"]]


def of_command(words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: word[name] for name in word if name != "heard"} for word in words]


def wait_for_words(page: Page, n_entries: int) -> None:
    expect(page.get_by_role("article")).to_have_count(n_entries)
    expect(page.get_by_role("article").last).to_have_attribute("data-status", "done", timeout=LIMIT_MS)


def test_it_offers_itself_and_hears_what_this_machine_would(director: Director, tmp_path: Path) -> None:
    page = director.page
    page.goto("/?model=fake:ready")
    expect(page.locator("#offer")).to_contain_text("The server of this page")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("dialog", name="Send sound")).to_be_visible(timeout=LIMIT_MS)
    page.get_by_role("button", name="Yes, send sound").click()
    page.get_by_role("button", name="Speak").click()
    expect(page.locator(".word").nth(3)).to_be_visible(timeout=LIMIT_MS)
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_words(page, 1)
    document = exported(director)
    assert document["settings"]["backend"] == "server"
    assert document["settings"]["delay_ms"] == 480
    assert "estimates" not in document
    sound = tmp_path / "said.wav"
    sound.write_bytes(base64.b64decode(page.evaluate(KEPT_SOUND, document["id"])))
    assert of_page(document) == of_command(heard_here(sound))

    page.locator("#file-input").set_input_files(SAMPLES / "digits_1.wav")
    wait_for_words(page, 2)
    document = exported(director)
    assert "estimates" not in document
    assert of_page(document) == of_command(heard_here(SAMPLES / "digits_1.wav"))
