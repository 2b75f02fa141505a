"""The page by itself: what a person sees and can do in each state, with a scripted engine (fake_engine.js)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from patience import wait_until
from playwright.sync_api import Locator, Page, Route, expect

E2E = Path(__file__).resolve().parent
APP = E2E.parent / "app"
MICROPHONE_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)

OpenPage = Callable[..., Page]
GotoPage = Callable[..., Page]


@pytest.fixture
def open_fake(page: Page) -> GotoPage:
    """open_fake("ready", "&delay_ms=960") → the page with the fake engine in that scenario."""
    use_fake_engine(page)

    def goto(scenario: str = "ready", options: str = "") -> Page:
        page.goto(f"/?model=fake:{scenario}{options}")
        return page

    return goto


@pytest.fixture
def open_listening(open_page: OpenPage) -> GotoPage:
    """The same in a browser with a fake microphone that beeps, recording."""

    def goto(scenario: str = "ready", *flags: str) -> Page:
        page = open_page("/e2e/fake_core.js", *(flags or MICROPHONE_FLAGS))
        use_fake_engine(page)
        page.goto(f"/?model=fake:{scenario}")
        page.get_by_role("button", name="Speak").click()
        return page

    return goto


def choose(page: Page, *names: str, content: bytes = b"RIFF") -> None:
    """Hands the page files of these names."""
    files = [{"name": name, "mimeType": "audio/wav", "buffer": content} for name in names]
    page.locator("#file-input").set_input_files(files)


def entry(page: Page, name: str) -> Locator:
    return page.get_by_role("article").filter(has=page.get_by_role("heading", name=name, exact=True))


# -- loading ------------------------------------------------------------------------------------


def test_arrival_says_what_this_is_and_how_far_loading_is(open_fake: GotoPage) -> None:
    page = open_fake("loading")
    expect(page.get_by_text("runs inside this tab")).to_be_visible()
    expect(page.get_by_text("Nothing leaves this machine")).to_be_visible()
    weights = page.get_by_role("progressbar", name="Weights")
    expect(weights).to_have_js_property("value", 0.4)
    expect(page.get_by_text("5.0 of 12.5 MB")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Python")).to_have_js_property("value", 1)
    expect(page.get_by_role("progressbar", name="GPU")).to_have_js_property("value", 0)
    expect(page.get_by_role("status").first).to_have_text("Loading weights")
    expect(page.get_by_role("button", name="Speak")).to_be_disabled()


def test_bytes_of_the_runtime_are_counted_as_they_come(page: Page) -> None:
    use_fake_engine(page)
    held: list[Route] = []
    page.route("**/fake/pyodide.mjs", lambda route: held.append(route))
    files = [{"path": "fake/core.js", "size": 105}, {"path": "fake/pyodide.mjs", "size": 2_999_895}]
    page.route("**/static/runtime.json", lambda route: route.fulfill(body=json.dumps({"files": files})))
    page.goto("/?model=fake:ready")
    expect(page.get_by_text("0.0 of 3.0 MB")).to_be_visible()
    wait_until(page, lambda: bool(held))
    held[0].fulfill(body="x" * 2_999_895)
    expect(page.get_by_role("status").first).to_have_text("Ready on Test GPU")


def test_ready_says_what_the_model_understands(open_fake: GotoPage) -> None:
    page = open_fake()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    expect(page.get_by_text("The demo model knows spoken digits")).to_be_visible()
    words = page.get_by_role("list", name="Words it knows").get_by_role("listitem")
    expect(words).to_have_count(16)
    expect(words.last).to_have_text("view glass")
    expect(page.get_by_role("button", name="A speech")).to_be_hidden()
    expect(page.locator("#slow")).to_be_hidden()


def test_an_open_vocabulary_has_no_list_of_words(open_fake: GotoPage) -> None:
    page = open_fake("open")
    expect(page.get_by_role("button", name="A speech")).to_be_visible()
    expect(page.locator("#vocabulary")).to_be_hidden()


@pytest.mark.parametrize(
    ("scenario", "options", "sentence"),
    [
        ("numpy", "", "This browser offers no WebGPU here, so the CPU does the work"),
        ("numpy", "&backend=numpy", "The address asks for the CPU"),
        ("software", "", "WebGPU runs in software here"),
        ("software-numpy", "", "The only GPU here is a software one"),
    ],
)
def test_a_slow_machine_is_told_so_plainly(open_fake: GotoPage, scenario: str, options: str, sentence: str) -> None:
    page = open_fake(scenario, options)
    expect(page.locator("#slow")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_options_in_the_address_reach_the_engine(open_fake: GotoPage) -> None:
    page = open_fake("ready", "&delay_ms=960&left_pad=32")
    ready = page.evaluate("async () => { const r = await voxtral.ready; return [r.delay_ms, r.left_pad_tokens]; }")
    assert ready == [960, 32]


def test_a_wrong_option_is_one_dismissible_sentence(open_fake: GotoPage) -> None:
    page = open_fake("ready", "&delay_ms=soon")
    alert = page.get_by_text("The address says delay_ms=soon, expected a whole number")
    expect(alert).to_be_visible()
    page.get_by_role("button", name="Dismiss").click()
    expect(alert).to_be_hidden()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_the_page_works_below_another_path(page: Page) -> None:
    def from_the_root(route: Route) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/some/where", "")))

    page.route("**/some/where/**", from_the_root)
    use_fake_engine(page)
    page.goto("/some/where/?model=fake:ready")
    expect(page.get_by_role("status").first).to_have_text("Ready on Test GPU")
    page.get_by_role("button", name="Digits", exact=True).click()
    expect(entry(page, "digits_1.wav").locator(".text")).to_have_text("one four one seven")


# -- files --------------------------------------------------------------------------------------


def test_a_file_becomes_words_with_their_times(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "digits.wav")
    done = entry(page, "digits.wav")
    expect(done.locator(".text")).to_have_text("one four one seven")
    expect(done).to_contain_text("0:03 of sound in 0.8 s")
    expect(done.locator(".word")).to_have_count(4)
    done.locator(".word").first.focus()
    page.keyboard.press("ArrowRight")
    expect(done.locator(".word").nth(1)).to_be_focused()
    expect(page.locator("#word-card")).to_contain_text("0.60 to 0.90 s")
    expect(done.get_by_role("button", name="Cancel")).to_be_hidden()


def test_words_already_shown_stay_the_same_elements(open_fake: GotoPage) -> None:
    """A screen reader says again whatever is replaced."""
    page = open_fake()
    choose(page, "slow.wav")
    first = entry(page, "slow.wav").locator(".word").first
    expect(first).to_have_text("one")
    handle = first.element_handle()
    expect(entry(page, "slow.wav").locator(".word").nth(5)).to_be_visible()
    entry(page, "slow.wav").get_by_role("button", name="Cancel").click()
    expect(entry(page, "slow.wav")).to_contain_text("cancelled")
    assert handle.evaluate("element => element.isConnected")
    expect(entry(page, "slow.wav").locator(".text")).to_have_attribute("aria-live", "polite")


def test_files_wait_their_turn(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "slow.wav", "second.wav", "third.wav")
    expect(entry(page, "second.wav")).to_contain_text("Waiting its turn")
    expect(page.get_by_role("button", name="Speak")).to_be_disabled()
    entry(page, "third.wav").get_by_role("button", name="Cancel").click()
    expect(entry(page, "third.wav")).to_contain_text("cancelled")
    expect(page.get_by_role("progressbar", name="Progress of slow.wav")).to_be_visible()
    entry(page, "slow.wav").get_by_role("button", name="Cancel").click()
    expect(entry(page, "second.wav").locator(".text")).to_have_text("one four one seven")
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


def test_files_dropped_while_loading_are_done_when_ready(page: Page) -> None:
    use_fake_engine(page)
    held: list[Route] = []
    page.route("**/fake/pyodide.mjs", lambda route: held.append(route))
    page.goto("/?model=fake:ready")
    choose(page, "early.wav")
    expect(entry(page, "early.wav")).to_contain_text("Waiting its turn")
    wait_until(page, lambda: bool(held))
    held[0].fulfill(body="")
    expect(entry(page, "early.wav").locator(".text")).to_have_text("one four one seven")


def test_cancel_keeps_the_words_so_far(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "slow.wav")
    expect(entry(page, "slow.wav").locator(".word").nth(2)).to_be_visible()
    page.keyboard.press("Escape")
    expect(entry(page, "slow.wav")).to_contain_text("cancelled, text kept")
    expect(entry(page, "slow.wav").locator(".text")).to_contain_text("one four one")


def test_a_file_dropped_anywhere_is_transcribed(open_fake: GotoPage) -> None:
    page = open_fake()
    transfer = page.evaluate_handle(
        """() => { const transfer = new DataTransfer();
        transfer.items.add(new File(["RIFF"], "ein “Wort” – ä $(x).wav")); return transfer; }"""
    )
    page.dispatch_event("h1", "dragenter", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop to transcribe")).to_be_visible()
    page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    expect(page.get_by_text("Drop to transcribe")).to_be_hidden()
    expect(entry(page, "ein “Wort” – ä $(x).wav").locator(".text")).to_have_text("one four one seven")


def test_a_sample_is_one_press_away(open_fake: GotoPage) -> None:
    page = open_fake()
    page.get_by_role("button", name="Keywords").click()
    expect(entry(page, "keywords_1.wav").locator(".text")).to_have_text("one four one seven")


def test_silence_is_called_so(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "silence.wav")
    expect(entry(page, "silence.wav")).to_contain_text("of sound")
    shown = entry(page, "silence.wav").locator(".text").evaluate("e => getComputedStyle(e, '::before').content")
    assert shown == '"No words heard."'


def test_a_notice_stands_beside_its_text(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "notice.wav")
    aside = entry(page, "notice.wav").get_by_role("listitem")
    expect(aside).to_have_text("notice.wav ends early: 1.2 of 3.0 s.")
    expect(entry(page, "notice.wav").locator(".text")).to_have_text("one four one seven")


def test_a_broken_file_is_one_sentence_and_the_next_one_works(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "broken.wav", "good.wav")
    expect(entry(page, "broken.wav").get_by_role("alert")).to_have_text(
        "broken.wav has a sample rate of 0 Hz, expected 8000 to 192000; record it again."
    )
    expect(entry(page, "good.wav").locator(".text")).to_have_text("one four one seven")
    entry(page, "broken.wav").get_by_role("button", name="Remove").click()
    expect(entry(page, "broken.wav")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "notes.mp3",
            b"these are not sounds",
            "notes.mp3: expected WAV, MP3, M4A, Ogg, Opus, FLAC, WebM or a video, found nothing",
        ),
        ("nothing.ogg", b"", "nothing.ogg: expected sound, found an empty file"),
    ],
)
def test_what_the_browser_cannot_decode_is_named(open_fake: GotoPage, name: str, content: bytes, sentence: str) -> None:
    page = open_fake()
    choose(page, name, content=content)
    expect(entry(page, name).get_by_role("alert")).to_contain_text(sentence)


# -- the transcript -----------------------------------------------------------------------------


def test_copying_one_text_and_all(open_fake: GotoPage) -> None:
    page = open_fake()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "a.wav", "b.wav", "silence.wav")
    expect(entry(page, "silence.wav")).to_contain_text("of sound")
    entry(page, "a.wav").get_by_role("button", name="Copy").click()
    expect_copied(page, "one four one seven")
    page.get_by_role("button", name="Copy all").click()
    expect_copied(page, "a.wav\none four one seven\n\nb.wav\none four one seven")


def expect_copied(page: Page, text: str) -> None:
    page.wait_for_function("text => navigator.clipboard.readText().then((copied) => copied === text)", arg=text)


def test_what_was_copied_last_says_so_for_its_own_time(open_fake: GotoPage, page: Page) -> None:
    page.clock.install()
    open_fake()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "a.wav")
    expect(entry(page, "a.wav")).to_contain_text("of sound")
    one, all_ = entry(page, "a.wav").locator(".copy span"), page.locator("#copy-all span")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 20)  # a moment that is not past when it is asked for

    def run_until(button: Locator, text: str) -> None:
        def has_text() -> bool:
            page.clock.run_for(20)  # a frame
            return button.text_content() == text

        wait_until(page, has_text)

    page.locator("#entries .copy").click()
    run_until(one, "Copied")
    expect(entry(page, "a.wav").get_by_role("button", name="Copied")).to_be_visible()
    page.clock.run_for(1000)
    page.locator("#copy-all").click()
    run_until(all_, "Copied")
    expect(page.get_by_role("button", name="Copied")).to_have_count(1)
    assert one.text_content() == "Copy"
    page.clock.run_for(800)  # the time of the first is over
    assert all_.text_content() == "Copied"
    page.clock.run_for(800)
    assert all_.text_content() == "Copy all"


def test_clear_can_be_undone_and_spares_what_is_at_work(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "a.wav", "slow.wav")
    expect(entry(page, "a.wav").locator(".text")).to_have_text("one four one seven")
    expect(entry(page, "slow.wav").locator(".word").first).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(entry(page, "a.wav")).to_have_count(0)
    expect(entry(page, "slow.wav")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("article").first.get_by_role("heading")).to_have_text("a.wav")
    expect(entry(page, "a.wav").locator(".text")).to_have_text("one four one seven")
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()


# -- speaking -----------------------------------------------------------------------------------


def test_spoken_words_appear_while_speaking_and_stop_flushes_the_last(open_listening: GotoPage) -> None:
    page = open_listening()
    words = page.locator(".word")
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"0:0[1-9]"))
    expect(words.nth(2)).to_be_visible()
    expect(page.get_by_role("meter", name="Microphone level")).to_be_visible()
    page.wait_for_function("document.querySelector('#level').value > 0.1")
    expect(page.locator("#lag")).to_be_hidden()
    page.get_by_role("button", name="Stop").click()
    expect(words.last).to_have_text("nine")  # the fake says it once the last block has come
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    expect(page.locator("#live")).to_be_hidden()


def test_falling_behind_is_shown(open_listening: GotoPage) -> None:
    page = open_listening("lagging")
    expect(page.get_by_text("2.3 s behind")).to_be_visible()


def test_a_cancelled_recording_keeps_its_words_and_another_can_follow(open_listening: GotoPage) -> None:
    page = open_listening()
    expect(page.locator(".word").nth(1)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("article")).to_contain_text("cancelled, text kept")
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("article").last.locator(".word").first).to_be_visible()


def test_files_dropped_while_speaking_wait_for_the_end(open_listening: GotoPage) -> None:
    page = open_listening()
    expect(page.locator(".word").first).to_be_visible()
    choose(page, "later.wav")
    expect(entry(page, "later.wav")).to_contain_text("Waiting its turn")
    page.get_by_role("button", name="Stop").click()
    expect(entry(page, "later.wav").locator(".text")).to_have_text("one four one seven")


def test_no_microphone_is_one_sentence(open_listening: GotoPage) -> None:
    page = open_listening("ready", "--no-first-run")
    expect(page.get_by_text("No microphone was found; connect one")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(0)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()


# -- when the engine fails ----------------------------------------------------------------------


def test_a_damaged_model_is_one_sentence_and_a_reload_button(open_fake: GotoPage) -> None:
    page = open_fake("fatal")
    expect(page.locator("#failure")).to_contain_text("model.gguf: bad magic, expected GGUF")
    expect(page.get_by_role("button", name="Speak")).to_be_disabled()
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Use the demo model").click()
    expect(page).to_have_url(re.compile("/$"))


def test_a_model_without_room_is_explained_and_the_demo_takes_its_place(open_fake: GotoPage) -> None:
    page = open_fake("refused", "&delay_ms=960")
    card = page.get_by_role("alert").filter(has_text="The model was not loaded")
    expect(card).to_contain_text("This model needs 3.4 GB of GPU memory")
    expect(card).to_contain_text("then try again.")
    expect(card.get_by_role("button", name="Load it anyway")).to_be_hidden()
    expect(page.get_by_role("button", name="Speak")).to_be_hidden()
    expect(page.locator("#loading")).to_be_hidden()
    card.get_by_role("button", name="Try again").click()
    expect(card).to_contain_text("This model needs 3.4 GB of GPU memory")
    card.get_by_role("button", name="Use the demo model").click()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    expect(card).to_be_hidden()
    expect(page).to_have_url(re.compile(r"/\?delay_ms=960$"))
    assert page.evaluate("async () => (await voxtral.ready).delay_ms") == 960
    choose(page, "a.wav")
    expect(entry(page, "a.wav").locator(".text")).to_have_text("one four one seven")


def test_who_insists_gets_a_slow_model(open_fake: GotoPage) -> None:
    page = open_fake("refused-slow")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.get_by_role("button", name="Load it anyway").click()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    expect(page).to_have_url(re.compile(r"/\?model=fake%3Arefused-slow&backend=webgpu$"))


def test_files_that_waited_for_a_refused_model_say_so(page: Page) -> None:
    use_fake_engine(page)
    held: list[Route] = []
    page.route("**/fake/pyodide.mjs", lambda route: held.append(route))
    page.goto("/?model=fake:refused")
    choose(page, "early.wav")
    wait_until(page, lambda: bool(held))
    held[0].fulfill(body="")
    expect(entry(page, "early.wav").get_by_role("alert")).to_have_text("No model was loaded; try again when one is.")
    page.get_by_role("button", name="Use the demo model").click()
    choose(page, "late.wav")
    expect(entry(page, "late.wav").locator(".text")).to_have_text("one four one seven")


def test_the_demo_itself_offers_no_other(page: Page) -> None:
    use_fake_engine(page)
    body = (E2E / "fake_engine.js").read_text(encoding="utf-8")
    body = body.replace('scenario = model_url?.split(":").at(-1) ?? "files";', 'scenario = "refused";')
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    page.route("**/e2e/fake_engine.js", lambda route: route.fulfill(body=body, headers=headers))
    page.goto("/")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.get_by_role("button", name="Use the demo model")).to_have_count(0)


def test_both_phases_of_a_large_model_are_shown_in_bytes(open_fake: GotoPage) -> None:
    page = open_fake("large")
    expect(page.get_by_role("status").first).to_have_text("Reserving memory")
    expect(page.locator("[data-stage=weights] .amount")).to_have_text("2.51 GB")
    expect(page.locator("[data-stage=memory] .amount")).to_have_text("23.0 of 951.0 MB")


def test_a_crash_keeps_the_transcript(open_fake: GotoPage) -> None:
    page = open_fake()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "a.wav", "crash.wav", "never.wav")
    expect(page.locator("#failure")).to_contain_text("The GPU went away; reload the page to go on.")
    expect(entry(page, "never.wav")).to_have_attribute("data-status", "failed")
    expect(entry(page, "a.wav").locator(".text")).to_have_text("one four one seven")
    page.get_by_role("button", name="Copy all").click()
    expect_copied(page, "one four one seven")


@pytest.mark.expects_console_errors
@pytest.mark.parametrize(
    "path", ["app/engine.py", "app/tape.js", "static/runtime.json", "static/runtime/fake/pyodide.mjs"]
)
def test_a_missing_file_is_named(page: Page, path: str) -> None:
    use_fake_engine(page)
    page.route(f"**/{path}", lambda route: route.fulfill(status=404))
    page.goto("/?model=fake:ready")
    expect(page.locator("#failure")).to_contain_text(path)
    expect(page.locator("#failure")).to_contain_text("set the app up again")
    expect(page.get_by_role("button", name="Reload")).to_be_visible()


@pytest.mark.expects_console_errors
def test_a_server_that_went_away_is_named(page: Page) -> None:
    use_fake_engine(page)
    page.route("**/fake/pyodide.mjs", lambda route: route.abort())
    page.goto("/?model=fake:ready")
    expect(page.locator("#failure")).to_contain_text("check the connection, then reload")


@pytest.mark.expects_console_errors
def test_python_that_does_not_start_says_why(page: Page) -> None:
    use_fake_engine(page)
    body = "export const PyWorker = async () => { throw new Error('no interpreter here'); };"
    page.route("**/fake/core.js", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    page.goto("/?model=fake:ready")
    expect(page.locator("#failure")).to_contain_text("Python did not start (no interpreter here)")


@pytest.mark.expects_console_errors
def test_a_worker_that_crashes_says_so(page: Page) -> None:
    use_fake_engine(page)
    body = "onmessage = () => { throw new Error('out of memory'); };"
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    page.route("**/e2e/fake_engine.js", lambda route: route.fulfill(body=body, headers=headers))
    page.goto("/?model=fake:ready")
    expect(page.locator("#failure")).to_contain_text("The engine crashed")
    expect(page.locator("#failure")).to_contain_text("out of memory")


def test_an_engine_that_never_answers_is_given_up(page: Page) -> None:
    page.clock.install()
    use_fake_engine(page)
    with page.expect_request("**/fake_engine.js"):
        page.goto("/?model=fake:dead")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 0))")
    page.clock.fast_forward(31_000)
    expect(page.locator("#failure")).to_contain_text("The engine did not answer within 30 s")


def test_an_engine_that_falls_silent_is_reported(page: Page) -> None:
    page.clock.install()
    use_fake_engine(page)
    page.goto("/?model=fake:ready")
    choose(page, "stuck.wav")
    expect(entry(page, "stuck.wav")).to_contain_text("0:01 of 1:00 heard")
    page.clock.fast_forward(31_000)
    expect(page.locator("#failure")).to_contain_text("The engine has not answered for 30 s")
    expect(page.get_by_role("button", name="Reload")).to_be_visible()


@pytest.mark.expects_console_errors
def test_an_engine_that_fails_to_import_says_what_is_missing(page: Page) -> None:
    """The real PyScript and Python; only the engine's import goes wrong."""
    source = (APP / "engine.py").read_text(encoding="utf-8")
    assert "from voxtral.worker import" in source
    body = source.replace("from voxtral.worker import", "from voxtral.wrecker import")
    page.route("**/app/engine.py", lambda route: route.fulfill(body=body))
    page.goto("/")
    expect(page.locator("#failure")).to_contain_text("No module named 'voxtral.wrecker'", timeout=300_000)
    expect(page.get_by_role("button", name="Reload")).to_be_visible()


