"""?bench=accuracy: a set through the real engine as `voxtral wer` hears it, and what a person does on the page."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from accuracy_reports import CLIPS, Clip, report_of
from chromium import find_chromium
from fake_page import Director, use_fake_engine
from playwright.sync_api import Browser, Page, Playwright, expect
from watch import watched

from tools.chromium import QUIET_FLAGS, SOFTWARE_FLAGS
from voxtral.accuracy.report import Report
from voxtral.accuracy.sets import parse_set
from voxtral.accuracy.summary import differences

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "static" / "samples"
SPOKEN = {"digits_1.wav": "one four one eight", "keywords_1.wav": "computer", "silence_3s.wav": ""}
LIMIT_S = 600.0


# -- the real engine ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of three clips, in one of which something else is said."""
    folder = tmp_path / "three"
    (folder / "clips").mkdir(parents=True)
    for name in SPOKEN:
        shutil.copy(SAMPLES / name, folder / "clips")
    with (folder / "test.tsv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([("path", "sentence"), *SPOKEN.items()])
    return folder


def wer(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "py"), str(ROOT)])}
    command = [sys.executable, "-m", "voxtral", "wer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False)


@pytest.mark.usefixtures("server")  # the runtime is there
def test_the_page_and_the_command_hear_and_score_alike(playwright: Playwright, folder: Path, tmp_path: Path) -> None:
    flags = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}"]
    chromium = " ".join([find_chromium(playwright), *flags, *QUIET_FLAGS, *SOFTWARE_FLAGS])
    in_page, here = tmp_path / "page.json", tmp_path / "here.json"
    options = ("--backend", "numpy", "--normalizer", "english")
    finished = wer(folder, *options, "--browser", "--chromium", chromium, "--json", in_page)
    assert finished.returncode == 0, finished.stderr
    assert "3 of 3 clips" in finished.stderr
    finished = wer(folder, *options, "--json", here, "--against", in_page)
    assert finished.returncode == 0, finished.stderr
    mine, page = (json.loads(path.read_text()) for path in (here, in_page))
    assert "emscripten" in page["engine"]["machine"]["python"]
    for key in ("model", "set", "normalizer", "scorer", "failures"):
        assert page[key] == mine[key]
    assert [judged(clip) for clip in page["clips"]] == [judged(clip) for clip in mine["clips"]]
    wers = [report["summary"]["overall"]["wer"] for report in (page, mine)]
    assert wers[0] == wers[1]
    assert wers[0]["value"] > 0, "digits_1.wav says seven"


def judged(clip: dict[str, Any]) -> dict[str, Any]:
    """Without times: the two compute in another order, which moves what is measured in the sound by milliseconds."""
    return {key: value for key, value in clip.items() if key not in ("wall_s", "words", "latencies_s", "end_errors_s")}


# -- the page -----------------------------------------------------------------------------------


@pytest.fixture
def director(browser: Browser, base_url: str) -> Iterator[Director]:
    """The page with a fake engine, which says what the test says."""
    context = browser.new_context(base_url=base_url, service_workers="block", accept_downloads=True)
    with watched(context, base_url):
        page = context.new_page()
        page.emulate_media(reduced_motion="reduce")
        use_fake_engine(page)
        yield Director(page)


def arrive(director: Director) -> Page:
    """Behind the reading of the built-in set, with clips of our own in its place."""
    director.page.goto("/?bench=accuracy&model=fake:ready")
    answer(director, [clip.entry for clip in CLIPS])
    expect(director.page.get_by_role("button", name="Measure")).to_be_enabled()
    return director.page


def answer(director: Director, entries: list[dict[str, Any]], notices: tuple[str, ...] = ()) -> None:
    answer_to(director, director.asked("read_set"), entries, notices)


def answer_to(
    director: Director, asked: dict[str, Any], entries: list[dict[str, Any]], notices: tuple[str, ...] = ()
) -> None:
    director.say("set_read", id=asked["id"], entries=entries, notices=list(notices), sentence=None)


