"""The page's controls: settings, keys, full screen captions, what is listened to, and what is said when the
recogniser falls behind; with a scripted engine (fake_engine.js), which the test directs."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from playwright.sync_api import Browser, Page, expect
from watch import watched

SENTENCE = "The last train had already gone, and nobody could agree about the time. "
SPY = """
    window.wanted = [];
    const { getUserMedia } = navigator.mediaDevices;
    navigator.mediaDevices.getUserMedia = (constraints) => {
        wanted.push(constraints.audio.deviceId ?? null);
        return (window.stream = getUserMedia.call(navigator.mediaDevices, constraints));
    };
    navigator.mediaDevices.getDisplayMedia = async () => { throw new DOMException("no", "NotAllowedError"); };
"""


@pytest.fixture
def director(listening_browser: Browser, base_url: str) -> Iterator[Director]:
    """A page with the fake engine."""
    context = listening_browser.new_context(base_url=base_url, permissions=["microphone"], service_workers="block")
    with watched(context, base_url):
        page = context.new_page()
        use_fake_engine(page)
        yield Director(page)


def be_ready(director: Director, scenario: str = "held") -> Page:
    page = director.page
    page.goto(f"/?model=fake:{scenario}")
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    return page


def listen(director: Director, scenario: str = "held") -> Page:
    page = be_ready(director, scenario)
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    return page


def hear(director: Director, text: str, first: int = 0) -> None:
    """The engine has heard this; its first word is number `first`."""
    texts = text.split()
    words = [
        {"text": word, "start": 0.4 * i, "end": 0.4 * i + 0.3, "probability": 0.9, "alternatives": [], "joins": False}
        for i, word in enumerate(texts, first)
    ]
    director.say("words", session=1, text=(" " if first else "") + " ".join(texts), words=words)


def fall_behind(director: Director, *, seconds: int, waiting_s: float) -> float:
    """Half of the sound that comes is heard, on the page's own clock; returns what waits in the end, in seconds."""
    for _ in range(seconds):
        waiting_s += 0.5
        director.say("heard", session=1, heard_s=20 + waiting_s, waiting_s=waiting_s, total_s=None)
        director.wait()
        director.page.clock.run_for(1000)
    return waiting_s


# -- settings -----------------------------------------------------------------------------------


def test_settings_show_at_once_reach_the_engine_and_stay(director: Director) -> None:
    director.page.clock.install()
    page = be_ready(director)
    page.get_by_role("button", name="480 ms behind the voice").click()
    sheet = page.get_by_role("dialog", name="Settings")
    delay = sheet.get_by_role("slider", name="Delay")
    expect(delay).to_be_focused()
    expect(sheet).to_contain_text("At 480 ms: 8.72 % of words wrong on average, 4.90 % in English.")
    expect(sheet).to_contain_text("not measured here")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 20)  # however long the keys take, they come at once
    for _ in range(6):
        delay.press("ArrowRight")
    page.clock.resume()
    expect(delay).to_have_attribute("aria-valuetext", "960 ms")
    expect(sheet).to_contain_text("At 960 ms: 7.70 % of words wrong on average")
    assert director.asked("prepare")["delay_ms"] == 960
    delay.press("Home")
    expect(sheet).to_contain_text("At 80 ms nothing was published")
    delay.press("End")
    expect(delay).to_have_attribute("aria-valuetext", "2400 ms")
    sheet.get_by_role("switch", name="Second pass").click()
    sheet.get_by_role("radio", name="Dark").press("Space")
    sheet.get_by_role("combobox", name="Caption size").select_option("145 %")
    sheet.get_by_role("spinbutton", name="Characters in a line").fill("32")
    sheet.get_by_role("spinbutton", name="Lines at a time").fill("99")
    page.keyboard.press("Tab")
    expect(sheet.get_by_role("spinbutton", name="Lines at a time")).to_have_value("2")
    sheet.get_by_role("button", name="Close settings").click()

    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 20, 18)"
    assert page.evaluate("async () => (await voxtral.ready).delay_ms") == 2400
    expect(page.get_by_role("button", name="2400 ms behind the voice, then a second pass")).to_be_visible()
    page.get_by_role("button", name="Speak").click()
    asked = director.asked("listen")
    assert (asked["delay_ms"], asked["has_second_pass"]) == (2400, True)
    hear(director, SENTENCE)
    size = page.locator(".word").first.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    page.get_by_role("button", name="Settings").click()
    expect(sheet.get_by_role("spinbutton", name="Characters in a line")).to_have_value("32")
    page.get_by_role("button", name="Back to the defaults").click()
    expect(sheet.get_by_role("slider", name="Delay")).to_have_attribute("aria-valuetext", "480 ms")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()  # Esc closed the sheet, nothing else
    usual = page.locator(".word").first.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    assert size == pytest.approx(1.45 * usual)