# -- for everybody ------------------------------------------------------------------------------


def test_everything_is_reached_and_used_by_keyboard(open_fake: GotoPage) -> None:
    page = open_fake()
    choose(page, "a.wav")
    expect(entry(page, "a.wav").get_by_role("button", name="Copy")).to_be_visible()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => { const e = document.activeElement; const shown = e.id === "file-input" ? e.nextElementSibling : e;
            const name = e === document.body ? "page" : e.id || e.className || e.localName;
            return [name, getComputedStyle(shown).outlineStyle]; }"""
        )
        assert outline == "solid" or name == "page", f"{name} shows no focus"
        reached.append(name)
    wanted = {"summary", "copy-all", "clear", "icon-button copy", "speak", "file-input", "device", "open-settings"}
    assert wanted <= set(reached)
    page.locator("#model > summary").press("Enter")
    expect(page.locator("#model")).to_have_attribute("open", "")
    page.get_by_role("button", name="Digits", exact=True).press("Space")
    expect(entry(page, "digits_1.wav").locator(".text")).to_have_text("one four one seven")


def test_a_narrow_phone_never_scrolls_sideways(open_fake: GotoPage) -> None:
    page = open_fake("refused")
    page.set_viewport_size({"width": 360, "height": 640})
    expect(page.get_by_role("button", name="Use the demo model")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.goto("/?model=fake:software&delay_ms=soon")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    assert page.evaluate(overflow) == 0
    choose(page, f"{'averylongname' * 9}.wav", f"broken-{'x' * 90}.wav", f"notice-{'y' * 90}.wav", "slow.wav")
    expect(entry(page, "slow.wav").locator(".word").nth(3)).to_be_visible()
    assert page.evaluate(overflow) == 0
    assert page.get_by_role("button", name="Speak").bounding_box()["height"] >= 44


def test_a_narrow_phone_never_scrolls_sideways_while_speaking(open_listening: GotoPage) -> None:
    page = open_listening("lagging")
    page.set_viewport_size({"width": 360, "height": 640})
    expect(page.get_by_text("2.3 s behind")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_newest_words_stay_in_view(open_fake: GotoPage) -> None:
    page = open_fake()
    page.set_viewport_size({"width": 390, "height": 640})
    choose(page, "long.wav")
    last = entry(page, "long.wav").locator(".word").last
    expect(entry(page, "long.wav")).to_contain_text("of sound")
    expect(last).to_be_in_viewport()
    page.wait_for_function(IS_ABOVE_DOCK)


IS_ABOVE_DOCK = """() => {
    const [last, dock] = [[...document.querySelectorAll(".word")].at(-1), document.querySelector(".dock")];
    return last.getBoundingClientRect().y < dock.getBoundingClientRect().y;
}"""
HOLD_FRAMES = """() => {
    const frame = requestAnimationFrame.bind(window);
    const held = [];
    window.requestAnimationFrame = (draw) => held.push(draw);
    window.releaseFrames = () => {
        window.requestAnimationFrame = frame;
        held.forEach(frame);
    };
}"""


def test_words_heard_between_two_frames_come_into_view(open_fake: GotoPage, page: Page) -> None:
    director = Director(page)
    open_fake("loading")
    expect(page.get_by_text("5.0 of 12.5 MB")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 640})
    choose(page, "long.wav")
    expect(entry(page, "long.wav")).to_contain_text("Waiting its turn")
    page.evaluate(HOLD_FRAMES)
    state: dict[str, Any] = {"backend": "webgpu", "adapter": "Test GPU", "is_software": False, "model": "Voxtral demo"}
    sizes = {"delay_ms": 480, "left_pad_tokens": 76, "weights_bytes": 12_500_000, "weights_s": 0.05}
    director.say("ready", **state, **sizes, description="", vocabulary=None, replaced=[])
    page.wait_for_timeout(500)  # all is heard
    page.evaluate("releaseFrames()")
    expect(entry(page, "long.wav")).to_contain_text("of sound")
    expect(entry(page, "long.wav").locator(".word").last).to_be_in_viewport()


def test_what_is_laid_out_late_does_not_push_the_newest_words_away(open_fake: GotoPage) -> None:
    page = open_fake()
    page.set_viewport_size({"width": 390, "height": 640})
    choose(page, "long.wav")
    words = entry(page, "long.wav").locator(".word")
    expect(entry(page, "long.wav")).to_contain_text("of sound")
    expect(words.last).to_be_in_viewport()
    grow = "(word, n) => { word.style.cssText = `display: inline-block; margin-top: ${n * innerHeight}px`; }"
    words.nth(150).evaluate(grow, 1)
    expect(words.last).to_be_in_viewport()
    page.locator("body").press("Shift")  # from here on the page is the person's
    words.nth(158).evaluate(grow, 2)
    page.wait_for_timeout(200)
    expect(words.last).not_to_be_in_viewport()


CONTRAST = """([text, ground]) => {
    const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const probe = document.body.appendChild(document.createElement("i"));
    const luminance = (name) => {
        probe.style.color = `var(${name})`;
        paint.fillStyle = getComputedStyle(probe).color;
        paint.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [luminance(text), luminance(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(open_fake: GotoPage, scheme: str) -> None:
    page = open_fake()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    pairs = [("--ink", "--ground"), ("--soft", "--ground"), ("--accent", "--ground"), ("--on-accent", "--accent")]
    pairs += [("--ink", "--wash"), ("--ink", "--raised"), ("--soft", "--line")]
    pairs += [("--soft", "--wash"), ("--accent", "--wash")]
    ratios = {pair: page.evaluate(CONTRAST, list(pair)) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}
    edges = {ground: page.evaluate(CONTRAST, ["--edge", ground]) for ground in ("--ground", "--raised")}
    assert {ground: round(ratio, 2) for ground, ratio in edges.items() if ratio < 3} == {}  # of buttons and fields
    luminous = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(250, 247, 242)"
    assert luminous == (scheme == "light")


def test_nothing_moves_for_those_who_ask_for_stillness(open_fake: GotoPage) -> None:
    page = open_fake()
    page.emulate_media(reduced_motion="reduce")
    choose(page, "slow.wav")
    word = entry(page, "slow.wav").locator(".word").first
    expect(word).to_be_visible()
    assert word.evaluate("element => getComputedStyle(element).animationName") == "none"
