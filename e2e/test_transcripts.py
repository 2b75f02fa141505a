"""Words in the page: certainty, hearing, editing, keeping; directed by the test with a scripted engine."""

import re
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from playwright.sync_api import Locator, Page, expect

from voxtral.document import Document

Words = list[dict[str, Any]]


def word(text: str, start: float, probability: float = 0.99, *others: tuple[str, float], joins: bool = False) -> Any:
    """A word as the engine says it, 0.4 s long."""
    alternatives = [{"text": other, "probability": share} for other, share in others]
    times = {"start": start, "end": start + 0.4}
    return {"text": text, **times, "probability": probability, "alternatives": alternatives, "joins": joins}


def joined(words: Words) -> str:
    return "".join(("" if each["joins"] or i == 0 else " ") + each["text"] for i, each in enumerate(words))


class Session:
    """A file that is being transcribed, as slowly as the test says."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.director = Director(page)
        use_fake_engine(page)
        page.goto("/?model=fake:held")
        file = {"name": "stuck.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}
        page.locator("#file-input").set_input_files([file])
        self.entry = page.get_by_role("article")
        expect(self.entry).to_contain_text("0:01 of 1:00 heard")
        self.said: Words = []

    def hear(self, *words: Any) -> None:
        text = joined(list(words))
        space = " " if self.said and not words[0]["joins"] else ""
        self.director.say("words", session=1, text=space + text, words=[])
        self.director.say("words", session=1, text="", words=list(words))
        self.said += words

    def finish(self) -> None:
        fields = {"file": "stuck.wav", "audio_s": 3.0, "wall_s": 0.8, "rtf": 0.27, "tokens": []}
        result = {**fields, "text": joined(self.said), "words": self.said}
        self.director.say("done", session=1, result=result)
        expect(self.entry).to_have_attribute("data-status", "done")

    def word(self, text: str) -> Locator:
        return self.entry.locator(".word").get_by_text(text, exact=True)

    def expect_text(self, text: str) -> None:
        expect(self.entry.locator(".text")).to_have_text(text)

    def document(self) -> Document:
        """The document that is exported, read as the engine reads it."""
        self.page.evaluate(
            """() => { voxtral.render = async (document, format, limits) => {
                   window.rendered = { document, format, limits };
                   return format; }; }"""
        )
        self.entry.get_by_role("button", name="Keep as a file").click()
        with self.page.expect_download():
            self.page.get_by_role("menuitem", name=re.compile("Subtitles")).first.click()
        rendered = self.page.evaluate("window.rendered")
        assert rendered["format"] == "srt"
        assert rendered["limits"] == {"lineLength": 42, "nLines": 2, "charactersPerS": 17}
        return Document.of(rendered["document"])


@pytest.fixture
def session(page: Page) -> Session:
    return Session(page)


@pytest.fixture
def spoken(session: Session) -> Session:
    """Five words, of which two are unsure."""
    session.hear(
        word("the", 0.0),
        word("won", 0.5, 0.42, ("one", 0.31), ("wan", 0.05)),
        word("ring", 1.0, 0.7, ("wring", 0.2)),
        word("to", 1.5),
        word("rule", 2.0),
    )
    session.expect_text("the won ring to rule")
    return session


# -- what the recogniser says -------------------------------------------------------------------


def test_text_comes_before_its_words_and_stays_the_same_elements(session: Session) -> None:
    session.director.say("words", session=1, text="hello wor", words=[])
    session.expect_text("hello wor")
    first = session.entry.locator(".word").first.element_handle()
    session.director.say("words", session=1, text="ld", words=[word("hello", 0)])
    session.expect_text("hello world")
    session.director.say("words", session=1, text="", words=[word("world", 0.5)])
    expect(session.entry.locator(".word")).to_have_count(2)
    assert first.evaluate("element => element.isConnected && element.textContent === 'hello'")


def test_a_pause_begins_a_paragraph(session: Session) -> None:
    session.hear(word("one", 0.0), word("two", 0.5))
    session.hear(word("three", 4.0))
    paragraphs = session.entry.locator(".text p")
    expect(paragraphs).to_have_count(2)
    expect(paragraphs.nth(0)).to_have_text("one two")
    expect(paragraphs.nth(1)).to_have_text("three")
    session.expect_text("one two three")


def test_words_without_spaces_and_from_right_to_left_read_right(session: Session) -> None:
    session.hear(word("今日は", 0.0), word("天気", 0.5, joins=True), word("OK", 1.0))
    session.expect_text("今日は天気 OK")
    session.hear(word("שלום", 4.0), word("עולם", 4.5))
    paragraphs = session.entry.locator(".text p")
    expect(paragraphs.nth(1)).to_have_css("direction", "rtl")
    expect(paragraphs.nth(0)).to_have_css("direction", "ltr")
    first, second = session.word("שלום").bounding_box(), session.word("עולם").bounding_box()
    assert first["x"] > second["x"]
    session.finish()
    assert session.document().text == "今日は天気 OK שלום עולם"


def test_replaced_words_are_marked_for_a_moment(spoken: Session) -> None:
    page = spoken.page
    page.emulate_media(reduced_motion="reduce")
    stays = spoken.word("to").element_handle()
    new = [word("one", 0.5), word("ring", 1.0)]
    spoken.director.say("revised", session=1, first=1, n_replaced=2, words=new, reason="careful")
    spoken.expect_text("the one ring to rule")
    expect(spoken.word("one")).to_have_class(re.compile("is-revised"))
    expect(spoken.word("ring")).not_to_have_class(re.compile("is-revised|is-unsure"))
    assert spoken.word("one").evaluate("element => getComputedStyle(element).animationName") == "none"
    assert stays.evaluate("element => element.isConnected")
    expect(spoken.word("one")).not_to_have_class(re.compile("is-revised"))


def test_a_loop_that_was_taken_back_leaves_no_trace(spoken: Session) -> None:
    spoken.director.say("words", session=1, text=" rule ru", words=[word("rule", 2.5)])
    spoken.expect_text("the won ring to rule rule ru")
    spoken.director.say("revised", session=1, first=5, n_replaced=1, words=[], reason="restart")
    spoken.expect_text("the won ring to rule")
    spoken.director.say("words", session=1, text=" them", words=[word("them", 2.6)])
    spoken.expect_text("the won ring to rule them")


def test_notices_say_when(session: Session) -> None:
    session.director.say("heard", session=1, heard_s=62.0, waiting_s=0, total_s=90.0)
    session.director.say("notice", session=1, sentence="The decoder was started again.")
    expect(session.entry.get_by_role("listitem")).to_have_text("1:02 The decoder was started again.")


# -- certainty ----------------------------------------------------------------------------------


def test_unsure_words_look_so_and_hovering_shows_the_alternatives(spoken: Session) -> None:
    page, card = spoken.page, spoken.page.locator("#word-card")
    expect(spoken.word("won")).to_have_css("text-decoration-style", "wavy")
    expect(spoken.word("ring")).to_have_css("text-decoration-style", "dotted")
    expect(spoken.word("rule")).to_have_css("text-decoration-line", "none")
    spoken.word("won").hover()
    expect(card).to_contain_text("Unsure “won”, 42 %")
    expect(card.get_by_role("listitem")).to_have_text(["one 31 %", "wan 5 %"])
    card.get_by_role("button", name="one").hover()
    page.wait_for_timeout(500)
    expect(card).to_be_visible()
    card.get_by_role("button", name="one").click()
    spoken.expect_text("the one ring to rule")
    expect(spoken.word("one")).to_have_css("text-decoration-line", "none")
    expect(card).to_be_hidden()
    words = spoken.document().words
    assert (words[1].text, words[1].heard) == ("one", "won")
    assert [each.heard for each in words].count(None) == 4


def test_alternatives_by_keyboard(spoken: Session) -> None:
    page, card = spoken.page, spoken.page.locator("#word-card")
    spoken.word("the").focus()
    page.keyboard.press("n")
    expect(spoken.word("won")).to_be_focused()
    expect(spoken.word("won")).to_have_attribute("aria-describedby", "word-card-about")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(card.get_by_role("button", name="wan")).to_be_focused()
    page.keyboard.press("Enter")
    spoken.expect_text("the wan ring to rule")
    expect(spoken.word("wan")).to_be_focused()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(spoken.entry).to_have_attribute("data-status", "running")
    assert spoken.entry.locator(".word[tabindex]").count() == 1


# -- editing ------------------------------------------------------------------------------------


def test_words_are_changed_split_joined_and_deleted_in_place(spoken: Session) -> None:
    page = spoken.page
    spoken.finish()
    spoken.word("won").dblclick()
    field = page.get_by_role("textbox", name="Change the word won")
    expect(field).to_be_focused()
    page.keyboard.type("one golden")
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Change the word golden")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Change the word ring")).to_be_focused()
    page.keyboard.press("Escape")
    spoken.expect_text("the one golden ring to rule")
    expect(spoken.word("ring")).to_be_focused()

    page.keyboard.press("F2")
    page.keyboard.press("Home")
    page.keyboard.press("Backspace")
    expect(page.get_by_role("textbox", name="Change the word goldenring")).to_be_focused()
    page.keyboard.press("Enter")
    spoken.expect_text("the one goldenring to rule")
    expect(spoken.word("goldenring")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    spoken.expect_text("the one goldenring rule")
    expect(spoken.word("rule")).to_be_focused()

    words = spoken.document().words
    assert [(each.text, each.heard) for each in words] == [
        ("the", None),
        ("one", "won"),
        ("goldenring", ""),
        ("rule", None),
    ]
    assert words[1].start == 0.5
    assert 0.5 < words[1].end == words[2].start < words[2].end == 1.4

    expect(spoken.entry.get_by_role("status")).to_contain_text("“to” is deleted.")
    spoken.entry.get_by_role("button", name="Undo").click()
    spoken.expect_text("the one goldenring to rule")
    expect(spoken.word("to")).to_be_focused()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    spoken.expect_text("the won ring to rule")
    expect(spoken.entry.get_by_role("button", name="Undo")).to_be_hidden()
    assert [each.heard for each in spoken.document().words] == [None] * 5


def test_what_a_person_wrote_is_not_revised(spoken: Session) -> None:
    page = spoken.page
    spoken.word("won").dblclick()
    page.keyboard.type("One")
    spoken.hear(word("them", 2.5))  # while the field is open
    page.keyboard.press("Enter")
    spoken.expect_text("the One ring to rule them")
    new = [word("a", 0.5), word("string", 1.0), word("too", 1.5)]
    spoken.director.say("revised", session=1, first=1, n_replaced=2, words=new, reason="careful")
    spoken.director.say("revised", session=1, first=6, n_replaced=1, words=[word("all", 2.5)], reason="careful")
    spoken.expect_text("the One ring to rule all")


# -- hearing ------------------------------------------------------------------------------------


def test_a_word_is_heard_when_pressed_and_the_words_light_up(page: Page) -> None:
    """The sound is that of the sample, kept by the real recorder; the words are the scripted engine's."""
    use_fake_engine(page)
    page.add_init_script(
        """window.blobs = [];
        const makeUrl = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blobs.push(blob); return makeUrl(blob); };
        window.Audio = class extends Audio {
            constructor() { super(); window.speaker = this; this.defaultPlaybackRate = 0.1; } // slow enough to look at
        };"""
    )
    page.goto("/?model=fake:ready")
    page.get_by_role("button", name="Digits", exact=True).click()
    entry = page.get_by_role("article")
    expect(entry.locator(".text")).to_have_text("one four one seven")
    expect(entry.get_by_role("button", name="Play")).to_be_visible()
    words = entry.locator(".word")
    words.nth(1).click()
    expect(words.nth(1)).to_have_class(re.compile("is-playing"))
    page.wait_for_function("speaker.currentTime > 0")
    magic, duration_s, whole_s = page.evaluate(
        """async () => { const bytes = await blobs.at(-1).arrayBuffer();
        const { recordingOf } = await import("/app/recorder.js");
        const { durationS } = await recordingOf(document.querySelector("article").dataset.id);
        return [new TextDecoder().decode(bytes.slice(0, 4)), (bytes.byteLength - 44) / 32000, durationS]; }"""
    )
    assert magic == "RIFF"
    assert duration_s == pytest.approx(whole_s - (0.6 - 0.15), abs=0.01)  # the word begins at 0.6 s
    page.evaluate("() => { speaker.currentTime = 1.6 - 0.6 + 0.15; }")  # where the last word begins
    expect(words.nth(3)).to_have_class(re.compile("is-playing"))
    expect(entry.locator(".word.is-playing")).to_have_count(1)
    entry.get_by_role("button", name="Pause").click()
    page.wait_for_function("speaker.paused")
    entry.get_by_role("button", name="Play").click()
    page.evaluate("() => { speaker.playbackRate = 4; }")
    page.wait_for_function("!speaker.src")  # it is over
    expect(entry.locator(".word.is-playing")).to_have_count(0)
    words.nth(0).focus()
    page.keyboard.press("Space")
    expect(entry.get_by_role("button", name="Pause")).to_be_visible()


