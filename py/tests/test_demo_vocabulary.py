"""The demo model's words, the grammar of its orders, its tokenizer, and what the synthetic voices are made to say."""

import json
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.demo_model import other_speech
from tools.demo_model.accents import ACCENTS, accented
from tools.demo_model.other_speech import everyday_sentence, is_other
from tools.demo_model.synthesizers import Line, Speech
from tools.demo_model.vocabulary import (
    DIGITS,
    KEYWORDS,
    ORDER_WORDS,
    is_order,
    order,
    tekken_json,
    vocabulary_size,
    words,
)
from tools.demo_model.voices import MARGIN_S, PEAK, plan, take_of
from voxtral.config import SAMPLE_RATE
from voxtral.errors import ConfigError
from voxtral.tekken import Tekken

N_DRAWN = 3000


def test_every_word_is_there_once():
    keyword_words = [word for keyword in KEYWORDS for word in keyword.split()]
    assert len(ORDER_WORDS) == 55
    assert len(words()) == len(set(words())) == 72
    assert set(words()) == {*DIGITS, *keyword_words, *ORDER_WORDS}
    assert words()[:18] == (*DIGITS, *keyword_words)  # the tokens of the model before this one


@given(st.integers(0, 2**32))
def test_an_order_is_one_of_the_grammar_and_the_seed_makes_it(seed):
    drawn = order(Random(seed))
    assert is_order(drawn)
    assert set(drawn.split()) <= set(ORDER_WORDS)
    assert order(Random(seed)) == drawn


@pytest.mark.parametrize(
    ("said", "whether"),
    [
        ("brew a coffee", True),
        ("can i get an americano with lots of cream and a little bit of sweetener", True),
        ("i want a medium medium roast mocha", True),
        ("i'd like a single shot medium roast small latte", True),
        ("brew coffee", False),
        ("can i get a tea", False),
        ("give me a latte with", False),
        ("give me a latte with milk and", False),
        ("make me a mocha please", False),
        ("", False),
    ],
)
def test_what_is_an_order(said, whether):
    assert is_order(said) is whether


def test_no_word_of_an_order_is_rare():
    random = Random(1)
    n = Counter(word for _ in range(N_DRAWN) for word in set(order(random).split()))
    assert set(n) == set(ORDER_WORDS)
    assert min(n.values()) > N_DRAWN / 25
    orders = [order(random) for _ in range(N_DRAWN)]
    assert all(("an " in said) == any(f"an {vowel}" in said for vowel in "aei") for said in orders)


def test_the_tokenizer_has_a_piece_for_each_word(tmp_path):
    tekken_json(tmp_path / "tekken.json")
    text = (tmp_path / "tekken.json").read_text()
    tekken = Tekken.from_json(text, "tekken.json")
    assert vocabulary_size() == 1344
    tekken.require(vocabulary_size())
    assert tekken.n_vocab == vocabulary_size()
    assert tekken.words() == list(words())
    assert [tekken.piece(1256 + i).decode() for i in range(72)] == [f" {word}" for word in words()]
    assert tekken.piece(1000 + ord("a")) == b"a"
    assert [tekken.special(token) for token in (1, 2, 32, 33, 999)] == [
        "<s>", "</s>", "[STREAMING_PAD]", "[STREAMING_WORD]", "<SPECIAL_999>",
    ]  # fmt: skip
    document = json.loads(text)
    assert document["vocab"][ord("a")]["token_str"] == "a"
    assert document["vocab"][0x80]["token_str"] is None


@given(st.integers(0, 2**32))
def test_other_speech_has_no_word_of_ours(seed):
    assert not set(everyday_sentence(Random(seed)).split()) & set(words())


@pytest.mark.parametrize(
    ("word", "whether"),
    [
        ("window", True), ("latte", False), ("computers", False), ("coffeehouse", False), ("won", False),
        ("to", False), ("Paris", False), ("it's", False), ("extraordinarily", False),
    ],
)  # fmt: skip
def test_words_that_may_be_said_as_other_speech(word, whether):
    assert is_other(word) is whether


def test_a_line_keeps_its_words_one_by_one():
    line = Line(("a", "latte", "please"), ("", ",", "."))
    assert line.text("espeak-ng") == "a latte, please."
    assert line.text("flite") == "a lahtay, please."


@pytest.mark.parametrize(
    ("phonemes", "language", "expected"),
    [
        ("Tr'i:", "de", "sr'i:"),
        ("w'0n", "ru", "v'On"),
        ("s'Ev@n", "el", "s'ev@n"),
        ("m'Ir3", "de", "m'Irer"),
        ("h'aUs", "fr", "'aus"),
        ("tS'i:", "el", "ts'i"),
    ],
)
def test_accents_replace_sounds(phonemes, language, expected):
    assert accented(phonemes, language) == expected


