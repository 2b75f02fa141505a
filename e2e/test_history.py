"""Earlier sessions: kept as they grow, found, opened, exported and deleted, all in this browser."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from playwright.sync_api import BrowserContext, Locator, Page, expect

from voxtral.document import Document

APP = Path(__file__).resolve().parents[1] / "app"
KEEP = """async ([id, title, texts, audio_s, isFinished]) => {
    const { saveSession } = await import("/app/history.js");
    const word = (text, i) => ({ text, start: i, end: i + 0.5, probability: 0.9, alternatives: [], joins: false,
                                 heard: null, isInserted: false });
    const settings = { delay_ms: 480, left_pad_tokens: 32, second_pass: false, backend: "numpy", adapter: "CPU" };
    const day = String(10 + Number(id)).padStart(2, "0");
    const session = { id, title, created_at: `2026-10-${day}T10:32:00.000Z`, source: "file", audio_s,
        model: "Voxtral demo", settings, isFinished, hasAudio: false, opening: texts[0] };
    const paragraphs = texts.map((text, index) => ({ index, text, words: text.split(" ").map(word) }));
    await saveSession(session, paragraphs); }"""


UNTIL_KEPT = """async () => {
    const { listSessions } = await import("/app/history.js");
    while (!(await listSessions()).length) await new Promise((resolve) => setTimeout(resolve, 50)); }"""


RUNNER = """export const TIME_LIMIT_S = 20;
const loud = (word) => ({ ...word, text: word.text.toUpperCase(), heard: word.text });
const outcome = { changes: [["added", "HELLO"]], traceback: null, printed: "" };
export class Runner { run = async (code, { text, words }) =>
    ({ ...outcome, text: text.toUpperCase(), words: words.map(loud) }); }"""


def rows(page: Page) -> Locator:
    return page.locator("#session-list > li")


def open_with(page: Page, *sessions: tuple[str, list[str]], is_finished: bool = True) -> None:
    """The page with these sessions in its history, the first one the oldest."""
    use_fake_engine(page)
    page.goto("/?model=fake:ready")
    for i, (title, texts) in enumerate(sessions):
        page.evaluate(KEEP, [str(i), title, texts, 60 * (i + 1), is_finished])
    page.reload()
    expect(rows(page)).to_have_count(len(sessions))


def word(text: str, start: float) -> Any:
    return {"text": text, "start": start, "end": start + 0.4, "probability": 0.9, "alternatives": [], "joins": False}


def transcribe_half(page: Page) -> Director:
    """The page, while it transcribes stuck.wav, of which two words were heard and saved."""
    director = Director(page)
    use_fake_engine(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/?model=fake:ready")
    file = {"name": "stuck.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}
    page.locator("#file-input").set_input_files([file])
    expect(page.get_by_role("article")).to_contain_text("0:01 of 1:00 heard")
    director.say("words", session=1, text="hello wurld how", words=[word("hello", 0.1), word("wurld", 0.6)])
    expect(page.get_by_role("article").locator(".text")).to_have_text("hello wurld how")
    director.say("heard", session=1, heard_s=1.5, waiting_s=0, total_s=60)
    page.evaluate(UNTIL_KEPT)
    return director


def test_what_was_not_finished_is_offered_again_with_its_edits(page: Page) -> None:
    transcribe_half(page)
    page.get_by_role("article").locator(".word").nth(1).dblclick()
    page.keyboard.type("world")
    page.keyboard.press("Enter")
    page.reload()  # at once: what changed last is saved on the way out
    offer = page.locator("#lost")
    expect(offer).to_contain_text("The transcript of “stuck.wav” was not finished; what was heard of it is kept below.")
    expect(rows(page)).to_contain_text("not finished")
    offer.get_by_role("button", name="Open it").click()
    article = page.get_by_role("article")
    expect(article.locator(".text")).to_have_text("hello world")
    expect(article.locator(".word").first).to_be_focused()
    expect(article.locator(".text")).to_have_attribute("aria-live", "off")
    expect(page.locator("#history")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("F2")
    page.keyboard.type("word")
    page.keyboard.press("Enter")
    page.reload()
    expect(offer).to_be_hidden()  # it was opened, so nothing is lost
    rows(page).get_by_role("button", name="Open").click()
    expect(article.locator(".text")).to_have_text("hello word")
    article.get_by_role("button", name="Close").click()
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).not_to_contain_text("not finished")


def test_another_tab_neither_offers_nor_touches_what_is_at_work_here(page: Page, context: BrowserContext) -> None:
    director = transcribe_half(page)
    other = context.new_page()
    use_fake_engine(other)
    other.goto("/?model=fake:ready")
    expect(rows(other)).to_have_count(1)
    expect(other.locator("#lost")).to_be_hidden()
    rows(other).get_by_role("button", name="Open").click()
    sentence = other.get_by_text("“stuck.wav” is open in another tab; close it there first.")
    expect(sentence).to_be_visible()
    other.keyboard.press("Escape")
    expect(sentence).to_be_hidden()
    other.get_by_role("button", name="Delete stuck.wav").click()
    rows(other).get_by_role("button", name="Delete", exact=True).click()
    expect(sentence).to_be_visible()
    expect(rows(other)).to_have_count(1)
    director.say("cancelled", session=1)
    page.get_by_role("button", name="Clear").click()
    expect(rows(page)).to_have_count(1)
    rows(other).get_by_role("button", name="Open").click()
    expect(other.get_by_role("article").locator(".text")).to_have_text("hello wurld")


HOLD = """async () => {
    const { promise: isHeld, resolve } = Promise.withResolvers();
    navigator.locks.request("voxtral-session-0", () => {
        resolve();
        return new Promise((release) => (window.letGo = release));
    });
    await isHeld;
}"""
IS_WAITED_FOR = """async () => {
    const { pending } = await navigator.locks.query();
    return pending.some(({ name }) => name === "voxtral-session-0");
}"""


def let_go_when_asked(page: Page, holder: Page) -> None:
    page.wait_for_function(IS_WAITED_FOR)
    holder.evaluate("letGo()")


def test_a_page_that_is_just_leaving_is_waited_for(page: Page, context: BrowserContext) -> None:
    source = (APP / "history.js").read_text(encoding="utf-8")
    assert "PAGE_LEAVES_MS = 1500;" in source
    patient = source.replace("PAGE_LEAVES_MS = 1500;", "PAGE_LEAVES_MS = 60_000;")
    context.route("**/app/history.js", lambda route: route.fulfill(body=patient, content_type="text/javascript"))
    open_with(page, ("Talk", ["hello world"]), is_finished=False)
    offer = page.locator("#lost")
    expect(offer).to_be_visible()
    holder = context.new_page()
    holder.goto("/e2e/fake_core.js")
    holder.evaluate(HOLD)
    page.reload()
    expect(rows(page)).to_have_count(1)
    expect(offer).to_be_hidden()
    let_go_when_asked(page, holder)
    expect(offer).to_contain_text("The transcript of “Talk” was not finished")
    holder.evaluate(HOLD)
    rows(page).get_by_role("button", name="Open").click()
    let_go_when_asked(page, holder)
    expect(page.get_by_role("article").locator(".text")).to_have_text("hello world")
    expect(offer).to_be_hidden()
    page.get_by_role("article").get_by_role("button", name="Close").click()
    holder.evaluate(HOLD)
    rows(page).get_by_role("button", name="Delete Talk").click()
    rows(page).get_by_role("button", name="Delete", exact=True).click()
    let_go_when_asked(page, holder)
    expect(page.locator("#history")).to_be_hidden()


def test_what_python_made_is_kept_until_it_is_not_wanted(page: Page) -> None:
    page.route(
        "**/app/post_processing_runner.js", lambda route: route.fulfill(body=RUNNER, content_type="text/javascript")
    )
    open_with(page, ("Talk", ["hello world"]))
    rows(page).get_by_role("button", name="Open").click()
    page.locator("#python > summary").click()
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Use this text").click()
    made = page.get_by_role("article").locator(".made-text")
    expect(made).to_have_text("HELLO WORLD")
    page.reload()  # at once
    expect(rows(page)).to_contain_text("HELLO WORLD")
    rows(page).get_by_role("button", name="Open").click()
    expect(made).to_have_text("HELLO WORLD")
    page.get_by_role("button", name="Back to what was heard").click()
    expect(page.get_by_role("article").locator(".text")).to_have_text("hello world")
    page.reload()
    expect(rows(page)).to_contain_text("hello world")
    rows(page).get_by_role("button", name="Open").click()
    expect(page.get_by_role("article").locator(".text")).to_have_text("hello world")
    expect(made).to_be_hidden()


def test_searching_renaming_and_deleting(page: Page) -> None:
    sessions = [
        ("Café talk.mp3", ["the quick brown", "fox jumps"]),
        ("Meeting", ["naïve Äpfel"]),
        ("Notes", ["fox trot"]),
    ]
    open_with(page, *sessions)
    titles = page.locator("#session-list .title")
    assert [field.input_value() for field in titles.all()] == ["Notes", "Meeting", "Café talk.mp3"]
    expect(rows(page).nth(1)).to_contain_text("2:00 · text only")
    expect(rows(page).nth(1)).to_contain_text("naïve Äpfel")
    search = page.get_by_role("searchbox")
    for query, found in {"FOX": 2, "fox quick": 1, "cafe jumps": 1, "apfel naive": 1, "fox apfel": 0}.items():
        search.fill(query)
        expect(rows(page)).to_have_count(found)
    expect(page.get_by_text("Nothing found for “fox apfel”.")).to_be_visible()
    search.fill("")
    expect(rows(page)).to_have_count(3)

    titles.nth(1).fill("Meeting on Monday")
    titles.nth(1).press("Enter")
    rows(page).nth(0).get_by_role("button", name="Delete").click()
    expect(rows(page).nth(0)).to_contain_text("Delete “Notes”?")
    rows(page).nth(0).get_by_role("button", name="Keep", exact=True).click()
    rows(page).nth(0).get_by_role("button", name="Delete Notes").click()
    rows(page).nth(0).get_by_role("button", name="Delete", exact=True).click()
    expect(rows(page)).to_have_count(2)
    page.reload()
    expect(rows(page)).to_have_count(2)
    assert [field.input_value() for field in titles.all()] == ["Meeting on Monday", "Café talk.mp3"]
    page.locator("#history-delete").click()
    page.locator("#history-ask-all").get_by_role("button", name="Delete all").click()
    expect(page.locator("#history")).to_be_hidden()
    left = "async () => (await (await import('/app/history.js')).searchSessions('')).length"
    assert page.evaluate(left) == 0


def test_sessions_of_the_history_are_exported_as_documents(page: Page) -> None:
    open_with(page, ("One.wav", ["a b", "c"]), ("Two.wav", ["d"]))
    page.evaluate("voxtral.render = async (document, format) => JSON.stringify(document)")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    assert download.value.suggested_filename.startswith("Transcripts 20")
    documents = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert [Document.of(document).text for document in documents] == ["d", "a b c"]
    page.get_by_role("button", name="Keep One.wav as a file").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Everything").click()
    assert download.value.suggested_filename == "One 2026-10-10.json"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };",
            "The browser keeps no transcripts here (SecurityError)",
        ),
        (
            "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };",
            "The browser has no room left to keep transcripts",
        ),
    ],
)
def test_without_storage_one_sentence_and_the_page_works_on(page: Page, fault: str, sentence: str) -> None:
    page.add_init_script(fault)
    use_fake_engine(page)
    page.goto("/?model=fake:ready")
    file = {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}
    page.locator("#file-input").set_input_files([file])
    expect(page.get_by_role("article").locator(".text")).to_have_text("one four one seven")
    expect(page.get_by_text(sentence)).to_have_count(1)
    page.wait_for_timeout(1500)
    expect(page.get_by_text(sentence)).to_have_count(1)
    expect(page.locator("#alerts > li")).to_have_count(1)


def test_a_transcript_of_hours_costs_as_much_a_word_as_a_short_one(page: Page) -> None:
    n_words = 30_000
    paragraphs = [" ".join(f"word{i}" for i in range(100))] * (n_words // 100)
    open_with(page, ("Hours", paragraphs))
    rows(page).get_by_role("button", name="Open").click()
    expect(page.locator(".word").nth(n_words - 1)).to_be_attached(timeout=180_000)
    touched = page.evaluate(
        """async () => {
        const { Words } = await import("/app/words.js");
        const { ParagraphsView } = await import("/app/paragraphs_view.js");
        const word = (i) => ({ text: `w${i}`, start: i, end: i + 0.9 });
        const counts = [];
        for (const n of [300, 30000]) {
            const words = new Words();
            for (let i = 0; i < n; i++) words.append(` w${i}`, [word(i)]);
            const box = document.createElement("div");
            const view = new ParagraphsView(box);
            view.draw(words, null);
            let nChanges = 0, nReads = 0;
            const observer = new MutationObserver((records) => (nChanges += records.length));
            observer.observe(box, { childList: true, subtree: true, characterData: true, attributes: true });
            for (const paragraph of words.paragraphs) {
                const list = paragraph.words;
                Object.defineProperty(paragraph, "words", { get() { nReads += 1; return list; } });
            }
            for (let i = n; i < n + 10; i++) {
                words.append(` w${i}`, [word(i)]);
                view.draw(words, null);
            }
            words.revise({ first: n, n_replaced: 5, words: [word(n)], reason: "careful" });
            view.draw(words, null);
            await new Promise((resolve) => setTimeout(resolve));
            counts.push([nChanges, nReads]);
        }
        return counts; }"""
    )
    assert touched[0][0] > 0
    assert touched[1] <= [2 * n for n in touched[0]]
