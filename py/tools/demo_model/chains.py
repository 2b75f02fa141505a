"""What the aligner learns from: clips behind each other, whose word ends are known where those of the clips are.

    Utterances   the clips of all packs that have words, as arrays
    Chains       examples of a fixed length, made of utterances chosen by chance
    together     an example made of given utterances, unchanged

Recordings of single words become connected speech with known times, and the network never learns that a word fills
a recording. Numpy only.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.demo_model.configuration import AlignmentConfig
from tools.demo_model.forced_path import labels_of
from tools.demo_model.recordings import Clip, Pack, known_word_ends
from voxtral.config import SAMPLE_RATE

FRAMES_PER_S = 50
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAMES_PER_S
NEVER = (0, 0, 2**30, 1, 0, 0)  # a piece that is not heard
UNKNOWN, NOT_AN_END, END = range(3)  # marks of frames


@dataclass(frozen=True)
class Utterance:
    """A clip with words. key: "pack:index"; start: in the stream of all packs; gain_db: makes it as loud as others;
    ends_s: None where only alignment can tell.
    """

    key: str
    clip: Clip
    start: int
    gain_db: float
    labels: tuple[int, ...]
    ends_s: tuple[float | None, ...]

    @property
    def has_known_ends(self) -> bool:
        return None not in self.ends_s


def utterances(packs: Iterable[Pack], held_out_speakers: Sequence[str]) -> list[Utterance]:
    """All clips with words that can be written in letters, but those of the speakers held out."""
    found = []
    first = 0
    for pack in packs:
        for i, clip in enumerate(pack.clips):
            labels = labels_of(clip.transcript)
            if labels and clip.speaker not in held_out_speakers:
                samples = pack.samples(clip)
                power = np.mean(np.square(samples, dtype=np.float32)) / 32768**2
                gain_db = -10 * float(np.log10(power + 1e-9))
                ends_s = known_word_ends(clip, samples)
                found.append(Utterance(f"{pack.name}:{i}", clip, first + clip.start, gain_db, tuple(labels), ends_s))
        first += len(pack.sound)
    return found


@dataclass(frozen=True)
class Examples:
    """A batch. pieces float64 [batch, n, 6]: source, n_samples, destination, speed, gain_db, is_reversed, as
    `augmentation.assembled` takes them; labels: of each example; marks int64 [batch, n_frames].
    """

    pieces: NDArray[np.float64]
    labels: list[NDArray[np.intp]]
    marks: NDArray[np.int64]


class Chains:
    """Draws examples. Words of real recordings and of synthetic voices are equally likely, if there are both."""

    def __init__(self, material: Sequence[Utterance], synthetic: str, config: AlignmentConfig, seed: int) -> None:
        """synthetic: the name of the pack of synthetic voices."""
        self._config, self._random = config, np.random.default_rng(seed)
        self._n_frames = config.example_s * FRAMES_PER_S
        self._labels = [np.array(one.labels) for one in material]
        self._starts = np.array([one.start for one in material])
        self._lengths = np.array([one.clip.n_samples for one in material])
        self._gains_db = np.array([one.gain_db for one in material])
        self._ends_s = np.full((len(material), max(len(one.ends_s) for one in material)), np.nan)
        for row, one in zip(self._ends_s, material, strict=True):
            row[: len(one.ends_s)] = [np.nan if end is None else end for end in one.ends_s]
        self._n_words = np.array([len(one.ends_s) for one in material])
        self._is_known = np.array([one.has_known_ends for one in material])
        last_s = self._ends_s[np.arange(len(material)), self._n_words - 1]
        self._least = np.where(np.isnan(last_s), self._lengths, np.ceil(np.nan_to_num(last_s) * SAMPLE_RATE))
        is_synthetic = np.array([one.key.startswith(f"{synthetic}:") for one in material])
        shares = self._n_words.astype(np.float64)
        shares[self._lengths > self._n_frames * SAMPLES_PER_FRAME * config.speed[0]] = 0  # longer than an example
        for part in (is_synthetic, ~is_synthetic):
            shares[part] /= max(shares[part].sum(), 1)
        self._up_to = np.cumsum(shares) / shares.sum()

    def draw(self) -> Examples:
        """A batch of new examples."""
        config, random = self._config, self._random
        shape = (config.batch, config.n_pieces)
        chosen = np.minimum(np.searchsorted(self._up_to, random.random(shape)), len(self._up_to) - 1)
        speeds = np.exp(random.uniform(math.log(config.speed[0]), math.log(config.speed[1]), shape))
        least, lengths = self._least[chosen], self._lengths[chosen]
        lengths = np.floor(least + random.random(shape) * (lengths - least))  # some of the silence behind, or none
        gaps = random.exponential(config.mean_gap_s, shape) * (random.random(shape) > config.no_gap) * SAMPLE_RATE
        behind = np.floor(np.cumsum(gaps + lengths / speeds, axis=1))
        places = np.ceil(behind - lengths / speeds)
        is_heard = behind <= self._n_frames * SAMPLES_PER_FRAME
        gains_db = self._gains_db[chosen] + random.normal(0, config.gain_db, shape)
        values = (self._starts[chosen], lengths, places, speeds, gains_db, np.zeros(shape))
        pieces = np.where(is_heard[:, :, None], np.stack(values, axis=2), NEVER)
        labels = [
            np.concatenate([np.empty(0, np.intp), *(self._labels[i] for i in row[heard])])
            for row, heard in zip(chosen, is_heard, strict=True)
        ]
        return Examples(pieces, labels, self._marks(chosen, is_heard, places, behind, speeds))

    def _marks(
        self,
        chosen: NDArray[np.intp],
        is_heard: NDArray[np.bool_],
        places: NDArray[np.float64],
        behind: NDArray[np.float64],
        speeds: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        marks = np.full((len(chosen), self._n_frames), NOT_AN_END, np.int64)
        for row, j in np.argwhere(is_heard & ~self._is_known[chosen]):
            marks[row, int(places[row, j]) // SAMPLES_PER_FRAME : int(behind[row, j]) // SAMPLES_PER_FRAME + 1] = 0
        ends_s = places[:, :, None] / SAMPLE_RATE + self._ends_s[chosen] / speeds[:, :, None]
        rows, pieces, words = np.nonzero(is_heard[:, :, None] & ~np.isnan(ends_s))
        frames = np.minimum(np.rint(ends_s[rows, pieces, words] * FRAMES_PER_S).astype(np.intp), self._n_frames - 1)
        marks[rows, np.maximum(frames - 1, 0)] = UNKNOWN  # one frame earlier or later is no mistake
        marks[rows, np.minimum(frames + 1, self._n_frames - 1)] = UNKNOWN
        marks[rows, frames] = END
        return marks


def together(
    chosen: Sequence[Utterance], gaps_s: Sequence[float], key: str, source: str
) -> tuple[Utterance, NDArray[np.float64]]:
    """Utterances one behind the other, as one whose times count from behind the first gap, and its pieces [n, 6]. All
    of their word ends have to be known; gaps_s: before each.
    """
    pieces, ends_s, cursor = [], [], 0
    for one, gap_s in zip(chosen, gaps_s, strict=True):
        cursor += round(gap_s * SAMPLE_RATE)
        pieces.append((one.start, one.clip.n_samples, cursor, 1, one.gain_db, 0))
        ends_s += [cursor / SAMPLE_RATE - gaps_s[0] + end for end in one.ends_s if end is not None]
        cursor += one.clip.n_samples
    transcript = " ".join(one.clip.transcript for one in chosen)
    clip = Clip(source, transcript, "", 0, cursor, source, tuple(ends_s))
    labels = tuple(label for one in chosen for label in one.labels)
    return Utterance(key, clip, 0, 0.0, labels, tuple(ends_s)), np.array(pieces, np.float64)
