"""Sound to measure with where no recording is at hand: the same samples every time, as loud and uneven as speech."""

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE

SYLLABLE_S = 0.2
PITCH_HZ = 130.0
N_HARMONICS = 24


def speech_like(seconds: float) -> NDArray[np.float32]:
    """Syllables of a buzz with moving formants, a breath between words, a little noise: mono at 16 kHz."""
    rng = np.random.default_rng(3)
    n_syllable = round(SYLLABLE_S * SAMPLE_RATE)
    n_samples = round(seconds * SAMPLE_RATE)
    time_s = np.arange(n_syllable) / SAMPLE_RATE
    envelope = np.sin(np.pi * np.arange(n_syllable) / n_syllable) ** 2
    syllables = []
    for _ in range(-(-n_samples // n_syllable)):
        formants = rng.uniform((300, 900, 2200), (800, 2200, 3200))
        harmonics = PITCH_HZ * rng.uniform(0.8, 1.3) * np.arange(1, N_HARMONICS + 1)
        loudness = np.exp(-(((harmonics[:, None] - formants) / 150) ** 2)).sum(axis=1)
        buzz = loudness @ np.sin(2 * np.pi * harmonics[:, None] * time_s)
        is_breath = rng.random() < 0.2
        syllables.append(buzz * envelope * (0.0 if is_breath else 0.1))
    noise = rng.standard_normal(len(syllables) * n_syllable) * 0.003
    return (np.concatenate(syllables) + noise)[:n_samples].astype(np.float32)
