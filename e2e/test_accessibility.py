"""What a screen reader, a keyboard and weak eyes find in each state of the page: axe-core's rules, light on a phone
and dark on a desktop, with a scripted engine (fake_engine.js)."""

import hashlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, Literal

import pytest
from accuracy_reports import CLIPS, report_of
from fake_page import Director, use_fake_engine
from playwright.sync_api import Browser, Page, expect
from watch import watched

from voxtral.accuracy.report import Report
from voxtral.accuracy.summary import differences

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
AXE_SHA256 = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"  # axe-core 4.12.1
RUN_AXE = "async () => (await axe.run({ preload: false, resultTypes: ['violations'] })).violations"
Scheme = Literal["light", "dark"]
LOOKS: dict[Scheme, tuple[int, int]] = {"light": (390, 844), "dark": (1280, 800)}  # colours do not depend on the size


@pytest.fixture
def director(listening_browser: Browser, base_url: str, request: pytest.FixtureRequest) -> Iterator[Director]:
    """A page with the fake engine; the test says what the engine says."""
    context = listening_browser.new_context(base_url=base_url, permissions=["microphone"], service_workers="block")
    errors_expected = request.node.get_closest_marker("expects_console_errors") is not None
    with watched(context, base_url, errors_expected=errors_expected):
        page = context.new_page()
        page.emulate_media(reduced_motion="reduce")  # axe would measure the contrast of what is half faded in
        use_fake_engine(page)
        yield Director(page)


def test_axe_is_the_one_we_mean() -> None:
    assert hashlib.sha256(AXE.encode()).hexdigest() == AXE_SHA256


# -- the states ---------------------------------------------------------------------------------


def arrive(director: Director, scenario: str = "ready") -> Page:
    page = director.page
    page.goto(f"/?model=fake:{scenario}")
    return page


def be_ready(director: Director, scenario: str = "ready") -> Page:
    page = arrive(director, scenario)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
    return page


def choose(page: Page, *names: str) -> None:
    chosen = [{"name": name, "mimeType": "audio/wav", "buffer": b"RIFF"} for name in names]
    page.locator("#file-input").set_input_files(chosen)


def listen(director: Director) -> Page:
    """Recording; what is heard, director says."""
    page = be_ready(director, "held")
    page.get_by_role("button", name="Speak").click()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    hear(director, "the clock above the door")
    return page


def hear(director: Director, text: str, first: int = 0) -> None:
    words = [
        {"text": word, "start": 0.4 * i, "end": 0.4 * i + 0.3, "probability": 0.9, "alternatives": [], "joins": False}
        for i, word in enumerate(text.split(), first)
    ]
    director.say("words", session=1, text=(" " if first else "") + text, words=words)


def loading(director: Director) -> None:
    expect(arrive(director, "loading").get_by_text("5.0 of 12.5 MB")).to_be_visible()


def ready(director: Director) -> None:
    be_ready(director)


def slow_machine(director: Director) -> None:
    expect(be_ready(director, "software-numpy").locator("#slow")).to_be_visible()


def refused(director: Director) -> None:
    expect(arrive(director, "refused").locator("#refusal")).to_be_visible()


def failed(director: Director) -> None:
    expect(arrive(director, "fatal").locator("#failure")).to_be_visible()


def listening(director: Director) -> None:
    listen(director)


def recovering(director: Director) -> None:
    page = listen(director)
    director.say("state", state="recovering")
    expect(page.locator("#recovery")).to_be_visible()


def hopeless(director: Director) -> None:
    page = director.page
    page.clock.install()
    listen(director)
    fall_behind(director)
    expect(page.locator("#behind")).to_be_visible()


def queue(director: Director) -> None:
    page = be_ready(director)
    choose(page, "stuck.wav", "second.wav")
    expect(page.get_by_text("Waiting its turn")).to_be_visible()


def finished(director: Director) -> None:
    page = be_ready(director)
    choose(page, "a.wav", "broken.wav", "silence.wav", "notice.wav")
    expect(page.get_by_role("article").last).to_contain_text("of sound")


def word_card(director: Director) -> None:
    page = be_ready(director)
    choose(page, "a.wav")
    expect(page.locator(".word")).to_have_count(4)
    page.locator(".word").first.focus()
    expect(page.locator("#word-card")).to_be_visible()


def editing(director: Director) -> None:
    """A word that was unsure, in its field; two others are, by two degrees."""
    page = be_ready(director)
    choose(page, "stuck.wav")
    expect(page.get_by_role("article")).to_contain_text("heard")
    words = [
        {"text": text, "start": i, "end": i + 0.5, "probability": share, "alternatives": other, "joins": False}
        for i, (text, share) in enumerate({"one": 0.4, "too": 0.7, "tree": 0.3}.items())
        for other in [[{"text": "three", "probability": 0.2}]]
    ]
    director.say("words", session=1, text="one too tree", words=words)
    page.locator(".word").last.dblclick()
    expect(page.get_by_role("textbox", name="Change the word tree")).to_be_focused()
    expect(page.locator("#word-card")).to_be_visible()


