"""Documents: what is written is read again, what is odd is one sentence, and each format says the text."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import document, spoken, word

from voxtral.document import FORMATS, Document, Settings, of_result, render
from voxtral.errors import DocumentError

GOOD = document(
    word("Good", 0.4, 0.7), word("morning.", 0.7, 1.2, alternatives=[{"text": "mourning.", "probability": 0.1}])
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800") | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from places(inner, (*path, name))


def changed(value, path, new):
    """A copy with something else at a place."""
    if not path:
        return new
    made = copy.deepcopy(value)
    target = made
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = new
    return made


@given(ANYTHING, st.sampled_from(FORMATS))
def test_anything_is_a_document_or_one_sentence(value, format):
    with pytest.raises(DocumentError) as caught:
        render(value, format)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(list(places(GOOD))), ANYTHING, st.sampled_from(FORMATS))
def test_anything_in_a_document_is_taken_or_one_sentence(path, value, format):
    try:
        content = render(changed(GOOD, path, value), format)
    except DocumentError as error:
        content = str(error)
        assert "\n" not in content
    content.encode()


@given(spoken(), st.sampled_from(FORMATS))
def test_every_document_can_be_written_and_read_again(words, format):
    made = document(*(word(w.text, w.start, w.end, joins=w.joins) for w in words))
    content = render(made, format)
    content.encode()
    if format == "json":
        assert Document.of(json.loads(content)) == Document.of(made)
        assert render(json.loads(content), "json") == content


@pytest.mark.parametrize("path", [path for path in places(GOOD) if path and isinstance(path[-1], str)])
def test_what_is_missing_is_named(path):
    made = changed(GOOD, path, None)
    target = made
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    if path[-1] in ("alternatives", "joins", "heard"):
        assert Document.of(made)
    else:
        with pytest.raises(DocumentError, match=path[-1]):
            Document.of(made)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("version",), 2, "version 1"),
        (("version",), True, "version 1"),
        (("source",), "radio", "microphone, tab, file"),
        (("created_at",), "yesterday", "date"),
        (("audio_s",), -1, "audio_s"),
        (("audio_s",), float("inf"), "audio_s"),
        (("words", 0, "end"), 0.1, "before it starts"),
        (("words", 0, "probability"), 1.5, "0 to 1"),
        (("words", 1, "alternatives", 0), "mourning", r"words\[1\].alternatives\[0\]"),
        (("settings", "delay_ms"), 480.5, "whole number"),
        (("settings", "second_pass"), 1, "true or false"),
        (("notes",), float("nan"), "JSON"),
        pytest.param(("notes",), 10**5000, "JSON", id="a number Python does not write, in a field nobody knows"),
        pytest.param(("audio_s",), 10**5000, "very large", id="and in a known one"),
    ],
)
def test_what_is_wrong_is_named(path, value, expected):
    with pytest.raises(DocumentError, match=expected):
        Document.of(changed(GOOD, path, value))


def test_json_is_the_document_and_keeps_what_it_does_not_know():
    made = {**GOOD, "notes": ["mine"], "words": [{**GOOD["words"][0], "speaker": "A"}, GOOD["words"][1]]}
    assert json.loads(render(made, "json")) == made
    assert render(made, "json").startswith('{\n  "format": "voxtral-transcript",\n  "version": 1,\n')


def test_halves_of_characters_do_not_come_through():
    made = document(word("a\ud800b", 0.0, 1.0))
    assert json.loads(render(made, "json"))["words"][0]["text"] == "a\ufffdb"


def test_txt_has_a_paragraph_for_each_long_pause():
    made = document(
        word("One,", 0.0, 0.5), word("two.", 1.5, 2.0), word("Three", 4.0, 4.5), word("四", 4.5, 5, joins=True)
    )
    assert render(made, "txt") == "One, two.\n\nThree四\n"


def test_txt_breaks_a_speech_without_pauses_after_a_sentence():
    words = [word("sentence." if i % 9 == 8 else "another", i * 0.4, i * 0.4 + 0.4) for i in range(180)]
    paragraphs = render(document(*words), "txt").split("\n\n")
    assert len(paragraphs) == 3
    assert all(600 < len(paragraph) < 700 and paragraph.strip().endswith(".") for paragraph in paragraphs[:-1])


def test_a_text_that_is_more_than_its_words_is_written_whole():
    made = document(word("Good", 0.4, 0.7), text="Good mor")
    assert render(made, "txt") == "Good mor\n"
    with pytest.raises(DocumentError, match="no words"):
        render({**made, "words": []}, "srt")


def test_subtitles_follow_the_limits():
    made = document(
        *(word(text, i * 0.5, i * 0.5 + 0.4) for i, text in enumerate(["some", "words", "make", "three", "lines"]))
    )
    narrow = render(made, "srt", {"max_line_chars": 10, "max_lines": 3})
    assert "some words\nmake three\nlines\n" in narrow
    with pytest.raises(DocumentError, match="max_lines"):
        render(made, "vtt", {"max_lines": 0})


def test_a_format_nobody_knows_is_one_sentence():
    with pytest.raises(DocumentError, match="txt, srt, vtt, json"):
        render(GOOD, "docx")


def test_a_result_becomes_a_document():
    words = [{"text": "one", "start": 0.1, "end": 0.4, "probability": 0.9, "alternatives": [], "joins": False}]
    result = {
        "file": "/a/b.wav",
        "text": "one",
        "words": words,
        "audio_s": 1.0,
        "wall_s": 0.1,
        "rtf": 0.1,
        "tokens": [1],
    }
    made = of_result(result, "demo", Settings(480, 76, False, "numpy", None)).as_dict()
    assert Document.of(made).as_dict() == made
    assert (made["title"], made["source"], made["tokens"]) == ("b.wav", "file", [1])
