"""The example pages: a voice takes the tour, a film is captioned; by keyboard, under the app's policy, in an export."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from damaged_audio import SAMPLES
from playwright.sync_api import Browser, Page, expect
from watch import Watch

pytestmark = pytest.mark.alone  # a voice comes at its own pace

OpenPage = Callable[..., Page]

READY_LIMIT_MS = 180_000
ANSWER_LIMIT_MS = 120_000
VOICE_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={SAMPLES / 'keywords_3.wav'}%noloop",
)
FILM = "view glass view glass view glass smart mirror one four one seven view glass computer view glass snowboy"
# Headless browsers have no voices. The first one here would send what it says to a server.
VOICES = """
    window.said = [];
    const voices = [
        { localService: false, lang: "en-GB", name: "far" },
        { localService: true, lang: "en-US", name: "near" },
    ];
    window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
    const synthesis = {
        getVoices: () => voices,
        cancel: () => {},
        speak: ({ text, voice }) => said.push([voice.name, text]),
    };
    Object.defineProperty(window, "speechSynthesis", { value: synthesis });
"""


def test_a_voice_takes_the_tour_and_is_answered_aloud(open_page: OpenPage) -> None:
    """The microphone hears “view glass computer view glass snowboy”."""
    page = open_page("/app/examples/guide.html", *VOICE_FLAGS, webgpu=False)
    page.add_init_script(VOICES)
    page.reload()
    page.set_default_timeout(READY_LIMIT_MS)
    steps = page.locator("#steps li")
    expect(steps).to_have_count(5)
    expect(steps.first).to_have_attribute("aria-current", "step")

    page.locator("#start").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop listening").wait_for()
    expect(page.get_by_role("meter", name="Microphone level")).to_be_visible()
    expect(page.locator("#mirror[data-snow][data-clear]")).to_be_visible(timeout=ANSWER_LIMIT_MS)
    expect(page.locator("#heard")).to_have_text(re.compile("snowboy$"))
    expect(page.get_by_role("status").first).to_have_text("It is going to snow. Wear something warm.")
    said: list[list[str]] = page.evaluate("said")
    assert {voice for voice, _ in said} == {"near"}
    spoken = [text for _, text in said]
    assert spoken[0] == "The glass is clear. Look outside."
    assert "Say smart mirror." in spoken, "the word computer asks for the next step"
    assert spoken[-1] == "It is going to snow. Wear something warm."
    assert steps.evaluate_all("all => all.map((step) => step.className)") == ["", "", "is-done", "is-done", ""]

    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start listening").wait_for()
    page.get_by_role("button", name="smart mirror").press("Space")  # buttons do what the words do
    expect(page.locator("#mirror")).to_have_attribute("aria-label", re.compile("awake"))
    expect(steps.nth(1)).to_have_attribute("aria-current", "step")


@pytest.fixture
def film_page(browser: Browser, base_url: str) -> Any:
    context = browser.new_context(base_url=base_url, service_workers="block")
    watch = Watch(context, base_url)
    yield context.new_page()
    context.close()
    watch.check()


def test_a_film_is_captioned_while_it_plays_even_muted(film_page: Page) -> None:
    page = film_page
    page.set_default_timeout(READY_LIMIT_MS)
    page.goto("/app/examples/video.html")
    captions = page.locator("voxtral-captions")
    log = captions.get_by_role("log", name="Captions")
    expect(log).to_be_visible()
    assert log.evaluate("log => getComputedStyle(log, '::before').content") == '"Press play"'
    page.locator("#loading").wait_for(state="hidden")
    expect(captions.get_by_role("button")).to_be_hidden()

    film = page.locator("#film")
    film.evaluate("film => { film.muted = true; window.finals = []; window.states = []; }")
    captions.evaluate(
        """captions => {
            captions.addEventListener("final", ({ detail }) => finals.push(detail.text));
            captions.addEventListener("statechange", ({ detail }) => states.push(detail.state));
        }"""
    )
    film.press("Space")
    expect(captions).to_have_attribute("state", "listening")
    expect(log).to_contain_text("view glass", timeout=ANSWER_LIMIT_MS)
    page.wait_for_function("finals.length > 0")
    assert page.evaluate("finals[0]").startswith(FILM), "from the first word on"
    assert page.evaluate("states") == ["loading", "listening", "finishing", "idle"]
    words = page.locator("#words button")
    assert " ".join(words.all_inner_texts()).startswith(FILM)
    lines = log.evaluate("log => [log.parentElement.clientHeight, parseFloat(getComputedStyle(log).lineHeight)]")
    assert lines[0] == pytest.approx(2 * lines[1], abs=1)

    words.nth(8).click()  # “one”, which is said after eight words
    page.wait_for_function("document.querySelector('#film').currentTime > 7")
    assert film.evaluate("film => film.currentTime") < 15
    expect(captions).to_have_attribute("state", "listening")
    captions.evaluate("captions => captions.remove()")
    assert captions.count() == 0
