"""Where words begin, by the sound: tokens tell only where they end.

A word begins behind the last pause before its end. A pause is 70 ms in which the sound is far below the word's loudest
moment, and nearer to the quietest of the last seconds; one so near to the word's end that too little of it would be
left is a stop inside the word, such as that of "eight". Without a pause a word begins where the one before it ends.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxtral.config import MEL_FRAMES_PER_TOKEN, MS_PER_TOKEN

FRAME_S = MS_PER_TOKEN / MEL_FRAMES_PER_TOKEN / 1000
OFFSETS_S = FRAME_S * np.arange(MEL_FRAMES_PER_TOKEN) - MS_PER_TOKEN / 2000  # of a token's frames from its middle
MEMORY_TOKENS = 125  # ten seconds
PEAK_FRAMES = 30  # a word's loudest frame is at least looked for among so many before its end
PAUSE_FRAMES = 7
PAUSE_DB = 35.0  # below the word's loudest frame
NOISE_SHARE = 0.25  # a pause may be this far above the noise, as a share of the word's height above it
SHORTEST_SHARE = 0.6  # of the time that the word usually takes
LONGEST_SHARE = 3.0  # of it, or
LONGEST_S = 1.2  # of a word without any pause before it


def levels_of(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Loudness of log-mel frames [n, 128] in dB, -44 for silence: float32 [n]."""
    levels: NDArray[np.float32] = 10 * np.log10(np.sum(10.0 ** (4 * mel - 4), axis=1))
    return levels


class Onsets:
    """Remembers how loud the last ten seconds were: feed, then find."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[float, Sequence[float]]] = deque(maxlen=MEMORY_TOKENS)

    def feed(self, middle_s: float, levels: Sequence[float]) -> None:
        """The levels of one token's 80 ms, in whose middle the recording's clock was at middle_s."""
        # A clock that stands still is in silence that is no part of the recording; one that went back hears it again.
        if levels and (not self._tokens or middle_s > self._tokens[-1][0]):
            self._tokens.append((middle_s, levels))

    def find(self, after_s: float, end_s: float, usual_s: float) -> float | None:
        """When a word began that ended at end_s, the one before at after_s, and that usually takes usual_s, or None."""
        if not self._tokens:
            return None
        middles, rows = zip(*self._tokens, strict=True)
        times = (np.array(middles)[:, None] + OFFSETS_S).reshape(-1)
        levels = np.array(rows).reshape(-1)
        earliest, last = (int(i) for i in np.searchsorted(times, (after_s, end_s)))
        first = max(earliest, last - round(max(LONGEST_S, LONGEST_SHARE * usual_s) / FRAME_S))
        if first >= last:
            return None
        n_usual = round(usual_s / FRAME_S)
        peak = levels[max(first, last - max(PEAK_FRAMES, n_usual)) : last].max()
        noise = min(peak, np.partition(levels[:last], last // 10)[last // 10])  # below it lies the quietest tenth
        is_loud = (levels[first:last] >= max(peak - PAUSE_DB, noise + NOISE_SHARE * (peak - noise))).tolist()
        n_quiet = 0
        for i in range(last - first - 1, -1, -1):
            n_quiet = 0 if is_loud[i] else n_quiet + 1
            begin = i + n_quiet
            if n_quiet >= PAUSE_FRAMES and last - first - begin >= SHORTEST_SHARE * n_usual:
                return float(times[first + begin])
        return None if first > earliest else float(times[first + is_loud.index(True)])
