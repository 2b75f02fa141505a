"""How far the times of words are from what is heard: `python -m tools.word_times` (PYTHONPATH=py), or [DELAY_MS…].

The sample recordings are single words and phrases, put one behind the other with pauses of digital near-silence. Where
each begins and ends is measured from the signal alone: the longest pauses, as many as the transcript says, part them;
inside its part a word reaches from the first to the last 5 ms that are less than 30 dB below its loudest, not counting
a click far away. Words are the demo model's, through the same session and transcript that the page uses.
"""

import argparse
import asyncio
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.decoding import Transcript, Word
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.session import StreamingSession
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.tekken import Tekken
from voxtral.wav import read_wav

STATIC = Path(__file__).parents[2] / "static"
SAMPLES = STATIC / "samples"
MODEL = STATIC / "model" / "voxtral-demo-q4_0.gguf"
QUIET = ("digits_1", "digits_2", "digits_3", "digits_4", "keywords_1", "keywords_2", "keywords_3")
LONG = "long_60s"
PHRASES = (["view", "glass"], ["smart", "mirror"])  # recorded in one go: nobody knows where the second word begins

HOP = SAMPLE_RATE // 200  # 5 ms
SILENCE_DB = 10.0  # above the quietest tenth of the recording
EDGE_DB = 30.0
CLICK_FRAMES, CLICK_DISTANCE_FRAMES = 16, 30


class Edges(NamedTuple):
    start_s: float
    end_s: float


def recorded(name: str) -> tuple[NDArray[np.float32], list[list[str]]]:
    """A sample's sound and the words of each of its parts."""
    (samples,) = read_wav((SAMPLES / f"{name}.wav").read_bytes(), name).channels
    lines = (SAMPLES / "transcripts.tsv").read_text().splitlines()
    spoken = next(line.split("\t")[1].split() for line in lines if line.startswith(f"{name}.wav\t"))
    parts = []
    while spoken:
        n = 2 if spoken[:2] in PHRASES else 1
        parts.append(spoken[:n])
        spoken = spoken[n:]
    return samples, parts


def edges(samples: NDArray[np.float32], n_parts: int) -> list[Edges]:
    """Where each of so many parts can be heard."""
    power = np.convolve(samples.astype(np.float64) ** 2, np.ones(2 * HOP) / (2 * HOP), "same")[::HOP]
    level = 10 * np.log10(power + 1e-12)
    sounds = _runs(level > np.percentile(level, 10) + SILENCE_DB)
    pauses = sounds[1:, 0] - sounds[:-1, 1]
    cuts = np.sort(np.argsort(-pauses, kind="stable")[: n_parts - 1]) + 1
    return [_edges_of(level, int(part[0, 0]), int(part[-1, 1])) for part in np.split(sounds, cuts)]


def _edges_of(level: NDArray[np.float64], first: int, last: int) -> Edges:
    loud = list(_runs(level[first:last] > level[first:last].max() - EDGE_DB) + first)

    def is_click(outer: NDArray[np.intp], distance: int) -> bool:
        return outer[1] - outer[0] < CLICK_FRAMES and distance > CLICK_DISTANCE_FRAMES

    while len(loud) > 1 and is_click(loud[-1], loud[-1][0] - loud[-2][1]):
        loud.pop()
    while len(loud) > 1 and is_click(loud[0], loud[1][0] - loud[0][1]):
        loud.pop(0)
    return Edges(loud[0][0] * HOP / SAMPLE_RATE, loud[-1][1] * HOP / SAMPLE_RATE)


def _runs(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and behind-last index of each run of True: [n, 2]."""
    return np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))).reshape(-1, 2)


async def heard(model: Voxtral, samples: NDArray[np.float32], delay_ms: int) -> list[Word]:
    """The words that the model hears."""
    transcript = Transcript(Tekken.from_json((STATIC / "model" / "tekken.json").read_bytes(), "tekken.json"))
    session = StreamingSession(model, delay_ms)
    events = await session.feed(samples) + await session.finish()
    transcript.flush(events)
    return transcript.words


async def errors(names: tuple[str, ...], delay_ms: int) -> NDArray[np.float64]:
    """Start and end of each part as written, minus those heard, in seconds: [n, 2].

    Raises ValueError where the model did not hear as many words as were spoken.
    """
    model = await Voxtral.load(ReferenceOps(), ShardedCursor([MemorySource(MODEL.read_bytes(), MODEL.name)]))
    rows = []
    for name in names:
        samples, parts = recorded(name)
        words = await heard(model, samples, delay_ms)
        if len(words) != sum(map(len, parts)):
            raise ValueError(f"{name} at {delay_ms} ms: heard {' '.join(word.text for word in words)}")
        for part, (start_s, end_s) in zip(parts, edges(samples, len(parts)), strict=True):
            rows.append((words[0].start - start_s, words[len(part) - 1].end - end_s))
            words = words[len(part) :]
    return np.array(rows)


def summary(found: NDArray[np.float64]) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile of the absolute error of starts and of ends, in ms."""
    median, p95 = np.percentile(np.abs(found) * 1000, [50, 95], axis=0)
    return {"start": (float(median[0]), float(p95[0])), "end": (float(median[1]), float(p95[1]))}


def main() -> None:
    parser = argparse.ArgumentParser(description="measure how far the times of words are from what is heard")
    parser.add_argument("delays_ms", nargs="*", type=int, default=[480], metavar="DELAY_MS", help="default: 480")
    for delay_ms in parser.parse_args().delays_ms:
        found = asyncio.run(errors((*QUIET, LONG), delay_ms))
        rows = (f"{edge} {median:.0f} / {p95:.0f} ms" for edge, (median, p95) in summary(found).items())
        print(f"delay {delay_ms} ms, {len(found)} parts, median / p95 of the absolute error: {', '.join(rows)}")


if __name__ == "__main__":
    main()
