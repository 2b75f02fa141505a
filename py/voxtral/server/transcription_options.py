"""What a client asks for beside its file: the fields of the form, checked, as OpenAI's API has them.

What OpenAI documents and this model has no use for (prompt, temperature, keywords, …) is accepted and does nothing;
what it would answer wrongly (log probabilities, speakers, an unknown language) is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxtral.config import StreamingConfig
from voxtral.errors import ConfigError
from voxtral.server.errors import ApiError, shown

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAM_FORMATS = ("json", "text")
GRANULARITIES = ("word", "segment")
LANGUAGES = {  # that the model was made for, by ISO 639-1
    "ar": "arabic",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "hi": "hindi",
    "it": "italian",
    "ja": "japanese",
    "ko": "korean",
    "nl": "dutch",
    "pt": "portuguese",
    "ru": "russian",
    "zh": "chinese",
}
FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class TranscriptionOptions:
    """format: one of FORMATS; language: its name, or "" where the client names none; delay_ms: None is the server's."""

    format: str
    has_words: bool
    has_segments: bool
    language: str
    is_stream: bool
    delay_ms: int | None

    @classmethod
    def of(cls, fields: Mapping[str, Sequence[str]], model_ids: Sequence[str]) -> "TranscriptionOptions":
        """From the fields of a form; model_ids: the models that are here. Raises ApiError."""
        _check_model(_one(fields, "model"), model_ids)
        format = _one(fields, "response_format") or "json"
        is_stream = _flag(fields, "stream")
        granularities = _many(fields, "timestamp_granularities")
        _check_format(format, is_stream)
        _check_granularities(granularities, format)
        if _many(fields, "include"):
            sentence = "There are no log probabilities of tokens here; response_format verbose_json rates every word"
            raise ApiError(sentence, param="include", code="unsupported_value")
        _check_temperature(_one(fields, "temperature"))
        return cls(
            format=format,
            has_words="word" in granularities,
            has_segments="segment" in granularities or not granularities,
            language=language_name(_one(fields, "language")),
            is_stream=is_stream,
            delay_ms=_delay_ms(_one(fields, "delay_ms")),
        )


def _one(fields: Mapping[str, Sequence[str]], name: str) -> str:
    """A field that may be there once, "" if it is not."""
    values = fields.get(name, ())
    if len(values) > 1:
        raise ApiError(f"The field {name} is there {len(values)} times; send it once", param=name)
    return values[0].strip() if values else ""


def _many(fields: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """A field that is a list; clients write it with and without brackets."""
    return [value.strip() for key in (name, f"{name}[]") for value in fields.get(key, ())]


def _flag(fields: Mapping[str, Sequence[str]], name: str) -> bool:
    value = _one(fields, name) or "false"
    if value.lower() not in FLAGS:
        raise _unsupported(name, "true or false", value)
    return FLAGS[value.lower()]


def _check_model(name: str, model_ids: Sequence[str]) -> None:
    names = " or ".join(model_ids)
    if not name:
        raise ApiError(
            f"The form has no field model; add it: {names}", param="model", code="missing_required_parameter"
        )
    if name not in model_ids:
        raise ApiError(f"The model {shown(name)} is not here; ask for {names}", 404, "model", "model_not_found")


def _check_format(format: str, is_stream: bool) -> None:
    if format == "diarized_json":
        sentence = "Who speaks is not told apart here; use response_format verbose_json"
        raise ApiError(sentence, param="response_format", code="unsupported_value")
    if format not in FORMATS:
        raise _unsupported("response_format", f"one of {', '.join(FORMATS)}", format)
    if is_stream and format not in STREAM_FORMATS:
        sentence = (
            f"stream sends the text alone, as response_format {' or '.join(STREAM_FORMATS)}; leave one of both out"
        )
        raise ApiError(sentence, param="stream", code="unsupported_value")


def _check_granularities(granularities: Sequence[str], format: str) -> None:
    name = "timestamp_granularities"
    for granularity in granularities:
        if granularity not in GRANULARITIES:
            raise _unsupported(name, " or ".join(GRANULARITIES), granularity)
    if granularities and format != "verbose_json":
        raise ApiError(f"{name} belongs to response_format verbose_json; set that, or leave it out", param=name)


def _check_temperature(value: str) -> None:
    try:
        is_right = 0 <= float(value or 0) <= 1
    except ValueError:
        is_right = False
    if not is_right:
        raise _unsupported("temperature", "a number from 0 to 1 (the likeliest word is taken, whatever it is)", value)


def language_name(value: str) -> str:
    """Of a language's code or name, "" for none. Raises ApiError for one the model was not made for."""
    name = LANGUAGES.get(value.lower().split("-")[0].split("_")[0], value.lower())
    if name and name not in LANGUAGES.values():
        sentence = f"one of {', '.join(LANGUAGES)}, or nothing, as the model finds the language itself"
        raise _unsupported("language", sentence, value)
    return name


def _delay_ms(value: str) -> int | None:
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 6):
        raise _unsupported("delay_ms", "a whole number of milliseconds", value)
    try:
        return StreamingConfig(int(value)).delay_ms
    except ConfigError as error:
        raise ApiError(str(error), param="delay_ms", code="unsupported_value") from error


def _unsupported(name: str, expected: str, value: str) -> ApiError:
    return ApiError(f"{name} should be {expected}, got {shown(value)}", param=name, code="unsupported_value")
