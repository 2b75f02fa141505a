"""Runs the Python that a person wrote to change a transcript: `process(words, text)`.

    Word                 what `words` are made of; a name that the person's code may use
    run                  code and words → what became of them, or the traceback
    requested_packages   what a comment line `# packages: NAME …` asks for
    imports              names of the modules that code imports

`process` gets a list of Word and the text they make. It returns the new text, which is then laid over the times of the
words it came from (alignment.py), or words: those it got, changed or left out, in any order, or new ones.
"""

import ast
import contextlib
import io
import linecache
import math
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from voxtral.alignment import Alignment, joined
from voxtral.alignment import TimedWord as Word
from voxtral.errors import VoxtralError

FILE_NAME = "your_code.py"
MAX_PRINTED_CHARACTERS = 20_000
PACKAGES = re.compile(r"^[ \t]*#[ \t]*packages:(.*)$", re.MULTILINE | re.IGNORECASE)


class ScriptError(VoxtralError):
    """The person's code did something else than it should."""


def run(code: str, words: Sequence[Mapping[str, Any]], text: str) -> dict[str, Any]:
    """Change a transcript; never raises. words: as in a document.

    Returns {text, words, changes, printed, traceback}: either traceback is None, or the first three are. words are a
    document's again: `heard` says what was there where something is new; changes: see Alignment.
    """
    printed = _Printed()
    original = [_word(word) for word in words]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            made = _process(code)([replace(word) for word in original], text)
            new_text, new_words, changes = _result(made, original)
    except BaseException as error:  # also what `exit()` raises
        nothing = {"text": None, "words": None, "changes": None}
        return {**nothing, "printed": printed.getvalue(), "traceback": _explained(error)}
    as_dicts = [_as_dict(word) for word in new_words]
    return {"text": new_text, "words": as_dicts, "changes": changes, "printed": printed.getvalue(), "traceback": None}


def requested_packages(code: str) -> list[str]:
    """Names, with versions or without, and addresses of wheels; separated by spaces or commas."""
    lines = PACKAGES.findall(code)
    return [name.strip() for line in lines for name in re.split(r"[\s,]+(?=[A-Za-z])", f" {line}") if name.strip()]


def imports(code: str) -> list[str]:
    """Top names of the modules that code imports; none when it cannot be read."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return sorted({name.split(".")[0] for name in names})


class _Printed(io.StringIO):
    """What code prints, up to a limit."""

    def write(self, text: str) -> int:
        room = MAX_PRINTED_CHARACTERS - self.tell()
        super().write(text[: max(0, room)])
        return len(text)


def _process(code: str) -> Any:
    linecache.cache[FILE_NAME] = (len(code), None, code.splitlines(keepends=True), FILE_NAME)  # for tracebacks
    module: dict[str, Any] = {"__name__": "your_code", "__file__": FILE_NAME, "Word": Word}
    exec(compile(code, FILE_NAME, "exec", dont_inherit=True), module)
    if not callable(process := module.get("process")):
        raise ScriptError("There is no function process(words, text); write one that returns the new text, or words.")
    return process


def _result(made: Any, original: Sequence[Word]) -> tuple[str, list[Word], list[tuple[str, str]]]:
    """Text, words and changes of what `process` returned. Raises ScriptError."""
    if isinstance(made, str):
        new_text = _whole_characters(made.strip())
        alignment = Alignment(original, new_text)
        return new_text, alignment.words(), alignment.changes()
    if made is None:
        raise ScriptError("process returned nothing; end it with `return text` or `return words`.")
    if not isinstance(made, Iterable):
        raise ScriptError(f"process should return text or words, it returned {type(made).__name__}.")
    checked = [_checked(word, i) for i, word in enumerate(made)]
    new_words = [word for word in checked if word.text]
    new_text = joined(new_words)
    return new_text, new_words, Alignment(original, new_text).changes()


def _checked(word: Any, i: int) -> Word:
    where = f"words[{i}], which process returned,"
    if not isinstance(word, Word):
        raise ScriptError(
            f"{where} is {type(word).__name__}, where Word was expected; return text, or change the words."
        )
    if not isinstance(word.text, str):
        raise ScriptError(f"{where} has a text that is {type(word.text).__name__}, where str was expected.")
    try:
        start, end, probability = float(word.start), float(word.end), float(word.probability)
    except (TypeError, ValueError) as error:
        raise ScriptError(f"{where} has times or a probability that are no numbers.") from error
    if not 0 <= start <= end < math.inf:
        raise ScriptError(f"{where} should start at 0 s or later and end after that, got {start:g} s and {end:g} s.")
    if not 0 <= probability <= 1:
        raise ScriptError(f"{where} should have a probability from 0 to 1, got {probability:g}.")
    written = _whole_characters(" ".join(word.text.split()))
    return Word(written, start, end, probability, bool(word.joins), word.source)


def _whole_characters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _word(value: Mapping[str, Any]) -> Word:
    joins = bool(value.get("joins", False))
    return Word(value["text"], value["start"], value["end"], value["probability"], joins, source=value)


def _as_dict(word: Word) -> dict[str, Any]:
    """For a document. What was heard stays known; a word that is as it was keeps all it had."""
    source = word.source or {}
    before = source.get("text")
    timed = {"start": round(float(word.start), 3), "end": round(float(word.end), 3), "joins": word.joins}
    if before == word.text:
        return {**source, **timed, "probability": word.probability}
    heard = source.get("heard")
    heard = before if heard is None else heard
    return {"text": word.text, **timed, "probability": word.probability, "alternatives": [], "heard": heard}


def _explained(error: BaseException) -> str:
    """A traceback that shows the person's own lines only, or just the sentence."""
    if isinstance(error, ScriptError):
        return str(error)
    report = traceback.TracebackException.from_exception(error)
    shown: traceback.TracebackException | None = report
    while shown is not None:
        own = [frame for frame in shown.stack if frame.filename == FILE_NAME]
        shown.stack = traceback.StackSummary.from_list(own)
        shown = shown.__cause__ or shown.__context__
    return "".join(report.format()).rstrip()
