"""A person's own Python over a transcript: results, mistakes and their tracebacks, and the examples in the page."""

import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import document, word

from voxtral.document import Document, render
from voxtral.post_processing import MAX_PRINTED_CHARACTERS, Word, imports, requested_packages, run

EXAMPLES = Path(__file__).parents[2] / "app" / "post_processing"


def heard(text: str) -> list[dict]:
    """Words of a document, one each half second."""
    alternatives = [{"text": "else", "probability": 0.1}]
    return [word(said, i * 0.5, i * 0.5 + 0.4, alternatives=alternatives) for i, said in enumerate(text.split())]


def ran(body: str, text: str = "so um we go"):
    """What became of a text under `def process(words, text):` and this body."""
    return run("def process(words, text):\n" + "\n".join(f"    {line}" for line in body.split("\n")), heard(text), text)


def test_text_keeps_the_times_of_what_stayed():
    made = ran("return text.replace('um ', '')")
    assert (made["text"], made["traceback"]) == ("so we go", None)
    assert made["words"] == [w for w in heard("so um we go") if w["text"] != "um"]
    assert made["changes"] == [("same", " so"), ("removed", " um"), ("same", " we go")]


def test_words_are_changed_in_place_left_out_and_made():
    made = ran("words[0].text = 'So'\nwords[1].text = ' '\nreturn [*words, Word('now', 2.0, 2.5)]")
    assert made["text"] == "So we go now"
    first, second, _, last = made["words"]
    assert (first["text"], first["heard"], first["alternatives"]) == ("So", "so", [])
    assert second == heard("so um we go")[2]
    assert (last["start"], last["end"], last["probability"], last["heard"]) == (2.0, 2.5, 1.0, None)


def test_words_may_be_yielded():
    assert ran("for word in words:\n    if word.text != 'um':\n        yield word")["text"] == "so we go"


def test_what_a_person_wrote_before_stays_known_as_heard():
    words = [word("Go", 0.0, 0.4, heard="oh")]
    made = run("def process(words, text):\n    words[0].text = 'Gone'\n    return words", words, "Go")
    assert made["words"][0]["heard"] == "oh"


def test_the_result_belongs_into_a_document():
    made = ran("return 'well, ' + text.upper() + ' 今日は'")
    assert render(document(*made["words"]), "txt") == "well, SO UM WE GO 今日は\n"


def test_what_code_prints_is_kept_up_to_a_limit():
    made = ran("print('x' * 30)\nimport sys\nprint('y', file=sys.stderr)\nreturn text")
    assert made["printed"] == "x" * 30 + "\ny\n"
    assert len(ran("for _ in range(100): print('x' * 1000)\nreturn text")["printed"]) == MAX_PRINTED_CHARACTERS


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("", "There is no function process"),
        ("process = 3", "There is no function process"),
        ("def process(words, text): pass", "returned nothing"),
        ("def process(words, text): return 3", "it returned int"),
        ("def process(words, text): return [*words, 'x']", "words[4], which process returned, is str"),
        ("def process(words, text):\n    words[1].text = None\n    return words", "a text that is NoneType"),
        ("def process(words, text):\n    words[1].start = 'now'\n    return words", "no numbers"),
        ("def process(words, text):\n    words[1].start = 9\n    return words", "got 9 s and 0.9 s"),
        ("def process(words, text):\n    words[1].end = float('inf')\n    return words", "got 0.5 s and inf s"),
        ("def process(words, text):\n    words[1].probability = 2\n    return words", "from 0 to 1, got 2"),
    ],
)
def test_what_is_no_result_is_one_sentence(code, sentence):
    made = run(code, heard("so um we go"), "so um we go")
    assert (made["text"], made["words"], made["changes"]) == (None, None, None)
    assert sentence in made["traceback"]
    assert "\n" not in made["traceback"]