def measure(director: Director) -> None:
    """Let the engine hear every clip but the last."""
    director.page.get_by_role("button", name="Measure").click()
    director.asked("measure")
    clips = report_of()["clips"]
    for i, clip in enumerate(clips[:-1], 1):
        director.say("clip_heard", session=1, id=clip["id"], clip=clip, reason=None, n_heard=i, n_clips=len(clips))


def test_what_is_heard_is_shown_at_once_and_reported_with_its_differences(director: Director) -> None:
    page = arrive(director)
    expect(page.get_by_text("5 clips, 0:10 of sound")).to_be_visible()
    page.get_by_label("Coffee orders").uncheck()
    expect(page.get_by_text("4 clips, 0:08 of sound")).to_be_visible()
    measure(director)
    expect(page.get_by_text("38.5 % of 13 words wrong, 1 false word")).to_be_visible()
    expect(page.get_by_text("4 of 5 clips")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Clips heard")).to_have_js_property("value", 0.8)
    page.get_by_role("button", name="Stop").click()
    director.say("done", session=1, result=report_of(CLIPS[:-1], is_complete=False))
    expect(page.get_by_role("heading", name="Built-in set, stopped early")).to_be_focused()
    row = page.get_by_role("row", name="Digit strings")
    expect(row).to_contain_text("25.0 %")
    shown = page.locator(".clips > li")
    expect(shown).to_have_count(3)  # those with errors, the worst first
    assert [text.split("\n")[0] for text in shown.all_inner_texts()] == ["orders-1", "digits-2", "other-1"]
    expect(shown.first).to_contain_text("3 errors, 5 words")
    expect(shown.first.locator("del")).to_have_text("missing: −a,")
    expect(shown.first.locator("ins")).to_have_text(["too many: +no,", "too many: +please,"])
    expect(shown.last).to_contain_text("Said, and not to be understood: the green forest")
    page.get_by_label("with errors only").uncheck()
    expect(shown).to_have_count(4)
    page.get_by_label("Group", exact=True).select_option("other_speech")
    expect(shown).to_have_count(1)

    page.get_by_role("button", name="Measure again").click()
    page.locator("#accuracy-delayMs").select_option("960")
    page.get_by_role("button", name="Measure", exact=True).click()
    director.asked("measure")
    sentence = "The rest was not heard: the GPU went away in digits-2, and it stays away; measure again."
    director.say("notice", session=2, sentence=sentence)
    director.say("done", session=2, result=report_of(CLIPS[:1], delay_ms=960, is_complete=False))
    expect(page.locator("#accuracy").get_by_role("alert")).to_have_text(sentence)
    page.get_by_role("button", name="Compare with the run before").click()
    asked = director.asked("read_reports")
    assert [json.loads(text)["model"]["delay_ms"] for text in asked["texts"]] == [480, 960]
    refusal = "480 ms: the report is damaged; choose another"
    director.say("reports_read", id=asked["id"], reports=None, comparison=None, sentence=refusal)
    expect(page.locator("#accuracy").get_by_role("alert")).to_have_text(f"{refusal}.")


def test_two_reports_are_compared(director: Director, tmp_path: Path) -> None:
    page = arrive(director)
    better = tuple(Clip(*clip[:3], clip.said) if clip.id == "digits-2" else clip for clip in CLIPS)
    reports = [report_of(), report_of(better, delay_ms=960)]
    for name, report in zip(("a.json", "b.json"), reports, strict=True):
        (tmp_path / name).write_text(json.dumps(report))
    page.locator("#report-files").set_input_files([tmp_path / "a.json", tmp_path / "b.json"])
    asked = director.asked("read_reports")
    read = [Report.of_json(text, name) for name, text in zip(asked["names"], asked["texts"], strict=True)]
    comparison = differences(read[1].clips, read[0].clips)
    director.say("reports_read", id=asked["id"], reports=reports, comparison=comparison, sentence=None)
    expect(page.get_by_role("heading", name="Two reports")).to_be_focused()
    expect(page.get_by_role("row", name="Digit strings, WER %")).to_contain_text("25.00")
    expect(page.get_by_text("1 clip was heard differently")).to_be_visible()
    expect(page.locator(".clips > li")).to_contain_text("−2 errors")
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_role("button", name="Measure")).to_be_enabled()


