"""Lays a changed text over the timed words it was made from, so that what was said when is not lost.

    TimedWord    a word with its times
    Alignment    of words and a text that was made from them: `words` are those of the text, `changes` is what changed

What stayed keeps its times, also where only capitals or marks changed. What took the place of something has its time,
too, shared out by length; what was put in between begins and ends where it was put. Characters of scripts without
spaces are compared one by one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import chain, groupby
from typing import Any, NamedTuple

from voxtral.subtitles import torn

WINDOW = 500  # pieces that are compared at once: the time it takes grows with the square


@dataclass
class TimedWord:
    """One written word. start, end: seconds; joins: it follows the one before it without a space; source: of what."""

    text: str
    start: float
    end: float
    probability: float = 1.0
    joins: bool = False
    source: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


def joined(words: Sequence[TimedWord]) -> str:
    """The text that words make."""
    return "".join(("" if word.joins or i == 0 else " ") + word.text for i, word in enumerate(words)).strip()


class _Piece(NamedTuple):
    """What is compared: a word, or a character of a script without spaces. origin: number of its word, or None."""

    text: str
    joins: bool
    start: float = 0.0
    end: float = 0.0
    origin: int | None = None


Run = tuple[bool, int, int, int, int]  # is it equal, [first, last) of the old and of the new


def _runs(old: Sequence[str], new: Sequence[str]) -> list[Run]:
    """What stayed and what changed, in order. Window by window, of which the last quarter is looked at again."""
    runs: list[Run] = []
    i = j = 0
    while i < len(old) or j < len(new):
        is_last = max(len(old) - i, len(new) - j) <= WINDOW
        matcher = SequenceMatcher(None, old[i : i + WINDOW], new[j : j + WINDOW], autojunk=False)
        found = _within(matcher.get_opcodes(), WINDOW if is_last else WINDOW * 3 // 4)
        for is_equal, first, last, new_first, new_last in found or [(False, 0, WINDOW, 0, WINDOW)]:
            run = (is_equal, i + first, min(i + last, len(old)), j + new_first, min(j + new_last, len(new)))
            if runs and runs[-1][0] == is_equal:
                _, before, _, new_before, _ = runs.pop()
                run = (is_equal, before, run[2], new_before, run[4])
            runs.append(run)
        _, _, i, _, j = runs[-1]
    return runs


def _within(opcodes: Sequence[tuple[str, int, int, int, int]], limit: int) -> list[Run]:
    """The runs that end within the limit; what is equal is cut there."""
    found: list[Run] = []
    for kind, first, last, new_first, new_last in opcodes:
        excess = max(last, new_last) - limit
        if excess <= 0:
            found.append((kind == "equal", first, last, new_first, new_last))
            continue
        if kind == "equal" and last - first > excess:
            found.append((True, first, last - excess, new_first, new_last - excess))
        break
    return found


class Alignment:
    """Of words and a text; see above."""

    def __init__(self, words: Sequence[TimedWord], text: str) -> None:
        self._words = words
        self._old = [piece for i, word in enumerate(words) for piece in _pieces_of(word, i)]
        self._new = list(_pieces(text))
        old, new = [_key(piece.text) for piece in self._old], [_key(piece.text) for piece in self._new]
        self._runs = _runs(old, new)

    def changes(self) -> list[tuple[str, str]]:
        """(kind, text) in order, kind: same, removed or added; each text begins with its space, if it has one."""
        pairs: list[tuple[bool, Sequence[_Piece], Sequence[_Piece]]] = []  # is it the same, what was, what is
        for is_equal, first, last, new_first, new_last in self._runs:
            old, new = self._old[first:last], self._new[new_first:new_last]
            if is_equal:
                pairs += [(a.text == b.text, [a], [b]) for a, b in zip(old, new, strict=True)]
            else:
                pairs.append((False, old, new))
        found = []
        for is_same, run in groupby(pairs, lambda pair: pair[0]):
            _, before, after = zip(*run, strict=True)
            found += [] if is_same else [("removed", _written([*chain.from_iterable(before)]))]
            found += [("same" if is_same else "added", _written([*chain.from_iterable(after)]))]
        return [(kind, text) for kind, text in found if text]

    def words(self) -> list[TimedWord]:
        """The words of the text; those that stayed whole are the same objects.

        Another has for its source {"heard": the text it took the place of}, "" where that was nothing, or where a word
        before it, which took that place with it, tells.
        """
        made: list[TimedWord] = []
        for is_equal, first, last, new_first, new_last in self._runs:
            old, new = self._old[first:last], self._new[new_first:new_last]
            made += self._kept(old, new) if is_equal else self._changed(new, first, last)
        return made

    def _kept(self, old: Sequence[_Piece], new: Sequence[_Piece]) -> Iterator[TimedWord]:
        """Whole words as they are, parts of others as words of their own."""
        pieces = [before._replace(text=after.text, joins=after.joins) for before, after in zip(old, new, strict=True)]
        for first, last in _runs_of_words(pieces):
            run = pieces[first:last]
            word = self._words[run[0].origin or 0]
            if _written(run).strip() == word.text:
                yield word
            else:
                yield _new_word(run, run[0].start, run[-1].end, word.probability, _written(old[first:last]).strip())

    def _changed(self, new: Sequence[_Piece], first: int, last: int) -> Iterator[TimedWord]:
        """Words that took the place of the old pieces first … last - 1."""
        old = self._old[first:last]
        before = self._old[first - 1].end if first else (self._old[0].start if self._old else 0.0)
        start, end = (old[0].start, max(old[-1].end, old[0].start)) if old else (before, before)
        share = (end - start) / max(1, sum(len(piece.text) for piece in new))
        probability = min((self._words[piece.origin or 0].probability for piece in old), default=1.0)
        heard = _written(old).strip()
        for run_first, run_last in _runs_of_words(new):
            run = new[run_first:run_last]
            after = start + share * sum(len(piece.text) for piece in run)
            yield _new_word(run, start, after, probability, heard)
            start, heard = after, ""


def _new_word(pieces: Sequence[_Piece], start: float, end: float, probability: float, heard: str) -> TimedWord:
    return TimedWord(_written(pieces).strip(), start, end, probability, pieces[0].joins, {"heard": heard})


def _key(text: str) -> str:
    """What makes a word the same word."""
    return "".join(character for character in text.casefold() if character.isalnum()) or text


def _pieces(text: str) -> Iterator[_Piece]:
    for word in text.split():
        for i, part in enumerate(torn(word)):
            yield _Piece(part, joins=i > 0)


def _pieces_of(word: TimedWord, origin: int) -> Iterator[_Piece]:
    start = word.start
    pieces = list(_pieces(word.text))
    share = (word.end - word.start) / max(1, sum(len(piece.text) for piece in pieces))
    for i, piece in enumerate(pieces):
        end = start + share * len(piece.text)
        yield _Piece(piece.text, piece.joins or (i == 0 and word.joins), start, end, origin)
        start = end


def _runs_of_words(pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """[first, last) of each word: pieces that join, and come from one old word or from none."""
    first = 0
    for i in range(1, len(pieces) + 1):
        is_over = i == len(pieces) or not pieces[i].joins or pieces[i].origin != pieces[i - 1].origin
        if is_over:
            yield first, i
            first = i


def _written(pieces: Sequence[_Piece]) -> str:
    return "".join(("" if piece.joins else " ") + piece.text for piece in pieces)
