"""Changed text keeps its times: what stayed has its own, what is new has those of what it took the place of."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from voxtral.alignment import Alignment, TimedWord, joined


def spoken(text: str) -> list[TimedWord]:
    return [TimedWord(word, float(i), i + 0.8, 0.5 + i / 100) for i, word in enumerate(text.split())]


def times(words):
    return [(word.text, round(word.start, 2), round(word.end, 2)) for word in words]


def test_what_stayed_is_the_same_object():
    words = spoken("we bought twenty one of them")
    made = Alignment(words, "we bought 21 of them").words()
    assert [made[0], made[1], made[3], made[4]] == [words[0], words[1], words[4], words[5]]
    assert made[0] is words[0]
    assert times(made[2:3]) == [("21", 2.0, 3.8)]
    assert made[2].source == {"heard": "twenty one"}
    assert made[2].probability == words[2].probability  # the less sure of both


def test_more_words_share_the_time_of_fewer():
    made = Alignment(spoken("call NASA now"), "call the National Agency now").words()
    assert times(made) == [
        ("call", 0, 0.8),
        ("the", 1.0, 1.14),
        ("National", 1.14, 1.52),
        ("Agency", 1.52, 1.8),
        ("now", 2, 2.8),
    ]
    assert [word.source for word in made[1:4]] == [{"heard": "NASA"}, {"heard": ""}, {"heard": ""}]


def test_what_is_put_in_takes_no_time():
    made = Alignment(spoken("a b"), "so a well b then").words()
    assert times(made) == [("so", 0, 0), ("a", 0, 0.8), ("well", 0.8, 0.8), ("b", 1, 1.8), ("then", 1.8, 1.8)]
    assert times(Alignment([], "hello there").words()) == [("hello", 0, 0), ("there", 0, 0)]


def test_capitals_and_marks_change_no_times():
    words = spoken("hello world how are you")
    made = Alignment(words, "Hello, world! How are you?").words()
    assert times(made) == [(text, i, i + 0.8) for i, text in enumerate(["Hello,", "world!", "How", "are", "you?"])]
    assert made[0].source == {"heard": "hello"}
    assert made[3] is words[3]


def test_scripts_without_spaces_are_compared_by_character():
    words = [TimedWord("今日は", 0.0, 0.6), TimedWord("晴れです", 0.6, 1.4, joins=True)]
    made = Alignment(words, "今日は雨です").words()
    assert joined(made) == "今日は雨です"
    assert made[0] is words[0]
    assert times(made[1:]) == [("雨", 0.6, 1.0), ("です", 1.0, 1.4)]
    assert all(word.joins for word in made[1:])


def test_changes_are_runs_of_what_stayed_went_and_came():
    changes = Alignment(spoken("so um we bought twenty one"), "So we bought 21 here").changes()
    assert changes == [
        ("removed", " so um"),
        ("added", " So"),
        ("same", " we bought"),
        ("removed", " twenty one"),
        ("added", " 21 here"),
    ]


def test_a_long_text_of_few_words_keeps_its_times():
    random = Random(3)
    words = spoken(" ".join(random.choice(["one", "two", "three", "four"]) for _ in range(2500)))
    text = joined(words).replace("four one", "forty-one", 100)
    made = {(word.text, word.start) for word in Alignment(words, text).words()}
    kept = [word for word in words if (word.text, word.start) in made]
    assert len(kept) > 0.95 * (len(words) - 2 * text.count("forty-one"))


WORDS = st.lists(st.sampled_from(["a", "A,", "b", "c.", "今天", "好，", "x-y", "…"]), max_size=30)


@given(WORDS, WORDS, st.lists(st.floats(0, 2), min_size=31, max_size=31))
def test_any_text_gets_words_in_order(old, new, steps):
    words, now_s = [], 0.0
    for text, step in zip(old, steps, strict=False):
        words.append(TimedWord(text, now_s, now_s + step))
        now_s += step
    text = " ".join(new)
    alignment = Alignment(words, text)
    made = alignment.words()
    assert joined(made) == text
    assert all(word.start <= word.end for word in made)
    assert all(before.end <= after.start + 1e-9 for before, after in itertools.pairwise(made))
    assert "".join(piece for kind, piece in alignment.changes() if kind != "removed").strip() == text
    assert "".join(piece for kind, piece in alignment.changes() if kind != "added").split() == joined(words).split()
