"""How sure words are, and their other readings."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.config import N_SPECIAL_TOKENS
from voxtral.decoding import TokenEvent, Transcript, Word
from voxtral.readings import MAX_ALTERNATIVES, Candidate
from voxtral.tekken import Tekken

PAD, WORD = 32, 33
PIECES = [" walk", "s", "ing", " talk", "ed", " the", "Walk", " walks", " your", "好"]
TEKKEN = Tekken([*(bytes([i]) for i in range(256)), *(piece.encode() for piece in PIECES)], {}, "tekken.json")
ID = {piece: 1256 + i for i, piece in enumerate(PIECES)}


def words_of(*choices: list[tuple[str | bytes | int, float]]) -> list[Word]:
    """The words of a marker and these choices: pieces, bytes or control tokens with their probabilities."""
    transcript = Transcript(TEKKEN)
    transcript.flush(
        [TokenEvent(0, WORD, 0.04)]
        + [
            TokenEvent(i, token(choice[0][0]), 0.08 * i, tuple(Candidate(token(what), p) for what, p in choice))
            for i, choice in enumerate(choices, 1)
        ]
    )
    return transcript.words


def token(what: str | bytes | int) -> int:
    if isinstance(what, int):
        return what
    return ID[what] if isinstance(what, str) else N_SPECIAL_TOKENS + what[0]


def readings(*choices: list[tuple[str | bytes | int, float]]) -> list[tuple[str, float]]:
    (word,) = words_of(*choices)
    return [(text, pytest.approx(probability)) for text, probability in word.alternatives]


def test_a_word_is_as_sure_as_its_least_sure_token() -> None:
    (word,) = words_of([(" walk", 0.9)], [("ing", 0.4)], [("s", 0.8)])
    assert word.probability == 0.4
    assert words_of([(" walk", 0.9)])[0].as_dict() == {
        "text": "walk",
        "start": 0.0,
        "end": 0.04,
        "probability": 0.9,
        "alternatives": [],
        "joins": False,
    }


def test_alternatives_replace_the_least_sure_token_best_first() -> None:
    found = readings([(" walk", 0.9), (" talk", 0.1)], [("s", 0.5), ("ing", 0.2), ("ed", 0.25)])
    assert found == [("walked", 0.25), ("walking", 0.2)]


def test_what_stays_behind_the_replaced_token_stays() -> None:
    assert readings([(" walk", 0.5), (" talk", 0.4)], [("s", 0.9)]) == [("talks", 0.4)]


def test_a_control_token_says_nothing_or_that_the_word_is_over() -> None:
    assert readings([(" walk", 0.5), (PAD, 0.2), (WORD, 0.1), (" talk", 0.2)]) == [("", 0.3), ("talk", 0.2)]
    assert readings([(" walk", 0.9)], [("s", 0.6), (PAD, 0.3), ("ing", 0.1)]) == [("walk", 0.3), ("walking", 0.1)]


def test_the_same_text_is_no_alternative_and_rare_ones_are_not_worth_showing() -> None:
    assert readings([(" walk", 0.5), ("Walk", 0.3), (" talk", 0.009)]) == [("Walk", 0.3)]
    assert readings([(" walk", 0.5)], [("s", 0.4), ("s", 0.2)]) == []


def test_characters_are_replaced_whole() -> None:
    first, second, third = (bytes([byte]) for byte in "你".encode())
    other = bytes([third[0] + 1])
    last = readings([(first, 0.9)], [(second, 0.9)], [(third, 0.5), (other, 0.3), (b"\xe5", 0.1), (PAD, 0.1)])
    assert last == [((first + second + other).decode(), 0.3)]
    # The bytes behind another first byte are not known; a whole character is.
    assert readings([(first, 0.5), (b"\xe5", 0.3), ("好", 0.2)], [(second, 0.9)], [(third, 0.9)]) == [("好", 0.2)]


def test_without_candidates_nothing_is_doubted() -> None:
    (word,) = words_of([(" walk", 1.0)])
    transcript = Transcript(TEKKEN)
    (other,) = transcript.flush([TokenEvent(0, WORD, 0.04), TokenEvent(1, ID[" walk"], 0.08)]).words
    assert (other.probability, other.alternatives) == (1.0, [])
    assert other == word


def test_a_word_that_goes_on_is_judged_anew() -> None:
    transcript = Transcript(TEKKEN)
    start = [TokenEvent(0, WORD, 0.04), TokenEvent(1, ID[" walk"], 0.12, (Candidate(ID[" walk"], 0.9),))]
    (word,) = transcript.feed([*start, TokenEvent(2, PAD, 0.2)]).words
    assert word.probability == 0.9
    choice = (Candidate(ID["s"], 0.7), Candidate(ID["ing"], 0.3))
    addition = transcript.feed([TokenEvent(3, ID["s"], 0.28, choice)])
    (revision,) = addition.revisions
    assert (addition.text, addition.words) == ("", [])
    assert revision.as_dict() == {
        "first": 0,
        "n_replaced": 1,
        "words": [
            {
                "text": "walks",
                "start": 0.0,
                "end": 0.04,
                "probability": 0.7,
                "alternatives": [{"text": "walking", "probability": 0.3}],
                "joins": False,
            }
        ],
        "reason": "continued",
    }


tokens = st.sampled_from([PAD, WORD, 2, *ID.values()]) | st.integers(1000, 1255)
choices = st.lists(st.tuples(tokens, st.floats(0.0, 1.0)), min_size=1, max_size=4)


@given(st.lists(choices, max_size=12))
def test_no_reading_is_ever_broken(said: list[list[tuple[int, float]]]) -> None:
    for word in words_of(*sorted(map(list, said), key=lambda choice: -choice[0][1])):
        texts = [text for text, _ in word.alternatives]
        assert len(set(texts)) == len(texts) <= MAX_ALTERNATIVES
        assert word.text not in texts
        assert all(unicodedata.category(character) != "Cc" and character != "\ufffd" for character in "".join(texts))
        assert all(text == text.strip() for text in texts)
        assert 0.0 <= word.probability <= 1.0
        ranked = [probability for _, probability in word.alternatives]
        assert ranked == sorted(ranked, reverse=True)
