"""Synthetic voices: about a third of what the demo model learns from, as a pack of four hours.

    python -m tools.demo_model.voices OUT [--data DATA] [--jobs N] [--minutes M]      (in py/)

makes OUT/synthetic.flac and OUT/synthetic.tsv, laid out as recordings.py says. The sentences that people read in
DATA/train.tsv are said once more by the synthesizers, as other speech.

    make_voices  the pack, written
    plan         what is said, by whom: drawn from a seed
    spoken       requests -> takes: clips cut as the recordings are, or None where a voice failed
    draw_voice   a speaker nobody has heard

The packages needed, and their licences, are in synthesizers.py and other_speech.py.
"""

import argparse
import csv
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.demo_model.accents import ACCENTS
from tools.demo_model.other_speech import everyday_sentence, random_words
from tools.demo_model.recordings import Clip, Pack, write_pack
from tools.demo_model.synthesizers import FESTIVAL_VOICES, FLITE_VOICES, Line, Speech, Voice, speak_all
from tools.demo_model.vocabulary import DIGITS, KEYWORDS, order
from voxtral.config import SAMPLE_RATE

NAME = "synthetic"
SEED = 20
MINUTES = 240.0
BATCH = 60  # lines for one process, which then ends: its state makes the next line's samples

ESPEAK_LANGUAGES = {
    "gmw/en-US": 5, "gmw/en": 3, "gmw/en-GB-x-rp": 3, "gmw/en-GB-scotland": 2, "gmw/en-029": 2, "gmw/en-US-nyc": 2,
    "gmw/en-GB-x-gbclan": 1, "gmw/en-GB-x-gbcwmd": 1,
}  # fmt: skip
ACCENT_CHANCE = 0.4  # of an eSpeak voice
# Without those that whisper or sound like machines
ESPEAK_VARIANTS = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2", "Henrique",
    "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "RicishayMax", "adam", "anika",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "croak", "david", "ed", "edward", "edward2", "f1",
    "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "iven", "iven2", "iven3", "iven4", "john", "klatt",
    "klatt2", "klatt3", "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel",
    "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis",
    "victor", "zac",
)  # fmt: skip
SYNTHESIZERS = {"espeak-ng": 0.5, "flite": 0.27, "festival": 0.23}
RARE_VOICES = {"kal": 0.5, "kal16": 0.7, "ked": 0.8}  # diphones; the other voices have 1

FRAME = SAMPLE_RATE // 100
AUDIBLE_DB = -40.0  # of the loudest 10 ms of a clip: its speech begins and ends there
WORD_DB = -32.0  # of the loudest 10 ms of a word
MARGIN_S = (0.1, 0.25)  # of silence around the speech
PEAK = (0.35, 0.8)
BLUR_FRAMES = 2  # before a word's end where the next one may have begun
SECONDS_PER_WORD = (0.06, 1.6)  # a voice that is beyond failed
MIN_WORD_S = 0.02


class Request(NamedTuple):
    group: str
    voice: Voice
    line: Line


class Take(NamedTuple):
    """A clip's samples and the seconds from its start at which words end, None where unknown."""

    samples: NDArray[np.int16]
    word_ends_s: tuple[float, ...] | None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model.voices", description="Makes synthetic voices.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--data", type=Path, help="folder of train.tsv, for its read sentences")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args()
    make_voices(options.out, options.jobs, options.minutes, options.data)


