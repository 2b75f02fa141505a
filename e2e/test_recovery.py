"""A crash of the engine: another one takes its place, and the session goes on from what was heard last."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from bare_page import open_bare
from patience import wait_until
from playwright.sync_api import Browser, Page, Worker

pytestmark = pytest.mark.alone  # the engine crashes in the middle of a recording

ENGINE = "fake_engine.js"
HEARD = ["one", "four", "one", "seven"]  # by fake_engine.js, one each half second

# A source of sound in the microphone's place: `speak(seconds)` gives it that much.
LISTEN = """async (recordingId) => {
    const { port1, port2 } = new MessageChannel();
    const source = { port: port2, sampleRate: 16000, close: async () => port1.postMessage(new Float32Array(0)) };
    window.speak = (seconds) => {
        for (let i = 0; i < seconds * 10; i++) port1.postMessage(new Float32Array(1600).fill(0.25));
    };
    window.own = [];
    window.recording = await voxtral.listen((event) => own.push(event), async () => source, { recordingId });
}"""
N_WORDS = "() => own.filter(({ type }) => type === 'words').flatMap(({ words }) => words).length"
HEARD_S = "() => own.filter(({ type }) => type === 'heard').at(-1)?.heard_s ?? 0"
CRASH_AFTER_70_S = """() => {
    const tell = postMessage;
    let isBroken = false;
    self.postMessage = (event) => {
        if (isBroken) throw new Error("out of memory");
        tell(event);
        isBroken = event.heard_s > 70;
    };
}"""
CRASHED_AT_S = "() => own.find(({ heard_s }) => heard_s > 70).heard_s"
TOLD = "() => events.filter(({ type }) => ['recovering', 'recovered', 'error'].includes(type))"


@pytest.fixture
def page(browser: Browser, base_url: str) -> Iterator[Page]:
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        yield open_bare(context.new_page())


def engine_of(page: Page) -> Worker:
    return [worker for worker in page.workers if worker.url.endswith(ENGINE)][-1]


def crash(page: Page) -> None:
    engine_of(page).evaluate("setTimeout(() => { throw new Error('out of memory'); })")


def until(page: Page, expression: str, is_so: Callable[[Any], bool]) -> Any:
    value = None

    def look() -> bool:
        nonlocal value
        value = page.evaluate(expression)
        return is_so(value)

    wait_until(page, look)
    return value


def words_of(page: Page) -> list[dict[str, Any]]:
    """The words that someone has who follows the events."""
    words: list[dict[str, Any]] = []
    for event in page.evaluate("own"):
        if event["type"] == "words":
            words += event["words"]
        if event["type"] == "revised":
            words[event["first"] : event["first"] + event["n_replaced"]] = event["words"]
    return words


def assert_complete(words: list[dict[str, Any]], n: int) -> None:
    assert [word["text"] for word in words[:n]] == [HEARD[i % 4] for i in range(n)]
    assert [word["start"] for word in words[:n]] == [i * 0.5 + 0.1 for i in range(n)]


@pytest.mark.expects_console_errors
@pytest.mark.parametrize("recording_id", ["live", None])
def test_a_live_session_goes_on_and_loses_nothing(page: Page, recording_id: str | None) -> None:
    page.evaluate(LISTEN, recording_id)
    page.evaluate("speak(20)")
    until(page, HEARD_S, lambda heard_s: heard_s >= 20)
    crash(page)
    page.evaluate("speak(5)")  # while nobody hears
    until(page, TOLD, lambda told: len(told) == 2)
    page.evaluate("speak(5)")
    until(page, HEARD_S, lambda heard_s: heard_s >= 30)
    crash(page)
    until(page, TOLD, lambda told: len(told) == 4)
    page.evaluate("speak(2.5)")
    result = page.evaluate("recording.stop()")
    assert result["words"][-1]["text"] == "nine", "the fake one says that at the end"
    assert len(result["words"]) == 66
    assert_complete(result["words"], 65)
    assert_complete(words_of(page), 65)
    assert result["text"].split() == [word["text"] for word in result["words"]]
    shown = "".join(event["text"] for event in page.evaluate("own") if event["type"] == "words")
    assert re.fullmatch(r"\w+( \w+)*", shown), "words stay apart where another engine begins"
    recovering, recovered = page.evaluate(TOLD)[:2]
    assert "The engine crashed" in recovering["sentence"]
    assert "out of memory" in recovering["sentence"]
    assert "goes on" in recovered["sentence"]
    if recording_id:
        duration_s = page.evaluate("""async () => {
            const { recordingOf } = await import("/app/recorder.js");
            return (await recordingOf("live")).durationS;
        }""")
        assert duration_s == 32.5


@pytest.mark.expects_console_errors
def test_stop_while_it_recovers_is_obeyed_then(page: Page) -> None:
    page.evaluate(LISTEN, None)
    page.evaluate("speak(3)")
    until(page, N_WORDS, lambda n: n == 6)
    crash(page)
    page.evaluate("speak(2)")
    until(page, TOLD, len)
    result = page.evaluate("recording.stop()")
    assert_complete(result["words"], 10)


@pytest.mark.expects_console_errors
def test_cancel_and_questions_outlive_a_crash(page: Page) -> None:
    page.evaluate(LISTEN, None)
    page.evaluate("speak(3)")
    until(page, N_WORDS, lambda n: n == 6)
    page.evaluate("() => { window.gone = recording.result.catch(({ name }) => name); }")
    crash(page)
    until(page, TOLD, len)
    page.evaluate("() => { window.rendered = voxtral.render({ text: 'hello' }, 'txt'); }")
    page.evaluate("() => { window.inspected = voxtral.inspect(); }")
    page.evaluate("recording.cancel()")
    assert page.evaluate("gone") == "Cancelled"
    until(page, TOLD, lambda told: len(told) == 2)
    next_text = "voxtral.transcribeFile(new File(['RIFF'], 'next.wav')).then(({ text }) => text)"
    assert page.evaluate(next_text) == "one four one seven"
    assert page.evaluate("rendered") == "hello"
    assert page.evaluate("inspected.then(({ gpu_bytes }) => gpu_bytes)") > 0


@pytest.mark.expects_console_errors
def test_a_fourth_crash_in_a_row_is_the_end(page: Page) -> None:
    page.evaluate(LISTEN, None)
    page.evaluate("() => { window.outcome = recording.result.catch(({ message }) => message); }")
    page.evaluate("speak(3)")
    for n in range(3):
        crash(page)
        until(page, TOLD, lambda told, n=n: len(told) == 2 * n + 2)
    crash(page)
    assert "crashed 4 times in a row" in page.evaluate("outcome")
    (error,) = (event for event in page.evaluate(TOLD) if event["type"] == "error")
    assert error["fatal"]
    assert_complete(words_of(page), 6)


@pytest.mark.expects_console_errors
def test_a_file_goes_on_where_it_was(page: Page, server: Any) -> None:
    seconds = 240
    noise = np.random.default_rng(1).uniform(-0.03, 0.03, seconds * 8000)
    soundfile.write(server.made / "minutes.flac", noise, 8000)
    engine_of(page).evaluate(CRASH_AFTER_70_S)
    page.evaluate("""async () => {
        window.own = [];
        const file = new File([await (await fetch("/made/minutes.flac")).blob()], "minutes.flac");
        window.outcome = voxtral.transcribeFile(file, (event) => own.push(event));
    }""")
    until(page, TOLD, lambda told: len(told) == 2)
    assert 70 < page.evaluate(CRASHED_AT_S) < seconds, "it was over before the crash: the test shows nothing"
    result = page.evaluate("outcome")
    assert_complete(result["words"], 2 * seconds)
    assert_complete(words_of(page), 2 * seconds)
    heard = [event for event in page.evaluate("own") if event["type"] == "heard"]
    assert heard[-1]["total_s"] == seconds
    assert heard[-1]["seconds_left"] == pytest.approx(0, abs=0.1)
    assert heard[len(heard) // 2]["seconds_left"] > 0


def test_an_engine_that_answers_nothing_is_replaced(browser: Browser, base_url: str) -> None:
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        page = context.new_page()
        page.clock.install()
        open_bare(page)
        page.evaluate("() => { window.job = voxtral.transcribeFile(new File(['RIFF'], 'stuck.wav')); }")
        page.wait_for_function("events.some(({ type }) => type === 'heard')")
        for _ in range(8):
            page.clock.fast_forward(31_000)
        silent = "events.filter(({ type }) => type === 'silent').map(({ seconds }) => seconds)"
        assert set(page.evaluate(silent)) == {30}, "it is slow, but it answers"
        assert page.evaluate(TOLD) == []
        page.workers[0].evaluate("onmessage = null")
        for _ in range(6):
            page.clock.fast_forward(31_000)
        page.wait_for_function("events.some(({ type }) => type === 'recovered')")
        assert page.evaluate(silent)[-5:] == [30, 60, 90, 120, 150]
        assert "no answer for 180 s" in page.evaluate(TOLD)[0]["sentence"]


def test_who_waits_for_a_model_waits_for_the_one_in_its_place(page: Page) -> None:
    text = page.evaluate("""async () => {
        voxtral.load({ model: "fake:loading" }); // which never ends
        const job = voxtral.transcribeFile(new File(["RIFF"], "a.wav"));
        voxtral.load({ model: "fake:ready" });
        return (await job).text;
    }""")
    assert text == "one four one seven"


@pytest.mark.expects_console_errors
def test_a_wav_file_begins_again(page: Page) -> None:
    page.evaluate("""() => {
        window.own = [];
        voxtral.transcribeFile(new File(["RIFF"], "slow.wav"), (event) => own.push(event));
    }""")
    until(page, N_WORDS, lambda n: n >= 3)
    crash(page)
    until(page, TOLD, lambda told: len(told) == 2)
    until(page, N_WORDS, lambda n: n >= 8)
    words = words_of(page)
    assert_complete(words, len(words))
