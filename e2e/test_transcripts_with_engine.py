"""From sound to files with the real engine: what the page shows, plays and writes is what was said when."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from voxtral.document import Document

TO_DOWNLOAD = {"Text": "txt", "Subtitles": "srt", "Web subtitles": "vtt", "Everything": "json", "Sound": "wav"}
NOTE_SOUNDS = """() => {
    window.blobs = [];
    const { play } = HTMLMediaElement.prototype;
    HTMLMediaElement.prototype.play = function () {
        this.playbackRate = 0.1; // a word is long enough to look at
        return play.call(this);
    };
    window.makeUrl ??= URL.createObjectURL;
    URL.createObjectURL = (blob) => { blobs.push(blob); return makeUrl(blob); }; }"""


def test_a_transcript_is_heard_edited_and_kept(ready_page: Page) -> None:
    page = ready_page
    page.evaluate(NOTE_SOUNDS)
    page.locator("[data-sample$='digits_1.wav']").dispatch_event("click")  # folded away behind other transcripts
    entry = page.get_by_role("article").last
    expect(entry).to_have_attribute("data-status", "done", timeout=300_000)
    text = " ".join(entry.locator(".text").inner_text().split())
    assert len(text.split()) >= 3
    words = entry.locator(".word")
    expect(entry.get_by_role("button", name="Play")).to_be_visible(timeout=120_000)

    def download(item: str) -> bytes:
        entry.get_by_role("button", name="Keep as a file").click()
        with page.expect_download() as started:
            page.get_by_role("menuitem", name=re.compile(f"^{item} ")).click()
        assert started.value.suggested_filename.startswith("digits_1 20")
        assert started.value.suggested_filename.endswith(f".{TO_DOWNLOAD[item]}")
        return started.value.path().read_bytes()

    document = Document.of(json.loads(download("Everything")))
    assert document.text == text
    assert [word.text for word in document.words] == text.split()
    assert all(0 < word.probability <= 1 for word in document.words)
    assert document.audio_s > document.words[-1].start
    assert document.settings.backend == "webgpu"

    words.nth(2).click()
    expect(entry.locator(".word.is-playing")).to_have_text(document.words[2].text)
    page.wait_for_function("blobs.length > 0")
    n_bytes = page.evaluate("blobs.at(-1).size")
    sound = download("Sound")
    assert sound[:4] == b"RIFF"
    assert (len(sound) - 44) / 32_000 == pytest.approx(document.audio_s, abs=0.1)
    assert (len(sound) - n_bytes) / 32_000 == pytest.approx(document.words[2].start - 0.15, abs=0.02)

    words.nth(0).dblclick()
    page.keyboard.type("Number")
    page.keyboard.press("Enter")
    edited = ["Number", *text.split()[1:]]
    assert download("Text").decode().split() == edited
    for name, cue in [("Subtitles", r"\d\d:\d\d:\d\d,\d\d\d --> "), ("Web subtitles", r"\d\d:\d\d\.\d\d\d --> ")]:
        content = download(name).decode()
        assert re.search(cue, content)
        assert "Number" in content
    heard = Document.of(json.loads(download("Everything"))).words[0].heard
    assert heard == text.split()[0]
    page.get_by_role("button", name="Clear").click()