def menu(director: Director) -> None:
    page = be_ready(director)
    choose(page, "a.wav")
    page.get_by_role("button", name="Keep as a file").click()
    expect(page.get_by_role("menu")).to_be_visible()


def python(director: Director) -> None:
    page = be_ready(director)
    choose(page, "a.wav")
    page.locator("#python > summary").click()
    expect(page.get_by_role("textbox", name="Python code")).to_be_visible()


def earlier(director: Director) -> None:
    """What was heard before the page was loaded again."""
    page = be_ready(director)
    choose(page, "a.wav")
    expect(page.get_by_role("article")).to_contain_text("of sound")
    page.reload()
    expect(page.locator("#session-list")).to_contain_text("a.wav")


def told(director: Director) -> None:
    director.page.goto("/?model=fake:ready&delay_ms=soon")
    expect(director.page.get_by_text("The address says delay_ms=soon")).to_be_visible()
    director.say("notice", session=None, sentence="A new thing.")


def settings(director: Director) -> None:
    be_ready(director).get_by_role("button", name="Settings").click()


def shortcuts(director: Director) -> None:
    page = be_ready(director)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def captions(director: Director) -> None:
    director.page.add_init_script("delete Element.prototype.requestFullscreen")  # as on a telephone
    page = listen(director)
    page.keyboard.press("f")
    expect(page.get_by_role("dialog", name="Full screen captions")).to_be_visible()


def fall_behind(director: Director) -> None:
    """Sound comes twice as fast as it is heard, for 12 s of the page's own clock."""
    for i in range(13):
        director.say("heard", session=1, heard_s=20 + 0.5 * i, waiting_s=8 + 0.5 * i, total_s=None)
        director.wait()
        director.page.clock.run_for(1000)


def arrive_at_accuracy(director: Director) -> Page:
    """?bench=accuracy, with a set of five clips."""
    director.page.goto("/?bench=accuracy&model=fake:ready")
    entries = [clip.entry for clip in CLIPS]
    director.say(
        "set_read", id=director.asked("read_set")["id"], entries=entries, notices=["One is missing."], sentence=None
    )
    expect(director.page.get_by_role("button", name="Measure")).to_be_enabled()
    return director.page


def accuracy(director: Director) -> None:
    arrive_at_accuracy(director)


def accuracy_run(director: Director) -> None:
    page = arrive_at_accuracy(director)
    page.get_by_role("button", name="Measure").click()
    for i, clip in enumerate(report_of()["clips"][:3], 1):
        director.say("clip_heard", session=1, id=clip["id"], clip=clip, reason=None, n_heard=i, n_clips=5)
    expect(page.get_by_text("3 of 5 clips")).to_be_visible()


def accuracy_report(director: Director) -> None:
    accuracy_run(director)
    director.say("done", session=1, result=report_of())
    expect(director.page.get_by_role("heading", name="Clips, the worst first")).to_be_visible()


def accuracy_comparison(director: Director) -> None:
    page = arrive_at_accuracy(director)
    files = [{"name": name, "mimeType": "application/json", "buffer": b"{}"} for name in ("a.json", "b.json")]
    page.locator("#report-files").set_input_files(files)
    one, two = report_of(), report_of(CLIPS[1:], delay_ms=960)
    found = differences(*(Report.of(report, "a report").clips for report in (two, one)))
    asked = director.asked("read_reports")
    director.say("reports_read", id=asked["id"], reports=[one, two], comparison=found, sentence=None)
    expect(page.get_by_role("heading", name="Two reports")).to_be_visible()


def example(name: str) -> Callable[[Director], None]:
    """Before its model is there; that says nothing new."""

    def state(director: Director) -> None:
        director.page.goto(f"/app/examples/{name}.html")
        expect(director.page.get_by_role("heading", level=1)).to_be_visible()

    state.__name__ = name
    return state


STATES: list[Callable[[Director], None]] = [
    loading, ready, slow_machine, refused, failed, told, listening, recovering, hopeless, queue, finished, word_card,
    editing, menu, python, earlier, settings, shortcuts, captions,
    accuracy, accuracy_run, accuracy_report, accuracy_comparison, example("guide"), example("video"),
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing_serious(director: Director, state: Callable[[Director], None]) -> None:
    state(director)
    page = director.page
    page.evaluate(AXE)
    found = {}
    for scheme, (width, height) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found[scheme] = serious(page.evaluate(RUN_AXE))
    assert {scheme: problems for scheme, problems in found.items() if problems} == {}


def serious(violations: list[dict[str, Any]]) -> list[str]:
    """Each as the rule and the elements that break it."""
    return [
        f"{violation['id']}: {violation['help']}; {[node['html'][:120] for node in violation['nodes']]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
