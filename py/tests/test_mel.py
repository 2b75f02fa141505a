"""Log-mel against the recorded reference, and the law of chunking."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxtral.mel import FRAMES_PER_SLAB, MelStream, log_mel, mel_filters
from voxtral.padding import n_right_pad_samples

GOLDEN = Path(__file__).parent / "golden"
SETS = ["tiny", "roll", "eos", "delay960_f16", "short"]
# The reference computes its FFT in float32: up to 4e-5 near the floor.
TOLERANCE = 1e-4


def padded(name: str) -> NDArray[np.float32]:
    """The golden audio between the zeros its session had."""
    from voxtral.config import StreamingConfig

    meta = json.loads((GOLDEN / name / "meta.json").read_text())
    audio = np.load(GOLDEN / name / "golden.npz")["audio"]
    config = StreamingConfig(meta["delay_ms"], meta["left_pad"])
    right = n_right_pad_samples(len(audio), config)
    return np.concatenate([np.zeros(meta["left_pad"] * 1280), audio, np.zeros(right)]).astype(np.float32)


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def feed_in_chunks(stream: MelStream, samples: NDArray[np.float32], sizes: list[int]) -> NDArray[np.float32]:
    """Feed with these chunk sizes, the rest in one go, then flush."""
    frames, start = [], 0
    for size in [*sizes, len(samples)]:
        frames.append(stream.feed(samples[start : start + size]))
        start = min(len(samples), start + size)
    return np.concatenate([*frames, stream.flush()])


def test_filters_are_the_reference_filters() -> None:
    expected = np.load(GOLDEN / "tiny" / "golden.npz")["mel_filters"]
    np.testing.assert_allclose(mel_filters(), expected, rtol=0, atol=1e-8)
    assert mel_filters().dtype == np.float32
    assert mel_filters().shape == (128, 201)


def test_padding_is_the_reference_padding() -> None:
    np.testing.assert_array_equal(padded("tiny"), np.load(GOLDEN / "tiny" / "golden.npz")["padded"])


@pytest.mark.parametrize("name", SETS)
def test_mel_is_the_reference_mel(name: str) -> None:
    expected = np.load(GOLDEN / name / "golden.npz")["mel"]
    mel = log_mel(padded(name))
    assert mel.dtype == np.float32
    assert mel.shape == expected.shape
    np.testing.assert_allclose(mel, expected, rtol=0, atol=TOLERANCE)


def test_silence_is_exactly_the_floor() -> None:
    np.testing.assert_array_equal(log_mel(np.zeros(1600, np.float32)), np.full((10, 128), np.float32(-0.625)))


def test_frames_follow_the_formula() -> None:
    """One frame in the middle, straight from the definition, without the sparse filter bank."""
    samples, t = noise(4000), 7
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(samples[160 * t - 200 : 160 * t + 200] * window)) ** 2
    expected = (np.maximum(np.log10(mel_filters().astype(np.float64) @ power), -6.5) + 4) / 4
    np.testing.assert_allclose(log_mel(samples)[t], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 159, 160, 161, 199, 200, 201, 319, 320, 359, 360, 361, 1280])
def test_n_samples_give_n_over_160_frames(n: int) -> None:
    assert log_mel(noise(n)).shape == (n // 160, 128)


def test_frame_t_is_ready_when_sample_160_t_plus_199_is_there() -> None:
    stream = MelStream()
    assert len(stream.feed(noise(199))) == 0
    assert len(stream.feed(noise(1))) == 1
    assert len(stream.feed(noise(159))) == 0
    assert len(stream.feed(noise(1))) == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6000), st.lists(st.integers(0, 1500), max_size=30), st.integers(0, 9))
def test_any_chunking_gives_the_same_bits(n: int, sizes: list[int], seed: int) -> None:
    samples = noise(n, seed)
    np.testing.assert_array_equal(feed_in_chunks(MelStream(), samples, sizes), log_mel(samples))


@pytest.mark.parametrize("size", [1, 37, 1280])
def test_even_chunks_give_the_same_bits(size: int) -> None:
    samples = padded("short")[-20_000:]
    np.testing.assert_array_equal(feed_in_chunks(MelStream(), samples, [size] * (20_000 // size)), log_mel(samples))


def test_long_input_in_slabs_gives_the_same_bits() -> None:
    samples = noise(160 * (FRAMES_PER_SLAB + 300))
    np.testing.assert_array_equal(feed_in_chunks(MelStream(), samples, [100_000, 7]), log_mel(samples))


def test_flush_and_reset_begin_a_new_stream() -> None:
    samples, stream = noise(3000), MelStream()
    stream.feed(noise(777, seed=1))
    stream.flush()
    np.testing.assert_array_equal(feed_in_chunks(stream, samples, [100]), log_mel(samples))
    stream.feed(noise(777, seed=1))
    stream.reset()
    np.testing.assert_array_equal(feed_in_chunks(stream, samples, [100]), log_mel(samples))


def test_the_caller_may_reuse_its_buffer() -> None:
    samples, stream = noise(1000), MelStream()
    buffer = samples[:500].copy()
    first = stream.feed(buffer)
    buffer[:] = 9
    np.testing.assert_array_equal(np.concatenate([first, stream.feed(samples[500:]), stream.flush()]), log_mel(samples))


def test_quiet_and_enormous_samples_stay_finite() -> None:
    for scale in (1e-30, 1e30):
        assert np.isfinite(log_mel(noise(1600) * np.float32(scale))).all()
