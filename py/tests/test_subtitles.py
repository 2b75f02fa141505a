"""Subtitles: what public parsers read back is what was said, in cues that can be read."""

import html
import io
import unicodedata

import pytest
import srt as srt_library
import webvtt as webvtt_library
from hypothesis import given
from hypothesis import strategies as st
from transcripts import Timed, spoken, timed

from voxtral.errors import DocumentError
from voxtral.subtitles import SubtitleLimits, cues, srt, webvtt, width

DEFAULT = SubtitleLimits()
LIMITS = st.builds(
    SubtitleLimits,
    max_line_chars=st.integers(8, 60),
    max_lines=st.integers(1, 3),
    max_chars_per_s=st.floats(8, 30),
    min_cue_s=st.floats(0.3, 1.0),
    max_cue_s=st.floats(1.0, 8.0),
    min_gap_s=st.sampled_from([0.0, 0.04, 2 / 24]),
)
SPEECH = (
    "And so, my fellow Americans, ask not what your country can do for you; ask what you can do for your country. "
    "Yes. We know. This is a rather long sentence without any commas that goes on and on until somebody finally "
    "decides that it should really come to an end, as all sentences must."
)


def visible(text):
    """Letters of a text: no spaces, control or format characters, of which subtitles have their own."""
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf"))


def said(words):
    return visible("".join(word.text for word in words))


@given(spoken(), LIMITS)
def test_srt_is_read_back_by_a_public_parser(words, limits):
    expected = cues(words, limits)
    parsed = list(srt_library.parse(srt(words, limits)))  # which refuses what is not well-formed
    assert [cue.index for cue in parsed] == list(range(1, len(expected) + 1))
    assert [(ms(cue.start), ms(cue.end)) for cue in parsed] == [cue[:2] for cue in expected]
    assert visible("".join(cue.content for cue in parsed)) == visible(joined_lines(expected).replace("-->", "→"))


@given(spoken(), LIMITS)
def test_webvtt_is_read_back_by_a_public_parser(words, limits):
    expected = cues(words, limits)
    parsed = list(webvtt_library.from_buffer(io.StringIO(webvtt(words, limits))))
    assert [(seconds(cue.start), seconds(cue.end)) for cue in parsed] == [cue[:2] for cue in expected]
    assert visible(html.unescape("".join(cue.raw_text for cue in parsed))) == said(words)


def ms(delta):
    return round(delta.total_seconds() * 1000)


def seconds(clock):
    hours, minutes, rest = clock.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(rest)) * 1000)


def joined_lines(made):
    return "".join("\n".join(cue.lines) + "\n" for cue in made)


@given(spoken(), LIMITS)
def test_limits_hold_wherever_they_can(words, limits):
    made = cues(words, limits)
    assert visible(joined_lines(made)) == said(words)
    last_end = 0
    for cue in made:
        assert last_end <= cue.start_ms < cue.end_ms
        last_end = cue.end_ms
        assert cue.end_ms - cue.start_ms <= limits.max_cue_s * 1000 + 1
        assert 1 <= len(cue.lines) <= limits.max_lines
        for line in cue.lines:
            assert line == line.strip()
            assert visible(line)
            assert "\n" not in line
            is_torn = any(unicodedata.east_asian_width(c) in "WF" for c in line)
            if " " in line:  # else it is one word, which stays whole, unless it may be torn
                assert width(line) <= limits.max_line_chars
            elif is_torn and not any(c.isascii() for c in line):
                assert width(line) <= limits.max_line_chars + n_closing(line) * 2


def n_closing(line):
    """Marks that may not begin a line, and small letters that follow another."""
    return sum(unicodedata.category(c).startswith("P") or c in "ー" or unicodedata.combining(c) > 0 for c in line)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 2), st.sampled_from(["so", "three.", "yes,"]))), LIMITS)
def test_cues_begin_when_their_first_word_does(steps, limits):
    words, now_s = [], 0.0
    for pause_s, duration_s, text in steps:
        words.append(Timed(text, now_s + pause_s, now_s + pause_s + duration_s))
        now_s = words[-1].end
    assert {cue.start_ms for cue in cues(words, limits)} <= {round(word.start * 1000) for word in words}


def test_an_ordinary_speech():
    made = cues(timed(SPEECH), DEFAULT)
    assert [cue.lines for cue in made] == [
        ("And so, my fellow Americans,",),
        ("ask not what your country can do for you;", "ask what you can do for your country."),
        ("Yes.",),
        ("We know.",),
        ("This is a rather long sentence without any", "commas that goes on and on until somebody"),
        ("finally decides that it should really", "come to an end, as all sentences must."),
    ]
    for cue in made:
        text = " ".join(cue.lines)
        shown_s = (cue.end_ms - cue.start_ms) / 1000
        assert len(text) / shown_s <= DEFAULT.max_chars_per_s * 1.1
        assert shown_s >= DEFAULT.min_cue_s


