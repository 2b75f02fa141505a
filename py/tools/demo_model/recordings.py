"""Recordings the demo model learns from: one stream of sound and a table of the clips in it.

    Clip             one row: what is said, by whom, where in the stream, and when its words end (where known)
    Pack             the stream and its clips
    read_pack        NAME.ogg or NAME.flac + NAME.tsv -> Pack
    write_pack       Pack -> the same two files
    end_of_speech    where the sound of a clip falls to its noise floor for good
    known_word_ends  the word ends that a clip gives without alignment

The table has the columns `source transcript speaker start_sample n_samples` and may have `group` (the source where it
is not there) and `word_ends_s`: comma separated seconds from the clip's start, one for each word; empty = unknown.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.errors import AudioError, DocumentError

COLUMNS = ("source", "transcript", "speaker", "start_sample", "n_samples")
OPTIONAL_COLUMNS = ("group", "word_ends_s")
BLOCK = 60 * SAMPLE_RATE  # written at once: the encoder's library keeps a block on its stack

SPOKEN_AT_ONCE = frozenset({"smart mirror", "view glass"})  # two words of which only the last one's end is measured
# Sources of isolated recordings, where the end of speech ends the last word, and the seconds that whoever trimmed them
# left behind it: where the rest is shorter or longer, one of the two took noise for speech.
ISOLATED = {"fsdd": (0.0, 0.25), "picovoice-wake": (0.08, 0.35)}

HOP = SAMPLE_RATE // 200  # 5 ms
FLOOR_DB = 10.0  # above its noise floor a clip is not only the room
RANGE_DB = 35.0  # below the loudest nothing is a word's sound any more
NEAR_DB = 20.0  # below the loudest everything is: clips cut inside a word have no silence that tells the floor
SILENCE_DB = 30.0  # below the loudest a quarter of the clip is silence, and not the fading of a clip of noise
CLICK_FRAMES, CLICK_DISTANCE_FRAMES = 12, 24  # shorter sounds, 120 ms behind the rest, are clicks of lips and mice


@dataclass(frozen=True)
class Clip:
    """A recording inside a stream. start, n_samples: at 16 kHz; word_ends_s: from the clip's start, or None."""

    source: str
    transcript: str
    speaker: str
    start: int
    n_samples: int
    group: str
    word_ends_s: tuple[float, ...] | None = None

    @property
    def words(self) -> list[str]:
        return self.transcript.split()

    @property
    def seconds(self) -> float:
        return self.n_samples / SAMPLE_RATE


@dataclass(frozen=True)
class Pack:
    """Clips and their sound: int16 [n], 16 kHz."""

    name: str
    sound: NDArray[np.int16]
    clips: tuple[Clip, ...]

    def samples(self, clip: Clip) -> NDArray[np.int16]:
        """The clip's part of the stream, not copied."""
        return self.sound[clip.start : clip.start + clip.n_samples]


