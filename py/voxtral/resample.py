"""Any sample rate to the model's 16 kHz, as a stream, without delay.

Output m lies at input time m * rate / 16000 and is a sum of the inputs around it, weighted with a
Kaiser-windowed sinc that passes 0.45 of the lower rate and stops from 0.5 of it. In lowest terms n_in
inputs make n_out outputs, so only n_out phases (output times between two inputs) occur, each with its
own row of weights.
"""

from fractions import Fraction
from math import ceil

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.errors import AudioError

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
STOPBAND_DB = 85.0
PASSBAND, STOPBAND = 0.45, 0.5  # of the lower of the two rates
KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7)
# Kaiser's rule for the filter's length, here on each side and in samples of the lower rate: 54
HALF_WIDTH = (STOPBAND_DB - 7.95) / (14.36 * (STOPBAND - PASSBAND)) / 2
# Enough for every usual rate (11025 Hz needs all 640). Others take the nearest row: no drift, but noise
# at -60 dB or less.
MAX_PHASES = 640
WEIGHTS_PER_SLAB = 1 << 20  # bounds the intermediates to some MB


def _filter_bank(n_phases: int, scale: float) -> NDArray[np.float32]:
    """Weights [n_phases + 1, 2 * half]: row p for outputs p / n_phases after input sample half - 1.

    scale: the lower of both rates, as a share of the input rate.
    """
    half = ceil(HALF_WIDTH / scale) + 1  # one more, as phases reach from 0 to 1
    offsets = np.arange(1 - half, half + 1) - np.arange(n_phases + 1)[:, None] / n_phases  # in input samples
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (offsets * scale / HALF_WIDTH) ** 2)))
    window[np.abs(offsets) * scale > HALF_WIDTH] = 0
    weights = window * np.sinc((PASSBAND + STOPBAND) * scale * offsets)
    bank: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return bank


class Resampler:
    """A stream of samples at rate_in brought to 16 kHz; any chunking gives the same output, bit for bit.

    n samples give ceil(n * 16000 / rate_in) in all, the first one at the time of the first.
    Raises AudioError, which calls the sound `name`, for rates outside 1000 … 768000 Hz.
    """

    def __init__(self, rate_in: int, name: str = "the audio") -> None:
        require_rate(rate_in, name)
        self._n_in, self._n_out = Fraction(rate_in, SAMPLE_RATE).as_integer_ratio()
        self._is_copy = self._n_in == self._n_out
        if not self._is_copy:
            self._n_phases = min(self._n_out, MAX_PHASES)
            self._bank = _filter_bank(self._n_phases, min(1.0, self._n_out / self._n_in))
            self._half = self._bank.shape[1] // 2
        self.reset()

    def reset(self) -> None:
        """Begin a new stream: silence before its first sample."""
        self._n_fed = 0
        self._n_done = 0  # outputs so far
        self._pending_start = 0 if self._is_copy else 1 - self._half  # input index of _pending[0]
        self._pending: NDArray[np.float32] = np.zeros(-self._pending_start, np.float32)

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """samples float32 [n] -> the outputs whose surroundings are now known, float32."""
        samples = np.asarray(samples, np.float32)
        if self._is_copy:
            return samples
        self._n_fed += len(samples)
        return self._advance(samples, self._n_fed - self._half)

    def flush(self) -> NDArray[np.float32]:
        """The outputs that only lacked samples past the end; the stream is then as new."""
        if self._is_copy:
            return np.zeros(0, np.float32)
        rest = self._advance(np.zeros(self._half, np.float32), self._n_fed)
        self.reset()
        return rest

    def _advance(self, samples: NDArray[np.float32], end: int) -> NDArray[np.float32]:
        """Take samples in, return the outputs at input times before `end`."""
        pending = np.concatenate([self._pending, samples])
        n_total = max(self._n_done, -(-end * self._n_out // self._n_in))
        outputs = np.empty(n_total - self._n_done, np.float32)
        if len(outputs):
            windows = sliding_window_view(pending, 2 * self._half)
            n_slab = max(1, WEIGHTS_PER_SLAB // (2 * self._half))
            for first in range(0, len(outputs), n_slab):
                # int64 by name: numpy's default integer has 32 bits in WebAssembly
                indices = np.arange(first, min(first + n_slab, len(outputs)), dtype=np.int64) + self._n_done
                inputs, between = np.divmod(indices * self._n_in, self._n_out)
                phases = (between * self._n_phases + self._n_out // 2) // self._n_out
                rows = windows[inputs + (1 - self._half - self._pending_start)]
                # One dot product per output, of the same length each: no blocking that chunks could change.
                outputs[first : first + n_slab] = np.vecdot(rows, self._bank[phases])
        self._n_done = n_total
        keep = n_total * self._n_in // self._n_out + 1 - self._half  # first input of the next output
        self._pending = pending[keep - self._pending_start :].copy()  # a view would keep all of it
        self._pending_start = keep
        return outputs


def require_rate(rate_in: int, name: str) -> None:
    """Raise AudioError, which calls the sound `name`, for rates that nobody records speech with."""
    if not MIN_RATE <= rate_in <= MAX_RATE:
        raise AudioError(
            f"{name}: expected a sample rate from {MIN_RATE} to {MAX_RATE} Hz, found {rate_in}; convert it to 16000 Hz"
        )


def resample(samples: NDArray[np.float32], rate_in: int, name: str = "the audio") -> NDArray[np.float32]:
    """A whole clip at 16 kHz: float32 [n] -> float32 [ceil(n * 16000 / rate_in)]; errors as in Resampler."""
    resampler = Resampler(rate_in, name)
    return np.concatenate([resampler.feed(samples), resampler.flush()])
