"""Sound as it came in, and how several channels become one.

The model hears mono. Channels are averaged, as the reference does, unless they cancel each other out
(stereo wired in opposite phase): then the loudest one is taken. A constant offset, which a bad sound card
adds and nobody hears, is taken out. Levels are left alone, but those of very quiet recordings.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.errors import AudioError

MIN_SAMPLES = 2
CANCELLED = 0.01  # the average has less than this share of the loudest channel's energy: -20 dB
NOISE_PEAK = 10 ** (-66 / 20)  # below this, 16-bit sound is mostly rounding
QUIET_PEAK = 10 ** (-37 / 20)  # from here on the demo network hears as well as at any level
RAISED_PEAK = 10 ** (-20 / 20)
STRETCH_S = 30.0  # half of what the page decodes of a file before anything was heard
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
    _require_samples(len(channels), channels.shape[1], name)
    n_bad = _count_bad(channels)
    if n_bad:
        channels = without_bad(channels)
        notices.append(_were_bad(name, n_bad))
    mono = channels.mean(axis=0, dtype=np.float32)
    if (loudest := _heard_alone(channels, mono)) is not None:
        notices.append(_cancelled(name, loudest))
        mono = channels[loudest]
    offset = _offset(*_mean_and_energy(mono[None]))
    return (mono - offset if offset else mono), notices


class Mixer:
    """The same, but for offsets, for sound that comes in blocks: feed(channels) → what may go on, then flush().

    The first stretch_s that hold any sound decide whether the channels cancel each other out. notice: called with
    sentences.
    """

    def __init__(self, name: str, sample_rate: int, notice: Callable[[str], None], stretch_s: float) -> None:
        self._name, self._notice = name, notice
        self._n_stretch = stretch_s * sample_rate
        self._held: list[NDArray[np.float32]] = []
        self._n_channels = self._n_samples = self._n_bad = 0
        self._is_decided = False
        self._alone: int | None = None  # the only channel that is heard

    def feed(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples float32 [n_channels, n]; always as many channels."""
        self._n_channels = len(channels)
        self._n_samples += channels.shape[1]
        if n_bad := _count_bad(channels):
            self._n_bad += n_bad
            channels = without_bad(channels)
        if self._is_decided or self._n_channels == 1:
            return self._mixed(channels)
        self._held.append(channels)
        if sum(block.shape[1] for block in self._held) < self._n_stretch:
            return np.zeros(0, np.float32)
        return self._decide()

    def flush(self) -> NDArray[np.float32]:
        """The recording is over. Raises AudioError if it had fewer than two samples."""
        _require_samples(self._n_channels, self._n_samples, self._name)
        if self._n_bad:
            self._notice(_were_bad(self._name, self._n_bad))
        return self._decide() if self._held else np.zeros(0, np.float32)

    def _decide(self) -> NDArray[np.float32]:
        channels = np.concatenate(self._held, axis=1)
        self._held.clear()
        self._is_decided = _peak(channels) >= NOISE_PEAK
        self._alone = _heard_alone(channels, self._mixed(channels))
        if self._alone is not None:
            self._notice(_cancelled(self._name, self._alone))
        return self._mixed(channels)

    def _mixed(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        mono: NDArray[np.float32] = (
            channels.mean(axis=0, dtype=np.float32) if self._alone is None else channels[self._alone]
        )
        return mono


def _require_samples(n_channels: int, n_samples: int, name: str) -> None:
    if n_channels == 0 or n_samples < MIN_SAMPLES:
        found = f"{n_samples} sample{'s' * (n_samples != 1)}" if n_channels else "no channels"
        raise AudioError(f"{name}: expected sound, found {found}; record or export it again")


def _count_bad(channels: NDArray[np.float32]) -> int:
    return sum(int(np.count_nonzero(_is_bad(slab))) for slab in _slabs(channels))


def _were_bad(name: str, n_bad: int) -> str:
    are, were = ("is not a finite number", "was") if n_bad == 1 else ("are not finite numbers", "were")
    return f"{name}: {n_bad} sample{'s' * (n_bad != 1)} {are} and {were} taken as silence."


def _heard_alone(channels: NDArray[np.float32], mono: NDArray[np.float32]) -> int | None:
    """The loudest channel where all of them together, `mono`, are next to nothing."""
    if len(channels) == 1:
        return None
    _, energies = _mean_and_energy(channels)
    _, energy = _mean_and_energy(mono[None])
    loudest = int(np.argmax(energies))
    return loudest if energy[0] < CANCELLED * energies[loudest] else None


def _cancelled(name: str, loudest: int) -> str:
    return f"{name}: its channels cancel each other out, so only channel {loudest + 1} was used."


def audible(samples: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], list[str]]:
    """A recording as loud as speech needs to be, and a sentence if it was raised.

    Only very quiet ones are touched: a peak from -66 to -37 dBFS.
    """
    peak = _peak(samples)
    gain = _gain(peak)
    return (samples * np.float32(gain), [_raised(name, peak, gain)]) if gain > 1 else (samples, [])


class Levels:
    """The same for a file that comes in blocks, and its offset: feed(samples) → what may go on, then flush().

    The first 30 s that hold any sound decide, so they come together, when they are there. Where a raised recording
    turns out to have louder parts, it is raised less from there on. notice: called with a sentence if it is raised.
    """

    def __init__(self, name: str, notice: Callable[[str], None]) -> None:
        self._name, self._notice = name, notice
        self._held: list[NDArray[np.float32]] = []
        self._gain: float | None = None  # None: no sound yet
        self._offset = np.float32(0)

    @property
    def n_held(self) -> int:
        """Samples that came and did not go on."""
        return sum(map(len, self._held))

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono samples at 16 kHz, any number."""
        self._held.append(samples)
        if self._gain is None and self.n_held < STRETCH_S * SAMPLE_RATE:
            return np.zeros(0, np.float32)
        return self.flush()

    def flush(self) -> NDArray[np.float32]:
        """What is held: the recording is over, or enough of it is there."""
        samples = np.concatenate([np.zeros(0, np.float32), *self._held])
        self._held.clear()
        if len(samples) == 0:
            return samples
        if self._gain is None:
            self._offset = _offset(*_mean_and_energy(samples[None]))
        samples = samples - self._offset
        peak = _peak(samples)
        if self._gain is not None:
            self._gain = max(1.0, min(self._gain, RAISED_PEAK / max(peak, NOISE_PEAK)))
        elif peak >= NOISE_PEAK:
            self._gain = _gain(peak)
            if self._gain > 1:
                self._notice(_raised(self._name, peak, self._gain))
        return samples * np.float32(self._gain or 1)


def _peak(samples: NDArray[np.float32]) -> float:
    return float(np.abs(samples).max(initial=0.0))


def _gain(peak: float) -> float:
    return RAISED_PEAK / peak if NOISE_PEAK <= peak < QUIET_PEAK else 1.0


def _raised(name: str, peak: float, gain: float) -> str:
    level, raised = 20 * math.log10(peak), 20 * math.log10(gain)
    return f"{name}: it is very quiet (peak {level:.0f} dBFS), so it was raised by {raised:.0f} dB."


def without_bad(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The samples with NaN, infinite and absurd ones as silence; for sound that comes live."""
    return np.where(_is_bad(samples), np.float32(0), samples)


def _offset(mean: NDArray[np.float64], energy: NDArray[np.float64]) -> np.float32:
    """What to take out of the first channel."""
    return np.float32(mean[0] if abs(mean[0]) > OFFSET * np.sqrt(energy[0]) else 0)


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
