"""The transcript document: the one form in which transcripts are kept, exported and read again.

    Document     a transcript with its words, times and settings; `Document.of` reads and checks one, which may come
                 from a page, a file, anywhere; `as_dict` gives it back as plain values for JSON
    of_result    the document of a recording that has just been transcribed
    render       a document as TXT, SRT, WebVTT or JSON

As JSON, seconds on the recording's clock:

    {"format": "voxtral-transcript", "version": 1, "id", "title", "created_at" (ISO 8601),
     "source": "microphone" | "tab" | "file", "audio_s", "text",
     "words": [{"text", "start", "end", "probability", "alternatives": [{"text", "probability"}], "joins",
                "heard": what the recogniser wrote where a person changed it, else null}],
     "model", "settings": {"delay_ms", "left_pad_tokens", "second_pass", "backend", "adapter"}}

Every field must be there, but `words[].alternatives`, `joins` and `heard`. Fields beyond these are kept as they are.
One is `estimates`, of transcripts by servers that do not say everything: those of "start", "end" and "probability" that
nobody said of its words. Such times are estimated, such a probability is 1 and means nothing.
`text` is that of the words: one space between two, none before a word that `joins` the one before it.
"""

import json
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from voxtral.errors import DocumentError
from voxtral.subtitles import SubtitleLimits, srt, webvtt

FORMAT: Final = "voxtral-transcript"
VERSION: Final = 1
SOURCES: Final = ("microphone", "tab", "file")
PARAGRAPH_PAUSE_S: Final = 2.0
PARAGRAPH_CHARACTERS: Final = 600  # after so many, the next sentence begins a new one
SENTENCE_ENDS: Final = tuple(".!?…。！？؟।")
LONGEST_S: Final = 1e7  # four months; what is beyond has no place in a subtitle's clock either


class Alternative(NamedTuple):
    """What a word might have been instead."""

    text: str
    probability: float


@dataclass(frozen=True)
class Word:
    """One written word. joins: it follows the one before it without a space; more: fields nobody here knows."""

    text: str
    start: float
    end: float
    probability: float
    alternatives: tuple[Alternative, ...]
    joins: bool
    heard: str | None
    more: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        alternatives = [alternative._asdict() for alternative in self.alternatives]
        known = {"text": self.text, "start": self.start, "end": self.end, "probability": self.probability}
        return {**known, "alternatives": alternatives, "joins": self.joins, "heard": self.heard, **self.more}


@dataclass(frozen=True)
class Settings:
    """How a transcript was made. delay_ms, left_pad_tokens, backend, adapter: None where that is not known."""

    delay_ms: int | None
    left_pad_tokens: int | None
    second_pass: bool
    backend: str | None
    adapter: str | None


@dataclass(frozen=True)
class Document:
    """A transcript. more: fields nobody here knows."""

    id: str
    title: str
    created_at: str
    source: str
    audio_s: float
    text: str
    words: tuple[Word, ...]
    model: str
    settings: Settings
    more: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any) -> "Document":
        """Read a document from plain values. Raises DocumentError at the first field that is not what it should be."""
        if not isinstance(value, Mapping):
            raise DocumentError(f"a transcript is an object with fields, got {_name(value)}; choose another file")
        if value.get("format") != FORMAT:
            raise DocumentError(
                f'a transcript has "format": "{FORMAT}", got {_name(value.get("format"))}; choose another'
            )
        if value.get("version") != VERSION or isinstance(value.get("version"), bool):
            raise DocumentError(
                f"this app reads transcripts of version {VERSION}, got {_name(value.get('version'))}; update the app"
            )
        fields = _Fields(value, "transcript")
        settings = _Fields(fields.get("settings", _mapping), "transcript.settings")
        return cls(
            id=fields.get("id", _text),
            title=fields.get("title", _text),
            created_at=fields.get("created_at", _moment),
            source=fields.get("source", _one_of(SOURCES)),
            audio_s=fields.get("audio_s", _seconds),
            text=fields.get("text", _text),
            words=tuple(_word(word, f"transcript.words[{i}]") for i, word in enumerate(fields.get("words", _list))),
            model=fields.get("model", _text),
            settings=Settings(
                delay_ms=settings.get("delay_ms", _or_none(_count)),
                left_pad_tokens=settings.get("left_pad_tokens", _or_none(_count)),
                second_pass=settings.get("second_pass", _flag),
                backend=settings.get("backend", _or_none(_text)),
                adapter=settings.get("adapter", _or_none(_text)),
            ),
            more=_rest(value, DOCUMENT_FIELDS, "transcript"),
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "id": self.id,
            "title": self.title,
            "created_at": self.created_at,
            "source": self.source,
            "audio_s": self.audio_s,
            "text": self.text,
            "words": [word.as_dict() for word in self.words],
            "model": self.model,
            "settings": asdict(self.settings),
            **self.more,
        }


WORD_FIELDS: Final = ("text", "start", "end", "probability", "alternatives", "joins", "heard")
DOCUMENT_FIELDS: Final = (
    *("format", "version", "id", "title", "created_at", "source", "audio_s", "text", "words", "model", "settings"),
)


def of_result(result: Mapping[str, Any], model: str, settings: Settings) -> Document:
    """The document of a file just transcribed; `result` is transcription.Result.as_dict(), of which nothing is lost."""
    known = {name: result[name] for name in ("audio_s", "text", "words")}
    made = {"id": uuid.uuid4().hex, "created_at": datetime.now(UTC).isoformat(timespec="seconds"), "source": "file"}
    named = {"title": PurePath(result["file"]).name, "model": model, "settings": asdict(settings)}
    rest = {name: value for name, value in result.items() if name not in known}
    return Document.of({"format": FORMAT, "version": VERSION, **named, **made, **known, **rest})