# -- keeping ------------------------------------------------------------------------------------


def test_the_menu_of_files_works_by_keyboard_and_on_a_phone(spoken: Session) -> None:
    page = spoken.page
    spoken.finish()
    page.set_viewport_size({"width": 360, "height": 640})
    button = spoken.entry.get_by_role("button", name="Keep as a file")
    button.press("Enter")
    items = page.get_by_role("menuitem")
    expect(items.first).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "true")
    box = page.get_by_role("menu").bounding_box()
    assert box["width"] == 360
    assert box["y"] + box["height"] == 640
    page.keyboard.press("ArrowUp")
    expect(items.last).to_be_focused()
    page.keyboard.press("w")
    expect(page.get_by_role("menuitem", name="Web subtitles")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    expect(button).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_file_names_come_from_title_and_date(session: Session) -> None:
    names = session.page.evaluate(
        """async () => { const { fileName } = await import("/app/documents.js");
        const created_at = new Date(2026, 10, 3, 23, 59).toISOString();
        const titles = ["talk.mp3", "Recording, 10:32", "a/b\\\\c:*?", "…", "x".repeat(300), ".hidden", "  "];
        return titles.map((title) => fileName({ title, created_at }, "srt")); }"""
    )
    assert names[:4] == [
        "talk 2026-11-03.srt",
        "Recording, 10.32 2026-11-03.srt",
        "a b c 2026-11-03.srt",
        "… 2026-11-03.srt",
    ]
    assert names[4:] == ["x" * 80 + " 2026-11-03.srt", "hidden 2026-11-03.srt", "Transcript 2026-11-03.srt"]


# -- following ----------------------------------------------------------------------------------


def begin_following(session: Session) -> Page:
    """A phone at the newest words of the first of two files, where the buttons above them are in view, too."""
    session.page.set_viewport_size({"width": 390, "height": 740})
    file = {"name": "b.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}
    session.page.locator("#file-input").set_input_files([file])
    expect(session.page.get_by_text("2 files to go")).to_be_visible()
    hear_lines(session, 20)
    expect(session.page.locator(".word")).to_have_count(20)
    return session.page


def hear_lines(session: Session, n_words: int = 50) -> None:
    """Words enough that all above or below them moves."""
    n = len(session.said)
    session.hear(*(word("seven", 0.5 * i) for i in range(n, n + n_words)))


@pytest.mark.parametrize("name", ["Cancel stuck.wav", "Cancel all files"])
def test_what_is_pressed_stays_under_the_finger_while_words_come(session: Session, name: str) -> None:
    page = begin_following(session)
    page.get_by_role("button", name=name).hover()
    page.mouse.down()
    hear_lines(session)
    hear_lines(session)
    expect(page.locator(".word")).to_have_count(120)
    page.mouse.up()
    assert session.director.asked("cancel")["session"] == 1
    session.director.say("cancelled", session=1)
    expect(page.get_by_role("article").filter(has_text="stuck.wav")).to_contain_text("cancelled")


def test_a_button_waits_for_the_mouse_that_has_come_to_it(page: Page) -> None:
    page.clock.install()
    session = Session(page)
    begin_following(session)
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 20)
    button = page.get_by_role("button", name="Cancel all files")
    button.hover()
    there = button.bounding_box()
    for n_words in [70, 120]:
        hear_lines(session)
        session.director.wait()
        page.clock.run_for(400)
        expect(page.locator(".word")).to_have_count(n_words)
        assert button.bounding_box() == there
    expect(page.get_by_role("button", name="Back to live")).to_be_visible()
    page.clock.run_for(400)  # no one presses it, and no more words come
    expect(page.locator(".word").last).to_be_in_viewport()
    assert button.bounding_box() != there


@pytest.mark.parametrize("end", ["contextmenu", "blur"])
def test_a_press_whose_end_the_page_does_not_hear_does_not_stop_it(session: Session, end: str) -> None:
    page = begin_following(session)
    page.mouse.move(195, 300)
    page.mouse.down()
    page.evaluate("type => dispatchEvent(new Event(type))", end)
    hear_lines(session)
    hear_lines(session)
    expect(page.locator(".word")).to_have_count(120)
    expect(page.locator(".word").last).to_be_in_viewport()


def test_a_right_click_does_not_stop_it(session: Session) -> None:
    page = begin_following(session)
    page.evaluate("addEventListener('contextmenu', (event) => event.stopImmediatePropagation(), { capture: true })")
    page.mouse.move(195, 300)
    page.mouse.down(button="right")
    hear_lines(session)
    hear_lines(session)
    expect(page.locator(".word")).to_have_count(120)
    expect(page.locator(".word").last).to_be_in_viewport()


def test_several_files_can_be_given_up_at_once(page: Page) -> None:
    use_fake_engine(page)
    page.goto("/?model=fake:ready")
    names = ["slow.wav", "b.wav", "c.wav"]
    page.locator("#file-input").set_input_files(
        [{"name": name, "mimeType": "audio/wav", "buffer": b"RIFF"} for name in names]
    )
    expect(page.get_by_text("3 files to go")).to_be_visible()
    page.get_by_role("button", name="Cancel all files").click()
    for name in names:
        expect(page.get_by_role("article").filter(has_text=name)).to_contain_text("cancelled")
    expect(page.get_by_text("3 files to go")).to_be_hidden()
