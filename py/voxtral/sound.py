"""Sound as it came in, and how several channels become one.

The model hears mono. Channels are averaged, as the reference does, unless they cancel each other out
(stereo wired in opposite phase): then the loudest one is taken. A constant offset, which a bad sound card
adds and nobody hears, is taken out. Levels are left alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import AudioError

MIN_SAMPLES = 2
CANCELLED = 0.01  # the average has less than this share of the loudest channel's energy: -20 dB
NOISE_PEAK = 10 ** (-66 / 20)  # below this, 16-bit sound is mostly rounding
QUIET_PEAK = 10 ** (-37 / 20)  # from here on the demo network hears as well as at any level
RAISED_PEAK = 10 ** (-20 / 20)
OFFSET = 0.1  # a mean beyond this share of the sound's own RMS is no part of the sound
MAX_MAGNITUDE = 1e30  # beyond this, or NaN: no sound
SAMPLES_PER_SLAB = 1 << 20  # bounds the intermediates of an hour-long file


@dataclass
class Sound:
    """Samples float32 [n_channels, n], nominally in [-1, 1]; notices are sentences about its defects."""

    channels: NDArray[np.float32]
    sample_rate: int  # Hz
    notices: list[str] = field(default_factory=list)


def to_mono(sound: Sound, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """One channel float32 [n], and sentences about what had to be done; `name` is what they call the sound.

    NaN, infinite and absurd samples become silence. Raises AudioError for fewer than two samples.
    """
    channels = sound.channels
    notices: list[str] = []
    n_channels, n_samples = channels.shape
    if n_channels == 0 or n_samples < MIN_SAMPLES:
        found = f"{n_samples} sample{'s' * (n_samples != 1)}" if n_channels else "no channels"
        raise AudioError(f"{name}: expected sound, found {found}; record or export it again")
    n_bad = sum(int(np.count_nonzero(_is_bad(slab))) for slab in _slabs(channels))
    if n_bad:
        channels = without_bad(channels)
        are, were = ("is not a finite number", "was") if n_bad == 1 else ("are not finite numbers", "were")
        notices.append(f"{name}: {n_bad} sample{'s' * (n_bad != 1)} {are} and {were} taken as silence.")
    mono = channels.mean(axis=0, dtype=np.float32)
    mean, energy = _mean_and_energy(mono[None])
    if n_channels > 1:
        means, energies = _mean_and_energy(channels)
        loudest = int(np.argmax(energies))
        if energy[0] < CANCELLED * energies[loudest]:
            notices.append(f"{name}: its channels cancel each other out, so only channel {loudest + 1} was used.")
            mono, mean, energy = channels[loudest], means[loudest:], energies[loudest:]
    if abs(mean[0]) > OFFSET * np.sqrt(energy[0]):
        mono = mono - np.float32(mean[0])
    return mono, notices


def audible(samples: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], list[str]]:
    """A recording as loud as speech needs to be, and a sentence if it was raised.

    Only very quiet ones are touched (a peak from -66 to -37 dBFS), and only where the whole recording is known.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if not NOISE_PEAK <= peak < QUIET_PEAK:
        return samples, []
    gain = RAISED_PEAK / peak
    level, raised = 20 * math.log10(peak), 20 * math.log10(gain)
    notice = f"{name}: it is very quiet (peak {level:.0f} dBFS), so it was raised by {raised:.0f} dB."
    return samples * np.float32(gain), [notice]


def without_bad(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The samples with NaN, infinite and absurd ones as silence; for sound that comes live."""
    return np.where(_is_bad(samples), np.float32(0), samples)


def _is_bad(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    return ~(np.abs(samples) < MAX_MAGNITUDE)  # NaN compares false


def _slabs(channels: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, channels.shape[1], SAMPLES_PER_SLAB):
        yield channels[:, start : start + SAMPLES_PER_SLAB]


def _mean_and_energy(channels: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each channel, and its mean square around that: an offset is not sound."""
    n_samples = channels.shape[1]
    total = np.zeros(len(channels))
    squares = np.zeros(len(channels))
    for slab in _slabs(channels):
        values = slab.astype(np.float64)
        total += values.sum(axis=1)
        squares += (values * values).sum(axis=1)
    means: NDArray[np.float64] = total / n_samples
    energies: NDArray[np.float64] = np.maximum(squares / n_samples - means * means, 0)
    return means, energies
