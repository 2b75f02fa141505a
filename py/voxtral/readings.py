"""How sure a word is, and how else it could be read, from the candidates of its tokens.

A word is as sure as its least sure token: products would make every long word look doubtful. Its alternatives are the
word with that one token replaced by what else the model thought of there; nothing is known of how it would have gone
on, so the tokens behind it stay.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from voxtral.config import N_SPECIAL_TOKENS
from voxtral.tekken import Tekken

MAX_ALTERNATIVES = 3
SMALLEST_PROBABILITY = 0.01  # of an alternative that is worth showing
UNWRITTEN = ("Cc", "Co", "Cn", "Cs")  # Unicode categories that no word has


class Candidate(NamedTuple):
    """One of the tokens that were likeliest at a position; probability: among all tokens, 0 to 1."""

    token: int
    probability: float


Choice = tuple[Candidate, ...]  # what was likeliest at a position, best first: the first is taken


class Alternative(NamedTuple):
    """Another reading of a word, "" for nothing at all, and the probability of what makes the difference."""

    text: str
    probability: float


class Piece(NamedTuple):
    """A token of a word: its bytes, and what was likeliest in its place, best first; () where that is not known."""

    data: bytes
    candidates: Choice

    @property
    def probability(self) -> float:
        return self.candidates[0].probability if self.candidates else 1.0


def probability_of(pieces: Sequence[Piece]) -> float:
    """How sure a word of these tokens is, 0 to 1."""
    return min((piece.probability for piece in pieces), default=1.0)


def alternatives_of(text: str, pieces: Sequence[Piece], tekken: Tekken) -> list[Alternative]:
    """Other readings of the word `text` of these tokens, the likeliest first, at most MAX_ALTERNATIVES."""
    data = [piece.data for piece in pieces]
    if not pieces or (_text(data) or "").strip() != text:
        return []  # tokens that reach into another word
    at = min(range(len(pieces)), key=lambda i: pieces[i].probability)
    # The tokens that stay are those behind the character in which the replaced one ends.
    end = next(i for i in range(at + 1, len(pieces) + 1) if _text(data[:i]) is not None)
    found: dict[str, float] = {}
    for token, token_probability in pieces[at].candidates[1:]:
        if token < N_SPECIAL_TOKENS:
            reading = _text(data[:at])  # it ends here, or is nothing
        else:
            changed = [*data[:at], tekken.piece(token)]
            reading = None if _text(changed) is None else _text([*changed, *data[end:]])
        if reading is not None and reading.strip() != text and _is_written(reading.strip()):
            reading = reading.strip()
            found[reading] = found.get(reading, 0.0) + token_probability
    ranked = sorted(found.items(), key=lambda item: -item[1])
    likely = [Alternative(*item) for item in ranked if item[1] >= SMALLEST_PROBABILITY]
    return likely[:MAX_ALTERNATIVES]


def _text(data: Sequence[bytes]) -> str | None:
    """The text of these bytes, None if it has a broken or unfinished character."""
    try:
        return b"".join(data).decode()
    except UnicodeDecodeError:
        return None


def _is_written(text: str) -> bool:
    return not any(character == "\ufffd" or unicodedata.category(character) in UNWRITTEN for character in text)