def test_short_cues_stay_into_the_pause_after_them():
    made = cues([Timed("Yes.", 1.0, 1.2), Timed("No.", 3.0, 3.1), Timed("Maybe, if you ask me.", 3.2, 3.6)], DEFAULT)
    assert made[0][:2] == (1000, 1833)
    assert made[1].lines == ("No. Maybe, if you ask me.",)  # alone, “No.” would be gone before it is read


def test_cues_that_nearly_touch_follow_one_another_at_two_frames():
    made = cues([Timed("This is the first sentence.", 0.0, 2.0), Timed("And this is the second.", 2.4, 4.0)], DEFAULT)
    assert [cue[:2] for cue in made] == [(0, 2317), (2400, 4000)]


def test_words_far_apart_are_never_in_one_cue():
    made = cues([Timed("one", 1.0, 1.3), Timed("two", 9.0, 9.3), Timed("three", 9.5, 9.9)], DEFAULT)
    assert [cue.lines for cue in made] == [("one",), ("two three",)]


def test_wide_characters_count_two_and_break_anywhere_but_before_a_closing_mark():
    text = "今天天气很好，我们决定去公园散步，然后在那里吃午饭。下午我们还要去图书馆看书，晚上回家做饭。"
    made = cues([Timed(text, 0.0, 14.0)], DEFAULT)
    assert "".join("".join(cue.lines) for cue in made) == text
    for cue in made:
        for line in cue.lines:
            assert len(line) <= 21
            assert line[0] not in "，。"
    assert [cue.lines[-1][-1] for cue in made] == list("，。。")  # cut where it reads well


def test_words_that_join_make_no_spaces():
    words = [
        Timed("今日", 0.0, 0.4),
        Timed("は", 0.4, 0.5, True),
        Timed("、", 0.5, 0.5, True),
        Timed("晴れ", 0.6, 1, True),
    ]
    assert [cue.lines for cue in cues(words, DEFAULT)] == [("今日は、晴れ",)]


def test_a_word_longer_than_a_line_stays_whole():
    long = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
    assert cues([Timed("Die", 0, 0.2), Timed(long, 0.2, 3), Timed("da.", 3, 3.2)], DEFAULT)[0].lines[1] == long


def test_right_to_left_lines_are_marked_in_srt_only():
    words = timed("هذا نص عربي طويل بعض الشيء، من أجل تجربة الترجمة المصاحبة.")
    lines = [line for cue in srt_library.parse(srt(words, DEFAULT)) for line in cue.content.split("\n")]
    assert len(lines) == 2
    assert all(line[0] == "\u202b" and line[-1] == "\u202c" for line in lines)
    assert "\u202b" not in webvtt(words, DEFAULT)
    assert "\u202b" not in srt(timed("plain text"), DEFAULT)


def test_webvtt_escapes_what_it_would_read_as_its_own():
    content = webvtt([Timed("a<b>&-->", 0.0, 1.0)], DEFAULT)
    assert "a&lt;b&gt;&amp;--&gt;" in content
    assert content.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")


def test_no_words_make_no_cues():
    assert (srt([], DEFAULT), webvtt([], DEFAULT)) == ("", "WEBVTT\n")


def test_an_hour_has_hours():
    assert "01:00:00,000 --> 01:00:01,000" in srt([Timed("late", 3600.0, 3601.0)], DEFAULT)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_line_chars": 7}, "max_line_chars"),
        ({"max_line_chars": 42.5}, "whole number"),
        ({"max_lines": True}, "max_lines"),
        ({"max_cue_s": float("nan")}, "max_cue_s"),
        ({"max_cue_s": 10**400}, "max_cue_s"),
        ({"min_cue_s": 5, "max_cue_s": 2}, "at most"),
        ({"max_chars_per_s": "fast"}, "max_chars_per_s"),
        ({"colour": 1}, "colour"),
        ([], "object"),
        ("none", "object"),
    ],
)
def test_limits_that_make_no_sense_are_one_sentence(limits, expected):
    with pytest.raises(DocumentError, match=expected) as caught:
        SubtitleLimits.of(limits)
    assert "\n" not in str(caught.value)


def test_limits_may_be_some_or_none():
    assert SubtitleLimits.of(None) == SubtitleLimits.of({}) == DEFAULT
    assert SubtitleLimits.of({"max_lines": 1}) == SubtitleLimits(max_lines=1)
