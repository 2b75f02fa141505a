"""The words of a transcript (app/words.js) under whatever the recogniser says and a person does, in Chromium."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from voxtral.decoding import Word, joined

TEXTS = st.sampled_from(["one", "two", "é", "今日", "は", "שלום", "a-b", "“q”", "3.", "x" * 40])
SPOKEN = st.builds(
    lambda text, joins, pause: (text, joins, pause), TEXTS, st.booleans(), st.sampled_from([0.1, 0.1, 3.0])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.lists(SPOKEN, min_size=1, max_size=6), st.integers(0, 6)),
        st.tuples(st.just("revise"), st.integers(0, 5), st.integers(0, 5), st.lists(SPOKEN, max_size=5)),
        st.tuples(st.just("take back"), st.integers(0, 5)),
    ),
    max_size=12,
)
EDITS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["edit", "split", "delete", "join"])), max_size=8)

RUN = """async ([events, edits]) => {
    const { Words } = await import("/app/words.js");
    const { ParagraphsView } = await import("/app/paragraphs_view.js");
    const words = new Words(), box = document.createElement("div"), view = new ParagraphsView(box);
    const there = () => words.paragraphs.flatMap((paragraph) => paragraph.words.filter(({ text }) => text));
    for (const event of events) {
        if (event.type === "words") words.append(event.text, event.words);
        else words.revise(event);
        view.draw(words, null);
    }
    const before = words.plain(), pending = words.pending, shown = box.textContent;
    for (const [n, what] of edits) {
        const all = there();
        if (!all.length) break;
        const word = all[n % all.length];
        if (what === "join") words.joinWithPrevious(word);
        else words.edit(word, { edit: "E", split: "s p lit", delete: "" }[what]);
        view.draw(words, null);
    }
    const edited = words.plain(), shownEdited = box.textContent;
    const kept = Words.of(JSON.parse(JSON.stringify(words.paragraphs.map(Words.kept)))).plain();
    while (words.undo()) view.draw(words, null);
    const last = [...box.querySelectorAll(".word")].length;
    return { before, pending, shown, edited, shownEdited, kept, undone: words.plain(), last }; }"""


def events_of(steps: list[Any]) -> tuple[list[dict[str, Any]], list[Word], str]:
    """The events of an engine that takes these steps, its complete words, and its text that is not in words yet."""
    words: list[Word] = []
    waiting: list[Word] = []
    events: list[dict[str, Any]] = []
    clock = 0.0

    def made(spoken: list[Any]) -> list[Word]:
        nonlocal clock
        result = []
        for text, joins, pause in spoken:
            clock += pause
            result.append(Word(text, clock, clock + 0.3, 0.9, [], joins))
            clock += 0.3
        return result

    def revised(first: int, n: int, new: list[Word], reason: str) -> None:
        words[first : first + n] = new
        plain = [word.as_dict() for word in new]
        events.append({"type": "revised", "first": first, "n_replaced": n, "words": plain, "reason": reason})

    for kind, *fields in steps:
        if kind == "say":
            new = made(fields[0])
            if not words and not waiting:
                new[0].joins = False
            text = "".join(("" if word.joins or (not words and not waiting and i == 0) else " ") + word.text
                           for i, word in enumerate(new))  # fmt: skip
            waiting += new
            n = min(fields[1], len(waiting))
            complete, waiting[:n] = waiting[:n], []
            words += complete
            events.append({"type": "words", "text": text, "words": [word.as_dict() for word in complete]})
        elif kind == "revise":
            first = max(0, len(words) - fields[0])
            n = min(fields[1], len(words) - first)
            revised(first, n, made(fields[2]), "careful")
        else:
            first = max(0, len(words) - fields[0])
            revised(first, len(words) - first, [], "restart")
            waiting.clear()
    return events, words, "".join(("" if word.joins else " ") + word.text for word in waiting)


@pytest.fixture(scope="module")
def blank(browser: Any, server: Any) -> Any:
    page = browser.new_page()
    page.goto(f"{server.url}/e2e/harness.html")
    yield page
    page.close()


@given(steps=STEPS, edits=EDITS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_words_are_what_was_said_and_edits_can_be_undone(blank: Page, steps: list[Any], edits: list[Any]) -> None:
    events, words, waiting = events_of(steps)
    seen = blank.evaluate(RUN, [events, edits])
    plain = [{**word.as_dict(), "heard": None} for word in words]
    assert seen["before"] == plain
    assert squeezed(seen["shown"]) == squeezed(joined(words) + waiting)
    assert squeezed(seen["pending"]) == squeezed(waiting)
    assert squeezed(seen["shownEdited"]) == squeezed("".join(word["text"] for word in seen["edited"]) + waiting)
    assert seen["kept"] == seen["edited"]
    assert seen["undone"] == plain
    assert seen["last"] >= len(plain)


def squeezed(text: str) -> str:
    """Paragraphs have spaces of their own between them."""
    return "".join(text.split())
