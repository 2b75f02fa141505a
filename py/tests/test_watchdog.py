"""Watchdog: what is a stall or a loop, and above all what is not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.config import EOS_TOKEN, STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN
from voxtral.watchdog import Loudness, Reason, Watchdog

PAD, WORD, END = STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, EOS_TOKEN
TOKEN_S = 0.08
FIRST = 1000  # token of text


def frames(seconds):
    return round(seconds / TOKEN_S)


def watch(stream, dog=None, from_s=0.0):
    """The first alarm in (token, is_sound) pairs and the second it came in, or None."""
    dog = dog or Watchdog()
    for i, (token, is_sound) in enumerate(stream):
        if alarm := dog.see(token, from_s + (i + 0.5) * TOKEN_S, is_sound):
            return alarm, i * TOKEN_S
    return None


def sound(*tokens):
    return [(token, True) for token in tokens]


def silence(*tokens):
    return [(token, False) for token in tokens]


def said(text, gap):
    """Words as a speaker says them: a marker, pieces, and `gap` frames without any."""
    return sound(WORD, *text) + sound(*[PAD] * gap)


# -- stall --------------------------------------------------------------------------------------
def test_sound_without_text_for_20_s_is_a_stall():
    alarm, at_s = watch(said([FIRST], 0) + sound(*[PAD] * frames(60)))
    assert (alarm.reason, alarm.hears_again) == (Reason.STALL, True)
    assert at_s == pytest.approx(20, abs=0.3)
    assert alarm.keep_until_s == pytest.approx(at_s, abs=0.1)  # every complete word stays


def test_behind_the_end_token_5_s_are_enough_but_text_makes_up_for_it():
    alarm, at_s = watch(said([FIRST], 0) + sound(END, *[PAD] * frames(60)))
    assert alarm.reason is Reason.STALL
    assert at_s == pytest.approx(5, abs=0.3)
    assert watch(sound(END) + said([FIRST], frames(19))) is None


def test_silence_is_no_stall_and_the_end_token_none_either():
    assert watch(silence(*[PAD] * frames(3600))) is None
    assert watch(silence(*[END] * frames(600))) is None


def test_a_knock_a_minute_is_no_stall():
    knocks = sound(*[PAD] * frames(1)) + silence(*[PAD] * frames(59))
    assert watch(knocks * 60) is None


def test_speech_with_pauses_is_a_stall_as_well():
    alarm, at_s = watch((sound(*[PAD] * frames(4)) + silence(*[PAD] * frames(3))) * 20)
    assert alarm.reason is Reason.STALL
    assert at_s < 45


def test_music_does_not_restart_for_ever():
    dog, restarts, at_s = Watchdog(), [], 0.0
    while at_s < 3600:
        found = watch(sound(*[PAD] * frames(3600)), dog, at_s)
        at_s += found[1]
        restarts.append((found[1], found[0].hears_again))
        dog.begin()
    waits = [wait for wait, _ in restarts]
    assert waits[:6] == pytest.approx([20, 40, 80, 160, 320, 640], abs=1)
    assert max(waits) < 650
    assert [again for _, again in restarts] == [True] + [False] * (len(restarts) - 1)


def test_a_minute_with_text_restores_the_patience():
    dog = Watchdog()
    for expected_s in (20, 40):
        assert watch(sound(*[PAD] * frames(100)), dog)[1] == pytest.approx(expected_s, abs=1)
        dog.begin()
    speech = list(itertools.chain(*(said([FIRST + i % 50], 4 + i % 3) for i in range(150))))
    assert watch(speech, dog) is None
    assert watch(sound(*[PAD] * frames(100)), dog)[1] == pytest.approx(20, abs=1)


# -- loops --------------------------------------------------------------------------------------
PHRASES = st.lists(st.integers(FIRST, FIRST + 400), min_size=1, max_size=12)


@given(PHRASES, st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_phrase_at_token_rate_is_a_loop_of_which_two_repeats_stay(phrase, n_before):
    before = list(itertools.chain(*(said([FIRST + 500 + i], 5) for i in range(n_before))))
    alarm, at_s = watch(before + sound(*phrase * 200))
    assert (alarm.reason, alarm.hears_again) == (Reason.LOOP, True)
    begin_s = len(before) * TOKEN_S
    assert at_s - begin_s < max(len(phrase) * 8, 32) * TOKEN_S + 0.1
    period = next(n for n in range(1, len(phrase) + 1) if phrase == (phrase * 2)[n : n + len(phrase)])
    assert alarm.keep_until_s == pytest.approx(begin_s + (2 * period - 0.5) * TOKEN_S, abs=0.01)


@pytest.mark.parametrize("gap", [0, 1, 5])
def test_a_phrase_that_goes_on_through_silence_is_a_loop(gap):
    loop = [WORD, FIRST + 1, FIRST + 2, *[PAD] * gap]
    alarm, _ = watch(said([FIRST], 3) + sound(*loop * 2) + silence(*loop * 20))
    assert alarm.reason is Reason.LOOP
    assert alarm.keep_until_s == pytest.approx((5 + 2 * len(loop) - gap - 0.5) * TOKEN_S)


def test_clockwork_is_a_loop_until_the_next_attempt_hears_it_too():
    loop = sound(WORD, FIRST, FIRST + 1, *[PAD] * 4) * 200
    dog = Watchdog()
    alarm, at_s = watch(loop, dog)
    assert alarm.reason is Reason.LOOP
    assert 15 < at_s < 21
    dog.begin()
    assert watch(loop, dog) is None


def test_one_loop_after_another_leaves_nothing_and_takes_longer_each_time():
    dog, waits = Watchdog(), []
    for n in range(7):
        alarm, at_s = watch(sound(*[FIRST, FIRST + 1] * 3000), dog)
        waits.append(at_s)
        assert alarm.hears_again == (n == 0)
        assert alarm.keep_until_s == pytest.approx((3.5 if n == 0 else -1.5) * TOKEN_S)
        dog.begin()
    assert [round(b / a) for a, b in itertools.pairwise(waits)] == [2, 2, 2, 2, 2, 1]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(3, 14)), min_size=5, max_size=400))
@settings(max_examples=60, deadline=None)
def test_digits_in_any_order_with_the_pauses_of_a_person_are_speech(digits):
    speech = list(itertools.chain(*(said([FIRST + digit], gap) for digit, gap in digits)))
    assert watch(speech) is None


@given(st.integers(1, 6), st.lists(st.integers(2, 9), min_size=40, max_size=300), st.randoms())
@settings(max_examples=60, deadline=None)
def test_one_phrase_again_and_again_is_speech_where_the_pauses_breathe(n, gaps, random):
    phrase = [FIRST + i for i in range(n)]
    speech = []
    for gap in gaps:
        speech += said(phrase, gap)
        speech += silence(*[PAD] * random.choice([0, 0, 5, 20]))
    jitters = len(set(gaps)) > 1 and max(len(list(run)) for _, run in itertools.groupby(gaps)) < 12
    if jitters:
        assert watch(speech) is None


def test_a_refrain_of_a_minute_is_speech():
    rng = np.random.default_rng(3)
    verse = [(FIRST + i % 17, int(gap)) for i, gap in enumerate(rng.integers(2, 6, 60))]
    refrain = [said([token], gap) for token, gap in verse]
    assert watch(list(itertools.chain(*refrain)) * 20) is None  # even where a recording repeats it to the frame


# -- loudness -----------------------------------------------------------------------------------
def noise(seconds, db, seed=0):
    return np.random.default_rng(seed).standard_normal(round(seconds * 16_000)).astype(np.float32) * 10 ** (db / 20)


def test_silence_and_steady_noise_are_no_sound():
    assert not any(Loudness().feed(np.zeros(160_000, np.float32)))
    assert not any(Loudness().feed(noise(60, -75)))
    after_a_while = Loudness().feed(np.concatenate([noise(10, -70), noise(60, -35, 1)]))[frames(70) // 2 :]
    assert sum(after_a_while) < 5


@pytest.mark.parametrize("noise_db", [-90, -50, -35])
def test_syllables_are_sound_above_any_noise(noise_db):
    syllables = np.concatenate([part for i in range(60) for part in (noise(0.3, -20, i), noise(0.2, noise_db, i))])
    sounds = Loudness().feed(syllables + noise(30, noise_db, 99))
    assert 0.45 < np.mean(sounds) < 0.85


@given(st.lists(st.integers(0, 5000), max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_chunking_gives_the_same_sounds(sizes):
    samples = noise(5, -30) * np.repeat(np.random.default_rng(1).random(50), 1600).astype(np.float32)
    loudness, sounds, start = Loudness(), [], 0
    for size in [*sizes, len(samples)]:
        sounds += loudness.feed(samples[start : start + size])
        start += size
    assert sounds == Loudness().feed(samples)
