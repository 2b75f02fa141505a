"""Log-mel front end: mono float32 at 16 kHz in, [n_mel_frames, 128] float32 out, time-major.

Frame t is centred on sample 160 t: it covers samples 160 t - 200 … 160 t + 199, zeros outside the
signal. n samples give n // 160 frames. Knows nothing about tokens or padding (padding.py).
Recipe: MODEL.md, section "Audio front end". Every step is done row by row or element by element
(no BLAS), so the result does not depend, not even in the last bit, on how the samples were chunked.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from voxtral.config import N_FFT, N_MEL_BINS, SAMPLE_RATE, SAMPLES_PER_MEL_FRAME

N_FREQUENCIES = N_FFT // 2 + 1  # 201
HALF_WINDOW = N_FFT // 2  # 200 samples on each side of a frame's centre
N_END_ZEROS = HALF_WINDOW - SAMPLES_PER_MEL_FRAME  # 40: what the last frame needs past the end
LOG_FLOOR = 1.5 - 8.0  # the model's fixed maximum, minus 8 decades; makes mel causal
FRAMES_PER_SLAB = 1024  # bounds the float64 intermediates to a few MB


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@cache
def mel_filters() -> NDArray[np.float32]:
    """Triangular Slaney filters over 0…8000 Hz with unit area, [128, 201]; do not write to it."""
    edges = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), N_MEL_BINS + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(N_FREQUENCIES) * (SAMPLE_RATE / N_FFT)  # Hz
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    filters = (np.maximum(triangles, 0) * (2 / (high - low))).astype(np.float32)
    filters.flags.writeable = False
    return filters


@cache
def _filter_taps() -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The filters as (first bin [128], weights [n_taps, 128]): each has at most 9 adjacent non-zero bins."""
    filters = mel_filters()
    first = np.argmax(filters > 0, axis=1)
    n_taps = int(np.count_nonzero(filters, axis=1).max())
    first = np.minimum(first, N_FREQUENCIES - n_taps)
    weights = np.stack([filters[np.arange(N_MEL_BINS), first + tap] for tap in range(n_taps)])
    return first, weights.astype(np.float64)


@cache
def _hann() -> NDArray[np.float64]:
    """Periodic Hann window, [400]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)


def _mel_of_windows(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """windows [n, 400] -> [n, 128]."""
    spectrum = np.fft.rfft(windows * _hann(), axis=1)  # [n, 201] complex128
    power = spectrum.real**2 + spectrum.imag**2
    first, weights = _filter_taps()
    mel = power[:, first] * weights[0]
    for tap in range(1, len(weights)):  # fixed order of summation
        mel += power[:, first + tap] * weights[tap]
    log_mel = np.maximum(np.log10(np.maximum(mel, 1e-10)), LOG_FLOOR)
    scaled: NDArray[np.float32] = ((log_mel + 4) / 4).astype(np.float32)
    return scaled


class MelStream:
    """Log-mel frames of a stream of samples; any chunking gives the same frames, bit for bit."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new stream: silence before its first sample."""
        # Samples from the start of the next frame's window onwards.
        self._pending: NDArray[np.float32] = np.zeros(HALF_WINDOW, np.float32)

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """samples float32 [n] -> the frames they complete, float32 [n_new_frames, 128]."""
        pending = np.concatenate([self._pending, np.asarray(samples, np.float32)])
        n_frames = max(0, (len(pending) - N_FFT) // SAMPLES_PER_MEL_FRAME + 1)
        self._pending = pending[n_frames * SAMPLES_PER_MEL_FRAME :].copy()  # a view would keep all of it
        mel = np.empty((n_frames, N_MEL_BINS), np.float32)
        if n_frames:
            windows = sliding_window_view(pending, N_FFT)[::SAMPLES_PER_MEL_FRAME]
            for start in range(0, n_frames, FRAMES_PER_SLAB):
                mel[start : start + FRAMES_PER_SLAB] = _mel_of_windows(windows[start : start + FRAMES_PER_SLAB])
        return mel

    def flush(self) -> NDArray[np.float32]:
        """The frames that only lacked samples past the end; the stream is then as new."""
        rest = self.feed(np.zeros(N_END_ZEROS, np.float32))
        self.reset()
        return rest


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel frames of a whole clip: float32 [n] -> float32 [n // 160, 128]."""
    stream = MelStream()
    return np.concatenate([stream.feed(samples), stream.flush()])
