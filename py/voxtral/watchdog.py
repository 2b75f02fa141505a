"""Watches over a decoder that listens for hours: when to begin anew, and what stays. Pure policy, a token at a time.

A decoder that feeds on its own words can get stuck, and nothing in the model prevents it. Two ways to be stuck:

stall   The sound goes on and no text comes. Counted is sound (`Loudness`), not time: 20 s of it, or 5 s once `</s>`
        was written, which in live audio only means that the model took a pause for the end. Silence takes a little of
        the count back, so that a door that is shut now and then never amounts to a stall.
loop    A phrase of up to 24 tokens is written again and again, beyond what people say. That somebody repeats himself
        is no sign of it: digits, refrains and chants do. One of these is:
          rate      8 and more repeats, 32 and more tokens, at 9 tokens a second or more: nobody speaks so fast;
          silence   4 and more repeats, of which 2 and more were written through 2 s without any sound;
          clockwork the whole stream, pads included, repeats to the frame for 20 s and 16 times: nobody's rhythm is so
                    even, yet a machine's may be. So if the next attempt hears it, too, it is believed.

What stays: of a stall every complete word, of a loop the words of its first two repeats; words that were not complete
are dropped. From there the sound is heard again, as far as it is kept. An attempt that follows soon upon another (no
minute with text lies between them) is not worth the same patience: limits double each time, up to 32-fold, the sound
is not heard again, and a phrase that was a loop before leaves nothing behind. So music and noise do not restart for
ever.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxtral.config import EOS_TOKEN, MS_PER_TOKEN, N_SPECIAL_TOKENS, SAMPLES_PER_TOKEN

TOKEN_S = MS_PER_TOKEN / 1000

STALL_S = 20.0  # of sound without text
STALL_AFTER_END_S = 5.0  # the same behind `</s>`
SILENCE_TAKES_BACK = 0.125  # of a token without sound, from that count
RECOVERED_S = 60.0  # of a leg that wrote text: it was worth it
MAX_DOUBLINGS = 5

MAX_PHRASE = 24  # tokens of text
MIN_REPEATS, MIN_PHRASE_TOKENS = 8, 32  # at a speaker's top speed
TOP_TOKENS_PER_S = 9.0
MIN_REPEATS_HEARD, MIN_REPEATS_IN_SILENCE, SILENT_LOOP_S = 4, 2, 2.0
MAX_PERIOD = 64  # tokens of any kind, 5 s
MIN_PERIODS, CLOCKWORK_S = 16, 20.0

QUIETEST_DB = -60.0  # of full scale: below that, nothing is a sound
ABOVE_NOISE_DB = 6.0
NOISE_RISES_DB = 0.08  # each token: 1 dB a second


class Reason(StrEnum):
    STALL = "stall"
    LOOP = "loop"


@dataclass(frozen=True)
class Alarm:
    """Begin anew. Complete words that ended by keep_until_s stay; hears_again: the sound since then is worth it."""

    reason: Reason
    keep_until_s: float
    hears_again: bool


class Loudness:
    """Which stretches of 80 ms hold a sound: louder than -60 dBFS, and than the noise that is always there."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._noise_db = 0.0

    def feed(self, samples: NDArray[np.float32]) -> list[bool]:
        """Mono samples at 16 kHz, any number; for each stretch they complete, whether it is a sound."""
        samples = np.concatenate([self._rest, samples])
        n = len(samples) // SAMPLES_PER_TOKEN
        self._rest = samples[n * SAMPLES_PER_TOKEN :].copy()
        stretches = samples[: n * SAMPLES_PER_TOKEN].reshape(n, SAMPLES_PER_TOKEN)
        power = np.square(stretches, dtype=np.float64).mean(axis=1) if n else np.zeros(0)
        return [self._is_sound(db) for db in (10 * np.log10(np.maximum(power, 1e-12))).tolist()]

    def _is_sound(self, db: float) -> bool:
        self._noise_db = max(QUIETEST_DB - ABOVE_NOISE_DB, min(db, self._noise_db + NOISE_RISES_DB))
        return db >= self._noise_db + ABOVE_NOISE_DB


class _Repeats:
    """How far back a sequence agrees with itself, n items earlier, for every n up to a limit."""

    def __init__(self, largest: int) -> None:
        self._items: deque[Hashable] = deque(maxlen=largest)
        self.lengths = [0] * (largest + 1)  # of the agreement at each distance

    def add(self, item: Hashable) -> None:
        for n, earlier in enumerate(reversed(self._items), 1):
            self.lengths[n] = self.lengths[n] + 1 if earlier == item else 0
        self._items.append(item)

    def last(self, n: int) -> tuple[Hashable, ...]:
        return tuple(self._items)[-n:]


class _Written(NamedTuple):
    """A token of text: the frame it speaks about, and when that ended."""

    frame: int
    time_s: float


