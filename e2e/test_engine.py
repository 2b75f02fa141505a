"""The real engine in the page: what a person's files, voice and mistakes become, on the demo model."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import av
import jiwer
import numpy as np
import pytest
import soundfile
from chromium import launch
from damaged_audio import ODD, ODD_NAME, RATE, REFUSED, REFUSED_BY_DECODERS, SAMPLES, SPEECH, SPOKEN
from playwright.sync_api import Locator, Page, Playwright, expect
from watch import Watch

pytestmark = pytest.mark.alone  # a voice comes at its own pace, and ticks are counted

OpenPage = Callable[..., Page]

READY_LIMIT_MS = 180_000
ANSWER_LIMIT_MS = 180_000
MICROPHONE_CLIP = SAMPLES / "digits_3.wav"
MICROPHONE_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={MICROPHONE_CLIP}%noloop",
    "--autoplay-policy=no-user-gesture-required",
)
RESULT = """async (address) => {
    const file = new File([await (await fetch(address)).blob()], "clip.wav");
    return await voxtral.transcribeFile(file);
}"""


@pytest.fixture
def gpu_page(ready_page: Page) -> Iterator[Page]:
    """The shared page, which computes with WebGPU, left without a transcript."""
    yield ready_page
    clean_up(ready_page)


@pytest.fixture(scope="module")
def browser_without_webgpu(playwright: Playwright, server: Any) -> Iterator[tuple[Page, Watch]]:
    """A page in a browser without WebGPU: much faster than WebGPU in software, where the kernels do not matter."""
    with launch(playwright, webgpu=False) as browser:
        context = browser.new_context(base_url=server.url, service_workers="block")
        watch = Watch(context, server.url)
        page = context.new_page()
        page.goto("/")
        page.evaluate("async () => { await window.voxtral.ready; }")
        yield page, watch


@pytest.fixture
def cpu_page(browser_without_webgpu: tuple[Page, Watch]) -> Iterator[Page]:
    page, watch = browser_without_webgpu
    yield page
    clean_up(page)
    watch.check()


def clean_up(page: Page) -> None:
    """Stops what a failed test left behind, then clears the transcript."""
    for cancel in page.get_by_role("button", name="Cancel").all():
        cancel.click()
    expect(page.get_by_role("button", name="Speak")).to_be_enabled(timeout=ANSWER_LIMIT_MS)
    if page.get_by_role("button", name="Clear").is_visible():
        page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("article")).to_have_count(0)


def choose(page: Page, *files: tuple[str, bytes]) -> None:
    payloads: Any = [{"name": name, "mimeType": "", "buffer": content} for name, content in files]
    page.locator("#file-input").set_input_files(payloads)


def entry(page: Page, name: str) -> Locator:
    return page.get_by_role("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def text_of(done: Locator) -> str:
    """The text of an entry once it is done."""
    expect(done).to_have_attribute("data-status", re.compile("done|failed"), timeout=ANSWER_LIMIT_MS)
    expect(done).to_have_attribute("data-status", "done")
    return done.locator(".text").inner_text()


def n_word_errors(spoken: str, heard: str) -> int:
    counts = jiwer.process_words(spoken, heard)
    return int(counts.substitutions + counts.deletions + counts.insertions)


# -- ready --------------------------------------------------------------------------------------


def test_the_engine_gets_ready_on_webgpu(gpu_page: Page) -> None:
    ready = gpu_page.evaluate("voxtral.ready")
    assert (ready["backend"], ready["delay_ms"], ready["left_pad_tokens"]) == ("webgpu", 480, 76)
    expect(gpu_page.get_by_role("status").first).to_have_text(f"Ready on {ready['adapter']}")
    expect(gpu_page.locator("#loading")).to_be_hidden()
    expect(gpu_page.get_by_role("list", name="Words it knows")).to_contain_text("seven")


def test_without_webgpu_the_page_says_so_and_transcribes_on_the_cpu(cpu_page: Page) -> None:
    assert cpu_page.evaluate("async () => (await voxtral.ready).backend") == "numpy"
    expect(cpu_page.get_by_role("status").first).to_have_text("Ready on the CPU")
    expect(cpu_page.locator("#slow")).to_contain_text("This browser offers no WebGPU here, so the CPU does the work")
    expect(cpu_page.locator("#slow")).to_be_visible()
    cpu_page.get_by_role("button", name="Digits", exact=True).click()
    assert text_of(entry(cpu_page, "digits_1.wav")) == SPOKEN


# -- files --------------------------------------------------------------------------------------


def at_rate(rate: int, n_channels: int = 1) -> np.ndarray:
    """digits_1 by straight lines between its samples, float32 [n, n_channels]."""
    times = np.arange(int(len(SPEECH) * rate / RATE)) / rate
    samples = np.interp(times, np.arange(len(SPEECH)) / RATE, SPEECH).astype(np.float32)
    return np.repeat(samples[:, None], n_channels, axis=1)


def by_libsndfile(container: str, subtype: str, rate: int, n_channels: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, at_rate(rate, n_channels), rate, subtype, format=container)
    return out.getvalue()


def by_ffmpeg(container: str, codec: str, rate: int, n_channels: int) -> bytes:
    out = io.BytesIO()
    layout = "stereo" if n_channels == 2 else "mono"
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        samples = (at_rate(rate, n_channels) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return out.getvalue()


LOSSLESS = [
    ("16 bits.wav", by_libsndfile, "WAV", "PCM_16", 48_000, 2),
    ("24 bits.wav", by_libsndfile, "WAVEX", "PCM_24", 44_100, 2),
    ("32 bits.wav", by_libsndfile, "WAV", "PCM_32", 16_000, 1),
    ("float.wav", by_libsndfile, "WAV", "FLOAT", 44_100, 1),
    ("sound.flac", by_libsndfile, "FLAC", "PCM_16", 44_100, 2),
]
LOSSY = [
    ("8 bits.wav", by_libsndfile, "WAV", "PCM_U8", 16_000, 1),
    ("telephone.wav", by_libsndfile, "WAV", "PCM_16", 8_000, 1),
    ("sound.mp3", by_libsndfile, "MP3", "MPEG_LAYER_III", 44_100, 2),
    ("sound.ogg", by_libsndfile, "OGG", "VORBIS", 44_100, 2),
    ("sound.opus", by_libsndfile, "OGG", "OPUS", 48_000, 1),
    ("sound.m4a", by_ffmpeg, "ipod", "aac", 44_100, 2),
    ("sound.webm", by_ffmpeg, "webm", "libopus", 48_000, 2),
]
FORMATS = {
    name: (n_allowed, encode, settings)
    for n_allowed, formats in ((0, LOSSLESS), (1, LOSSY))
    for name, encode, *settings in formats
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_understood(cpu_page: Page, name: str) -> None:
    n_allowed, encode, settings = FORMATS[name]
    choose(cpu_page, (name, encode(*settings)))
    done = entry(cpu_page, name)
    if name.endswith(".m4a") and not cpu_page.evaluate("MediaSource.isTypeSupported('audio/mp4; codecs=mp4a.40.2')"):
        expect(done.get_by_role("alert")).to_contain_text(
            "found nothing this browser can decode"
        )  # a Chromium without AAC
        return
    assert n_word_errors(SPOKEN, text_of(done)) <= n_allowed, text_of(done)
    expect(done).to_contain_text("0:03 of sound")
    expect(done.get_by_role("listitem")).to_have_count(0)


def test_a_dropped_file_with_an_odd_name_is_transcribed(gpu_page: Page) -> None:
    page, name = gpu_page, f"<img src=x onerror=alert(1)> {ODD_NAME}.wav"
    transfer = page.evaluate_handle(
        """([name, content]) => { const transfer = new DataTransfer();
        const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name)); return transfer; }""",
        [name, base64.b64encode((SAMPLES / "digits_1.wav").read_bytes()).decode()],
    )
    page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    assert text_of(entry(page, name)) == SPOKEN
    assert entry(page, name).locator("img").count() == 0


def test_a_session_leaves_no_trace_in_the_next(gpu_page: Page) -> None:
    """digits_2 speaks from its first sample on, so it would show what a session before it left behind."""
    first, _, again = [
        gpu_page.evaluate(RESULT, f"static/samples/{name}.wav") for name in ("digits_2", "digits_noisy", "digits_2")
    ]
    assert first["text"] == "zero three zero nine eight two"
    assert first["words"][0]["start"] < 0.5
    assert again["tokens"] == first["tokens"]
    assert again["words"] == first["words"]


def test_cancel_leaves_the_page_usable(gpu_page: Page) -> None:
    page = gpu_page
    page.locator("#file-input").set_input_files(SAMPLES / "long_60s.wav")
    long = entry(page, "long_60s.wav")
    expect(long.locator(".word").nth(1)).to_be_visible(timeout=ANSWER_LIMIT_MS)
    expect(long).to_contain_text(re.compile(r"0:\d\d of 0:54 heard"))
    choose(page, ("next.wav", (SAMPLES / "digits_1.wav").read_bytes()))
    long.get_by_role("button", name="Cancel").click()
    expect(long).to_contain_text("cancelled, text kept")
    assert text_of(entry(page, "next.wav")) == SPOKEN
    assert "alexa computer" in long.locator(".text").inner_text()


def test_the_page_stays_awake_while_the_engine_works(cpu_page: Page) -> None:
    """Between two looks at a timer that wants to fire every 20 ms it fires: nothing heavy runs in the page."""
    awake = cpu_page.evaluate(
        """async (address) => {
            const file = new File([await (await fetch(address)).blob()], "clip.wav");
            const tasks = [];
            const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((e) => e.duration)));
            observer.observe({ entryTypes: ["longtask"] });
            let ticks = 0;
            const timer = setInterval(() => ticks++, 20);
            const started = performance.now();
            await voxtral.transcribeFile(file);
            clearInterval(timer);
            return { ticks, possible: (performance.now() - started) / 20, tasks };
        }""",
        "static/samples/digits_3.wav",
    )
    assert awake["ticks"] > 0.2 * awake["possible"], awake


# -- speaking -----------------------------------------------------------------------------------


def test_a_voice_becomes_words_while_it_speaks_and_stop_flushes_the_last(open_page: OpenPage) -> None:
    page = open_page("/", *MICROPHONE_FLAGS)
    speak = page.get_by_role("button", name="Speak")
    expect(speak).to_be_enabled(timeout=READY_LIMIT_MS)
    known = page.evaluate(RESULT, "static/samples/digits_3.wav")
    speak.click()
    words = page.locator(".word")
    expect(words.nth(2)).to_be_visible(timeout=ANSWER_LIMIT_MS)
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()  # nobody has stopped it yet
    expect(page.get_by_role("meter", name="Microphone level")).to_be_visible()

    # In the same second as the last word ends: what the model's delay holds back must still come.
    page.get_by_role("button", name="Cancel").click()
    expect(speak).to_be_enabled()
    heard = page.evaluate(
        """async (end_s) => {
            const { promise, resolve } = Promise.withResolvers();
            let n_blocks = 0, shown = "";
            const recording = await voxtral.listen(({ type, text }) => {
                if (type === "words") shown += text;
                if (type === "level" && ++n_blocks * 0.08 > end_s) resolve();
            });
            await promise;
            const before = shown;
            return { before, result: await recording.stop() };
        }""",
        known["words"][-1]["end"] + 0.1,
    )
    spoken = known["text"].split()
    after = heard["result"]["text"].split()
    assert heard["before"].split()[:3] == spoken[:3]
    assert len(heard["before"].split()) < len(after), "the last word came before stop: the test shows nothing"
    assert after[-1] == spoken[-1]
    assert n_word_errors(known["text"], heard["result"]["text"]) <= 1, heard


# -- bad input ----------------------------------------------------------------------------------


def test_bad_files_are_one_sentence_each_and_the_next_one_works(cpu_page: Page) -> None:
    page = cpu_page
    kinds = ("empty", "one sample", "header only", "text", "random bytes", "zero rate", "zero channels")
    cases = {f"{kind}, {ODD_NAME}.wav": REFUSED[kind] for kind in kinds}
    cases |= {f"{kind}{case.suffix}": case for kind, case in REFUSED_BY_DECODERS.items()}
    good = (SAMPLES / "digits_1.wav").read_bytes()
    choose(page, *((name, case.data) for name, case in cases.items()), ("good.wav", good))
    assert text_of(entry(page, "good.wav")) == SPOKEN
    for name, case in cases.items():
        sentence = entry(page, name).get_by_role("alert").inner_text()
        assert sentence.startswith(f"{name}: ")
        assert case.expected in sentence
        assert case.found in sentence
        assert "\n" not in sentence
    expect(page.locator("#failure")).to_be_hidden()


def test_odd_files_are_transcribed_and_what_was_odd_is_said(cpu_page: Page) -> None:
    page = cpu_page
    kinds = ("truncated", "three hours claimed", "NaN and Inf", "offset", "opposite phase")
    choose(page, *((f"{kind}.wav", ODD[kind].data) for kind in kinds))
    for kind in kinds:
        done = entry(page, f"{kind}.wav")
        assert text_of(done) == ODD[kind].text
        notices = done.get_by_role("listitem").all_inner_texts()
        assert len(notices) == (ODD[kind].notice is not None)
        for sentence in notices:
            assert sentence.startswith(f"{kind}.wav: ")
            assert ODD[kind].notice in sentence
