"""Scenes: which clips are heard when, and what the decoder should write about them. Numpy only; drawn by number.

    Library    all clips of all packs in one stream, sorted by what they hold
    Scene      where each piece of sound lies in an example, and its tokens
    draw       the scene of one example
    targets    the tokens for words that end at given times

A word that ends in frame k of the audio is due at position left pad + delay + k: first [STREAMING_WORD], which words of
the same frame share, then a piece for each word. What comes too late for its frame follows as soon as it can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.demo_model.configuration import Scenes
from tools.demo_model.recordings import Clip, Pack, end_of_speech
from tools.demo_model.vocabulary import DIGITS, KEYWORDS, words
from voxtral.config import (
    BOS_TOKEN,
    N_SPECIAL_TOKENS,
    PROMPT_PAD_TOKENS,
    RIGHT_PAD_EXTRA_TOKENS,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    STREAMING_PAD_TOKEN,
    STREAMING_WORD_TOKEN,
)
from voxtral.tekken import N_BYTE_PIECES

FIRST_WORD_TOKEN = N_SPECIAL_TOKENS + N_BYTE_PIECES
N_PIECES = 48  # of sound in an example, at most
LONGEST_OTHER_S = 6.0
ENDING_TOKENS = 2
EARLIER_S = 2.0  # before the middle of a stream, at most: some example begins inside a word
SETTLING_TOKENS = 16  # there, before anything is expected
OTHER_SOURCES = frozenset(
    {"dctts-matthes", "librispeech4", "ljspeech32", "mfa", "pocketsphinx", "speechbrain", "other_speech"}
)
KEYWORD_WORDS = frozenset(" ".join(KEYWORDS).split())

Random = np.random.Generator


@dataclass(frozen=True)
class Sound:
    """A clip in the library's stream; times in samples from `start`, which is where it begins there."""

    start: int
    n_samples: int
    speech: tuple[int, int]  # its first and last sample that is no silence
    level_db: float  # of the speech's power
    speaker: str
    tokens: tuple[int, ...]  # of its words; none for other speech
    word_ends: tuple[int, ...]


class Library:
    """The clips a scene is drawn from. stream: int16 [n], all packs one after the other."""

    def __init__(
        self, packs: Sequence[Pack], word_ends_s: Mapping[tuple[str, int], Sequence[float]], held_out: Sequence[str]
    ) -> None:
        """word_ends_s: (pack, index of a clip) → its words' ends; clips with words that it lacks are left out."""
        self.stream: NDArray[np.int16] = np.concatenate([pack.sound for pack in packs])
        ids = {word: FIRST_WORD_TOKEN + i for i, word in enumerate(words())}
        self.digits: dict[str, dict[int, list[Sound]]] = {}  # real speaker → digit's token → recordings
        # kind → (recordings, synthetic voices)
        self.kinds: dict[str, tuple[list[Sound], list[Sound]]] = {
            kind: ([], []) for kind in ("digits", "keywords", "orders", "other_speech")
        }
        self.borrowed: list[Sound] = []  # digits cut out of recorded orders
        first = 0
        for pack in packs:
            for i, clip in enumerate(pack.clips):
                if clip.speaker not in held_out:
                    self._add(clip, pack, first, word_ends_s.get((pack.name, i)), ids)
            first += len(pack.sound)

    def _add(self, clip: Clip, pack: Pack, first: int, ends_s: Sequence[float] | None, ids: Mapping[str, int]) -> None:
        kind = kind_of(clip)
        tokens = () if kind == "other_speech" else tuple(ids[word] for word in clip.words)
        if tokens and (ends_s is None or len(ends_s) != len(tokens)):
            return
        ends = tuple(min(round(end * SAMPLE_RATE), clip.n_samples - 1) for end in ends_s or ()) if tokens else ()
        sound = _sound(clip, pack.samples(clip), first, tokens, ends)
        is_synthetic = pack.name == "synthetic"
        self.kinds[kind][is_synthetic].append(sound)
        if kind == "orders" and not is_synthetic:
            self.borrowed += _digits_in(sound, ids)
        if kind == "digits" and not is_synthetic and len(tokens) == 1:
            self.digits.setdefault(clip.speaker, {}).setdefault(tokens[0], []).append(sound)


def kind_of(clip: Clip) -> str:
    """digits, keywords (digits among them, too), orders or other_speech."""
    said = clip.words
    if clip.source in OTHER_SOURCES or clip.group in OTHER_SOURCES or not said:
        return "other_speech"
    if all(word in DIGITS for word in said):
        return "digits"
    return "keywords" if all(word in DIGITS or word in KEYWORD_WORDS for word in said) else "orders"