def read_pack(stream: Path, tsv: Path) -> Pack:
    """Read a pack; its name is the table's. Raises AudioError for the sound, DocumentError for a row of the table."""
    try:
        sound, rate = soundfile.read(stream, dtype="int16", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{stream} cannot be read as sound ({error}), expected one stream of all clips.") from error
    if rate != SAMPLE_RATE or sound.shape[1] != 1:
        found = f"{rate} Hz with {sound.shape[1]} channels"
        raise AudioError(f"{stream} has {found}, expected {SAMPLE_RATE} Hz mono: convert it first.")
    try:
        with tsv.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
            if missing:
                raise DocumentError(
                    f"{tsv} has no column {missing[0]!r}, expected {' '.join(COLUMNS)} in its first line."
                )
            clips = tuple(_clip(row, f"{tsv} line {i}", len(sound)) for i, row in enumerate(table, 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DocumentError(f"{tsv} cannot be read as a table ({error}), expected tab separated UTF-8.") from error
    return Pack(tsv.stem, sound[:, 0], clips)


def _clip(row: dict[str, str | None], place: str, n_samples: int) -> Clip:
    if any(row[column] is None for column in COLUMNS) or None in row:
        raise DocumentError(f"{place} has not as many columns as the first line of the table.")
    text = {column: value or "" for column, value in row.items()}
    try:
        start, length = int(text["start_sample"]), int(text["n_samples"])
    except ValueError:
        found = f"{text['start_sample']!r} and {text['n_samples']!r}"
        raise DocumentError(f"{place} starts and lasts {found}, expected whole numbers of samples.") from None
    if start < 0 or length < 1 or start + length > n_samples:
        raise DocumentError(f"{place} reaches from {start} to {start + length}, expected inside 0 to {n_samples}.")
    transcript = " ".join(text["transcript"].split())
    ends = _word_ends(text.get("word_ends_s", ""), len(transcript.split()), length / SAMPLE_RATE, place)
    return Clip(text["source"], transcript, text["speaker"], start, length, text.get("group") or text["source"], ends)


def _word_ends(text: str, n_words: int, seconds: float, place: str) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        ends = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise DocumentError(f"{place} has word ends {text!r}, expected seconds separated by commas.") from None
    if len(ends) != n_words:
        raise DocumentError(f"{place} has {len(ends)} word ends for {n_words} words, expected one for each.")
    rises = all(before < after for before, after in zip((0.0, *ends), ends, strict=False))
    if not rises or not all(map(math.isfinite, ends)) or (ends and ends[-1] > seconds):
        raise DocumentError(f"{place} has word ends {text!r}, expected rising seconds up to {seconds:.3f}.")
    return ends


def write_pack(pack: Pack, stream: Path, tsv: Path) -> None:
    """Write a pack: Opus in Ogg, or FLAC (large, but written at once), as the stream's name says, and a table with all
    columns. Raises DocumentError for a text with tabs or newlines.
    """
    for clip in pack.clips:
        for text in (clip.source, clip.transcript, clip.speaker, clip.group):
            if set(text) & set("\t\r\n"):
                raise DocumentError(f"{tsv} cannot hold {text!r}, expected no tab or line break in a clip's texts.")
    subtype, kind = ("OPUS", "OGG") if stream.suffix == ".ogg" else ("PCM_16", "FLAC")
    with soundfile.SoundFile(stream, "w", SAMPLE_RATE, 1, subtype, format=kind) as file:
        for first in range(0, len(pack.sound), BLOCK):
            file.write(pack.sound[first : first + BLOCK])
    with tsv.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        table.writerow((*COLUMNS, *OPTIONAL_COLUMNS))
        for clip in pack.clips:
            ends = ",".join(f"{end:.3f}" for end in clip.word_ends_s or ())
            place = (clip.start, clip.n_samples)
            table.writerow((clip.source, clip.transcript, clip.speaker, *place, clip.group, ends))


def end_of_speech(samples: NDArray[np.int16]) -> float:
    """Seconds from the start of a clip to the end of its last sound that is speech; its whole length where it is
    still loud at the end. Clicks behind the speech do not count.
    """
    n = len(samples) // HOP
    if n < 2:
        return len(samples) / SAMPLE_RATE
    frames = samples[: n * HOP].astype(np.float64).reshape(n, HOP)
    power = np.convolve(np.mean(frames**2, axis=1), [0.25, 0.5, 0.25], "same")
    level = 10 * np.log10(power + 1e-2)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], level > _threshold(level), [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2).tolist()
    while len(runs) > 1 and _is_click(runs):
        runs.pop()
    return min(int(runs[-1][1]) * HOP, len(samples)) / SAMPLE_RATE


def _threshold(level: NDArray[np.float64]) -> float:
    peak = float(level.max())
    tenth, quarter = map(float, np.percentile(level, [10, 25]))
    floor: float = quarter if quarter < peak - SILENCE_DB else tenth
    return min(max(floor + FLOOR_DB, peak - RANGE_DB), peak - NEAR_DB)


def _is_click(runs: Sequence[Sequence[int]]) -> bool:
    (_, before), (first, last) = runs[-2:]
    return last - first < CLICK_FRAMES and first - before > CLICK_DISTANCE_FRAMES


def known_word_ends(clip: Clip, samples: NDArray[np.int16]) -> tuple[float | None, ...]:
    """Seconds at which each word of a clip ends, None where only alignment can tell: what the table says, else the
    end of speech for the last word of isolated recordings.
    """
    if clip.word_ends_s is not None:
        return clip.word_ends_s
    unknown = (None,) * len(clip.words)
    if clip.source not in ISOLATED or (len(unknown) > 1 and clip.transcript not in SPOKEN_AT_ONCE):
        return unknown
    end_s = end_of_speech(samples)
    shortest, longest = ISOLATED[clip.source]
    return (*unknown[1:], end_s) if shortest <= clip.seconds - end_s <= longest else unknown