def test_what_is_being_typed_is_left_alone(director: Director) -> None:
    page = be_ready(director)
    page.get_by_role("button", name="Settings").click()
    field = page.get_by_role("spinbutton", name="Characters in a line")
    expect(field).to_have_value("42")
    for typed, kept in [("32", "32"), ("99", "32")]:
        field.fill(typed)
        director.say("notice", session=None, sentence=f"Something was drawn beside {typed}.")
        expect(page.get_by_text(f"Something was drawn beside {typed}.")).to_have_count(1)
        expect(field).to_have_value(typed)
        field.press("Enter")
        expect(field).to_have_value(kept)
        assert page.evaluate("JSON.parse(localStorage['voxtral-settings']).subtitleLimits.lineLength") == 32


@pytest.mark.parametrize("kept", ["{", "null", '{"delayMs": 81, "theme": "pink", "captionSize": "big", "deviceId": 3}'])
def test_damaged_settings_are_the_defaults(director: Director, kept: str) -> None:
    director.page.add_init_script(f"localStorage.setItem('voxtral-settings', {kept!r})")
    page = be_ready(director)
    expect(page.get_by_role("button", name="480 ms behind the voice", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.theme ?? null") is None


def test_privacy_says_what_leaves_and_who_sees_to_it(director: Director) -> None:
    page = be_ready(director)
    page.get_by_role("button", name="How that is made sure").click()
    title = page.get_by_role("heading", name="What leaves this machine")
    expect(title).to_be_focused()
    expect(title).to_be_in_viewport()
    expect(page.get_by_text("Nothing you say, drop or write.")).to_be_visible()
    expect(page.get_by_text("Content-Security-Policy")).to_be_visible()


# -- keys ---------------------------------------------------------------------------------------


def test_single_keys_work_are_listed_and_can_be_switched_off(director: Director) -> None:
    page = be_ready(director)
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keyboard shortcuts")
    keys = listed.get_by_role("term").all_text_contents()
    assert keys[:11] == ["S", "T", "O", "F", "+", "−", "L", "C", ",", "?", "Esc"]
    page.keyboard.press("s")  # a dialog has its own keys
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    page.get_by_role("textbox", name="From elsewhere").press_sequentially("sof?")
    expect(page.get_by_role("textbox", name="From elsewhere")).to_have_value("sof?")
    page.locator("h1").click()
    page.keyboard.press("Control+s")
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    page.keyboard.press("s")
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    hear(director, SENTENCE)
    expect(page.locator(".word").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("article")).to_contain_text("cancelled, text kept")

    page.keyboard.press("?")
    listed.get_by_role("switch", name="Single keys").click()
    page.keyboard.press("Escape")
    for key in ("s", "?", "f", ","):
        page.keyboard.press(key)
    expect(page.locator("dialog[open], #captions:visible")).to_have_count(0)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


# -- captions -----------------------------------------------------------------------------------


def test_full_screen_captions_show_only_the_last_words_and_say_each_once(director: Director) -> None:
    page = listen(director)
    page.keyboard.press("f")
    captions = page.get_by_role("dialog", name="Full screen captions")
    shown, log = captions.locator(".shown"), captions.get_by_role("log")
    expect(captions).to_be_visible()
    expect(page.locator("main")).to_have_js_property("inert", True)
    page.wait_for_function("document.fullscreenElement?.id === 'captions'")
    n_words = len(SENTENCE.split())
    for i in range(90):  # longer than what is kept on the screen
        hear(director, SENTENCE, i * n_words)
    hear(director, "it is over", 90 * n_words)
    expect(shown).to_contain_text("about the time. it is over")
    assert len(shown.text_content() or "") < 4200
    before = line_starts(page)
    assert before
    assert log.text_content().count("it is over") == 1  # type: ignore[union-attr]
    bottom = page.evaluate(BOTTOM)
    assert 0 <= bottom["screen"] - bottom["text"] < bottom["line"]

    director.say("revised", session=1, first=90 * n_words + 1, n_replaced=1, reason="careful", words=[word("was")])
    expect(shown).to_contain_text("it was over")
    assert "was" not in (log.text_content() or "").split("it is")[1]  # what was said is not said again
    assert line_starts(page)[:-1] == before[:-1]  # and lines already read stay where they are

    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.shown')).fontSize)")
    page.keyboard.press("+")
    page.wait_for_function(
        "size => parseFloat(getComputedStyle(document.querySelector('.shown')).fontSize) > size", arg=size
    )
    captions.get_by_role("button", name="Stop").click()
    expect(captions.get_by_role("button", name="Speak")).to_be_enabled()
    captions.get_by_role("button", name="Leave").click()
    expect(captions).to_be_hidden()
    expect(page.locator("main")).to_have_js_property("inert", False)
    page.wait_for_function("document.fullscreenElement === null")  # the browser takes its time to leave


def test_captions_fill_the_window_where_there_is_no_full_screen(director: Director) -> None:
    director.page.add_init_script("delete Element.prototype.requestFullscreen")
    page = be_ready(director)
    page.get_by_role("button", name="Full screen captions").click()
    captions = page.get_by_role("dialog", name="Full screen captions")
    shown = captions.locator(".shown").evaluate("element => getComputedStyle(element, '::before').content")
    assert shown == '"Press Speak, and the words appear here."'
    captions.get_by_role("button", name="Speak").click()
    expect(captions.get_by_role("button", name="Stop")).to_be_enabled()
    hear(director, SENTENCE)
    expect(captions.locator(".shown")).to_have_text(SENTENCE.strip())
    director.say("state", state="recovering")
    expect(captions.get_by_role("status")).to_contain_text("The GPU went away")
    page.keyboard.press("Escape")
    expect(captions).to_be_hidden()
    expect(page.get_by_role("button", name="Full screen captions")).to_be_focused()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()  # Esc left the captions, nothing else


def word(text: str) -> dict[str, Any]:
    return {"text": text, "start": 400.0, "end": 400.2, "probability": 0.9, "alternatives": [], "joins": False}


BOTTOM = """() => {
    const [screen, shown] = [document.querySelector(".screen"), document.querySelector(".shown")];
    const line = parseFloat(getComputedStyle(shown).lineHeight);
    return { screen: screen.getBoundingClientRect().bottom, text: shown.getBoundingClientRect().bottom, line };
}"""


def line_starts(page: Page) -> list[str]:
    """The first characters of each visible line of the captions."""
    found: list[str] = page.evaluate("""() => {
        const node = document.querySelector(".shown").firstChild;
        const top = document.querySelector(".screen").getBoundingClientRect().top;
        const range = document.createRange();
        const starts = [];
        let last = null;
        for (let i = 0; i < node.length; i++) {
            range.setStart(node, i);
            range.setEnd(node, i + 1);
            const { y, height } = range.getBoundingClientRect();
            if (height && y > top && y !== last) starts.push(node.data.slice(i, i + 8));
            if (height) last = y;
        }
        return starts;
    }""")
    return found


def test_the_page_follows_the_voice_until_one_scrolls_up(director: Director) -> None:
    page = listen(director)
    n_words = len(SENTENCE.split())
    for i in range(12):
        hear(director, SENTENCE, i * n_words)
    expect(page.locator(".word").last).to_be_in_viewport()
    back = page.get_by_role("button", name="Back to live")
    expect(back).to_be_hidden()
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -900)
    expect(back).to_be_visible()
    hear(director, SENTENCE, 12 * n_words)
    expect(page.locator(".word")).to_have_count(13 * n_words)
    expect(page.locator(".word").last).not_to_be_in_viewport()
    back.click()
    expect(page.locator(".word").last).to_be_in_viewport()
    expect(back).to_be_hidden()


# -- what is listened to, and how it goes -------------------------------------------------------


def test_the_microphone_that_was_chosen_is_opened_and_remembered(director: Director) -> None:
    director.page.add_init_script(SPY)
    page = listen(director)
    page.get_by_role("button", name="Cancel").click()
    picker = page.get_by_role("combobox", name="Microphone")
    names = picker.get_by_role("option").all_text_contents()
    assert names[0] == "Default microphone"
    assert len(names) > 2
    picker.select_option(names[-1])
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    expect(picker).to_be_disabled()
    first, second = page.evaluate("wanted")
    assert first is None
    assert second["exact"] == picker.input_value() != ""
    page.get_by_role("button", name="Cancel").click()
    page.reload()
    expect(picker.locator("option:checked")).to_have_text(names[-1])


def test_the_sound_of_a_tab_is_one_press_and_a_refusal_one_sentence(director: Director) -> None:
    director.page.add_init_script(SPY)
    page = be_ready(director)
    page.get_by_role("button", name="Tab sound").click()
    expect(page.get_by_text("Nothing was shared; choose a tab")).to_be_visible()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_a_microphone_that_goes_away_ends_the_recording_and_keeps_its_words(director: Director) -> None:
    director.page.add_init_script(SPY)
    page = listen(director, "ready")
    entry = page.locator(".entry")
    expect(entry).to_contain_text("one four")
    page.evaluate("async () => (await stream).getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    expect(entry).to_have_attribute("data-status", "done")
    expect(entry).to_contain_text("The source of the sound went away; this is what was heard until then.")
    expect(entry.locator(".text")).to_have_text(re.compile("^one four.* nine$"))  # the last word needs a flush
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_falling_behind_is_a_meter_then_words_then_an_offer(director: Director) -> None:
    director.page.clock.install()
    page = listen(director)
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 20)  # a moment that is not past when it is asked for
    meter = page.get_by_role("meter", name="Seconds of sound waiting to be heard")
    director.say("heard", session=1, heard_s=20, waiting_s=0.3, total_s=None)
    director.wait()
    page.clock.run_for(300)
    expect(meter).to_have_js_property("value", 0.3)
    expect(page.locator("#lag")).to_be_hidden()
    waiting_s = fall_behind(director, seconds=6, waiting_s=0.5)
    expect(page.locator("#lag")).to_have_text(re.compile(r"^[34]\.\d s behind$"))
    offer = page.locator("#behind")
    expect(offer).to_be_hidden()
    fall_behind(director, seconds=18, waiting_s=waiting_s)
    expect(offer).to_contain_text(re.compile(r"This machine now hears about 0\.[456] s of sound in a second"))
    expect(offer).to_contain_text("more than 10 s behind")
    expect(offer).to_contain_text("nothing is lost")
    expect(offer.get_by_role("button", name="Use the demo model")).to_be_visible()
    for i in range(12):  # it catches up
        director.say("heard", session=1, heard_s=60 + 2 * i, waiting_s=12.5 - i, total_s=None)
        director.wait()
        page.clock.run_for(1000)
    expect(offer).to_be_hidden()
    fall_behind(director, seconds=26, waiting_s=1)
    expect(offer).to_be_visible()
    page.clock.resume()
    offer.get_by_role("button", name="Stop and let it finish").click()
    expect(page.get_by_role("article")).to_contain_text("of sound")


def test_an_engine_that_recovers_says_so_and_that_it_has(director: Director) -> None:
    page = listen(director)
    hear(director, SENTENCE)
    director.say("state", state="recovering")
    director.say("progress", stage="weights", done=300, total=1000)
    expect(page.locator("#recovery")).to_contain_text("The GPU went away; the model is loaded again")
    expect(page.locator("#recovery")).to_contain_text("30 %")
    director.say("state", state="loading")  # as an engine does that takes the place of a crashed one
    expect(page.locator("#status")).to_have_text("Recovering")
    facts = page.get_by_role("article").locator(".facts")
    expect(facts).to_have_text("recovering")
    director.say("state", state="listening")
    expect(page.locator("#recovery")).to_be_hidden()
    expect(facts).to_be_empty()
    expect(page.locator("#status")).to_contain_text("Ready on")
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    expect(page.locator(".word").first).to_be_visible()
