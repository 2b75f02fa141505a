"""What is heard is kept: the recorder between a source of sound and the engine, and its resampler."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from bare_page import open_bare, prepend
from playwright.sync_api import Browser, Page

from voxtral.resample import resample

RATE = 16_000
HELPERS = """
    const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    const text = (array) => {
        const bytes = new Uint8Array(array.buffer ?? array);
        let all = "";
        for (let i = 0; i < bytes.length; i += 1 << 14) all += String.fromCharCode(...bytes.subarray(i, i + (1 << 14)));
        return btoa(all);
    };
    const listenTo = (port) => {
        const heard = { n: 0, hasEnded: Promise.withResolvers(), blocks: [] };
        port.onmessage = ({ data }) => {
            if (!data.length) return heard.hasEnded.resolve();
            heard.blocks.push(data);
            heard.n += data.length;
        };
        heard.whole = () => floats(text(Float32Array.from(heard.blocks.flatMap((block) => Array.from(block)))));
        heard.until = async (n) => { while (heard.n < n) await new Promise((go) => setTimeout(go, 5)); };
        return heard;
    };
"""

RESAMPLE = f"""async ([content, rate, sizes]) => {{
    {HELPERS}
    const {{ Resampler }} = await import("/app/resampler.js");
    const samples = floats(content);
    const resampler = new Resampler(rate);
    const parts = [];
    for (let start = 0, i = 0; start < samples.length; i++) {{
        const size = sizes[i % sizes.length];
        parts.push(resampler.feed(samples.slice(start, start + size)));
        start += size;
    }}
    parts.push(resampler.flush());
    return text(Float32Array.from(parts.flatMap((part) => Array.from(part))));
}}"""

# An engine that hears from the start, and one that takes its place while sound comes.
RECORD = f"""async ([content, id, blockSize, againS]) => {{
    {HELPERS}
    const {{ Recorder, recordingOf }} = await import("/app/recorder.js");
    const samples = floats(content);
    const {{ port1, port2 }} = new MessageChannel();
    const problems = [];
    const recorder = new Recorder(id, {{ port: port2, sampleRate: 16000 }}, (sentence) => problems.push(sentence));
    const first = listenTo(recorder.connect(0));
    const half = blockSize * Math.floor(samples.length / blockSize / 2);
    const feed = (start, end) => {{
        for (; start < end; start += blockSize) {{
            port1.postMessage(samples.slice(start, Math.min(end, start + blockSize)));
        }}
    }};
    feed(0, half);
    await first.until(half);
    recorder.heard(againS);
    feed(half, half + 10 * blockSize);
    const second = listenTo(recorder.connect(againS));
    await second.until(1); // the change and the sound come by two channels: who is first is not said
    feed(half + 10 * blockSize, samples.length);
    const growing = id && await recordingOf(id);
    const part = growing && text(await growing.samples(againS, againS + 0.25));
    port1.postMessage(new Float32Array(0));
    await recorder.end();
    await second.hasEnded.promise;
    recorder.close();
    const kept = id && await recordingOf(id);
    return {{
        problems, part, first: text(first.whole()), second: text(second.whole()),
        durationS: kept && kept.durationS, wav: kept && text(await (await kept.wav()).arrayBuffer()),
        cut: kept && text(await (await kept.wav(0.5, 1.25)).arrayBuffer()),
    }};
}}"""


@pytest.fixture(scope="module")
def page(browser: Browser, base_url: str) -> Iterator[Page]:
    context = browser.new_context(base_url=base_url, service_workers="block")
    yield open_bare(context.new_page())
    context.close()


def encoded(samples: np.ndarray) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def floats(content: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(content), "<f4")


def sound(content: str) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    return samples, rate


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 12_347])
def test_the_resampler_is_the_engines(page: Page, rate: int) -> None:
    samples = np.random.default_rng(rate).uniform(-1, 1, rate // 2).astype(np.float32)
    outputs = floats(page.evaluate(RESAMPLE, [encoded(samples), rate, [1, 777, 128, 5000]]))
    expected = resample(samples, rate)
    assert len(outputs) == len(expected)
    np.testing.assert_allclose(outputs, expected, atol=2e-6)


@pytest.mark.parametrize("id", ["kept", None])
def test_another_engine_hears_on_without_gap_or_double(page: Page, id: str | None) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 3 * RATE + 123).astype(np.float32)
    again_s = 0.75
    report: dict[str, Any] = page.evaluate(RECORD, [encoded(samples), id, 1280, again_s])
    assert report["problems"] == []
    first, second = floats(report["first"]), floats(report["second"])
    np.testing.assert_array_equal(first, samples[: len(first)])
    assert len(samples) // 2 - 1280 < len(first) < len(samples), "the first one heard up to the change"
    np.testing.assert_allclose(second, samples[int(again_s * RATE) :], atol=1 / 32768)
    if id is None:
        return
    expected = np.clip(np.floor(samples.astype(np.float64) * 32768 + 0.5), -32768, 32767).astype(np.int16)
    whole, rate = sound(report["wav"])
    assert rate == RATE
    np.testing.assert_array_equal(whole, expected)
    assert report["durationS"] == len(samples) / RATE
    np.testing.assert_array_equal(sound(report["cut"])[0], expected[RATE // 2 : RATE * 5 // 4])
    while_it_grew = floats(report["part"]) * 32768
    np.testing.assert_array_equal(while_it_grew, expected[int(again_s * RATE) :][: RATE // 4])


def test_recordings_are_listed_and_deleted(page: Page) -> None:
    report = page.evaluate("""async () => {
        const { Recorder, deleteRecording, listRecordings, recordingOf } = await import("/app/recorder.js");
        const { port1, port2 } = new MessageChannel();
        const recorder = new Recorder("of one second", { port: port2, sampleRate: 48000 }, () => {});
        port1.postMessage(new Float32Array(48000).fill(0.5));
        port1.postMessage(new Float32Array(0));
        await recorder.ended;
        await recorder.close();
        const listed = (await listRecordings()).find(({ id }) => id === "of one second");
        await deleteRecording("of one second");
        await deleteRecording("never there");
        return [listed, await recordingOf("of one second"), (await listRecordings()).map(({ id }) => id)];
    }""")
    listed, gone, ids = report
    assert listed == {"id": "of one second", "nBytes": 32_000, "durationS": 1}
    assert gone is None
    assert "of one second" not in ids


KEEP = """async (address) => {
    const { keepSound } = await import("/app/audio_file.js");
    const { recordingOf } = await import("/app/recorder.js");
    const kept = keepSound(new File([await (await fetch(address)).blob()], "clip.wav"), "of a file");
    let first = null;
    while (!first) {
        await new Promise((go) => setTimeout(go));
        first = await recordingOf("of a file");
    }
    const { size } = await first.wav(1);
    await kept;
    return [first.durationS, (await recordingOf("of a file")).durationS, size];
}"""


def test_the_sound_of_a_file_is_there_whole_or_not_yet(page: Page) -> None:
    first_s, whole_s, n_bytes = page.evaluate(KEEP, "/static/samples/digits_1.wav")
    assert first_s == whole_s == pytest.approx(3, abs=0.5)
    assert n_bytes == 44 + 2 * RATE * (whole_s - 1)


FULL_DISK = """
const { write, flush } = FileSystemSyncAccessHandle.prototype;
let isFull = false;
function refuseIfFull() {
    if (isFull) throw new DOMException("full", "QuotaExceededError");
}
FileSystemSyncAccessHandle.prototype.write = function (samples, { at }) {
    isFull ||= at > 32000;
    refuseIfFull();
    return write.call(this, samples, { at });
};
FileSystemSyncAccessHandle.prototype.flush = function () {
    refuseIfFull();
    return flush.call(this);
};
"""
NO_DISK = 'navigator.storage.getDirectory = async () => { throw new DOMException("no", "SecurityError"); };\n'


@pytest.mark.parametrize(
    ("harm", "sentence"), [(FULL_DISK, "There is no room left"), (NO_DISK, "keeps no sound here (SecurityError)")]
)
def test_without_a_disk_it_goes_on_and_says_so_once(browser: Browser, base_url: str, harm: str, sentence: str) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 3 * RATE).astype(np.float32)
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        page = context.new_page()
        prepend(page, "recorder_worker.js", harm)
        open_bare(page)
        report: dict[str, Any] = page.evaluate(RECORD, [encoded(samples), "unlucky", 1280, 0.75])
    (problem,) = report["problems"]
    assert sentence in problem
    np.testing.assert_allclose(floats(report["second"]), samples[int(0.75 * RATE) :], atol=1 / 32768)
