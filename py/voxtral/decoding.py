"""From token ids to timed words.

A token at position p has heard the audio up to token p and speaks about audio frame f = p - left pad -
delay: both cancel, so times do not depend on either. A `[STREAMING_WORD]` at f says that a word (or a
group of words) has just ended; its pieces follow, one a token. Word starts are not in the stream and are
estimated. Accuracy is about one token, 80 ms.
"""

from dataclasses import dataclass, field

from voxtral.config import MS_PER_TOKEN, N_SPECIAL_TOKENS, STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, StreamingConfig
from voxtral.tekken import Tekken, TokenTextStream

END_OFFSET_TOKENS = 0.5  # a marker in frame f is, on average, half a frame late
SECONDS_PER_CHARACTER = 0.07  # of an unhurried speaker; for estimated starts
SHORTEST_WORD_S = 0.12


@dataclass(frozen=True)
class TokenEvent:
    """One generated token. `time_s`: end of the audio frame it speaks about, on the input's clock."""

    position: int
    token: int
    time_s: float


@dataclass
class Word:
    """One written word and where it was said, in seconds of the input."""

    text: str
    start: float
    end: float

    def as_dict(self) -> dict[str, str | float]:
        return {"text": self.text, "start": round(self.start, 2), "end": round(self.end, 2)}


@dataclass
class Addition:
    """What a few tokens added: text to append, and the words that are complete with it."""

    text: str = ""
    words: list[Word] = field(default_factory=list)


def frame_time_s(position: int, streaming: StreamingConfig) -> float:
    """The moment, in seconds of the input, that a token generated at `position` speaks about."""
    frame = position - streaming.left_pad_tokens - streaming.delay_tokens
    return max(0.0, (frame + END_OFFSET_TOKENS) * MS_PER_TOKEN / 1000)


class Transcript:
    """Assembles text and words from tokens: feed, flush, reset."""

    def __init__(self, tekken: Tekken) -> None:
        self._pieces = TokenTextStream(tekken)
        self.reset()

    def reset(self) -> None:
        """Start an empty transcript."""
        self._pieces.reset()
        self.text = ""
        self.words: list[Word] = []
        self._group: list[Word] = []  # words under one marker; timed when the group is complete
        self._group_end_s: float | None = None
        self._last_end_s = 0.0
        self._in_word = False

    def feed(self, events: list[TokenEvent]) -> Addition:
        """Append what these tokens say; the first text of a transcript loses its leading space."""
        addition = Addition()
        for event in events:
            if event.token == STREAMING_WORD_TOKEN:
                self._close_group(addition)
                self._group_end_s = event.time_s
            elif event.token == STREAMING_PAD_TOKEN:
                self._close_group(addition)
            elif event.token >= N_SPECIAL_TOKENS:
                if self._group_end_s is None:
                    self._group_end_s = event.time_s
                self._append(self._pieces.feed(event.token), addition)
        return addition

    def flush(self) -> Addition:
        """End of the tokens: the rest of an unfinished character, and the last words."""
        addition = Addition()
        self._append(self._pieces.flush(), addition)
        self._close_group(addition)
        return addition

    def _append(self, text: str, addition: Addition) -> None:
        if not self.text:
            text = text.lstrip()
        self.text += text
        addition.text += text
        for character in text:
            if character.isspace():
                self._in_word = False
            elif self._in_word:
                self.words[-1].text += character  # also when pads came in between
            else:
                word = Word(character, 0.0, 0.0)
                self.words.append(word)
                self._group.append(word)
                self._in_word = True

    def _close_group(self, addition: Addition) -> None:
        """Give the group's words their times: back from its end at a usual pace, squeezed where room is short."""
        if self._group:
            end_s = max(self._last_end_s, self._group_end_s or 0.0)
            durations = [max(SHORTEST_WORD_S, SECONDS_PER_CHARACTER * len(word.text)) for word in self._group]
            pace = min(1.0, (end_s - self._last_end_s) / sum(durations))
            start_s = max(self._last_end_s, end_s - pace * sum(durations))
            for word, duration in zip(self._group, durations, strict=True):
                word.start, word.end = start_s, start_s + pace * duration
                start_s = word.end
            self._last_end_s = end_s
            addition.words += self._group
        self._group = []
        self._group_end_s = None
