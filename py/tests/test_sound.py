"""Channels to mono, and what is no sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxtral import sound as sound_module
from voxtral.errors import AudioError
from voxtral.sound import Sound, audible, to_mono

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
