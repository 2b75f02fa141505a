"""Files of any kind as sound for the engine: decoded in pieces, on the clock of the file, no faster than it hears."""

import base64
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from bare_page import open_bare, prepend
from damaged_audio import SPEECH, chunk, fmt, riff
from playwright.sync_api import Browser, Page

RATE = 16_000
ENVELOPE_S = 0.02
ENVELOPE_MATCH = 0.98  # correlation; another clip, or this one 80 ms late, is far below

# Reads a file as the engine would, hearing all at once; the sound comes back as its envelope.
HEAR = """async ([name, content, window_s]) => {
    const { openAudioFile } = await import("/app/audio_file.js");
    const file = new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name);
    const notices = [];
    try {
        const source = await openAudioFile(file, (sentence) => notices.push(sentence));
        const { port, sampleRate, totalS } = source;
        const samples = [];
        const { promise, resolve } = Promise.withResolvers();
        port.onmessage = ({ data }) => {
            if (!data.length) return resolve();
            samples.push(...data);
            source.heard(samples.length / sampleRate);
        };
        await promise;
        const n = Math.floor(sampleRate * window_s);
        const envelope = [];
        for (let start = 0; start + n <= samples.length; start += n) {
            envelope.push(Math.hypot(...samples.slice(start, start + n)) / Math.sqrt(n));
        }
        await source.close();
        return { sampleRate, totalS, heardS: samples.length / sampleRate, envelope, notices };
    } catch (error) {
        return { sentence: error.message, notices };
    }
}"""


@pytest.fixture(scope="module")
def page(browser: Browser, base_url: str) -> Iterator[Page]:
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        yield open_bare(context.new_page())


def hear(page: Page, name: str, content: bytes) -> dict[str, Any]:
    report: dict[str, Any] = page.evaluate(HEAR, [name, base64.b64encode(content).decode(), ENVELOPE_S])
    return report


