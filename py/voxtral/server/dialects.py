"""The messages of `/v1/realtime`: JSON there and back, in two dialects. No sockets here, and no model.

`Vllm` is how vLLM's realtime server speaks, `OpenAi` how OpenAI's transcription sessions do; `session.update` with a
`session` object chooses the second. Both receive the same four kinds of message:

    session.update              → Settings
    input_audio_buffer.append   → samples
    input_audio_buffer.commit   → in vLLM's dialect the end of an utterance if `final`, else its start
    input_audio_buffer.clear    → OpenAI's dialect only
"""

import base64
import binascii
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import MS_PER_TOKEN, SAMPLE_RATE
from voxtral.decoding import Addition
from voxtral.server.errors import ApiError
from voxtral.server.transcription_options import language_name
from voxtral.transcription import Result

Event = dict[str, Any]

OPENAI_RATE = 24_000  # Hz, unless a client says 16000
WORDS = "words"  # what `include` may ask for


@dataclass(frozen=True)
class Settings:
    """What a session.update asked for. rate: of the samples that come, in Hz; has_words: wants words and their times.

    model: None is whatever the server has; delay_ms: None is the server's own.
    """

    model: str | None = None
    delay_ms: int | None = None
    rate: int = SAMPLE_RATE
    has_words: bool = False


@dataclass(frozen=True)
class Item:
    """One utterance of a connection, and the one before it."""

    id: str
    previous_id: str | None = None


@dataclass(frozen=True)
class Heard:
    """How far the model is with an utterance, in seconds of its sound."""

    heard_s: float
    waiting_s: float

    def as_dict(self) -> Event:
        return {"heard_s": round(self.heard_s, 2), "waiting_s": round(self.waiting_s, 2)}


@dataclass(frozen=True)
class Outcome:
    """What became of an utterance. n_prompt_tokens: silence and delay that the model was given before the sound."""

    result: Result
    n_prompt_tokens: int
    notices: tuple[str, ...] = ()


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


