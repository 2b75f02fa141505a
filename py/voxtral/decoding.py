"""From token ids to timed words.

A token at position p has heard the audio up to token p and speaks about audio frame f = p - left pad -
delay: both cancel, so times do not depend on either. A `[STREAMING_WORD]` at f says that a word (or a
group of words) has just ended; its pieces follow, one a token. Ends are accurate to half a token, 40 ms. Starts are
not in the stream; they are where the sound begins (onsets.py), or else estimated.

The text is always its words, each behind a space unless it `joins` the one before (scripts.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxtral.config import MS_PER_TOKEN, N_SPECIAL_TOKENS, STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, StreamingConfig
from voxtral.onsets import Onsets
from voxtral.readings import Alternative, Candidate, Choice, Piece, alternatives_of, probability_of
from voxtral.scripts import SPACED_PUNCTUATION, begins_word, is_separator, spoken_s
from voxtral.tekken import Tekken, TokenTextStream

__all__ = ["Addition", "Alternative", "Candidate", "Revision", "TokenEvent", "Transcript", "Word", "joined"]

END_OFFSET_TOKENS = 0.5  # a marker in frame f is, on average, half a frame late

MARKER_S = 0.5  # a marker speaks of text that begins within this time behind it

CONTINUED, CAREFUL, RESTART = "continued", "careful", "restart"  # reasons of a revision


@dataclass(frozen=True)
class TokenEvent:
    """One generated token. `time_s`: middle of the 80 ms of audio it speaks about, on the input's clock.

    candidates: the likeliest tokens at its position, best first, so that it is the first; levels: how loud these 80 ms
    are, in dB, every 10 ms. Either is () where nobody measured.
    """

    position: int
    token: int
    time_s: float
    candidates: Choice = field(default=(), compare=False)  # what is measured differs in the last digits
    levels: tuple[float, ...] = field(default=(), compare=False)


@dataclass(slots=True)
class Word:
    """One written word and where it was said, in seconds of the input.

    probability: 0 to 1, that of its least sure token; alternatives: other readings of the word, best first;
    joins: follows the word before it without a space.
    """

    text: str
    start: float
    end: float
    probability: float = 1.0
    alternatives: list[Alternative] = field(default_factory=list)
    joins: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "start": round(self.start, 2),
            "end": round(self.end, 2),
            "probability": round(self.probability, 4),
            "alternatives": [
                {"text": text, "probability": round(probability, 4)} for text, probability in self.alternatives
            ],
            "joins": self.joins,
        }


@dataclass(frozen=True)
class Revision:
    """Words first … first + n_replaced - 1 of the session, counted from 0, are `words` now.

    reason: "careful" (heard again with more delay), "restart" (the decoder was caught in a loop: text of words that
    were not complete is gone, too) or "continued" (a complete word went on after a pause; its text is only here).
    """

    first: int
    n_replaced: int
    words: list[Word]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        words = [word.as_dict() for word in self.words]
        return {"first": self.first, "n_replaced": self.n_replaced, "words": words, "reason": self.reason}


@dataclass
class Addition:
    """What a few tokens changed: revisions of earlier words first, then text to append, and the words complete now."""

    text: str = ""
    words: list[Word] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)


def joined(words: Iterable[Word]) -> str:
    """The text of these words."""
    return "".join(f"{'' if word.joins or not i else ' '}{word.text}" for i, word in enumerate(words))


def frame_time_s(position: int, streaming: StreamingConfig) -> float:
    """The moment, in seconds of the input, that a token generated at `position` speaks about."""
    frame = position - streaming.left_pad_tokens - streaming.delay_tokens
    return max(0.0, (frame + END_OFFSET_TOKENS) * MS_PER_TOKEN / 1000)


@dataclass
class _Spelling:
    """A word and the tokens it is written with."""

    word: Word
    pieces: list[Piece] = field(default_factory=list)

    def take(self, pieces: Iterable[Piece]) -> None:
        """These tokens spell more of it; one that is known already spelt two characters."""
        self.pieces += [piece for piece in pieces if all(piece is not known for known in self.pieces)]


class Transcript:
    """Assembles text and words from tokens: feed, flush; revise, take_back; reset.

    `words` are the complete ones, by their numbers.
    """

    def __init__(self, tekken: Tekken) -> None:
        self._tekken = tekken
        self._characters = TokenTextStream(tekken)
        self.reset()

    def reset(self) -> None:
        """Start an empty transcript."""
        self.words: list[Word] = []
        self._last_end_s = 0.0
        self._onsets = Onsets()
        self._begin()

    def _begin(self) -> None:
        """Expect a new word, whatever was not complete."""
        self._characters.reset()
        self._unfinished: list[Piece] = []  # tokens of a character that is not complete
        self._group: list[_Spelling] = []  # words under one marker; timed when the group is complete
        self._group_end_s: float | None = None
        self._last: _Spelling | None = None  # the word that goes on if no space comes; it may be complete
        self._is_marked = False  # since the last character
        self._had_space = False

    @property
    def text(self) -> str:
        """All of it, words that are not complete included."""
        return joined([*self.words, *(spelling.word for spelling in self._group)])

    @property
    def n_words(self) -> int:
        """Of `text`."""
        return len(self.words) + len(self._group)

    def feed(self, events: Sequence[TokenEvent]) -> Addition:
        """Append what these tokens say."""
        addition = Addition()
        for event in events:
            self._onsets.feed(event.time_s, event.levels)
            if event.token == STREAMING_WORD_TOKEN:
                self._close_group(addition)
                self._group_end_s = event.time_s
                self._is_marked = True
            elif event.token == STREAMING_PAD_TOKEN:
                if self._group and not self._unfinished:
                    self._close_group(addition)
            elif event.token >= N_SPECIAL_TOKENS:
                if self._group_end_s is None or (not self._group and event.time_s > self._group_end_s + MARKER_S):
                    self._group_end_s = event.time_s
                self._unfinished.append(Piece(self._tekken.piece(event.token), event.candidates))
                text = self._characters.feed(event.token)
                self._append(text, addition)
                if not self._characters.is_inside_character:
                    self._unfinished = []
                elif text:
                    del self._unfinished[:-1]
        return addition

    def flush(self, events: Sequence[TokenEvent] = ()) -> Addition:
        """These are the last tokens: what they say, the rest of an unfinished character, and the last words."""
        addition = self.feed(events)
        self._append(self._characters.flush(), addition)
        self._unfinished = []
        self._close_group(addition)
        return addition

    # -- changing what was said -----------------------------------------------------------------
    def revise(self, first: int, n_replaced: int, words: list[Word], reason: str = CAREFUL) -> Revision:
        """Put `words` in the place of complete ones; whether the first of them joins is decided here."""
        if words:
            words[0].joins = first > 0 and _touch(self.words[first - 1].text, words[0].text)
        if not self._group and first + n_replaced >= len(self.words):
            self._last = None  # what comes next is not the rest of a word that is not there any more
        self.words[first : first + n_replaced] = words
        return Revision(first, n_replaced, words, reason)

    def take_back(self, first: int) -> Revision:
        """Forget the words from `first` on and what is not complete; the next text begins a word."""
        n_replaced = len(self.words) - first
        del self.words[first:]
        self._last_end_s = self.words[-1].end if self.words else 0.0
        self._begin()
        return Revision(first, n_replaced, [], RESTART)

    # -- text to words --------------------------------------------------------------------------
    def _append(self, text: str, addition: Addition) -> None:
        """Spell out what the tokens in `_unfinished` have completed."""
        for character in text:
            if is_separator(character):
                self._had_space = True
                continue
            spelling = self._last
            if spelling is None or self._begins_word(spelling.word.text[-1], character):
                self._begin_word(character, addition)
            else:
                self._go_on(spelling, f" {character}" if self._had_space else character, addition)
            self._had_space = self._is_marked = False

    def _begins_word(self, before: str, character: str) -> bool:
        if self._had_space:
            return character not in SPACED_PUNCTUATION
        return begins_word(before, character, self._is_marked)

    def _begin_word(self, character: str, addition: Addition) -> None:
        if self._last:
            joins = not self._had_space
        else:
            joins = bool(self.words) and not self._had_space and _touch(self.words[-1].text, character)
        is_first = not self.words and not self._group
        addition.text += character if joins or is_first else f" {character}"
        self._last = _Spelling(Word(character, 0.0, 0.0, joins=joins))
        self._last.take(self._unfinished)
        self._group.append(self._last)

    def _go_on(self, spelling: _Spelling, text: str, addition: Addition) -> None:
        """The word goes on; it may be complete (then its group is the last), and even have been handed out."""
        word = spelling.word
        word.text += text
        spelling.take(self._unfinished)
        if self._group:
            addition.text += text
            return
        self._judge(spelling)
        if addition.words and addition.words[-1] is word:
            addition.text += text
        elif not (addition.revisions and addition.revisions[-1].words[0] is word):
            addition.revisions.append(Revision(len(self.words) - 1, 1, [word], CONTINUED))

    def _close_group(self, addition: Addition) -> None:
        """Give the group's words their times: each its share of the time from the group's start to its end."""
        if self._group:
            end_s = max(self._last_end_s, self._group_end_s or 0.0)
            durations = [spoken_s(spelling.word.text) for spelling in self._group]
            usual_s = sum(durations)
            start_s = self._onsets.find(self._last_end_s, end_s, usual_s)
            if start_s is None:
                start_s = max(self._last_end_s, end_s - usual_s)
            start_s = min(max(self._last_end_s, start_s), end_s)
            pace = (end_s - start_s) / usual_s
            for spelling, duration in zip(self._group, durations, strict=True):
                word = spelling.word
                word.start, word.end = start_s, start_s + pace * duration
                start_s = word.end
                self._judge(spelling)
                self.words.append(word)
                addition.words.append(word)
            self._last_end_s = end_s
        self._group = []
        self._group_end_s = None

    def _judge(self, spelling: _Spelling) -> None:
        """How sure the word is, and what else it could be."""
        word, pieces = spelling.word, spelling.pieces
        word.probability = probability_of(pieces)
        word.alternatives = alternatives_of(word.text, pieces, self._tekken)


def _touch(before: str, text: str) -> bool:
    """Whether two words, of which nothing else is known, are written without a space."""
    return begins_word(before[-1:], text[:1], is_marked=True) if before and text else False
