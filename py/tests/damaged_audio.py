"""Sound files as bytes, good and bad: the cases of test_bad_audio.py and e2e/test_engine.py.

REFUSED holds no sound and is one sentence; ODD is transcribed, some of it with a notice.
"""

import random
import struct
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

SAMPLES = Path(__file__).parents[2] / "static" / "samples"
SPOKEN = "one four one seven"
RATE = 16_000  # Hz
ODD_NAME = 'it\'s a "quoted" ümlaut “ß” $(touch owned) `x` & 50 % #1'


def pcm(name: str) -> np.ndarray:
    """A sample clip as float32 in [-1, 1]."""
    with wave.open(str(SAMPLES / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    """`size` is what the header says, true or not."""
    return kind + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def fmt(codec: int = 1, n_channels: int = 1, rate: int = RATE, bits: int = 16) -> bytes:
    frame_bytes = n_channels * bits // 8
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", codec, n_channels, rate, rate * frame_bytes & 0xFFFFFFFF, frame_bytes, bits)
    )


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def wav16(*channels: np.ndarray, rate: int = RATE) -> bytes:
    """16-bit PCM, clipped at full scale as a recorder does."""
    frames = np.clip(np.round(np.stack(channels, axis=1) * 32768), -32768, 32767).astype("<i2")
    return riff(fmt(n_channels=len(channels), rate=rate), chunk(b"data", frames.tobytes()))


def wav_float(samples: np.ndarray) -> bytes:
    return riff(fmt(codec=3, bits=32), chunk(b"data", samples.astype("<f4").tobytes()))


SPEECH = pcm("digits_1.wav")
RAW = np.round(SPEECH * 32768).astype("<i2").tobytes()
CUT = int(1.4 * RATE) * 2  # bytes; behind “one four”, before “one”
THREE_HOURS = 3 * 3600 * RATE * 2  # bytes


class Refused(NamedTuple):
    data: bytes
    expected: str  # what the sentence says was expected
    found: str
    suffix: str = ".wav"


class Odd(NamedTuple):
    data: bytes
    text: str
    notice: str | None = None
    n_word_errors: int = 0  # how many the demo network may make


REFUSED = {
    "empty": Refused(b"", "expected sound", "found an empty file"),
    "one sample": Refused(wav16(SPEECH[:1]), "expected sound", "found 1 sample;"),
    "header only": Refused(riff(fmt()), "expected sound", "found only a header of 36 bytes"),
    "header and nothing": Refused(riff(fmt(), chunk(b"data", b"")), "expected sound", "found a header without samples"),
    "cut header": Refused(wav16(SPEECH)[:30], "expected a 'fmt ' chunk of at least 16 bytes", "found 10"),
    "text": Refused(b"Dear diary,\ntoday", "expected a WAV file", "found one that begins with the text “Dear diary,”"),
    "random bytes": Refused(
        random.Random(3).randbytes(5000), "expected a WAV file", "begins with the bytes fd 3f eb 3c "
    ),
    "zero rate": Refused(riff(fmt(rate=0), chunk(b"data", RAW)), "expected a sample rate", "found 0 in its header"),
    "rate of 1 Hz": Refused(riff(fmt(rate=1), chunk(b"data", RAW)), "a sample rate from 1000", "found 1;"),
    "zero channels": Refused(riff(fmt(n_channels=0), chunk(b"data", RAW)), "at least 1 channel", "found 0"),
    "MP3 inside": Refused(riff(fmt(codec=0x55), chunk(b"data", RAW)), "expected PCM", "found MP3"),
    "three hours of nothing": Refused(
        riff(fmt(), chunk(b"data", b"", THREE_HOURS)), "expected sound", "found a header without samples"
    ),
}
REFUSED_BY_DECODERS = {
    "empty mp3": Refused(b"", "expected", "found", ".mp3"),
    "random mp3": Refused(random.Random(3).randbytes(5000), "expected WAV, MP3", "found nothing", ".mp3"),
    "text ogg": Refused(b"Dear diary, today", "expected WAV, MP3", "found nothing", ".ogg"),
    "ogg magic only": Refused(b"OggS" + bytes(60), "expected WAV, MP3", "found nothing", ".ogg"),
    "flac magic only": Refused(b"fLaC" + bytes(60), "expected WAV, MP3", "found nothing", ".flac"),
    "random m4a": Refused(b"\0\0\0\x20ftypM4A " + random.Random(4).randbytes(500), "expected", "found", ".m4a"),
}


def _with_bad_samples() -> np.ndarray:
    """Speech whose pauses hold what is no number."""
    samples = SPEECH.copy()
    samples[:3] = np.nan, np.inf, -np.inf
    samples[-2000:] = np.nan
    return samples


def _at_peak(samples: np.ndarray, dbfs: float) -> np.ndarray:
    return samples * (10 ** (dbfs / 20) / np.abs(samples).max())


ODD = {
    "truncated": Odd(wav16(SPEECH)[: 44 + CUT], "one four", "claims 2.69 s of sound; the 1.40 s that are there were"),
    "cut in a sample": Odd(wav16(SPEECH)[:-1], SPOKEN, "claims 2.69 s of sound"),
    "three hours claimed": Odd(riff(fmt(), chunk(b"data", RAW, THREE_HOURS)), SPOKEN, "claims 10800.00 s of sound"),
    "size 0xFFFFFFFF": Odd(riff(fmt(), chunk(b"data", RAW, 0xFFFFFFFF)), SPOKEN, "does not say how long it is"),
    "data size 0": Odd(riff(fmt(), chunk(b"data", RAW, 0)), SPOKEN, "claims no samples"),
    "RIFF size 0": Odd(riff(fmt(), chunk(b"data", RAW), size=0), SPOKEN),
    "RIFF size 0xFFFFFFFF": Odd(riff(fmt(), chunk(b"data", RAW), size=0xFFFFFFFF), SPOKEN),
    "NaN and Inf": Odd(wav_float(_with_bad_samples()), SPOKEN, "2003 samples are not finite numbers and were taken as"),
    "all NaN": Odd(wav_float(np.full(8000, np.nan)), "", "8000 samples are not finite"),
    "float beyond full scale": Odd(wav_float(SPEECH * 20), SPOKEN),
    "offset": Odd(wav_float(SPEECH + 0.5), SPOKEN),
    "offset and clipped": Odd(wav16(SPEECH * 1.5 + 0.5), SPOKEN, n_word_errors=1),
    "small offset": Odd(wav16(SPEECH + 0.02), SPOKEN),
    "nothing but offset": Odd(wav16(np.full(8000, 0.5)), ""),
    "clipped": Odd(wav16(SPEECH * 4), SPOKEN),
    "opposite phase": Odd(wav16(SPEECH, -SPEECH), SPOKEN, "its channels cancel each other out, so only channel"),
    "one channel silent": Odd(wav16(SPEECH, 0 * SPEECH), SPOKEN),
    "quiet": Odd(wav16(_at_peak(SPEECH, -36)), SPOKEN),
    "two samples": Odd(wav16(np.array([0.25, -0.25], np.float32)), ""),
}