@given(st.text("pbtdkgfvTDszSZmnNlrwj'@,VIEUaeiou03:", max_size=12), st.sampled_from(sorted(ACCENTS)))
def test_stress_survives_every_accent(phonemes, language):
    assert accented(phonemes, language).count("'") == phonemes.count("'")


# --- Cutting what a synthesizer said ---------------------------------------------------------------------------------


def beeps(*lengths_s: float, gap_s: float = 0.2) -> Speech:
    """Tones with a pause before and behind each, which the synthesizer counts to the tone before."""
    gap = np.zeros(round(gap_s * SAMPLE_RATE))
    sound, ends = [gap], []
    for length_s in lengths_s:
        sound += [0.5 * np.sin(0.3 * np.arange(round(length_s * SAMPLE_RATE))), gap]
        ends.append(sum(map(len, sound)) / SAMPLE_RATE)
    return Speech(np.concatenate(sound).astype(np.float32), tuple(ends))


@given(st.lists(st.floats(0.1, 0.8), min_size=1, max_size=5), st.integers(0, 99))
def test_a_take_is_the_speech_with_margins_and_ends_words_before_their_pauses(lengths_s, seed):
    take = take_of(beeps(*lengths_s), len(lengths_s), Random(seed))
    assert take is not None
    level = np.abs(take.samples.astype(int))
    assert PEAK[0] - 0.01 < level.max() / 32767 < PEAK[1] + 0.01
    before_s = np.flatnonzero(level > 100)[0] / SAMPLE_RATE
    after_s = len(take.samples) / SAMPLE_RATE - np.flatnonzero(level > 100)[-1] / SAMPLE_RATE
    assert MARGIN_S[0] - 0.01 < min(before_s, after_s)
    assert max(before_s, after_s) < MARGIN_S[1] + 0.02
    expected = before_s + np.cumsum(lengths_s) + 0.2 * np.arange(len(lengths_s))
    assert take.word_ends_s == pytest.approx(expected, abs=0.025)


def test_a_failed_voice_makes_no_take():
    silence = Speech(np.zeros(SAMPLE_RATE, np.float32), (1.0,))
    assert take_of(silence, 1, Random(1)) is None
    assert take_of(beeps(0.5), 12, Random(1)) is None  # too short for so many words
    assert take_of(beeps(4.0), 1, Random(1)) is None
    assert take_of(Speech(np.zeros(0, np.float32), None), 1, Random(1)) is None


def test_word_ends_that_cannot_be_are_left_to_the_aligner():
    samples, _ = beeps(0.5, 0.5)
    for ends in (None, (0.1, 1.6), (1.6, 1.6)):  # unknown; before the first sound; at once
        take = take_of(Speech(samples, ends), 2, Random(1))
        assert take is not None
        assert take.word_ends_s is None


@pytest.fixture
def word_list(tmp_path, monkeypatch):
    """In the place of Debian's, which not every machine has."""
    path = tmp_path / "words"
    path.write_text("Aachen\nbecause\nchair's\neighteen\ngarden\nindeed\nox\nthirty\n")
    monkeypatch.setattr(other_speech, "WORD_LIST", path)
    return path


@pytest.mark.usefixtures("word_list")
def test_words_are_drawn_from_those_of_the_list_that_may_be_said():
    drawn = set(other_speech.random_words(Random(1), 200).split())
    assert drawn == {"because", "garden", "indeed", "thirty"}


def test_a_missing_word_list_is_one_sentence(word_list):
    word_list.unlink()
    with pytest.raises(ConfigError, match=r"words cannot be read \(No such file or directory\); install the package"):
        other_speech.random_words(Random(1), 1)


@pytest.mark.usefixtures("word_list")
def test_the_plan_is_drawn_from_the_seed_alone_and_has_every_group():
    requests = plan(6.0, ("she read this sentence aloud",))
    assert requests == plan(6.0, ("she read this sentence aloud",))
    n = Counter(request.group for request in requests)
    assert set(n) == {"digit_words", "digits", "keywords", "orders", "other_speech"}
    for group, _, line in requests:
        said = " ".join(line.words)
        assert len(line.marks) == len(line.words)
        assert (group == "orders") == is_order(said), said
        if group in {"digit_words", "digits"}:
            assert set(line.words) <= set(DIGITS)
    assert len({request.voice.speaker for request in requests}) > 0.9 * len(requests)
    assert len({request.voice.synthesizer for request in requests}) == 3
