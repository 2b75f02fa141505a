"""A second, careful hearing of passages that are over: with more delay, when there is nothing else to do.

Passages    cuts a recording at its pauses, and keeps the sound of each passage until it was heard again
SecondPass  hears them, a little at a time, with a stream of its own that remembers no more than it must
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voxtral.config import (
    MS_PER_TOKEN,
    N_SPECIAL_TOKENS,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    STREAMING_WORD_TOKEN,
    StreamingConfig,
)
from voxtral.decoding import Transcript, Word, joined
from voxtral.model.voxtral import Voxtral
from voxtral.session import StreamingSession
from voxtral.tekken import Tekken
from voxtral.watchdog import Watchdog

CAREFUL_DELAY_MS = 2400
PAUSE_TOKENS = 8  # without text: a passage ends in the middle of them
LONGEST_S = 30.0
MAX_BACKLOG_S = 120.0  # of sound that waits; beyond that the oldest passages keep their first words
WINDOW_TOKENS = 1024  # that a careful stream looks back on: the silence before a passage, and the longest one
STEP_TOKENS = 8  # heard at once, so that live sound never waits long


@dataclass(frozen=True)
class Passage:
    """Words first … first + n_words - 1, and the sound from start_s on in which they were said."""

    start_s: float
    first: int
    n_words: int
    samples: NDArray[np.float32]

    @property
    def end(self) -> int:
        return self.first + self.n_words


class Passages:
    """see(tokens) → where passages end; take(…) makes one of them. `queue`: those that wait, in order."""

    def __init__(self, start_s: float) -> None:
        self.queue: deque[Passage] = deque()
        self._start_s = start_s  # of the passage that is not over
        self._first = 0  # word of it
        self._n_quiet = 0
        self._has_text = False

    @property
    def waiting_s(self) -> float:
        return sum(len(passage.samples) for passage in self.queue) / SAMPLE_RATE

    @property
    def start_s(self) -> float:
        return self._start_s

    def see(self, token: int, time_s: float) -> float | None:
        """The next token; where the passage ended, if it did."""
        is_word = token >= N_SPECIAL_TOKENS or token == STREAMING_WORD_TOKEN
        self._n_quiet = 0 if is_word else self._n_quiet + 1
        self._has_text |= token >= N_SPECIAL_TOKENS
        if self._n_quiet < PAUSE_TOKENS:
            return None
        middle_s = time_s - PAUSE_TOKENS / 2 * MS_PER_TOKEN / 1000
        if self._has_text:
            self._has_text = False
            return middle_s
        self._start_s = max(self._start_s, middle_s)  # silence before a passage is no part of it
        return None

    def take(self, words: Sequence[Word], end_s: float, samples: NDArray[np.float32]) -> None:
        """The passage ended at end_s, and `samples` is its sound; words: all complete ones."""
        n_words = sum(word.end <= end_s for word in words[self._first :])
        if n_words and len(samples):
            self.queue.append(Passage(self._start_s, self._first, n_words, samples))
        self._first += n_words
        self._start_s = end_s
        while self.waiting_s > MAX_BACKLOG_S:
            self.queue.popleft()

    def is_too_long(self, now_s: float) -> bool:
        return now_s - self._start_s > LONGEST_S

    def begin_anew(self, n_words: int, start_s: float) -> None:
        """Only the first n_words stayed, and the sound from start_s on is heard again."""
        self.queue = deque(passage for passage in self.queue if passage.end <= n_words)
        self._first = min(self._first, n_words)
        self._start_s, self._n_quiet, self._has_text = start_s, 0, False

    def moved(self, end: int, n: int) -> None:
        """There are n more words in front of number `end` than there were."""
        self.queue = deque(replace(p, first=p.first + n) if p.first >= end else p for p in self.queue)
        self._first += n


class SecondPass:
    """step() → a passage and other words for it, when one was heard to its end and they differ."""

    def __init__(self, model: Voxtral, tekken: Tekken, streaming: StreamingConfig, passages: Passages) -> None:
        self._model, self._tekken, self._passages = model, tekken, passages
        self._streaming = replace(streaming, delay_ms=CAREFUL_DELAY_MS)
        self._passage: Passage | None = None  # that is being heard

    @property
    def has_work(self) -> bool:
        return bool(self._passage or self._passages.queue)

    def _begin(self, passage: Passage) -> None:
        streaming = self._streaming
        self._passage = passage
        self._session = StreamingSession(self._model, streaming.delay_ms, streaming.left_pad_tokens)
        self._transcript = Transcript(self._tekken)
        self._watchdog = Watchdog()
        n_padding = (streaming.right_pad_tokens + 1) * SAMPLES_PER_TOKEN
        self._samples = np.concatenate([passage.samples, np.zeros(n_padding, np.float32)])
        self._n_heard = 0
        self._is_behind_silence = False

    async def step(self, words: Sequence[Word]) -> tuple[Passage, list[Word]] | None:
        """Hear the next little bit; words: the recording's, as they are now. Raises DeviceError."""
        if self._passage is None:
            self._begin(self._passages.queue.popleft())
        passage = self._passage
        assert passage is not None
        if not self._is_behind_silence:
            self._is_behind_silence = await self._session.approach(STEP_TOKENS)
            return None
        samples = self._samples[self._n_heard : self._n_heard + STEP_TOKENS * SAMPLES_PER_TOKEN]
        events = await self._session.feed(samples)
        self._n_heard += len(samples)
        events = [replace(event, time_s=event.time_s + passage.start_s) for event in events]
        is_stuck = any(self._watchdog.see(event.token, event.time_s, True) for event in events)
        self._transcript.feed(events)
        if self._n_heard < len(self._samples) and not is_stuck:
            return None
        self._transcript.flush()
        self.cancel()
        careful = self._transcript.words
        is_same = joined(careful) == joined(words[passage.first : passage.end])
        return None if is_stuck or is_same or not careful else (passage, careful)

    def forget_beyond(self, n_words: int) -> None:
        """Only the first n_words of the recording stayed."""
        if self._passage and self._passage.end > n_words:
            self.cancel()

    def go_on(self, model: Voxtral) -> None:
        """The model was loaded anew: the passage that was being heard waits again."""
        self._model = model
        if self._passage:
            self._passages.queue.appendleft(self._passage)
        self._passage = None

    def cancel(self) -> None:
        """Give its place on the device back."""
        if self._passage:
            self._session.reset()
        self._passage = None
