"""A transcript as OpenAI's API answers with it: the body of each response_format, and the events of a stream.

Beyond what that API knows, verbose_json has `probability`, `alternatives` and `joins` of every word, and `notices`.
"""

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from voxtral.decoding import Word, joined
from voxtral.server.errors import ApiError
from voxtral.server.transcription_options import TranscriptionOptions
from voxtral.subtitles import PAUSE_S, SENTENCE_END, SubtitleLimits, srt, webvtt
from voxtral.transcription import Result

MEDIA_TYPES = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
LONGEST_SEGMENT_S = 30.0
LEAST_PROBABILITY = 1e-6


def body(result: Result, options: TranscriptionOptions, notices: Sequence[str]) -> str:
    """The whole answer."""
    match options.format:
        case "text":
            return f"{result.text}\n"
        case "srt":
            return srt(result.words, SubtitleLimits())
        case "vtt":
            return webvtt(result.words, SubtitleLimits())
        case "verbose_json":
            return _json(_verbose(result, options, notices))
    return _json({"text": result.text, "usage": _usage(result)})


def delta_event(text: str) -> str:
    """Text to append."""
    return _event({"type": "transcript.text.delta", "delta": text})


def done_event(result: Result) -> str:
    """All of the text, which is right where what was appended is not: words may be revised."""
    return _event({"type": "transcript.text.done", "text": result.text, "usage": _usage(result)})


def error_event(error: ApiError) -> str:
    """It ends here."""
    return _event(error.as_dict())


def _event(value: dict[str, Any]) -> str:
    return f"data: {_json(value)}\n\n"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _usage(result: Result) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(result.audio_s, 3)}


def _verbose(result: Result, options: TranscriptionOptions, notices: Sequence[str]) -> dict[str, Any]:
    verbose: dict[str, Any] = {
        "task": "transcribe",
        "language": options.language or "unknown",
        "duration": round(result.audio_s, 3),
        "text": result.text,
        "usage": _usage(result),
        "notices": list(notices),
    }
    if options.has_segments:
        groups = _segments(result.words)
        verbose["segments"] = [_segment(i, words) for i, words in enumerate(groups)]
    if options.has_words:
        verbose["words"] = [_word(word) for word in result.words]
    return verbose


def _word(word: Word) -> dict[str, Any]:
    known = word.as_dict()
    return {"word": known.pop("text"), **known, "joins": word.joins}


def _segments(words: Sequence[Word]) -> list[list[Word]]:
    """Cut at ends of sentences and at pauses, and where a segment becomes too long."""
    groups: list[list[Word]] = []
    for word in words:
        last = groups[-1] if groups else []
        is_over = not last or SENTENCE_END.search(last[-1].text) or word.start - last[-1].end >= PAUSE_S
        if is_over or word.end - last[0].start > LONGEST_SEGMENT_S:
            groups.append([word])
        else:
            last.append(word)
    return groups


def _segment(number: int, words: Sequence[Word]) -> dict[str, Any]:
    """Together, the texts of all segments are the whole text."""
    text = ("" if number == 0 or words[0].joins else " ") + joined(words)
    logprobs = [math.log(max(word.probability, LEAST_PROBABILITY)) for word in words]
    data = text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": round(words[0].start, 2),
        "end": round(words[-1].end, 2),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(logprobs) / len(logprobs), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": 0.0,
    }