DROP = """(files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, text] of Object.entries(files)) dataTransfer.items.add(new File([text], name));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
}"""


def test_what_is_dropped_is_a_set_or_a_report(director: Director) -> None:
    page = arrive(director)
    page.evaluate(DROP, {"a.csv": "file,text", "a.wav": "RIFF"})
    asked = director.asked("read_set")
    assert asked["name"] == "chosen files"
    answer_to(director, asked, [CLIPS[0].entry])
    expect(page.get_by_text("1 clip, 0:02 of sound")).to_be_visible()
    page.evaluate(DROP, {"old.json": "{}"})
    asked = director.asked("read_reports")
    assert (asked["names"], asked["texts"]) == (["old.json"], ["{}"])
    director.say("reports_read", id=asked["id"], reports=[report_of()], comparison=None, sentence=None)
    expect(page.get_by_role("heading", name="Built-in set")).to_be_focused()
    expect(page.get_by_role("button", name="Play digits-2")).to_have_count(0)  # its sound is not here
    page.get_by_role("button", name="Measure again").click()
    expect(page.get_by_role("button", name="Measure")).to_be_enabled()


def drop(page: Page, *paths: Path) -> None:
    """As a person drags them from the desktop, folders, too."""
    x, y = 200, 200
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()


def test_a_dropped_folder_is_read_to_its_depth(director: Director, tmp_path: Path) -> None:
    page = arrive(director)
    corpus = tmp_path / "dev-clean"
    for speaker, chapter in ((84, 121), (174, 50)):
        folder = corpus / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        ids = [f"{speaker}-{chapter}-{i:04}" for i in range(2)]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{id} ONE FOUR\n" for id in ids))
        for id in ids:
            shutil.copy(SAMPLES / "digits_1.wav", folder / f"{id}.wav")
    drop(page, corpus)
    asked = director.asked("read_set")
    assert asked["name"] == "dev-clean"
    texts = {name: (corpus / name).read_bytes() for name in asked["names"] if name.endswith(".trans.txt")}
    found = parse_set(texts, asked["names"], asked["name"])
    assert (found.layout, len(found.entries)) == ("librispeech", 4)
    answer_to(director, asked, [asdict(entry) for entry in found.entries])
    page.get_by_role("button", name="Measure").click()
    director.asked("measure")
    director.say("done", session=1, result=report_of((Clip("174-50-0001", "dev-clean", "one four", "one five"),)))
    play = page.get_by_role("button", name="Play 174-50-0001")
    play.click()  # its file is opened
    expect(play).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Measure again").click()
    (tmp_path / "empty").mkdir()
    drop(page, tmp_path / "empty")
    asked = director.asked("read_set")
    assert (asked["name"], asked["names"]) == ("chosen files", [])


def test_a_folder_of_one_s_own_is_read_and_what_is_none_is_one_sentence(director: Director, folder: Path) -> None:
    page = arrive(director)
    page.locator("#set-folder").set_input_files(folder)
    asked = director.asked("read_set")
    assert asked["name"] == "three"
    refusal = "three: expected recordings, found none; complete the folder"
    director.say("set_read", id=asked["id"], entries=None, notices=None, sentence=refusal)
    expect(page.locator("#accuracy").get_by_role("alert")).to_have_text(
        "three: expected recordings, found none; complete the folder."
    )
    page.locator("#set-folder").set_input_files(folder)
    whole = [{**CLIPS[0].entry, "id": name, "audio": f"clips/{name}", "n_samples": None} for name in SPOKEN]
    answer(director, whole, ("three: 1 recording is not there and left out (such as x.mp3).",))
    expect(page.get_by_text("1 recording is not there")).to_be_visible()
    page.get_by_role("button", name="Measure").click()
    director.asked("measure")
    director.say("clip_wanted", session=1, id="digits_1.wav")
    director.say("done", session=1, result=report_of((Clip("digits_1.wav", "digits", "one", "two"),)))
    play = page.get_by_role("button", name="Play digits_1.wav")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "true")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "false")
