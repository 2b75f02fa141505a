"""Channels to mono, and what is no sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxtral import sound as sound_module
from voxtral.errors import AudioError
from voxtral.sound import Levels, Sound, audible, to_mono

SPEECH = np.random.default_rng(0).normal(0, 0.1, 5000).astype(np.float32)
OTHER = np.random.default_rng(1).normal(0, 0.1, 5000).astype(np.float32)


def mono_of(*channels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    return to_mono(Sound(np.stack(channels).astype(np.float32), 16000), "a.wav")


def test_one_channel_is_left_alone() -> None:
    loud = SPEECH * 30  # clipping is the speaker's business
    mono, notices = mono_of(loud)
    np.testing.assert_array_equal(mono, loud)
    assert notices == []


def test_channels_are_averaged() -> None:
    mono, notices = mono_of(SPEECH, OTHER)
    np.testing.assert_allclose(mono, (SPEECH + OTHER) / 2, rtol=0, atol=1e-8)
    assert mono.dtype == np.float32
    assert notices == []
    np.testing.assert_array_equal(mono_of(SPEECH, np.zeros(5000))[0], SPEECH / 2)
    np.testing.assert_array_equal(mono_of(SPEECH, SPEECH)[0], SPEECH)


@pytest.mark.parametrize("offset", [0, 0.5])
def test_opposite_phase_takes_the_louder_channel(offset: float) -> None:
    """Also under a common DC offset, which survives the average while the speech does not."""
    louder, softer = SPEECH + np.float32(offset), np.float32(-0.95) * SPEECH + np.float32(offset)
    expected = louder - louder.mean() if offset else louder
    for channels, used in (((softer, louder), 2), ((louder, softer), 1)):
        mono, notices = mono_of(*channels)
        np.testing.assert_allclose(mono, expected, rtol=0, atol=1e-6)
        assert notices == [f"a.wav: its channels cancel each other out, so only channel {used} was used."]


@pytest.mark.parametrize("offset", [0.03, -0.5, 5])
def test_an_offset_is_taken_out(offset: float) -> None:
    mono, notices = mono_of(SPEECH + offset)
    np.testing.assert_allclose(mono, SPEECH - SPEECH.mean(), rtol=0, atol=1e-5)
    assert notices == []
    assert not mono_of(np.full(100, offset))[0].any()
    both, _ = mono_of(SPEECH + 2 * offset, SPEECH)
    np.testing.assert_allclose(both, SPEECH - SPEECH.mean(), rtol=0, atol=1e-5)


def test_a_mean_that_is_sound_stays() -> None:
    np.testing.assert_array_equal(mono_of(SPEECH + 0.005)[0], (SPEECH + 0.005).astype(np.float32))


def test_cancellation_is_seen_across_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_module, "SAMPLES_PER_SLAB", 700)
    np.testing.assert_array_equal(mono_of(SPEECH, -SPEECH)[0], SPEECH)


def test_silence_is_no_cancellation() -> None:
    mono, notices = mono_of(np.zeros(100), np.zeros(100))
    assert not mono.any()
    assert notices == []


def test_what_is_not_finite_becomes_silence_and_is_said_once() -> None:
    damaged = SPEECH.copy()
    damaged[[3, 10, 11]] = np.nan, np.inf, -np.inf
    before = damaged.copy()
    mono, notices = mono_of(damaged)
    assert notices == ["a.wav: 3 samples are not finite numbers and were taken as silence."]
    np.testing.assert_array_equal(mono, np.where(np.isfinite(damaged), damaged, 0))
    np.testing.assert_array_equal(damaged, before)


@pytest.mark.parametrize(("shape", "found"), [((1, 0), "0 samples"), ((2, 1), "1 sample;"), ((0, 0), "no channels")])
def test_fewer_than_two_samples_are_no_sound(shape: tuple[int, int], found: str) -> None:
    with pytest.raises(AudioError, match=f"^a.wav: expected sound, found {found}"):
        to_mono(Sound(np.zeros(shape, np.float32), 16000), "a.wav")


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 30)), elements=st.floats(width=32)))
def test_any_floats_make_finite_mono(channels: np.ndarray) -> None:
    mono, _ = to_mono(Sound(channels, 16000), "a.wav")
    assert mono.shape == channels.shape[1:]
    assert np.isfinite(mono).all()


@pytest.mark.parametrize("peak", [0.0, 1e-5, 4e-4, 0.016, 0.5, 1.0])
def test_silence_and_ordinary_levels_are_left_alone(peak: float) -> None:
    samples = np.array([0.0, peak, -peak / 2], np.float32)
    heard, notices = audible(samples, "a.wav")
    assert heard is samples
    assert notices == []


@pytest.mark.parametrize("peak", [6e-4, 0.00316, 0.014])
def test_very_quiet_sound_is_raised_with_a_word_about_it(peak: float) -> None:
    heard, (notice,) = audible(np.array([0.0, peak, -peak / 2], np.float32), "a.wav")
    np.testing.assert_allclose(heard, [0.0, 0.1, -0.05], rtol=1e-5)
    assert notice.startswith("a.wav: it is very quiet (peak -")


# -- the same of a file that comes in blocks ----------------------------------------------------
SECOND = 16_000


def noise(seconds: float, peak_dbfs: float, offset: float = 0.0) -> np.ndarray:
    samples = np.random.default_rng(2).uniform(-1, 1, round(seconds * SECOND))
    samples[0] = 1
    return (10 ** (peak_dbfs / 20) * samples + offset).astype(np.float32)


def levelled(samples: np.ndarray, block: int = SECOND // 2) -> tuple[list[np.ndarray], list[str]]:
    notices: list[str] = []
    levels = Levels("a.mp3", notices.append)
    parts = [levels.feed(samples[start : start + block]) for start in range(0, len(samples), block)]
    return [*parts, levels.flush()], notices


@pytest.mark.parametrize("peak_dbfs", [-70, -65, -45, -38, -36, 0, 20])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_blocks_of_a_short_file_become_what_the_whole_would(peak_dbfs: float, offset: float) -> None:
    samples = noise(3, peak_dbfs, offset)
    mono, _ = to_mono(Sound(samples[None], SECOND), "a.mp3")
    expected, notices = audible(mono, "a.mp3")
    parts, said = levelled(samples)
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert said == notices
    assert not any(map(len, parts[:-1]))


def test_half_a_minute_decides_and_the_rest_goes_on_at_once() -> None:
    samples = noise(40, -50, 0.1)
    parts, (notice,) = levelled(samples)
    assert notice == "a.mp3: it is very quiet (peak -50 dBFS), so it was raised by 30 dB."
    assert [len(part) / SECOND for part in parts] == [*[0] * 59, 30, *[0.5] * 20, 0]
    np.testing.assert_allclose(np.concatenate(parts), (samples - 0.1) * 10**1.5, rtol=0, atol=2e-3)


def test_what_turns_out_loud_is_not_raised_beyond_bearing() -> None:
    parts, notices = levelled(np.concatenate([noise(31, -50), noise(1, -30), noise(1, -3), noise(1, -50)]))
    peaks = [20 * np.log10(np.abs(part).max()) for part in parts if len(part)]
    assert peaks == pytest.approx([-20, -20, -20, -20, -20, -3, -3, -50, -50], abs=0.1)
    assert len(notices) == 1


def test_silence_at_the_beginning_decides_nothing_and_loses_nothing() -> None:
    samples = np.concatenate([np.zeros(65 * SECOND, np.float32), noise(31, -50)])
    parts, notices = levelled(samples)
    whole = np.concatenate(parts)
    assert len(whole) == len(samples)
    assert np.abs(whole).max() == pytest.approx(0.1)
    assert len(notices) == 1


@given(hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(-2, 2, width=32)), st.integers(1, 50))
def test_any_blocks_keep_every_sample_and_stay_finite(samples: np.ndarray, block: int) -> None:
    parts, _ = levelled(samples, block)
    whole = np.concatenate(parts)
    assert len(whole) == len(samples)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