def at(rate: int, *gains: float) -> np.ndarray:
    """The speech at another rate, on as many channels as there are gains: float32 [n, n_channels]."""
    times = np.arange(len(SPEECH) * rate // RATE) * RATE / rate
    mono = np.interp(times, np.arange(len(SPEECH)), SPEECH)
    return np.stack([mono * gain for gain in gains], axis=1).astype(np.float32)


def by_libsndfile(samples: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=codec)
    return buffer.getvalue()


def by_ffmpeg(
    samples: np.ndarray | None, rate: int, container: str, codec: str, video: str = "", late_s: float = 0
) -> bytes:
    """video: codec of a picture beside the sound; late_s: when the sound begins."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        picture = output.add_stream(video, rate=5, width=32, height=32, pix_fmt="yuv420p") if video else None
        sound = output.add_stream(codec, rate=rate, layout="mono") if samples is not None else None
        for i in range(10 if picture else 0):
            frame = av.VideoFrame.from_ndarray(np.full((48, 32), i, np.uint8), format="yuv420p")
            frame.pts = i
            output.mux(picture.encode(frame))
        if picture:
            output.mux(picture.encode(None))
        if sound:
            size = 960 if codec == "libopus" else 1024
            padded = np.pad(samples[:, 0], (0, -len(samples) % size))
            for start in range(0, len(padded), size):
                block = np.ascontiguousarray(padded[None, start : start + size])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(late_s * rate)
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
    return buffer.getvalue()


def envelope(late_s: float = 0) -> np.ndarray:
    samples = np.pad(SPEECH, (round(late_s * RATE), 0))
    n = round(RATE * ENVELOPE_S)
    return np.sqrt(np.mean(samples[: len(samples) // n * n].reshape(-1, n) ** 2, axis=1))


def assert_is_speech(report: dict[str, Any], late_s: float = 0) -> None:
    assert "sentence" not in report, report["sentence"]
    expected, heard = envelope(late_s), np.array(report["envelope"])
    n = min(len(expected), len(heard))
    assert n > 0.98 * len(expected)
    assert np.corrcoef(expected[:n], heard[:n])[0, 1] > ENVELOPE_MATCH
    assert report["totalS"] == pytest.approx(report["heardS"], abs=0.1)


FORMATS = {
    "mono.mp3": lambda: by_libsndfile(at(22_050, 1), 22_050, "MP3", "MPEG_LAYER_III"),
    "sound.flac": lambda: by_libsndfile(at(96_000, 1), 96_000, "FLAC", "PCM_24"),
    "telephone.flac": lambda: by_libsndfile(at(8_000, 1), 8_000, "FLAC", "PCM_16"),
    "six.flac": lambda: by_libsndfile(at(48_000, 0, 0, 1, 0, 0.5, 0.5), 48_000, "FLAC", "PCM_16"),
    "vorbis.ogg": lambda: by_libsndfile(at(44_100, 1, 0.5), 44_100, "OGG", "VORBIS"),
    "sound.opus": lambda: by_libsndfile(at(48_000, 1), 48_000, "OGG", "OPUS"),
    "sound.m4a": lambda: by_ffmpeg(at(44_100, 1), 44_100, "ipod", "aac"),
    "voice.webm": lambda: by_ffmpeg(at(48_000, 1), 48_000, "webm", "libopus"),
    "video.webm": lambda: by_ffmpeg(at(48_000, 1), 48_000, "webm", "libopus", video="libvpx"),
    "video.mp4": lambda: by_ffmpeg(at(48_000, 1), 48_000, "mp4", "aac", video="mpeg4"),
    "video.mov": lambda: by_ffmpeg(at(48_000, 1), 48_000, "mov", "pcm_s16le", video="mpeg4"),
    "video.mkv": lambda: by_ffmpeg(at(48_000, 1), 48_000, "matroska", "flac", video="mpeg4"),
    "slow.mp3": lambda: by_ffmpeg(at(8_000, 1), 8_000, "mp3", "libmp3lame"),
}
AAC = "AudioDecoder.isConfigSupported({codec: 'mp4a.40.2', sampleRate: 48000, numberOfChannels: 1})"


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_decoded_in_pieces(page: Page, name: str) -> None:
    report = hear(page, name, FORMATS[name]())
    if name in ("sound.m4a", "video.mp4") and not page.evaluate(f"{AAC}.then(({{ supported }}) => supported)"):
        assert "found nothing this browser can decode" in report["sentence"]  # a Chromium without AAC
        return
    assert_is_speech(report)
    assert report["notices"] == []


def test_times_are_those_of_the_video(page: Page) -> None:
    late = by_ffmpeg(at(48_000, 1), 48_000, "webm", "libopus", video="libvpx", late_s=0.8)
    assert_is_speech(hear(page, "late.webm", late), late_s=0.8)


def test_channels_that_cancel_each_other_out_are_told_apart(page: Page) -> None:
    report = hear(page, "phase.flac", by_libsndfile(at(16_000, 1, -1), 16_000, "FLAC", "PCM_16"))
    assert_is_speech(report)
    assert report["notices"] == ["phase.flac: its channels cancel each other out, so only channel 1 was used."]


def test_damaged_files_give_what_they_have_or_say_why_not(page: Page) -> None:
    whole = by_libsndfile(np.tile(at(44_100, 1), (8, 1)), 44_100, "OGG", "VORBIS")
    cut = hear(page, "cut.ogg", whole[: len(whole) // 2])
    assert 0.2 * len(SPEECH) * 8 / RATE < cut["heardS"] < 0.8 * len(SPEECH) * 8 / RATE
    silent = hear(page, "silent.webm", by_ffmpeg(None, 0, "webm", "", video="libvpx"))
    assert silent["sentence"] == "silent.webm: expected sound, found a video without any; choose one that has sound"
    m4a = FORMATS["sound.m4a"]()
    for name, content in (("zeros.mp4", bytes(5000)), ("short.webm", whole[:3]), ("cut.m4a", m4a[:99])):
        sentence = hear(page, name, content)["sentence"]
        assert sentence.startswith(f"{name}: expected WAV, MP3")
        assert "\n" not in sentence


COUNT_BYTES = """
const told = new BroadcastChannel("bytes");
const read = ReadableStreamDefaultReader.prototype.read;
ReadableStreamDefaultReader.prototype.read = async function () {
    const part = await read.call(this);
    told.postMessage(part.value?.byteLength ?? 0);
    return part;
};
Blob.prototype.arrayBuffer = async function () {
    told.postMessage(this.size);
    return new Response(this).arrayBuffer();
};
"""
HEAR_SLOWLY = """async () => {
    const { openAudioFile } = await import("/app/audio_file.js");
    let nBytes = 0;
    new BroadcastChannel("bytes").onmessage = ({ data }) => (nBytes += data);
    const file = new File([await (await fetch("/made/hour.flac")).blob()], "hour.flac");
    const source = await openAudioFile(file, () => {});
    let n = 0;
    source.port.onmessage = ({ data }) => (n += data.length);
    const settled = async (leastS) => { // a busy machine may rest before it is there, too
        for (let before = -1, looks = 0; before !== n || (n < leastS * source.sampleRate && looks < 60); looks++) {
            before = n;
            await new Promise((go) => setTimeout(go, 1000));
        }
        return [n / source.sampleRate, nBytes / file.size];
    };
    const ahead = [await settled(58)];
    for (const heardS of [10, 100]) {
        source.heard(heardS);
        ahead.push(await settled(58 + heardS));
    }
    await source.close();
    return { ahead, totalS: source.totalS };
}"""


def test_an_hour_is_neither_read_nor_decoded_ahead(browser: Browser, server: Any) -> None:
    minute = np.random.default_rng(1).uniform(-0.1, 0.1, 60 * 8000)
    with soundfile.SoundFile(Path(server.made) / "hour.flac", "w", 8000, 1) as file:
        for _ in range(60):
            file.write(minute)
    with browser.new_context(base_url=server.url, service_workers="block") as context:
        page = context.new_page()
        prepend(page, "decoder_worker.js", COUNT_BYTES)
        report = open_bare(page).evaluate(HEAR_SLOWLY)
    assert report["totalS"] == 3600
    decoded_s, shares = zip(*report["ahead"], strict=True)
    assert decoded_s == pytest.approx((60, 70, 160), abs=2)
    assert shares[0] > 0
    assert shares[-1] < 0.25, "most of the file was read already"


NO_WEBCODECS = "delete globalThis.AudioDecoder;\n"


def test_without_webcodecs_the_browser_decodes_it_whole(browser: Browser, base_url: str) -> None:
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        page = context.new_page()
        prepend(page, "decoder_worker.js", NO_WEBCODECS)
        open_bare(page)
        report = hear(page, "sound.opus", FORMATS["sound.opus"]())
    assert report["sampleRate"] == RATE
    assert_is_speech(report)


FETCHING = """
addEventListener("securitypolicyviolation", () => postMessage("refused"));
fetch("https://example.com/").then(() => postMessage("reached"), () => {});
"""


def test_what_decodes_a_file_reaches_nobody(browser: Browser, server: Any) -> None:
    """A worker as the decoder's, which runs the code of others on the files of others."""
    (server.made / "fetching.js").write_text(FETCHING)
    with browser.new_context(base_url=server.url, service_workers="block") as context:
        context.route("https://**", lambda route: route.fulfill(body="", headers={"Access-Control-Allow-Origin": "*"}))
        answer = open_bare(context.new_page()).evaluate("""async () => {
            const { startWorker } = await import("/app/workers.js");
            const worker = startWorker("../made/fetching.js");
            return new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
        }""")
    assert answer == "refused"


OPEN_LONG = """async ([header, nBytes, name]) => {
    const { openAudioFile } = await import("/app/audio_file.js");
    const bytes = Uint8Array.from(atob(header), (c) => c.charCodeAt(0));
    try {
        const source = await openAudioFile(new File([bytes, new Uint8Array(nBytes)], name), () => {});
        await source.close?.();
        return [source.sampleRate ?? null, source.totalS ?? null, source.bytes?.byteLength ?? null];
    } catch (error) {
        return error.message;
    }
}"""


def test_a_long_wav_file_is_decoded_in_pieces_if_it_can(page: Page) -> None:
    n_bytes = 66_000_000
    header = riff(fmt(rate=48_000), chunk(b"data", b"", n_bytes), size=n_bytes + 36)
    known = base64.b64encode(header).decode()
    assert page.evaluate(OPEN_LONG, [known, n_bytes, "long.wav"]) == [48_000, n_bytes / 96_000, None]
    odd = base64.b64encode(b"RIFF").decode()
    assert page.evaluate(OPEN_LONG, [odd, n_bytes, "odd.wav"]) == [None, None, n_bytes + 4], "Python reads it"
    too_large = page.evaluate(OPEN_LONG, [odd, 3 * n_bytes + 9_000_000, "larger.wav"])
    assert too_large.startswith("larger.wav: this browser cannot decode it in pieces, and with 207 MB it is too large")
