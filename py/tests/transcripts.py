"""Transcript documents for tests: one that is right, and hypothesis strategies for words."""

from typing import Any, NamedTuple

from hypothesis import strategies as st


class Timed(NamedTuple):
    """A word as subtitles want it."""

    text: str
    start: float
    end: float
    joins: bool = False


def word(text: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    """A word of a document."""
    known = {"text": text, "start": start, "end": end, "probability": 0.9, "alternatives": [], "joins": False}
    return {**known, "heard": None, **more}


def document(*words: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A document with these words."""
    text = "".join(("" if w["joins"] or i == 0 else " ") + w["text"] for i, w in enumerate(words))
    settings = {"delay_ms": 480, "left_pad_tokens": 76, "second_pass": False, "backend": "numpy", "adapter": "CPU"}
    return {
        "format": "voxtral-transcript",
        "version": 1,
        "id": "a1",
        "title": "Meeting, 09:00",
        "created_at": "2026-11-23T08:00:00.000Z",
        "source": "microphone",
        "audio_s": 60.0,
        "text": text,
        "words": list(words),
        "model": "Voxtral",
        "settings": settings,
        **more,
    }


def timed(text: str, pace_s: float = 0.06, gap_s: float = 0.03, pause_s: float = 0.8) -> list[Timed]:
    """The words of a text as spoken at a usual pace, with a pause after each sentence."""
    words, now_s = [], 0.0
    for written in text.split():
        words.append(Timed(written, now_s, now_s + pace_s * len(written)))
        now_s = words[-1].end + (pause_s if written[-1] in ".!?" else gap_s)
    return words


LETTERS = st.sampled_from(
    [*"abcXYZ019", *".,!?:;'\"()-—", *"今日は、。「」ー한국", *"مرحبا،؟", *"नमस्ते", *"&<>{}%", "é", "́", "😀"]
)
TEXTS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=12),
    st.text(st.sampled_from("今天気很好，。我们"), min_size=1, max_size=90),
    st.text(min_size=1, max_size=8),
    st.sampled_from(
        ["-->", "<i>", "</c>", "1", "00:00:01,000", "&amp;", "NOTE", "WEBVTT", "two words", "a\nb", "a" * 60]
    ),
)


@st.composite
def spoken(draw: Any) -> list[Timed]:
    """Any words, most of them one after another, some at one time, some in the wrong order."""
    words, now_s = [], draw(st.floats(0, 100))
    for text in draw(st.lists(TEXTS, max_size=60)):
        now_s = max(0.0, now_s + draw(st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0, 5), st.floats(-1, 0))))
        end_s = now_s + draw(st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 12)))
        words.append(Timed(text, now_s, end_s, draw(st.booleans())))
        now_s = end_s
    return words
