"""Makes static/accuracy/: `python -m tools.accuracy_set DATA [--alignment FILE]` (PYTHONPATH=py).

DATA is a folder with train.ogg, dev.ogg and their tables. Groups, none of which a demo model was trained on:

    digits           N_STRINGS strings of 3 to 8 digits by speaker theo, with pauses of 0.05 to 0.5 s
    noisy_digits     the first of these with white noise, 10 dB below the speech
    quiet_digits     the same with a peak of -40 dBFS
    first_sample     the same beginning in their first digit, which is cut where its sound sets in
    digit_words      single digits of the other speakers
    keywords         every other recording of a keyword
    orders           of coffee, by speakers of their own
    other_speech     sentences in which no order, keyword or string of digits is; `said` has what they say
    silence_noise    digital silence, white and brown noise, hum, clicks

When each word ends is known by construction or from the sound; of orders, from FILE, which demo_model/alignment.py
writes. The same data and the same version of PyAV give the same bytes.
"""

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tools.demo_model.recordings import Clip, Pack, end_of_speech, known_word_ends, read_pack
from voxtral.config import SAMPLE_RATE

OUT = Path(__file__).parents[2] / "static" / "accuracy"
SEED = 7
SPEAKER = "theo"
N_STRINGS, N_ALTERED = 40, 8
DIGITS = (3, 8)
PAUSE_S = (0.05, 0.5)
SNR_DB, QUIET_DBFS = 10.0, -40.0
ROOM_DBFS = -70.0  # between digits; recordings never hold digital silence
ONSET_DB = 25.0  # below the loudest, where a digit's sound has set in
FADE_S = 0.005
GAP_S = 0.12  # between clips, so that what the codec smears stays out of the next one
NOISE_S = 8.0
BIT_RATE = 26_000
COLUMNS = ("id", "source", "transcript", "speaker", "start_sample", "n_samples", "group", "word_ends_s", "said")

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Item:
    """A clip of the set. word_ends_s: None for a word of which nobody knows; () for a clip."""

    id: str
    group: str
    source: str
    speaker: str
    transcript: str
    samples: Samples
    word_ends_s: tuple[float | None, ...] = ()
    said: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="make static/accuracy/ from the recordings")
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with train.ogg and dev.ogg")
    parser.add_argument("--alignment", type=Path, metavar="FILE", help="when the words of orders end")
    options = parser.parse_args()
    train, dev = (read_pack(options.data / f"{name}.ogg", options.data / f"{name}.tsv") for name in ("train", "dev"))
    aligned = json.loads(options.alignment.read_bytes())["word_ends_s"] if options.alignment else {}
    write(make(train, dev, aligned), OUT)


def make(train: Pack, dev: Pack, aligned: dict[str, list[float]]) -> list[Item]:
    """All clips, group by group. aligned: seconds at which the words of a clip end, by "dev:" and its row."""
    rng = np.random.default_rng(SEED)
    strings = digit_strings(train, dev, rng)
    return [
        *(_string(f"digits-{i:02}", "digits", parts, rng) for i, parts in enumerate(strings, 1)),
        *_altered(strings[:N_ALTERED], rng),
        *recorded(dev, aligned),
        *noises(rng),
    ]


# -- digits -------------------------------------------------------------------------------------------
Part = tuple[str, Samples, float]  # a digit, its sound, and when in it the word ends


def digit_strings(train: Pack, dev: Pack, rng: np.random.Generator) -> list[list[Part]]:
    """Digits of SPEAKER, none of them twice, drawn into strings."""
    spoken = [(pack, clip) for pack in (train, dev) for clip in pack.clips if clip.speaker == SPEAKER]
    order = iter(rng.permutation(len(spoken)))
    lengths = rng.integers(DIGITS[0], DIGITS[1] + 1, N_STRINGS)
    return [[_part(*spoken[next(order)]) for _ in range(length)] for length in lengths]


def _part(pack: Pack, clip: Clip) -> Part:
    return clip.transcript, _as_float(pack, clip), end_of_speech(pack.samples(clip))


def _string(id: str, group: str, parts: Sequence[Part], rng: np.random.Generator) -> Item:
    pieces, ends = [], []
    n_samples = 0
    for i, (_, samples, end_s) in enumerate(parts):
        if i:
            pieces.append(np.zeros(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32))
            n_samples += len(pieces[-1])
        pieces.append(_faded(samples))
        ends.append(round(n_samples / SAMPLE_RATE + end_s, 3))
        n_samples += len(samples)
    samples = np.concatenate(pieces)
    room = 10 ** (ROOM_DBFS / 20) * rng.standard_normal(n_samples)
    words = " ".join(word for word, _, _ in parts)
    return Item(id, group, "fsdd", SPEAKER, words, (samples + room).astype(np.float32), tuple(ends))


def _altered(strings: Sequence[Sequence[Part]], rng: np.random.Generator) -> list[Item]:
    items = []
    for i, parts in enumerate(strings, 1):
        item = _string(f"noisy_digits-{i:02}", "noisy_digits", parts, rng)
        noise = rng.standard_normal(len(item.samples)) * _rms(item.samples) / 10 ** (SNR_DB / 20)
        items.append(replace(item, samples=(item.samples + noise).astype(np.float32)))
    for i, parts in enumerate(strings, 1):
        item = _string(f"quiet_digits-{i:02}", "quiet_digits", parts, rng)
        gain = 10 ** (QUIET_DBFS / 20) / np.abs(item.samples).max()
        items.append(replace(item, samples=(item.samples * gain).astype(np.float32)))
    for i, (first, *rest) in enumerate(strings, 1):
        items.append(_string(f"first_sample-{i:02}", "first_sample", [_from_its_onset(first), *rest], rng))
    return items


