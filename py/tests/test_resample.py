"""Resampling against soxr, against sines, and the law of chunking."""

from math import ceil
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.errors import AudioError
from voxtral.resample import WEIGHTS_PER_SLAB, Resampler, resample
from voxtral.wav import read_wav

CLIP = Path(__file__).parents[2] / "static" / "samples" / "digits_1.wav"
RATES = [1000, 8000, 11025, 12000, 22050, 24000, 32000, 37800, 44100, 48000, 88200, 96000, 176400, 192000, 768000]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def decibels(error: np.ndarray, signal: np.ndarray) -> float:
    return 10 * np.log10(np.sum(error.astype(np.float64) ** 2) / np.sum(signal.astype(np.float64) ** 2))


def sine(frequency: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_speech_is_what_soxr_makes_of_it(rate: int) -> None:
    """Speech below 0.4 of the lower rate, where both filters must pass everything."""
    speech = read_wav(CLIP.read_bytes(), "clip").channels[0]
    low = soxr.resample(speech.astype(np.float64), 16000, min(rate, 16000) * 0.8, "VHQ")
    there = soxr.resample(low, min(rate, 16000) * 0.8, rate, "VHQ").astype(np.float32)
    ours, expected = resample(there, rate), soxr.resample(there, rate, 16000, "HQ")
    n = min(len(ours), len(expected))
    assert abs(len(ours) - len(expected)) <= 1
    assert decibels(ours[:n] - expected[:n], expected[:n]) < -60


@pytest.mark.parametrize("rate", RATES)
def test_sines_of_the_passband_keep_level_and_time(rate: int) -> None:
    for share in (0.01, 0.2, 0.44):
        frequency = share * min(rate, 16000)
        output = resample(sine(frequency, rate), rate)
        expected = sine(frequency, 16000)
        edge = ceil(60 * 16000 / min(rate, 16000))  # the sine's hard ends are not a sine
        assert len(output) == len(expected)
        assert decibels((output - expected)[edge:-edge], expected[edge:-edge]) < -75


@pytest.mark.parametrize("rate", [24000, 44100, 48000, 96000])
def test_sines_that_16_khz_cannot_hold_are_gone(rate: int) -> None:
    for frequency in (8000, 8500, rate * 0.45):
        tone = sine(frequency, rate)
        assert decibels(resample(tone, rate)[100:-100], tone[: len(tone) * 16000 // rate]) < -80


def test_a_constant_stays_a_constant() -> None:
    """Each phase's weights sum to one, so a DC offset makes no tone."""
    for rate in (11025, 44100):
        output = resample(np.full(rate, 0.5, np.float32), rate)[500:-500]
        np.testing.assert_allclose(output, 0.5, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_an_impulse_stays_where_it_was(rate: int) -> None:
    impulse = np.zeros(rate, np.float32)
    impulse[rate // 2] = 1
    assert np.argmax(resample(impulse, rate)) == 8000


def test_16_khz_passes_untouched() -> None:
    samples = noise(1000)
    np.testing.assert_array_equal(resample(samples, 16000), samples)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 3000), st.sampled_from([*RATES, 16000, 44101, 15999]), st.lists(st.integers(0, 900), max_size=12))
def test_any_chunking_gives_the_same_bits(n: int, rate: int, sizes: list[int]) -> None:
    samples, resampler, start, parts = noise(n), Resampler(rate), 0, []
    for size in [*sizes, n]:
        parts.append(resampler.feed(samples[start : start + size]))
        start = min(n, start + size)
    chunked = np.concatenate([*parts, resampler.flush()])
    np.testing.assert_array_equal(chunked, resample(samples, rate))
    assert chunked.dtype == np.float32
    assert len(chunked) == -(-n * 16000 // rate)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 4799])
def test_length_is_the_exact_ratio_rounded_up(rate: int, n: int) -> None:
    assert len(resample(noise(n), rate)) == -(-n * 16000 // rate)


def test_slabs_and_single_samples_give_the_same_bits() -> None:
    n = WEIGHTS_PER_SLAB // 100  # several slabs of output
    samples, resampler = noise(n), Resampler(44100)
    one_by_one = [resampler.feed(samples[i : i + 1]) for i in range(3000)]
    chunked = np.concatenate([*one_by_one, resampler.feed(samples[3000:]), resampler.flush()])
    np.testing.assert_array_equal(chunked, resample(samples, 44100))


def test_flush_and_reset_begin_a_new_stream() -> None:
    samples, resampler = noise(3000), Resampler(44100)
    for forget in (resampler.flush, resampler.reset):
        resampler.feed(noise(777, seed=1))
        forget()
        again = np.concatenate([resampler.feed(samples), resampler.flush()])
        np.testing.assert_array_equal(again, resample(samples, 44100))


def test_little_has_to_be_heard_in_advance() -> None:
    """Live sound may wait for half a filter only: 54 samples of the lower rate, 3.4 ms."""
    for rate in (44100, 48000):
        assert len(Resampler(rate).feed(noise(rate))) >= 16000 - 56


@pytest.mark.parametrize("rate", [1001, 15999, 44101, 47999, 767_999])
def test_odd_rates_do_not_drift(rate: int) -> None:
    frequency = min(0.1 * rate, 7000)
    output, expected = resample(sine(frequency, rate, 3), rate), sine(frequency, 16000, 3)
    assert len(output) == len(expected)
    edge = ceil(60 * 16000 / min(rate, 16000))
    assert decibels((output - expected)[edge:-edge], expected[edge:-edge]) < -68


@pytest.mark.parametrize("rate", [0, -16000, 999, 768_001, 2**32 - 1])
def test_absurd_rates_are_one_sentence(rate: int) -> None:
    with pytest.raises(AudioError, match=rf"^a\.wav: expected a sample rate from 1000 to 768000 Hz, found {rate};"):
        resample(noise(10), rate, "a.wav")