def make_voices(out: Path, jobs: int, minutes: float = MINUTES, data: Path | None = None) -> None:
    """Write OUT/synthetic.flac and .tsv. The number of jobs does not change them. Raises ConfigError if a synthesizer
    is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    requests = plan(minutes, read_sentences(data / "train.tsv") if data else ())
    batches = [requests[i : i + BATCH] for i in range(0, len(requests), BATCH)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        takes = [take for some in pool.map(spoken, batches) for take in some]
    pack = packed(requests, takes)
    write_pack(pack, out / f"{NAME}.flac", out / f"{NAME}.tsv")
    n_failed = sum(take is None for take in takes)
    print(f"{len(pack.clips)} clips, {len(pack.sound) / SAMPLE_RATE / 60:.1f} minutes; {n_failed} failed")


def read_sentences(table: Path) -> tuple[str, ...]:
    """What people read in the recordings, for other voices to say."""
    with table.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(row["transcript"] for row in rows if row["source"] in {"dctts-matthes", "ljspeech32", "mfa"})


# --- What is said --------------------------------------------------------------------------------------------------


def plan(minutes: float, sentences: Sequence[str]) -> list[Request]:
    """Requests for about as many minutes, shuffled, so that every batch takes about as long."""
    random = Random(SEED)
    requests = []
    contents: tuple[tuple[str, float, float, Callable[[], str]], ...] = (
        ("digit_words", 45.0, 0.48, lambda: random.choice(DIGITS)),
        ("keywords", 15.0, 0.42, lambda: random.choice(KEYWORDS)),
        ("digits", 75.0, 0.39, lambda: " ".join(random.choices(DIGITS, k=random.randint(3, 8)))),
        ("keywords", 10.0, 0.42, lambda: _mixed(random)),
        ("orders", 60.0, 0.29, lambda: order(random)),
        ("other_speech", 35.0, 0.31, lambda: _other(random, sentences)),
    )  # group, share of 240 minutes, seconds for each word, what is said
    for group, share, seconds_per_word, text in contents:
        left_s = share / 240.0 * minutes * 60
        while left_s > 0:
            said = tuple(text().split())
            voice = draw_voice(random)
            requests.append(Request(group, voice, Line(said, _marks(random, group, len(said)))))
            left_s -= sum(MARGIN_S) + len(said) * seconds_per_word / voice.speed
    random.shuffle(requests)
    return requests


def _mixed(random: Random) -> str:
    """Keywords among each other or among digits."""
    return " ".join(random.choices(KEYWORDS, k=random.randint(2, 4)) if random.random() < 0.4 else _with_digits(random))


def _with_digits(random: Random) -> list[str]:
    said = random.choices(KEYWORDS, k=random.randint(1, 2)) + random.choices(DIGITS, k=random.randint(1, 4))
    random.shuffle(said)
    return said


def _other(random: Random, sentences: Sequence[str]) -> str:
    choice = random.random()
    if sentences and choice < 0.3:
        return random.choice(sentences)
    return everyday_sentence(random) if choice < 0.75 else random_words(random, random.randint(1, 6))


def _marks(random: Random, group: str, n: int) -> tuple[str, ...]:
    """Punctuation, which is melody: at the end any, between words a comma as often as this speaker pauses."""
    pausing = {"digits": random.choice((0.0, 0.1, 0.3, 1.0)), "keywords": random.choice((0.0, 0.3, 1.0))}.get(group, 0)
    if group == "orders":
        pausing = random.choice((0.0, 0.0, 0.05, 0.12))
    inner = ["," if random.random() < pausing else "" for _ in range(n - 1)]
    return (*inner, random.choices((".", "?", "!", ","), (6, 2, 1, 1))[0])


def draw_voice(random: Random) -> Voice:
    """A voice with a manner of its own."""
    synthesizer = random.choices(tuple(SYNTHESIZERS), tuple(SYNTHESIZERS.values()))[0]
    if synthesizer == "espeak-ng":
        language = random.choices(tuple(ESPEAK_LANGUAGES), tuple(ESPEAK_LANGUAGES.values()))[0]
        if random.random() < ACCENT_CHANCE:
            language = random.choice(tuple(ACCENTS))
        name = f"{language}+{random.choice(ESPEAK_VARIANTS)}"
    else:
        names = tuple(FESTIVAL_VOICES) if synthesizer == "festival" else FLITE_VOICES
        name = random.choices(names, [RARE_VOICES.get(name, 1.0) for name in names])[0]
    natural = synthesizer != "espeak-ng"
    return Voice(
        synthesizer,
        name,
        speed=round(min(1.5, max(0.7, random.lognormvariate(0.02, 0.17))), 2),
        pitch=round(2 ** random.uniform(-0.3, 0.3), 2),
        liveliness=round(random.uniform(0.5, 1.7), 2),
        tract=round(random.uniform(0.85, 1.22) if natural else random.uniform(0.9, 1.14), 2),
    )


# --- How it sounds -------------------------------------------------------------------------------------------------


def spoken(requests: Sequence[Request]) -> list[Take | None]:
    """The takes of a batch."""
    speeches = speak_all([(request.voice, request.line) for request in requests])
    return [
        take_of(speech, len(request.line.words), Random(f"{SEED} {request}"))
        for request, speech in zip(requests, speeches, strict=True)
    ]


def take_of(speech: Speech, n_words: int, random: Random) -> Take | None:
    """Cut to the speech with a margin, at a drawn level; None for silence and for what cannot be so many words."""
    levels = _levels_db(speech.samples)
    if len(levels) < 5 or levels.max() < -60:
        return None
    audible = np.flatnonzero(levels > levels.max() + AUDIBLE_DB)
    first, last = int(audible[0]) * FRAME, int(audible[-1] + 1) * FRAME
    low_s, high_s = (n_words * limit for limit in SECONDS_PER_WORD)
    if not low_s < (last - first) / SAMPLE_RATE < high_s:
        return None
    before, after = (round(random.uniform(*MARGIN_S) * SAMPLE_RATE) for _ in range(2))
    sound = speech.samples[first:last]
    sound = np.pad(sound * (random.uniform(*PEAK) / np.abs(sound).max()), (before, after))
    ends = _word_ends_s(speech, levels, n_words, first, last)
    shift_s = (before - first) / SAMPLE_RATE
    return Take(
        np.round(sound * 32767).astype(np.int16),
        None if ends is None else tuple(round(end + shift_s, 3) for end in ends),
    )


def _levels_db(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    levels: NDArray[np.float64] = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    return levels


def _word_ends_s(
    speech: Speech, levels: NDArray[np.float64], n_words: int, first: int, last: int
) -> tuple[float, ...] | None:
    """Where each word's sound ends: not in the pause behind it, which synthesizers count as a part of the word."""
    if speech.word_ends_s is None and n_words > 1:
        return None
    ends, begin = [], first // FRAME
    for bound_s in (*(speech.word_ends_s or ())[: n_words - 1], last / SAMPLE_RATE):
        bound = int(bound_s * SAMPLE_RATE) // FRAME
        inner = levels[begin : max(begin, bound - BLUR_FRAMES)]
        if not len(inner):
            return None
        loud = np.flatnonzero(inner > inner.max() + WORD_DB)[-1] + 1
        ends.append((bound if loud == len(inner) else begin + int(loud)) * FRAME / SAMPLE_RATE)
        begin = bound
    rises = all(end - before >= MIN_WORD_S for before, end in zip([first / SAMPLE_RATE, *ends], ends, strict=False))
    return tuple(min(end, last / SAMPLE_RATE) for end in ends) if rises else None


def packed(requests: Sequence[Request], takes: Sequence[Take | None]) -> Pack:
    """One stream of the takes that came out."""
    clips, sounds, start = [], [], 0
    for (group, voice, line), take in zip(requests, takes, strict=True):
        if take is None:
            continue
        n = len(take.samples)
        said = " ".join(line.words)
        clips.append(Clip(voice.synthesizer, said, voice.speaker, start, n, group, take.word_ends_s))
        sounds.append(take.samples)
        start += n
    return Pack(NAME, np.concatenate(sounds), tuple(clips))


if __name__ == "__main__":
    main()