def _sound(clip: Clip, samples: NDArray[np.int16], first: int, tokens: tuple[int, ...], ends: tuple[int, ...]) -> Sound:
    last = round(end_of_speech(samples) * SAMPLE_RATE)
    begin = len(samples) - round(end_of_speech(samples[::-1]) * SAMPLE_RATE)
    begin = max(0, min(begin, last - SAMPLE_RATE // 20))
    speech = samples[begin:last].astype(np.float64) / 32768
    level_db = 10 * np.log10(np.mean(speech**2) + 1e-9)
    return Sound(
        first + clip.start, clip.n_samples, (begin, max(last, *ends, 1)), float(level_db), clip.speaker, tokens, ends
    )


def _digits_in(sound: Sound, ids: Mapping[str, int]) -> list[Sound]:
    """The digits of an order as clips of their own."""
    digits = {ids[digit] for digit in DIGITS}
    found = []
    for i, (token, end) in enumerate(zip(sound.tokens, sound.word_ends, strict=True)):
        begin = sound.word_ends[i - 1] if i else sound.speech[0]
        if token in digits and end - begin > SAMPLE_RATE // 10:
            n = end - begin
            found.append(
                Sound(sound.start + begin, n, (0, n), sound.level_db, sound.speaker, (token,), (n - 1,)),
            )
    return found


@dataclass(frozen=True)
class Piece:
    """One stretch of the library's stream in an example; destination and samples at 16 kHz."""

    source: int
    n_samples: int
    destination: int
    speed: float
    gain_db: float
    is_reversed: bool = False

    @property
    def end(self) -> int:
        return self.destination + int(self.n_samples / self.speed)


@dataclass(frozen=True)
class Scene:
    """One example. audio_end: samples after the left padding, where the stream ends and zeros follow."""

    left_pad: int
    delay: int
    pieces: list[Piece]
    audio_end: int
    inputs: NDArray[np.int64]  # [n_tokens]
    targets: NDArray[np.int64]  # [n_tokens]; -1 inside the prompt
    endings: NDArray[np.int64]  # [n_tokens]: 1 + number of the word that has just ended, 0 = none


def targets(said: Sequence[tuple[float, int]], n_tokens: int, left_pad: int, delay: int) -> NDArray[np.int64]:
    """What to write at each position: said = (seconds after the left padding at which a word ends, its token).

    Without left padding it is the middle of a stream, and there is no prompt.
    """
    out = np.full(n_tokens, STREAMING_PAD_TOKEN, np.int64)
    free = PROMPT_PAD_TOKENS + delay if left_pad else 0
    out[:free] = -1
    by_frame: dict[int, list[int]] = {}
    for end_s, token in sorted(said, key=lambda one: one[0]):
        by_frame.setdefault(int(end_s * SAMPLE_RATE) // SAMPLES_PER_TOKEN, []).append(token)
    for frame, tokens in by_frame.items():
        place = max(left_pad + delay + frame, free)
        free = place + 1 + len(tokens)
        if free > n_tokens:
            break
        out[place:free] = [STREAMING_WORD_TOKEN, *tokens]
    return out


def endings(said: Sequence[tuple[float, int]], n_tokens: int, left_pad: int) -> NDArray[np.int64]:
    """What an ear alone should notice ENDING_TOKENS after a word's end, whatever the delay."""
    out = np.zeros(n_tokens, np.int64)
    for end_s, token in said:
        place = left_pad + int(end_s * SAMPLE_RATE) // SAMPLES_PER_TOKEN + ENDING_TOKENS
        if place < n_tokens:
            out[place] = 1 + token - FIRST_WORD_TOKEN
    return out


def _pick(random: Random, choices: Sequence[tuple[int, float]]) -> int:
    shares = np.array([share for _, share in choices])
    return choices[int(random.choice(len(choices), p=shares / shares.sum()))][0]


class _Drawing:
    """An example in the making: a cursor in the audio, in samples after the left padding."""

    def __init__(self, library: Library, scenes: Scenes, random: Random, capacity: int, is_middle: bool) -> None:
        self.library, self.scenes, self.random, self.capacity = library, scenes, random, capacity
        self.cursor = 0 if random.random() < scenes.straight_start else self._gap()
        if is_middle:
            self.cursor -= int(random.uniform(0, EARLIER_S) * SAMPLE_RATE)
        self.speed = float(np.exp(random.uniform(*np.log(scenes.speed))))
        self.speaker = str(random.choice(sorted(library.digits)))
        voices = library.kinds["digits"][1]
        self.voice = voices[random.integers(len(voices))].speaker if voices else ""
        self.tightness = random.choice([0.03, 0.12, 0.4])  # seconds between words of a string, about
        self.pieces: list[Piece] = []
        self.said: list[tuple[float, int]] = []

    def _gap(self) -> int:
        long = self.random.random() < 0.2
        return int(SAMPLE_RATE * (self.random.uniform(0.5, 2.5) if long else self.random.exponential(0.25)))

    def is_full(self) -> bool:
        return self.cursor >= self.capacity or len(self.pieces) >= N_PIECES

    def place(self, sound: Sound, until: int | None = None) -> None:
        """Put a clip at the cursor, its silence mostly cut; until: cut it there, in its own samples."""
        random = self.random
        lead = 0.0 if not self.pieces and self.cursor == 0 else random.uniform(0.005, 0.12)
        first = max(0, sound.speech[0] - int(lead * SAMPLE_RATE))
        last = min(sound.n_samples, (until or sound.speech[1]) + int(random.uniform(0.01, 0.1) * SAMPLE_RATE))
        speed = float(np.clip(self.speed * random.normal(1, 0.03), *self.scenes.speed))
        gain_db = -sound.level_db + random.normal(0, 3)
        piece = Piece(sound.start + first, max(last - first, 1), self.cursor, speed, gain_db)
        self.pieces.append(piece)
        for end, token in zip(sound.word_ends, sound.tokens, strict=True):
            at = self.cursor + (end - first) / speed
            if end <= last and 0 <= at < self.capacity:
                self.said.append((at / SAMPLE_RATE, token))
        self.cursor = piece.end

    def digits(self) -> None:
        library, random = self.library, self.random
        if random.random() < self.scenes.synthetic_digits and library.kinds["digits"][1]:
            return self.one_of("digits", True)
        is_mixed = random.random() < 0.3  # one digit by this speaker, the next by that
        for _ in range(random.integers(1, 9)):
            if self.is_full():
                break
            speaker = str(random.choice(sorted(library.digits))) if is_mixed else self.speaker
            recordings = library.digits[speaker]
            tokens = sorted(recordings)
            choice = recordings[tokens[random.integers(len(tokens))]]
            if random.random() < self.scenes.borrowed_digits and library.borrowed:
                choice = library.borrowed
            self.place(choice[random.integers(len(choice))])
            self.cursor += int(random.exponential(self.tightness) * SAMPLE_RATE)
        return None

    def one_of(self, kind: str, is_synthetic: bool | None = None) -> None:
        recorded, synthetic = self.library.kinds[kind]
        if is_synthetic is None:
            is_synthetic = bool(self.random.random() < self.scenes.synthetic)
        choice = (synthetic if is_synthetic else recorded) or recorded or synthetic
        sound = choice[self.random.integers(len(choice))]
        until = None
        if kind == "orders" and len(sound.word_ends) > 2 and self.random.random() < 0.12:  # who thinks again
            until = sound.word_ends[self.random.integers(1, len(sound.word_ends) - 1)]
        self.place(sound, until)

    def other_speech(self) -> None:
        random, scenes = self.random, self.scenes
        if random.random() < scenes.reversed_speech:  # words that nobody can understand
            kind = str(random.choice(["keywords", "orders"]))
            choice = self.library.kinds[kind][random.random() < scenes.synthetic] or self.library.kinds[kind][0]
            sound, is_reversed = choice[random.integers(len(choice))], True
        else:
            recorded, synthetic = self.library.kinds["other_speech"]
            choice = (synthetic if random.random() < 0.5 else recorded) or recorded or synthetic
            sound, is_reversed = choice[random.integers(len(choice))], bool(random.random() < 0.15)
        n = min(sound.n_samples, int(random.uniform(0.6, LONGEST_OTHER_S) * SAMPLE_RATE))
        begin = int(random.integers(sound.n_samples - n + 1))
        gain_db = -sound.level_db + random.normal(0, 3)
        piece = Piece(sound.start + begin, n, self.cursor, self.speed, gain_db, is_reversed)
        self.pieces.append(piece)
        self.cursor = piece.end

    def go_on(self, theme: str) -> None:
        """One more thing that happens."""
        draw = self.random.random()
        if theme == "other_speech":
            self.other_speech()
        elif theme == "mixed":
            kinds = (self.digits, lambda: self.one_of("keywords"), lambda: self.one_of("orders"), self.other_speech)
            kinds[int(self.random.choice(4, p=[0.3, 0.25, 0.25, 0.2]))]()
        elif draw < 0.05:
            self.other_speech()
        elif theme == "digits":
            self.digits()
        else:
            self.one_of(theme)
        self.cursor += self._gap()


def draw(library: Library, scenes: Scenes, random: Random) -> Scene:
    """The scene of one example."""
    themes = ("digits", "keywords", "orders", "mixed", "other_speech", "nothing")
    shares = np.array([getattr(scenes, theme) for theme in themes])
    theme = themes[int(random.choice(len(themes), p=shares / shares.sum()))]
    left_pad, delay = _pick(random, scenes.left_pads), _pick(random, scenes.delays)
    is_middle = bool(random.random() < scenes.middle)
    if is_middle:
        left_pad = 0
    room = (scenes.n_tokens - left_pad) * SAMPLES_PER_TOKEN
    right_pad = (delay + 1 + RIGHT_PAD_EXTRA_TOKENS) * SAMPLES_PER_TOKEN
    ends_early = random.random() < scenes.ends_early
    capacity = int((room - right_pad) * random.uniform(0.25, 1.0)) if ends_early else room
    drawing = _Drawing(library, scenes, random, capacity, is_middle)
    while theme != "nothing" and not drawing.is_full():
        drawing.go_on(theme)
    wanted = targets(drawing.said, scenes.n_tokens, left_pad, delay)
    written, wanted = _late(wanted, scenes, random)
    inputs = _inputs(written, scenes, random)
    unheard = (inputs == STREAMING_PAD_TOKEN) & (wanted >= FIRST_WORD_TOKEN)
    wanted[unheard] = -1  # a piece without its mark before it
    if is_middle:
        inputs[0] = STREAMING_PAD_TOKEN
        wanted[: delay + SETTLING_TOKENS] = -1
    ended = endings(drawing.said, scenes.n_tokens, left_pad)
    return Scene(left_pad, delay, drawing.pieces, capacity, inputs, wanted, ended)


def _late(wanted: NDArray[np.int64], scenes: Scenes, random: Random) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the decoder writes if some marks come a few tokens late, and what it should have written at each position:
    the mark, as long as it is missing. Without this a word whose end is heard in two frames, in each of them with less
    than half the probability, is never written.
    """
    written, wanted = wanted.copy(), wanted.copy()
    marks = np.flatnonzero(wanted == STREAMING_WORD_TOKEN)
    bounds = np.append(marks[1:], len(wanted))[: len(marks)]
    late = (random.random(len(marks)) < scenes.late_word) * (1 + random.integers(scenes.most_late, size=len(marks)))
    for mark, n_late, bound in zip(marks.tolist(), late.tolist(), bounds.tolist(), strict=True):
        end = mark + 1
        while end < bound and wanted[end] >= FIRST_WORD_TOKEN:
            end += 1
        n = min(n_late, bound - end)
        pieces = wanted[mark:end].copy()
        written[mark : mark + n], wanted[mark : mark + n] = STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN
        written[mark + n : end + n] = wanted[mark + n : end + n] = pieces
    return written, wanted


def _inputs(written: NDArray[np.int64], scenes: Scenes, random: Random) -> NDArray[np.int64]:
    """What the decoder hears itself say: what was written, one position later; some words wrong, some missed with
    their marks, and in some examples all of them up to some word: who once missed words must not stay silent.
    """
    inputs = np.concatenate([[BOS_TOKEN], np.where(written[:-1] < 0, STREAMING_PAD_TOKEN, written[:-1])])
    said = inputs >= FIRST_WORD_TOKEN
    swapped = said & (random.random(len(inputs)) < scenes.wrong_token)
    inputs[swapped] = FIRST_WORD_TOKEN + random.integers(len(words()), size=int(swapped.sum()))
    is_mark = inputs == STREAMING_WORD_TOKEN
    mark = np.cumsum(is_mark)  # of which it is part
    is_missed = random.random(mark[-1] + 1) < scenes.missed_word
    if random.random() < scenes.missed_all:
        is_missed[: random.integers(mark[-1] + 2)] = True
    inputs[(is_mark | said) & is_missed[mark]] = STREAMING_PAD_TOKEN
    return inputs
