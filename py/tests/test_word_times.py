"""Times of words against what is heard in the sample recordings, through the demo network and the whole pipeline."""

import asyncio

import numpy as np
import pytest

from tools.word_times import QUIET, edges, errors, recorded, summary
from voxtral.mel import log_mel
from voxtral.onsets import Onsets, levels_of

START_MS = (20.0, 100.0)  # median and 95th percentile; measured: 5 and 20
END_MS = (40.0, 80.0)  # measured: 25 and 45; one token is 80


def test_words_begin_and_end_where_they_are_heard():
    found = summary(asyncio.run(errors(QUIET, 480)))
    for edge, limits in (("start", START_MS), ("end", END_MS)):
        assert all(error <= limit for error, limit in zip(found[edge], limits, strict=True)), found


def test_the_measure_finds_edges_that_are_known():
    rng = np.random.default_rng(3)
    samples = 1e-4 * rng.standard_normal(32_000)
    for start, end in ((3_200, 8_000), (9_600, 12_000), (12_800, 20_000)):  # pauses of 100 and of 50 ms
        samples[start:end] += 0.1 * rng.standard_normal(end - start)
    samples[20_000:28_400] += 2e-3 * rng.standard_normal(8_400)  # a room goes on
    samples[28_000:28_400] += 0.05  # and a chair creaks
    found = edges(samples.astype(np.float32), 3)
    assert [edge for part in found for edge in part] == pytest.approx([0.2, 0.5, 0.6, 0.75, 0.8, 1.25], abs=0.011)


def test_every_part_of_the_recordings_is_there():
    for name in QUIET:
        samples, parts = recorded(name)
        found = edges(samples, len(parts))
        assert len(found) == len(parts)
        assert all(0.1 < end_s - start_s < 2.0 for start_s, end_s in found)


def onsets_in(samples):
    """What a session tells: 80 ms at a time."""
    levels = levels_of(log_mel(samples.astype(np.float32)))
    onsets = Onsets()
    for i in range(len(levels) // 8):
        onsets.feed(0.08 * i + 0.04, levels[8 * i : 8 * i + 8].tolist())
    return onsets


@pytest.fixture(scope="module")
def noise():
    """A second of soft noise, words from 1.0 to 1.4 (a stop from 1.25 to 1.33) and from 1.5 to 1.9, and more noise."""
    rng = np.random.default_rng(5)
    samples = 1e-3 * rng.standard_normal(48_000)
    for start, end in ((16_000, 20_000), (21_280, 22_400), (24_000, 30_400)):
        samples[start:end] += 0.1 * rng.standard_normal(end - start)
    return samples


@pytest.mark.parametrize(
    ("after_s", "end_s", "usual_s", "onset_s"),
    [
        (0.0, 1.4, 0.4, 1.0),  # what is left behind the stop is too little for the word
        (1.4, 1.9, 0.4, 1.5),
        (0.0, 1.9, 0.4, 1.5),
        (1.6, 1.9, 0.4, 1.6),  # no pause: where the word before ends
    ],
)
def test_a_word_begins_behind_a_pause(noise, after_s, end_s, usual_s, onset_s):
    assert onsets_in(noise).find(after_s, end_s, usual_s) == pytest.approx(onset_s, abs=0.025)


def test_without_sound_or_pause_nothing_is_claimed():
    assert Onsets().find(0.0, 1.0, 0.3) is None
    hum = 0.1 * np.random.default_rng(6).standard_normal(64_000)
    assert onsets_in(hum).find(0.0, 3.9, 0.3) is None  # for more than a second nothing but noise
    assert onsets_in(hum).find(3.9, 3.9, 0.3) is None


def test_memory_is_bounded_and_silence_that_was_added_is_not_heard():
    onsets = Onsets()
    for i in range(5_000):
        onsets.feed(0.08 * i + 0.04, [0.0] * 8)
    for _ in range(20):
        onsets.feed(0.08 * 4_999 + 0.04, [-44.0] * 8)
    assert len(onsets._tokens) == 125
    assert onsets.find(399.5, 400.0, 0.3) == pytest.approx(399.5, abs=0.02)


def test_a_word_softer_than_what_was_before_it_is_found_all_the_same():
    onsets = Onsets()
    for i in range(200):
        onsets.feed(0.08 * i + 0.04, [-25.0 if i >= 196 else 10.0] * 8)
    assert onsets.find(196 * 0.08, 16.0, 0.3) == pytest.approx(196 * 0.08, abs=0.02)
