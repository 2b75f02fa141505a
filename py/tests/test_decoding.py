"""Words and their times out of token ids."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listener import Listener

from voxtral.config import StreamingConfig
from voxtral.decoding import Addition, TokenEvent, Transcript, Word, frame_time_s
from voxtral.tekken import Tekken

DEMO = Path(__file__).parents[2] / "static" / "model"
PAD, WORD = 32, 33
ONE, FOUR, VIEW, GLASS = 1257, 1260, 1272, 1273


@pytest.fixture(scope="module")
def tekken():
    return Tekken.from_json((DEMO / "tekken.json").read_bytes(), "tekken.json")


def events(tokens, first_s=0.04):
    return [TokenEvent(i, token, first_s + 0.08 * i) for i, token in enumerate(tokens)]


def test_a_word_ends_at_its_marker(tekken):
    transcript = Transcript(tekken)
    addition = transcript.feed(events([PAD] * 10 + [WORD, ONE, PAD]))
    assert (addition.text, transcript.text) == ("one", "one")
    (word,) = addition.words
    assert word.end == pytest.approx(0.84)
    assert 0 <= word.start < word.end


def test_without_a_marker_the_first_piece_counts(tekken):
    addition = Transcript(tekken).feed(events([PAD, ONE, PAD]))
    assert addition.words[0].end == pytest.approx(0.12)


def test_words_under_one_marker_share_its_span(tekken):
    transcript = Transcript(tekken)
    transcript.feed(events([PAD] * 20 + [WORD, VIEW, GLASS, PAD]))
    view, glass = transcript.words
    assert view.text == "view"
    assert glass.end == pytest.approx(1.64)
    assert view.end == glass.start < glass.end


def test_the_last_word_is_complete_after_flush(tekken):
    transcript = Transcript(tekken)
    assert transcript.feed(events([WORD, ONE])).words == []
    assert [word.text for word in transcript.flush().words] == ["one"]


def test_pads_inside_a_character_do_not_break_it(tekken):
    transcript = Transcript(tekken)
    text = "".join(
        transcript.feed(events(tokens)).text for tokens in ([WORD, 1110], [1195, PAD], [WORD, 1169], [PAD, PAD])
    )
    assert text + transcript.flush().text == "né"
    assert [word.text for word in transcript.words] == ["né"]


def test_control_tokens_are_never_text(tekken):
    transcript = Transcript(tekken)
    transcript.feed(events([0, 1, 2, 11, 24, 25, PAD, WORD, 999]))
    transcript.flush()
    assert (transcript.text, transcript.words) == ("", [])


def test_detokenisation_agrees_with_the_recorded_cases():
    golden = Path(__file__).parent / "golden"
    tekken = Tekken.from_json((golden / "tiny" / "tekken.json").read_bytes(), "tekken.json")
    for case in json.loads((golden / "detok.json").read_text()):
        transcript = Transcript(tekken)
        transcript.feed(events(case["ids"]))
        transcript.flush()
        assert transcript.text == case["text"].lstrip(), case["name"]


@given(st.lists(st.sampled_from([PAD, WORD, ONE, FOUR, VIEW, GLASS, 1110, 1032]), max_size=60), st.integers(1, 7))
def test_word_times_are_ordered_and_any_chunking_agrees(tekken, tokens, size):
    whole, pieces, page = Transcript(tekken), Transcript(tekken), Listener()
    whole.flush(events(tokens))
    stream = events(tokens)
    for i in range(0, len(stream), size):
        page.take(pieces.feed(stream[i : i + size]))
        assert page.text == pieces.text
    page.take(pieces.flush())
    assert page.text == pieces.text == whole.text
    assert page.words == pieces.words == whole.words
    assert page.tail == ""
    assert " ".join(word.text for word in whole.words) == whole.text
    edges = [time for word in whole.words for time in (word.start, word.end)]
    assert all(a <= b + 1e-9 for a, b in pairwise(edges))
    assert all(edge >= 0 for edge in edges)


@pytest.mark.parametrize(("delay_ms", "left_pad"), [(480, 32), (480, 76), (80, 76), (2400, 32)])
def test_times_do_not_depend_on_delay_or_padding(delay_ms, left_pad):
    streaming = StreamingConfig(delay_ms, left_pad)
    position = left_pad + streaming.delay_tokens + 25  # speaks about frame 25: 2.00 … 2.08 s
    assert frame_time_s(position, streaming) == pytest.approx(2.04)


def word(text, end_s):
    return Word(text, end_s - 0.2, end_s)


@pytest.fixture
def spoken(tekken):
    """A transcript of "one four one" whose last word is not complete, and who listens to it."""
    transcript, listener = Transcript(tekken), Listener()
    listener.take(transcript.feed(events([WORD, ONE, PAD, WORD, FOUR, PAD, WORD, ONE])))
    return transcript, listener


def test_going_back_forgets_what_is_not_complete(spoken):
    transcript, listener = spoken
    revision = transcript.take_back(1)
    assert (revision.first, revision.n_replaced, revision.words, revision.reason) == (1, 1, [], "restart")
    listener.take(Addition(revisions=[revision]))
    assert listener.text == transcript.text == "one"
    listener.take(transcript.flush([TokenEvent(i, token, 2.0) for i, token in enumerate([WORD, VIEW, GLASS])]))
    assert listener.text == transcript.text == "one view glass"
    assert transcript.words[1].start >= transcript.words[0].end


def test_an_unfinished_character_does_not_survive_going_back(tekken):
    transcript = Transcript(tekken)
    transcript.feed(events([WORD, ONE, PAD, WORD, 1000 + 0xC3]))
    transcript.take_back(1)
    transcript.flush(events([WORD, FOUR]))
    assert transcript.text == "one four"


def test_words_are_replaced_and_the_rest_goes_on(spoken):
    transcript, listener = spoken
    revision = transcript.revise(0, 2, [word("view", 0.1), word("glass", 0.3), word("four", 0.4)])
    assert revision.reason == "careful"
    listener.take(Addition(revisions=[revision]))
    listener.take(transcript.feed(events([PAD])))
    assert listener.text == transcript.text == "view glass four one"
    assert listener.words == transcript.words


def test_replaced_words_join_where_their_script_does(tekken):
    transcript = Transcript(tekken)
    transcript.flush(
        events([WORD, *(1000 + byte for byte in "你好".encode()), WORD, *(1000 + b for b in "吗".encode())])
    )
    assert [(w.text, w.joins) for w in transcript.words] == [("你好", False), ("吗", True)]
    transcript.revise(1, 1, [word("妈", 1.0)])
    assert transcript.text == "你好妈"
    transcript.revise(1, 1, [word("one", 1.0)])
    assert transcript.text == "你好one"
    transcript.revise(0, 1, [word("two", 0.5)])
    assert transcript.text == "twoone"  # what follows stays as it is


def test_text_after_replaced_words_begins_a_word(tekken):
    transcript = Transcript(tekken)
    transcript.feed(events([WORD, ONE, PAD]))
    transcript.revise(0, 1, [word("four", 0.5)])
    transcript.flush(events([WORD, 1000 + ord("x")]))
    assert transcript.text == "four x"
