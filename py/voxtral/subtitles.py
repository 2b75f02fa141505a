"""From timed words to subtitles: cues of few short lines that can be read while they are shown.

    SubtitleLimits   what a cue may be; the defaults are those of Netflix's Timed Text Style Guides for English:
                     42 characters a line, two lines, 17 characters a second, 5/6 to 7 s, two frames (at 24 a second)
                     between two cues; a cue that ends shortly before the next stays until then
    cues             words → cues
    srt, webvtt      words → the content of a file

A wide East Asian character counts as two, so that the defaults are near those guides' 16 characters a line and 9 a
second for Chinese. Cues are cut where the sum of what is bad about them is least: at ends of sentences and pauses
first, then after clauses. Words too fast to be read, or longer than a line, are shown all the same: none is left out.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from voxtral.errors import DocumentError

PAUSE_S = 0.64  # a breath: eight tokens
LONG_PAUSE_S = 2.0  # no cue spans it
SHORTEST_S = 0.02  # where words are at one and the same time
CHAINED_S = 0.5  # a cue that would end so shortly before the next stays until then
MS = 1000

SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।][\"'”’»)\]」』）]*$")
CLAUSE_END = re.compile(r"[,;:、，；：،؛–—][\"'”’»)\]」』）]*$")
NOT_FIRST = set("、。，．・：；？！｡､」』）】〕〉》ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々…‥,.!?:;)]}%”’»")

# What is bad about a cue, in cues: a cost of 1 is worth one cue more.
CUT_IN_CLAUSE = 2.0
CUT_AFTER_CLAUSE = 0.6
SPANS_SENTENCE = 1.2
SPANS_PAUSE = 1.5
TOO_FAST = 4.0  # times how much too fast, up to twice
TOO_SHORT = 3.0  # times how much too short


class TimedWord(Protocol):
    """What a word must have; document.Word and decoding.Word do."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def joins(self) -> bool: ...


RANGES = {  # whether whole, least, most
    "max_line_chars": (True, 8, 200),
    "max_lines": (True, 1, 8),
    "max_chars_per_s": (False, 1, 100),
    "min_cue_s": (False, 0.1, 10),
    "max_cue_s": (False, 1, 60),
    "min_gap_s": (False, 0, 1),
}


@dataclass(frozen=True)
class SubtitleLimits:
    """What a cue may be. Raises DocumentError for limits nothing can keep."""

    max_line_chars: int = 42
    max_lines: int = 2
    max_chars_per_s: float = 17.0
    min_cue_s: float = 5 / 6
    max_cue_s: float = 7.0
    min_gap_s: float = 2 / 24

    def __post_init__(self) -> None:
        for name, (is_whole, least, most) in RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
            if not is_number or not least <= value <= most:
                kind = "whole number" if is_whole else "number"
                raise DocumentError(f"{name} of subtitles must be a {kind} from {least} to {most}; correct it")
        if self.min_cue_s > self.max_cue_s:
            found = f"{self.min_cue_s:g} and {self.max_cue_s:g}"
            raise DocumentError(f"min_cue_s of subtitles must be at most max_cue_s, got {found}; correct one")

    @classmethod
    def of(cls, value: Any) -> "SubtitleLimits":
        """From a mapping of some of the limits, None for the defaults. Raises DocumentError."""
        if value is not None and not isinstance(value, Mapping):
            raise DocumentError("limits of subtitles are an object with fields such as max_line_chars; correct them")
        if unknown := [name for name in value or {} if name not in RANGES]:
            raise DocumentError(f"subtitles have the limits {', '.join(RANGES)}, got {unknown[0]!r:.40}; remove it")
        return cls(**(value or {}))