class Watchdog:
    """see(token, …) for every token of a leg, in order → an Alarm when it is time for the next; then begin()."""

    def __init__(self) -> None:
        self._n_doublings = 0
        self._suspects: frozenset[Hashable] = frozenset()  # tokens of the last phrase that was taken for a loop
        self.begin()

    def begin(self) -> None:
        """A new leg: nothing was written."""
        self._frame = 0
        self._unwritten_s = 0.0  # sound since the last text
        self._has_ended = False
        self._phrases, self._periods = _Repeats(MAX_PHRASE), _Repeats(MAX_PERIOD)
        self._written: deque[_Written] = deque(maxlen=MAX_PHRASE * MIN_REPEATS << MAX_DOUBLINGS)
        self._n_silent, self._silent_frame = 0, 0  # tokens of text since the last sound, and the first one's frame

    def see(self, token: int, time_s: float, is_sound: bool) -> Alarm | None:
        """The next token; time_s: end of the frame it speaks about; is_sound: whether that frame holds any."""
        self._frame += 1
        self._unwritten_s = max(0.0, self._unwritten_s + TOKEN_S * (1 if is_sound else -SILENCE_TAKES_BACK))
        self._periods.add(token)
        if is_sound:
            self._n_silent = 0
        if token == EOS_TOKEN:
            self._has_ended = True
        if token >= N_SPECIAL_TOKENS:
            self._take_text(token, time_s, is_sound)
        alarm = self._loop(token) or self._stall(time_s)
        if alarm:
            self._n_doublings = min(MAX_DOUBLINGS, self._n_doublings + 1)
        return alarm

    def _take_text(self, token: int, time_s: float, is_sound: bool) -> None:
        self._unwritten_s, self._has_ended = 0.0, False
        self._phrases.add(token)
        self._written.append(_Written(self._frame, time_s))
        if not is_sound:
            self._silent_frame = self._silent_frame if self._n_silent else self._frame
            self._n_silent += 1
        if self._frame * TOKEN_S >= RECOVERED_S and max(self._phrases.lengths) < MIN_PHRASE_TOKENS:
            self._n_doublings = 0

    @property
    def _patience(self) -> int:
        return 1 << self._n_doublings

    # -- stall ----------------------------------------------------------------------------------
    def _stall(self, time_s: float) -> Alarm | None:
        limit_s = STALL_AFTER_END_S if self._has_ended else STALL_S
        if self._unwritten_s < limit_s * self._patience:
            return None
        return Alarm(Reason.STALL, time_s, hears_again=self._n_doublings == 0)

    # -- loop -----------------------------------------------------------------------------------
    def _loop(self, token: int) -> Alarm | None:
        if token < N_SPECIAL_TOKENS:
            return None
        for n in range(1, MAX_PHRASE + 1):
            n_tokens = self._phrases.lengths[n] + n
            if n_tokens < MIN_REPEATS_HEARD * n:
                continue
            n_fast = max(MIN_REPEATS * n, MIN_PHRASE_TOKENS) * self._patience
            if n_fast <= min(n_tokens, len(self._written)) and self._is_too_fast(n_fast):
                return self._taken_back(n, n_fast)
            if self._is_silent(n, n_tokens) or self._is_clockwork(n):
                return self._taken_back(n, n_tokens)
        return None

    def _is_too_fast(self, n_tokens: int) -> bool:
        span_s = (self._frame - self._written[-n_tokens].frame) * TOKEN_S
        return n_tokens - 1 >= TOP_TOKENS_PER_S * span_s

    def _is_silent(self, n: int, n_tokens: int) -> bool:
        silent_s = (self._frame - self._silent_frame) * TOKEN_S
        is_long = silent_s >= SILENT_LOOP_S * self._patience
        return is_long and min(n_tokens, self._n_silent) >= MIN_REPEATS_IN_SILENCE * n

    def _is_clockwork(self, n: int) -> bool:
        """The phrase is all that the repeating stream says, and it was not so when the same sound was heard before."""
        if set(self._phrases.last(n)) <= self._suspects:
            return False
        for period in range(n, MAX_PERIOD + 1):
            n_frames = self._periods.lengths[period] + period
            if n_frames >= self._patience * max(MIN_PERIODS * period, CLOCKWORK_S / TOKEN_S):
                return True
        return False

    def _taken_back(self, n: int, n_tokens: int) -> Alarm:
        """The loop is the last n_tokens of text: two repeats stay, or none of a phrase that was a loop before."""
        phrase = frozenset(self._phrases.last(n))
        n_kept = 0 if phrase <= self._suspects else 2 * n
        self._suspects = phrase
        n_gone = min(n_tokens - n_kept, len(self._written))
        if n_gone < len(self._written):
            keep_until_s = self._written[-n_gone - 1].time_s
        else:
            keep_until_s = self._written[0].time_s - 2 * TOKEN_S  # a marker may have come before it
        return Alarm(Reason.LOOP, keep_until_s, hears_again=self._n_doublings == 0)