# -- rendering --------------------------------------------------------------------------------------
FORMATS: Final = ("txt", "srt", "vtt", "json")


def render(document: Any, format: str, limits: Any = None) -> str:
    """A document, as plain values, as the content of a file. Raises DocumentError.

    format: txt (paragraphs), srt, vtt or json; limits: of subtitles, a mapping or None for the defaults.
    """
    if format not in FORMATS:
        raise DocumentError(f"a transcript can be written as {', '.join(FORMATS)}, got {_name(format)}; choose one")
    checked = Document.of(document)
    if format == "txt":
        return in_paragraphs(checked)
    if format == "json":
        return _whole_characters(json.dumps(checked.as_dict(), ensure_ascii=False, indent=2)) + "\n"
    if checked.text.strip() and not checked.words:
        raise DocumentError("this transcript has no words with times, which subtitles need; choose txt or json")
    return (srt if format == "srt" else webvtt)(checked.words, SubtitleLimits.of(limits))


def joined(words: Sequence[Word]) -> str:
    """The text that words make."""
    return "".join(("" if word.joins or i == 0 else " ") + word.text for i, word in enumerate(words)).strip()


def in_paragraphs(document: Document) -> str:
    """The text with a blank line where the speaker paused for long, or went on for long; ends in a newline."""
    if joined(document.words) != document.text.strip():  # the text knows more than the words do
        return f"{document.text.strip()}\n"
    paragraphs: list[list[Word]] = [[]]
    for word in document.words:
        last = paragraphs[-1]
        if last:
            is_long = sum(len(other.text) + 1 for other in last) > PARAGRAPH_CHARACTERS
            has_paused = word.start - last[-1].end >= PARAGRAPH_PAUSE_S
            if has_paused or (is_long and last[-1].text.endswith(SENTENCE_ENDS)):
                paragraphs.append([])
        paragraphs[-1].append(word)
    return "\n\n".join(joined(paragraph) for paragraph in paragraphs) + "\n"


# -- checking ---------------------------------------------------------------------------------------
Check = Callable[[Any, str], Any]
_REQUIRED: Final = object()


class _Fields:
    """The fields of one object; `where` names it in sentences."""

    def __init__(self, value: Mapping[str, Any], where: str) -> None:
        self._value, self._where = value, where

    def get(self, name: str, check: Check, default: Any = _REQUIRED) -> Any:
        value = self._value.get(name, default)
        if value is _REQUIRED:
            raise DocumentError(f"{self._where} has no field “{name}”, which every transcript has; choose another file")
        return default if value is default else check(value, f"{self._where}.{name}")


def _word(value: Any, where: str) -> Word:
    fields = _Fields(_mapping(value, where), where)
    start, end = fields.get("start", _seconds), fields.get("end", _seconds)
    if end < start:
        raise DocumentError(f"{where} ends at {end:g} s, before it starts at {start:g} s; correct its times")
    return Word(
        text=fields.get("text", _text),
        start=start,
        end=end,
        probability=fields.get("probability", _probability),
        alternatives=tuple(
            _alternative(alternative, f"{where}.alternatives[{i}]")
            for i, alternative in enumerate(fields.get("alternatives", _list, []))
        ),
        joins=fields.get("joins", _flag, False),
        heard=fields.get("heard", _or_none(_text), None),
        more=_rest(value, WORD_FIELDS, where),
    )


def _alternative(value: Any, where: str) -> Alternative:
    fields = _Fields(_mapping(value, where), where)
    return Alternative(fields.get("text", _text), fields.get("probability", _probability))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _mistake(where, "an object with fields", value)
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _mistake(where, "a list", value)
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _mistake(where, "text", value)
    return _whole_characters(value)


def _whole_characters(text: str) -> str:
    """Halves of characters, which no file can hold, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _moment(value: Any, where: str) -> str:
    text = _text(value, where)
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise _mistake(where, "a date and time like 2026-01-31T12:00:00Z", value) from error
    return text


def _one_of(names: Sequence[str]) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in names:
            raise _mistake(where, f"one of {', '.join(names)}", value)
        return str(value)

    return check


def _or_none(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _mistake(where, "true or false", value)
    return value


def _number(value: Any, where: str, most: float, expected: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most:  # not a number is not in any range
        raise _mistake(where, expected, value)
    return float(value)


def _seconds(value: Any, where: str) -> float:
    return _number(value, where, LONGEST_S, "seconds, 0 or more")


def _probability(value: Any, where: str) -> float:
    return _number(value, where, 1.0, "a probability, 0 to 1")


def _count(value: Any, where: str) -> int:
    number = _number(value, where, 1e9, "a whole number, 0 or more")
    if number != math.floor(number):
        raise _mistake(where, "a whole number, 0 or more", value)
    return int(number)


def _rest(value: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """The fields nobody here knows, as JSON has them."""
    rest = {name: field for name, field in value.items() if name not in known}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(rest, allow_nan=False)) if rest else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(f"{where} has fields that JSON cannot hold ({error}); remove them") from error
    return plain


def _mistake(where: str, expected: str, value: Any) -> DocumentError:
    return DocumentError(f"{where} should be {expected}, got {_name(value)}; correct it or choose another file")


def _name(value: Any) -> str:
    """A value for a sentence."""
    if isinstance(value, Mapping | list | tuple):
        return "an object" if isinstance(value, Mapping) else "a list"
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) > LONGEST_S:
        return "a very large number"  # Python refuses to write the largest
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
