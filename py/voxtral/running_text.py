"""Text on its way: words that are complete, and what is written of the next; and the lines it makes in a terminal.

RunningText    what all Additions so far come to
PlainLines     for a pipe or a file: a line as soon as it is complete
ScreenLines    for a terminal: words as they come, what is unfinished dimmed, lines no wider than the terminal
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Protocol, TextIO

from voxtral.decoding import RESTART, Addition, Word, joined
from voxtral.document import PARAGRAPH_PAUSE_S, SENTENCE_ENDS
from voxtral.subtitles import width

LINE_PAUSE_S = 1.0  # a line ends where nothing was said for so long
LONGEST_LINE = 200  # characters
DIM, NORMAL, CLEAR_LINE = "\x1b[2m", "\x1b[22m", "\r\x1b[2K"


class RunningText:
    """words: the complete ones; unfinished: the text behind them."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.unfinished = ""

    def take(self, additions: Iterable[Addition]) -> None:
        """What changed, in order."""
        for addition in additions:
            for revision in addition.revisions:
                self.words[revision.first : revision.first + revision.n_replaced] = revision.words
                if revision.reason == RESTART:
                    self.unfinished = ""
            self.unfinished += addition.text
            for word in addition.words:
                n_characters = len(word.text) + (not word.joins and bool(self.words))
                self.words.append(word)
                self.unfinished = self.unfinished[n_characters:]


class Lines(Protocol):
    """Where running text is shown."""

    def show(self, text: RunningText, heard_s: float, status: str = "") -> None:
        """The text as it is now; heard_s: how far the recording was heard; status: what there is to say beside it."""

    def end(self, text: RunningText) -> None:
        """Nothing follows."""


def lines_for(stream: TextIO) -> Lines:
    """What suits a stream."""
    is_screen = stream.isatty() and os.environ.get("TERM") != "dumb"
    return ScreenLines(stream) if is_screen else PlainLines(stream)


class PlainLines:
    """A line for each sentence, or where the speaker paused. What was printed stays, even if it is revised later."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._n_printed = 0

    def show(self, text: RunningText, heard_s: float, status: str = "") -> None:  # noqa: ARG002
        words = text.words
        self._n_printed = start = min(self._n_printed, len(words))
        for i in range(start, len(words)):
            if self._ends_line(words, i, start, text, heard_s):
                self._print(words[start : i + 1])
                start = i + 1
        self._n_printed = start

    def end(self, text: RunningText) -> None:
        self._print(text.words[self._n_printed :])
        self._n_printed = len(text.words)

    def _ends_line(self, words: Sequence[Word], i: int, start: int, text: RunningText, heard_s: float) -> bool:
        word = words[i]
        if i + 1 == len(words):  # it may go on, unless there was a pause
            return not text.unfinished and heard_s - word.end >= LINE_PAUSE_S
        n_characters = sum(len(other.text) + 1 for other in words[start : i + 1])
        is_end = word.text.endswith(SENTENCE_ENDS) or words[i + 1].start - word.end >= LINE_PAUSE_S
        return not words[i + 1].joins and (is_end or n_characters >= LONGEST_LINE)

    def _print(self, words: Sequence[Word]) -> None:
        if words:
            print(printable(joined(words)), file=self._stream, flush=True)


class ScreenLines:
    """The last line is drawn again and again; lines above it stay, even if a word in them is revised later."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._n_above = 0  # words in the lines above
        self._drawn = ""
        self._dim, self._normal = ("", "") if os.environ.get("NO_COLOR") else (DIM, NORMAL)
        if os.name == "nt":
            os.system("")  # lets a console of Windows understand the codes from here on

    def show(self, text: RunningText, heard_s: float, status: str = "") -> None:  # noqa: ARG002
        columns = max(10, shutil.get_terminal_size().columns - 1)  # in the last one some terminals begin a new line
        words = text.words
        self._n_above = min(self._n_above, len(words))
        row: list[Word] = []
        for word in words[self._n_above :]:
            has_paused = bool(row) and word.start - row[-1].end >= PARAGRAPH_PAUSE_S
            if has_paused or (row and width(printable(joined([*row, word]))) > columns):
                self._put_above(row)
                row = []
            row.append(word)
        unfinished = printable(text.unfinished)
        if row and unfinished and width(printable(joined(row)) + unfinished) > columns:
            self._put_above(row)
            row = []
        self._draw(row, unfinished, status, columns)

    def end(self, text: RunningText) -> None:
        self.show(text, 0.0)
        if self._drawn:
            self._write("\n")
        self._drawn = ""

    def _put_above(self, row: Sequence[Word]) -> None:
        self._write(f"{CLEAR_LINE}{printable(joined(row))}\n")
        self._drawn = ""
        self._n_above += len(row)

    def _draw(self, row: Sequence[Word], unfinished: str, status: str, columns: int) -> None:
        shown = printable(joined(row))
        if not row:
            unfinished = unfinished.lstrip()
        while width(shown + unfinished) > columns and unfinished:
            unfinished = unfinished[1:]
        beside = f"{' ' * bool(shown or unfinished)}[{status}]" if status else ""
        if width(shown + unfinished + beside) > columns:
            beside = ""
        line = shown + (f"{self._dim}{unfinished}{beside}{self._normal}" if unfinished or beside else "")
        if line != self._drawn:
            self._write(CLEAR_LINE + line)
            self._drawn = line

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def printable(text: str) -> str:
    """Without what a terminal would take for commands."""
    return "".join(c for c in text if c.isprintable())