# -- what both dialects share ---------------------------------------------------------------------
def parse(text: str) -> Event:
    """The object that a text frame holds. Raises ApiError."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError("Expected a JSON object in a text frame, found no JSON", code="invalid_json") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ApiError("Expected a JSON object with a string `type`", param="type", code="invalid_event")
    return event


def samples_of(event: Event) -> NDArray[np.float32]:
    """Samples between -1 and 1 at the rate they came with. Raises ApiError."""
    audio = event.get("audio")
    if not isinstance(audio, str):
        raise _bad("Expected the sound as base64 text in `audio`", "audio", "invalid_audio")
    try:
        pcm = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad("`audio` is not base64; send raw 16-bit PCM as base64 text", "audio", "invalid_audio") from error
    if not pcm or len(pcm) % 2:
        found = f"{len(pcm)} bytes" if pcm else "nothing"
        raise _bad(f"`audio` must hold whole 16-bit samples, found {found}", "audio", "invalid_audio")
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def session_created(model: str, rate: int) -> Event:
    """The first message, before anybody knows the dialect: it has what clients of both expect."""
    session_id = new_id("sess")
    session = {**_session(model, rate), "id": session_id, "object": "realtime.session"}
    created = {"id": session_id, "created": int(time.time())}
    return {"type": "session.created", "event_id": new_id("event"), **created, "session": session}


def _session(model: str, rate: int) -> Event:
    """A transcription session's settings in OpenAI's words."""
    heard = {
        "format": {"type": "audio/pcm", "rate": rate},
        "transcription": {"model": model},
        "turn_detection": None,
        "noise_reduction": None,
    }
    return {"type": "transcription", "audio": {"input": heard}}


def _bad(sentence: str, param: str, code: str = "invalid_value") -> ApiError:
    return ApiError(sentence, param=param, code=code)


def _string(value: object, param: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _bad(f"`{param}` must be a string", param)
    return value


def _object(value: object, param: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise _bad(f"`{param}` must be an object", param)
    return value or {}


# -- vLLM's ---------------------------------------------------------------------------------------
class Vllm:
    """Flat messages; `include: ["words"]` and `delay_ms` in a session.update are ours, and so is what they bring."""

    rate = SAMPLE_RATE
    can_clear = False

    def settings(self, event: Event, before: Settings) -> Settings:
        """What holds after this session.update. Raises ApiError."""
        delay_ms, include = event.get("delay_ms", before.delay_ms), event.get("include")
        if delay_ms is not None and type(delay_ms) is not int:
            raise _bad("`delay_ms` must be a whole number of milliseconds", "delay_ms")
        has_words = before.has_words if include is None else include == [WORDS]
        if include not in (None, [], [WORDS]):
            raise _bad('`include` must be [] or ["words"]', "include")
        model = _string(event.get("model"), "model") or before.model
        return Settings(model, delay_ms, self.rate, has_words)

    def ends_utterance(self, event: Event) -> bool:
        """Whether this commit says that the sound is over. Raises ApiError."""
        final = event.get("final", False)
        if not isinstance(final, bool):
            raise _bad("`final` must be true or false", "final")
        return final

    def updated(self, settings: Settings, model: str, delay_ms: int) -> Event | None:
        if not settings.has_words:
            return None
        return {"type": "session.updated", "model": model, "delay_ms": delay_ms, "include": [WORDS]}

    def committed(self, item: Item) -> Event | None:
        del item
        return None

    def additions(self, addition: Addition, item: Item, heard_s: float, settings: Settings) -> list[Event]:
        del item
        events: list[Event] = []
        rich: Event = {}
        if settings.has_words:
            events = [{"type": "transcription.revised", **revision.as_dict()} for revision in addition.revisions]
            rich = {"words": [word.as_dict() for word in addition.words], "heard_s": round(heard_s, 2)}
        if addition.text or rich.get("words"):
            events.append({"type": "transcription.delta", "delta": addition.text, **rich})
        return events

    def heard(self, heard: Heard, settings: Settings) -> Event | None:
        return {"type": "transcription.heard", **heard.as_dict()} if settings.has_words else None

    def done(self, outcome: Outcome, item: Item, settings: Settings) -> Event:
        del item
        result = outcome.result
        n_prompt, n_completion = outcome.n_prompt_tokens, round(result.audio_s * 1000 / MS_PER_TOKEN)
        usage = {"prompt_tokens": n_prompt, "completion_tokens": n_completion, "total_tokens": n_prompt + n_completion}
        event: Event = {"type": "transcription.done", "text": result.text, "usage": usage}
        if settings.has_words:
            event["words"] = [word.as_dict() for word in result.words]
            event |= {"audio_s": round(result.audio_s, 3), "notices": list(outcome.notices)}
        return event

    def error(self, error: ApiError, about: Event | None = None) -> Event:
        del about
        event: Event = {"type": "error", "error": str(error), "code": error.code}
        return event if error.retry_after_s is None else {**event, "retry_after_s": error.retry_after_s}


# -- OpenAI's -------------------------------------------------------------------------------------
class OpenAi:
    """Nested messages with ids; an utterance is a conversation item, and a commit ends it."""

    rate = OPENAI_RATE
    can_clear = True

    def settings(self, event: Event, before: Settings) -> Settings:
        """What holds after this session.update. Raises ApiError."""
        session = _object(event.get("session"), "session")
        if session.get("type") != "transcription":
            raise _bad('This server transcribes only: `session.type` must be "transcription"', "session.type")
        heard = _object(_object(session.get("audio"), "session.audio").get("input"), "session.audio.input")
        transcription = _object(heard.get("transcription"), "session.audio.input.transcription")
        model = _string(transcription.get("model"), "session.audio.input.transcription.model")
        language_name(_string(transcription.get("language"), "session.audio.input.transcription.language") or "")
        if heard.get("turn_detection") is not None:
            sentence = "Turns are not detected here: set `turn_detection` to null, and commit at the end of each turn"
            raise _bad(sentence, "session.audio.input.turn_detection", "unsupported_value")
        rate = _rate(_object(heard.get("format"), "session.audio.input.format"), before.rate)
        return replace(before, model=model or before.model, rate=rate, has_words=False)

    def ends_utterance(self, event: Event) -> bool:
        del event
        return True

    def updated(self, settings: Settings, model: str, delay_ms: int) -> Event | None:
        del delay_ms
        return self._event("session.updated", session=_session(model, settings.rate))

    def committed(self, item: Item) -> Event | None:
        return self._event("input_audio_buffer.committed", item_id=item.id, previous_item_id=item.previous_id)

    def additions(self, addition: Addition, item: Item, heard_s: float, settings: Settings) -> list[Event]:
        del heard_s, settings
        return [self._transcription("delta", item, delta=addition.text)] if addition.text else []

    def heard(self, heard: Heard, settings: Settings) -> Event | None:
        del heard, settings
        return None

    def done(self, outcome: Outcome, item: Item, settings: Settings) -> Event:
        del settings
        usage = {"type": "duration", "seconds": round(outcome.result.audio_s, 3)}
        return self._transcription("completed", item, transcript=outcome.result.text, usage=usage)

    def error(self, error: ApiError, about: Event | None = None) -> Event:
        event_id = about.get("event_id") if about else None
        body = {**error.as_dict()["error"], "event_id": event_id if isinstance(event_id, str) else None}
        return self._event("error", error=body)

    def _transcription(self, what: str, item: Item, **fields: Any) -> Event:
        name = f"conversation.item.input_audio_transcription.{what}"
        return self._event(name, item_id=item.id, content_index=0, **fields)

    @staticmethod
    def _event(kind: str, **fields: Any) -> Event:
        return {"type": kind, "event_id": new_id("event"), **fields}


def _rate(audio_format: Mapping[str, Any], before: int) -> int:
    where = "session.audio.input.format"
    if audio_format.get("type", "audio/pcm") != "audio/pcm":
        sentence = "Only audio/pcm is heard here: 16-bit mono at 24000 or 16000 Hz"
        raise _bad(sentence, f"{where}.type", "unsupported_value")
    rate = audio_format.get("rate", before)
    if type(rate) is not int or rate not in (OPENAI_RATE, SAMPLE_RATE):
        raise _bad("`rate` must be 24000 or 16000", f"{where}.rate", "unsupported_value")
    return rate


Dialect = Vllm | OpenAi


def first_dialect(query: Mapping[str, str]) -> Dialect:
    """What a connection speaks until a session.update says more; query: of its address."""
    return OpenAi() if query.get("intent") == "transcription" else Vllm()


def dialect_of(event: Event) -> type[Dialect]:
    """The dialect that a session.update is written in."""
    return OpenAi if "session" in event else Vllm