def test_tracebacks_show_the_persons_lines_alone():
    traceback = ran("import json\ntry:\n    json.loads('{')\nexcept ValueError:\n    return 1 / 0")["traceback"]
    files = {line for line in traceback.splitlines() if line.startswith("  File")}
    assert files == {'  File "your_code.py", line 4, in process', '  File "your_code.py", line 6, in process'}
    assert "json.loads('{')" in traceback
    assert traceback.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def process(words text):\n    return text", ['File "your_code.py", line 1', "^", "SyntaxError"]),
        ("def process(words, text):\nreturn text", ["IndentationError"]),
        ("def process(words): return text", ["TypeError: process() takes 1 positional argument but 2 were given"]),
        ("def process(words, text): exit(3)", ["SystemExit: 3"]),
        ("def process(words, text): return process(words, text)", ["RecursionError", "Previous line repeated"]),
        ("import nothing_of_that_name", ["ModuleNotFoundError: No module named 'nothing_of_that_name'"]),
        ("def process(words, text): raise KeyboardInterrupt", ["KeyboardInterrupt"]),
        ("\0", ["source code"]),
    ],
)
def test_mistakes_of_all_kinds_have_a_traceback(code, expected):
    traceback = run(code, heard("so"), "so")["traceback"]
    assert all(words in traceback for words in expected), traceback
    assert "post_processing.py" not in traceback


@given(st.text() | st.text("def proces(wkx,t):\n    rlu#'\"0"))
def test_any_code_is_a_result_or_a_traceback(code):
    made = run(code, heard("so"), "so")
    assert (made["text"] is None) == (made["traceback"] is not None)
    imports(code)
    requested_packages(code)


def test_packages_are_asked_for_in_comments():
    code = "# packages: inflect==7.5.0, regex>=2024,<2026\n  #Packages:  https://a.example/b-1-py3-none-any.whl\nx = 1"
    assert requested_packages(code) == ["inflect==7.5.0", "regex>=2024,<2026", "https://a.example/b-1-py3-none-any.whl"]
    assert requested_packages("x = 1  # packages: none\n# packages:\n") == []
    assert requested_packages((EXAMPLES / "own.py").read_text()) == []


def test_imports_are_found_anywhere():
    assert imports("import numpy as np, os.path\ndef f():\n    from a.b import c\n    from . import d") == [
        "a",
        "numpy",
        "os",
    ]
    assert imports("import (") == []


# -- the examples -----------------------------------------------------------------------------------
def example(name: str, text: str) -> str:
    """What an example makes of a text; it must be right where the page runs it, and as a plain module."""
    made = run((EXAMPLES / f"{name}.py").read_text(), heard(text), text)
    assert made["traceback"] is None, made["traceback"]
    assert Document.of(document(*made["words"]))
    plain = runpy.run_path(str(EXAMPLES / f"{name}.py"))["process"]
    words = [Word(w["text"], w["start"], w["end"]) for w in heard(text)]
    result = plain(words, text)
    assert made["text"] == (result if isinstance(result, str) else " ".join(w.text for w in result))
    return made["text"]


def test_the_glossary_writes_names_its_way():
    said = "alexa, ask the smart mirror. Smart Mirrors alexandra"
    assert example("glossary", said) == "Alexa, ask the SmartMirror. Smart Mirrors alexandra"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("one four one seven", "1 4 1 7"),
        ("twenty one pilots", "21 pilots"),
        ("Twenty-one, twenty two.", "21, 22."),
        ("seven hundred and fifty thousand and six people", "750006 people"),
        ("two million three hundred thousand four hundred and five", "2300405"),
        ("one hundred and one and two", "101 and 2"),
        ("fifteen sixteen", "15 16"),
        ("zero point five", "0 point 5"),
        ("hundred and thousand", "hundred and thousand"),
        ("nobody, and", "nobody, and"),
        ("“nineteen”", "“19”"),
        ("one, two", "1, 2"),
    ],
)
def test_numbers_become_digits(said, written):
    assert example("digits", said) == written


def test_a_number_of_several_words_has_their_time():
    made = run((EXAMPLES / "digits.py").read_text(), heard("buy twenty one now"), "buy twenty one now")
    assert [(w["text"], w["start"], w["end"], w["heard"]) for w in made["words"]][1] == ("21", 0.5, 1.4, "twenty")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("so um we uh go", "so we go"),
        ("Um, we we went there. Uh, it it was good, um.", "We went there. It was good."),
        ("It was very, very good", "It was very, very good"),
        ("um", ""),
        ("one one two", "one two"),
        ("Hmm. Yes.", "Yes."),
    ],
)
def test_fillers_are_left_out(said, written):
    assert example("fillers", said) == written


def test_a_script_of_ones_own_begins_with_one_that_changes_nothing():
    assert example("own", "so um we go") == "so um we go"


@pytest.mark.parametrize("name", ["glossary", "digits", "fillers", "own"])
def test_examples_say_what_they_do_and_take_silence(name):
    assert (EXAMPLES / f"{name}.py").read_text().startswith('"""')
    assert example(name, "") == ""