def _from_its_onset(part: Part) -> Part:
    """A digit that begins with its sound."""
    word, samples, end_s = part
    hop = SAMPLE_RATE // 200
    level = (samples[: len(samples) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1)
    onset = int(np.argmax(level > level.max() / 10 ** (ONSET_DB / 10))) * hop
    return word, samples[onset:], end_s - onset / SAMPLE_RATE


def _faded(samples: Samples) -> Samples:
    """Without a click at its end, where a recording was cut."""
    n_fade = round(FADE_S * SAMPLE_RATE)
    faded = samples.copy()
    faded[-n_fade:] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    return faded


# -- recordings -----------------------------------------------------------------------------------------
def recorded(dev: Pack, aligned: dict[str, list[float]]) -> list[Item]:
    """The clips of dev as they are, group by group."""
    rows = list(enumerate(dev.clips))
    digits = [row for row in rows if row[1].source == "fsdd" and row[1].speaker != SPEAKER]
    keywords = [row for row in rows if row[1].source == "picovoice-wake"][::2]
    orders = [row for row in rows if row[1].source == "picovoice-s2i"]
    other = [row for row in rows if row[1].source not in ("fsdd", "picovoice-wake", "picovoice-s2i")]
    items = []
    for group, members in (("digit_words", digits), ("keywords", keywords), ("orders", orders)):
        for row, clip in members:
            ends = known_word_ends(clip, dev.samples(clip))
            if group == "orders":
                ends = tuple(aligned.get(f"dev:{row}", ends))
            speaker = "" if clip.speaker == "unknown" else clip.speaker
            known = ends if any(end is not None for end in ends) else ()
            samples = _as_float(dev, clip)
            items.append(Item(f"{group}-{row}", group, clip.source, speaker, clip.transcript, samples, known))
    for row, clip in other:
        samples = _as_float(dev, clip)
        items.append(
            Item(f"other_speech-{row}", "other_speech", clip.source, clip.speaker, "", samples, (), clip.transcript)
        )
    return items


def _as_float(pack: Pack, clip: Clip) -> Samples:
    return (pack.samples(clip) / np.float32(32768)).astype(np.float32)


# -- no speech ------------------------------------------------------------------------------------------
def noises(rng: np.random.Generator) -> list[Item]:
    """Sounds in which there is nothing to understand; levels are of the RMS."""
    n = round(NOISE_S * SAMPLE_RATE)
    time_s = np.arange(n) / SAMPLE_RATE
    white = rng.standard_normal(n)
    brown = np.cumsum(rng.standard_normal(n))
    brown -= np.convolve(brown, np.ones(SAMPLE_RATE // 10) / (SAMPLE_RATE // 10), "same")
    hum = np.sum([np.sin(2 * np.pi * 50 * k * time_s + k) / k for k in range(1, 8)], axis=0)
    clicks = np.zeros(n)
    for start in rng.integers(0, n - 400, 12):
        clicks[start : start + 400] += rng.standard_normal(400) * np.exp(-np.arange(400) / 60)
    sounds: list[tuple[str, NDArray[np.float64], float]] = [("silence", np.zeros(n), 0.0)]
    sounds += [(f"white_noise_{-dbfs}", white, float(dbfs)) for dbfs in (-60, -45, -30, -20)]
    sounds += [("brown_noise_30", brown, -30.0), ("hum_30", hum, -30.0), ("clicks_40", clicks, -40.0)]
    return [
        Item(f"silence_noise-{name}", "silence_noise", "made", "", "", _at_level(sound, dbfs))
        for name, sound, dbfs in sounds
    ]


def _at_level(sound: NDArray[np.float64], dbfs: float) -> Samples:
    rms = _rms(sound)
    return (sound * (10 ** (dbfs / 20) / rms if rms else 0.0)).astype(np.float32)


def _rms(samples: NDArray[np.float64] | Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


# -- writing ----------------------------------------------------------------------------------------------
def write(items: Sequence[Item], folder: Path) -> None:
    """set.ogg and set.tsv."""
    gap = np.zeros(round(GAP_S * SAMPLE_RATE), np.float32)
    stream = np.concatenate([part for item in items for part in (gap, item.samples)] + [gap])
    table = io.StringIO()
    rows = csv.writer(table, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
    rows.writerow(COLUMNS)
    start = 0
    for item in items:
        start += len(gap)
        ends = ",".join("" if end is None else f"{end:.3f}" for end in item.word_ends_s)
        place = (start, len(item.samples))
        rows.writerow((item.id, item.source, item.transcript, item.speaker, *place, item.group, ends, item.said))
        start += len(item.samples)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "set.ogg").write_bytes(encoded(stream))
    (folder / "set.tsv").write_text(table.getvalue(), encoding="utf-8")


def encoded(samples: Samples) -> bytes:
    """Opus in Ogg; bitexact: without the random serial number and the date that a muxer writes otherwise."""
    out = io.BytesIO()
    clipped = (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)
    with av.open(out, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", options={"vbr": "on"})
        stream.bit_rate = BIT_RATE
        for first in range(0, len(clipped), SAMPLE_RATE):
            frame = av.AudioFrame.from_ndarray(clipped[None, first : first + SAMPLE_RATE], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


if __name__ == "__main__":
    main()