class Cue(NamedTuple):
    """What is shown from start_ms to end_ms: a line or more, none of them empty."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


class _Unit(NamedTuple):
    """What is never torn apart: a word, or a part of one that is too long for a line and may be torn."""

    text: str
    start: float
    end: float
    joins: bool
    width: int


def cues(words: Iterable[TimedWord], limits: SubtitleLimits) -> list[Cue]:
    """All words in their order, as cues that never overlap, each at least 1 ms long."""
    units = list(_in_order(_units(words, limits)))
    spans = _cut(units, limits)
    times = _times(units, spans, limits)
    lines = [_lines(units[first:last], limits) for first, last in spans]
    return [Cue(start, end, text) for (start, end), text in zip(times, lines, strict=True)]


def srt(words: Iterable[TimedWord], limits: SubtitleLimits) -> str:
    """SubRip, UTF-8. Its players do not look for the direction of text: lines from right to left carry marks."""
    blocks = []
    for number, cue in enumerate(cues(words, limits), 1):
        lines = "\n".join(_directed(cue.lines)).replace("-->", "→")  # which only a line of times may hold
        blocks.append(f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{lines}\n")
    return "\n".join(blocks)


def webvtt(words: Iterable[TimedWord], limits: SubtitleLimits) -> str:
    """WebVTT, whose players find the direction of text by themselves."""
    blocks = ["WEBVTT\n"]
    for cue in cues(words, limits):
        lines = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{lines}\n")
    return "\n".join(blocks)


def _clock(ms: int, mark: str) -> str:
    seconds, ms = divmod(ms, MS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{ms:03d}"


RIGHT_TO_LEFT, DIRECTION_OVER = "\u202b", "\u202c"


def _directed(lines: Sequence[str]) -> Sequence[str]:
    """Lines that read from right to left, by their first letter, embedded as such; others as they are."""
    strong = next((kind for c in "".join(lines) if (kind := unicodedata.bidirectional(c)) in ("L", "R", "AL")), "L")
    return lines if strong == "L" else [f"{RIGHT_TO_LEFT}{line}{DIRECTION_OVER}" for line in lines]


# -- units ------------------------------------------------------------------------------------------
@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """Columns that a text takes, in narrow characters."""
    return sum(map(_character_width, text))


def _units(words: Iterable[TimedWord], limits: SubtitleLimits) -> Iterator[_Unit]:
    """Words without spaces and control characters; what is long and may be torn comes in parts, each with its time."""
    last = None
    for word in words:
        parts = _parts(word, limits.max_line_chars)
        n_characters = sum(len(text) for text, _ in parts)
        start = word.start
        for text, joins in parts:
            end = start + (word.end - word.start) * len(text) / n_characters
            if last and joins and text[0] in NOT_FIRST:
                last = last._replace(text=last.text + text, end=end, width=last.width + width(text))
            else:
                if last:
                    yield last
                last = _Unit(text, start, end, joins, max(1, width(text)))
            start = end
    if last:
        yield last


def _parts(word: TimedWord, max_line_chars: int) -> list[tuple[str, bool]]:
    """What a word consists of, and whether each part joins the one before it."""
    parts: list[tuple[str, bool]] = []
    for text in word.text.split():
        visible = "".join(c for c in text if unicodedata.category(c) != "Cc")
        if all(unicodedata.category(c) == "Cf" for c in visible):
            continue
        for i, part in enumerate(torn(visible) if width(visible) > max_line_chars else [visible]):
            parts.append((part, i > 0 or (not parts and word.joins)))
    return parts


def torn(text: str) -> list[str]:
    """A word at every place where a line may end inside it: between wide characters, but not before closing marks."""
    parts: list[str] = []
    for character in text:
        is_tied = not parts or character in NOT_FIRST or _character_width(character) == 0
        is_wide = bool(parts) and max(_character_width(character), _character_width(parts[-1][-1])) == 2
        if is_tied or not is_wide:
            parts[-1:] = ["".join(parts[-1:]) + character]
        else:
            parts.append(character)
    return parts


def _in_order(units: Iterable[_Unit]) -> Iterator[_Unit]:
    """Times that never go back; a second pass may leave words that overlap a little."""
    last = 0.0
    for unit in units:
        start = max(last, unit.start)
        yield unit._replace(start=start, end=max(start, unit.end))
        last = start


# -- cutting ----------------------------------------------------------------------------------------
def _cut(units: Sequence[_Unit], limits: SubtitleLimits) -> list[tuple[int, int]]:
    """The best spans [first, last) of units: least cost of all, by dynamic programming from the front."""
    gaps = [_Gap.between(unit, after) for unit, after in itertools.pairwise(units)]
    best = [0.0] + [math.inf] * len(units)
    came_from = [0] * (len(units) + 1)
    for first in range(len(units)):
        for last, cost in _candidates(units, gaps, first, limits):
            if best[first] + cost < best[last]:
                best[last], came_from[last] = best[first] + cost, first
    return _path(came_from)


def _path(came_from: Sequence[int]) -> list[tuple[int, int]]:
    """The spans [first, last) that lead to the end, from where the best way to each place came."""
    spans = []
    last = len(came_from) - 1
    while last:
        spans.append((came_from[last], last))
        last = came_from[last]
    return spans[::-1]


class _Gap(NamedTuple):
    """What lies between two units. crossing, cutting: what it costs to go on over it, and to end a cue at it."""

    crossing: float
    cutting: float

    @classmethod
    def between(cls, unit: _Unit, after: _Unit) -> "_Gap":
        pause_s = after.start - unit.end
        is_sentence = bool(SENTENCE_END.search(unit.text))
        crossing = SPANS_SENTENCE if is_sentence else 0.0
        if pause_s >= PAUSE_S:
            crossing += math.inf if pause_s >= LONG_PAUSE_S else SPANS_PAUSE * pause_s / PAUSE_S
        if is_sentence or pause_s >= PAUSE_S:
            return cls(crossing, 0.0)
        if CLAUSE_END.search(unit.text):
            return cls(crossing, CUT_AFTER_CLAUSE)
        return cls(crossing, CUT_IN_CLAUSE - (CUT_IN_CLAUSE - CUT_AFTER_CLAUSE) * max(0.0, pause_s) / PAUSE_S)


def _candidates(
    units: Sequence[_Unit], gaps: Sequence[_Gap], first: int, limits: SubtitleLimits
) -> Iterator[tuple[int, float]]:
    """Every cue that may begin with a unit: where it ends, and what is bad about it. One unit is always a cue."""
    start = units[first].start
    n_lines, line_width, total_width, crossed = 1, 0, 0, 0.0
    for last in range(first, len(units)):
        unit = units[last]
        space = int(last > first and not unit.joins)
        if last > first and line_width + space + unit.width > limits.max_line_chars:
            n_lines, line_width = n_lines + 1, unit.width
        else:
            line_width += space + unit.width
        total_width += space + unit.width
        crossed += gaps[last - 1].crossing if last > first else 0.0
        fits = n_lines <= limits.max_lines and unit.end - start <= limits.max_cue_s and crossed < math.inf
        if last > first and not fits:
            return
        room_s, cutting = math.inf, 0.0
        if last + 1 < len(units):
            room_s, cutting = units[last + 1].start - start - limits.min_gap_s, gaps[last].cutting
        shown_s = max(SHORTEST_S, min(room_s, limits.max_cue_s))
        cost = 1.0 + crossed + cutting
        cost += TOO_SHORT * max(0.0, 1 - shown_s / limits.min_cue_s)
        cost += TOO_FAST * min(1.0, max(0.0, total_width / limits.max_chars_per_s / shown_s - 1))
        yield last + 1, cost


# -- times ------------------------------------------------------------------------------------------
def _times(units: Sequence[_Unit], spans: Sequence[tuple[int, int]], limits: SubtitleLimits) -> list[tuple[int, int]]:
    """From the first word on, as long as reading takes and the next cue allows. In ms."""
    times: list[tuple[int, int]] = []
    for first, last in spans:
        start = units[first].start
        reading_s = _total_width(units[first:last]) / limits.max_chars_per_s
        longest = start + limits.max_cue_s
        end = min(longest, max(units[last - 1].end, start + max(limits.min_cue_s, reading_s)))
        if last < len(units):
            following = units[last].start
            has_room_for_gap = following - start >= limits.min_cue_s + limits.min_gap_s
            room = following - (limits.min_gap_s if has_room_for_gap else 0.0)
            end = min(longest, room) if room - end < CHAINED_S else end
        start_ms = max(round(start * MS), times[-1][1] if times else 0)  # words at one and the same time
        times.append((start_ms, max(start_ms + 1, round(end * MS))))
    return times


def _total_width(units: Sequence[_Unit]) -> int:
    """Of the units in one line."""
    return sum(unit.width + int(i > 0 and not unit.joins) for i, unit in enumerate(units))


# -- lines ------------------------------------------------------------------------------------------
def _lines(units: Sequence[_Unit], limits: SubtitleLimits) -> tuple[str, ...]:
    """As few lines as hold the units, of even lengths, broken after punctuation where that is near."""
    ideal = _total_width(units) / math.ceil(_total_width(units) / limits.max_line_chars)
    near = (limits.max_line_chars / 4) ** 2
    best: list[tuple[int, float]] = [(0, 0.0)] + [(len(units) + 1, 0.0)] * len(units)  # lines, unevenness
    came_from = [0] * (len(units) + 1)
    for first in range(len(units)):
        line_width = 0
        for last in range(first, len(units)):
            unit = units[last]
            line_width += unit.width + int(last > first and not unit.joins)
            if last > first and line_width > limits.max_line_chars:
                break
            is_clause = CLAUSE_END.search(unit.text) or SENTENCE_END.search(unit.text)
            n_lines, uneven = best[first]
            candidate = (n_lines + 1, uneven + (line_width - ideal) ** 2 - (near if is_clause else 0.0))
            if candidate < best[last + 1]:
                best[last + 1], came_from[last + 1] = candidate, first
    return tuple(_joined(units[first:last]) for first, last in _path(came_from))


def _joined(units: Sequence[_Unit]) -> str:
    return "".join(("" if unit.joins or i == 0 else " ") + unit.text for i, unit in enumerate(units))
