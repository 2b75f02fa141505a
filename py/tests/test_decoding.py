"""Words and their times out of token ids."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.config import StreamingConfig
from voxtral.decoding import TokenEvent, Transcript, frame_time_s
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
    whole, pieces = Transcript(tekken), Transcript(tekken)
    whole.feed(events(tokens))
    whole.flush()
    stream = events(tokens)
    added = [pieces.feed(stream[i : i + size]) for i in range(0, len(stream), size)] + [pieces.flush()]
    assert pieces.text == whole.text == "".join(addition.text for addition in added)
    assert pieces.words == whole.words == [word for addition in added for word in addition.words]
    assert " ".join(word.text for word in whole.words) == " ".join(whole.text.split())
    edges = [time for word in whole.words for time in (word.start, word.end)]
    assert all(a <= b + 1e-9 for a, b in pairwise(edges))
    assert all(edge >= 0 for edge in edges)


@pytest.mark.parametrize(("delay_ms", "left_pad"), [(480, 32), (480, 76), (80, 76), (2400, 32)])
def test_times_do_not_depend_on_delay_or_padding(delay_ms, left_pad):
    streaming = StreamingConfig(delay_ms, left_pad)
    position = left_pad + streaming.delay_tokens + 25  # speaks about frame 25: 2.00 … 2.08 s
    assert frame_time_s(position, streaming) == pytest.approx(2.04)
