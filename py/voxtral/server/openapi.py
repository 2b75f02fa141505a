"""What the server's HTTP addresses take and answer, as an OpenAPI 3.1 document, made for programs that read such."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from voxtral.server.scheduler import State
from voxtral.server.transcription_options import FORMATS, GRANULARITIES, LANGUAGES
from voxtral.server.uploads import UploadLimits

Schema = dict[str, Any]

DESCRIPTION: Final = (
    "Speech recognition on the operator's own machine. `/v1/audio/transcriptions` and `/v1/models` are those of "
    "OpenAI's API, so that its clients work with this address as their base URL. `/v1/realtime` is a WebSocket, which "
    "this document cannot describe: sound in, words out while it comes, in the messages of vLLM's realtime API. Every "
    "error is one sentence in OpenAI's error object."
)

IGNORED: Final = {  # documented by OpenAI, and of no use to this model
    "prompt": "Accepted and ignored: the model takes no hints.",
    "chunking_strategy": "Accepted and ignored: sound is never cut into chunks.",
}

STATUSES: Final = {
    400: "Something in the request is wrong, or its file holds no sound that can be read.",
    401: "The server needs an API key, and this is none of its own.",
    403: "The server is not reached by this name, or not from pages of this origin.",
    404: "There is no such model.",
    408: "The upload comes too slowly.",
    413: "The file is too large, its sound too long, or its fields hold too much.",
    415: "The body is no multipart form.",
    429: "All seats, and the queue, are taken.",
    500: "Something failed inside the server.",
    503: "There is no model that could answer: it is gone, or the server is stopping.",
}


def openapi(model_ids: Sequence[str], needs_key: bool, limits: UploadLimits, version: str) -> Schema:
    """The document. model_ids: names of the model; needs_key: clients must send one."""
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "Voxtral", "version": version, "description": DESCRIPTION, "license": {"name": "Apache-2.0"}},
        "paths": {
            "/v1/audio/transcriptions": {"post": _transcribe(model_ids, limits)},
            "/v1/models": {"get": _list_models()},
            "/v1/models/{model_id}": {"get": _get_model(model_ids)},
            "/v1/voxtral": {"get": _about()},
            "/healthz": {"get": _health()},
            "/openapi.json": {"get": _document()},
        },
        "components": {"schemas": SCHEMAS},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for open_path in ("/v1/voxtral", "/healthz", "/openapi.json"):
            document["paths"][open_path]["get"]["security"] = []
    return document


# -- addresses ------------------------------------------------------------------------------------
def _transcribe(model_ids: Sequence[str], limits: UploadLimits) -> Schema:
    ok = {
        "description": "The transcript, in the format asked for.",
        "content": {
            "application/json": {"schema": {"anyOf": [_ref("Transcription"), _ref("VerboseTranscription")]}},
            "text/plain": {"schema": {"type": "string"}},
            "application/x-subrip": {"schema": {"type": "string"}},
            "text/vtt": {"schema": {"type": "string"}},
            "text/event-stream": {"schema": {"type": "string", "description": _EVENTS}},
        },
    }
    return {
        "operationId": "createTranscription",
        "summary": "A file to text",
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": _form(model_ids, limits)}},
        },
        "responses": {"200": ok, **_errors(400, 401, 403, 404, 408, 413, 415, 429, 500, 503)},
    }


_EVENTS: Final = (
    "With stream=true. Each event is a line `data: ` and a JSON object: `transcript.text.delta` with a `delta` to "
    "append, in the end `transcript.text.done` with the whole `text`, which is right where words were revised, or an "
    "object with `error`."
)


def _form(model_ids: Sequence[str], limits: UploadLimits) -> Schema:
    granularities = {"type": "array", "items": {"enum": list(GRANULARITIES)}}
    languages = f"One of {', '.join(LANGUAGES)}, or its English name; the model finds the language itself."
    properties: Schema = {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "WAV, MP3, M4A, Ogg, Opus, FLAC, WebM and whatever else FFmpeg decodes; "
            f"up to {limits.max_bytes:,} bytes and {limits.max_audio_s / 3600:g} hours of sound.",
        },
        "model": {"enum": list(model_ids)},
        "response_format": {"enum": list(FORMATS), "default": "json"},
        "stream": {"enum": ["true", "false"], "default": "false", "description": _EVENTS},
        "timestamp_granularities[]": {**granularities, "description": "With verbose_json; without it: segment."},
        "language": {"enum": [*LANGUAGES, *LANGUAGES.values()], "description": languages},
        "temperature": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Ignored: the likeliest word is taken.",
        },
        "delay_ms": {
            "enum": [*range(80, 1201, 80), 2400],
            "description": "Of this server alone: how far the model listens ahead. More hears better.",
        },
        **{name: {"type": "string", "description": text} for name, text in IGNORED.items()},
    }
    return {"type": "object", "required": ["file", "model"], "properties": properties}


def _list_models() -> Schema:
    return {
        "operationId": "listModels",
        "summary": "The model under each of its names",
        "responses": {"200": _json("The models.", _ref("ModelList")), **_errors(401, 403, 500)},
    }


def _get_model(model_ids: Sequence[str]) -> Schema:
    schema = {"type": "string", "examples": list(model_ids)}
    return {
        "operationId": "getModel",
        "summary": "The model, by a name",
        "parameters": [{"name": "model_id", "in": "path", "required": True, "schema": schema}],
        "responses": {"200": _json("The model.", _ref("Model")), **_errors(401, 403, 404, 500)},
    }


def _about() -> Schema:
    return {
        "operationId": "about",
        "summary": "What a page has to know of this server",
        "responses": {"200": _json("About this server.", _ref("About")), **_errors(403, 500)},
    }


def _health() -> Schema:
    return {
        "operationId": "health",
        "summary": "Whether new work is taken",
        "responses": {
            "200": _json("It is.", _ref("Health")),
            "503": _json(
                "It is not: the GPU went away and the model is loaded again (recovering, which takes seconds), it did "
                "not come back (failed, and `error` says why), or the server is stopping (draining).",
                _ref("Health"),
            ),
            **_errors(403, 500),
        },
    }


def _document() -> Schema:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "responses": {"200": _json("This document.", {"type": "object"}), **_errors(403, 500)},
    }


def _errors(*statuses: int) -> Schema:
    responses: Schema = {str(status): _json(STATUSES[status], _ref("Error")) for status in statuses}
    if "429" in responses:
        seconds = {"description": "Seconds after which a seat should be free.", "schema": {"type": "integer"}}
        responses["429"]["headers"] = {"Retry-After": seconds}
    return responses


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# -- schemas --------------------------------------------------------------------------------------
TEXT: Final[Schema] = {"type": "string"}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
PROBABILITY: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}


def _object(properties: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


SCHEMAS: Final[Schema] = {
    "Error": _object(
        {
            "error": _object(
                {
                    "message": TEXT,
                    "type": TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                }
            )
        }
    ),
    "Usage": _object({"type": {"const": "duration"}, "seconds": SECONDS}),
    "Transcription": _object({"text": TEXT, "usage": _ref("Usage")}),
    "VerboseTranscription": _object(
        {
            "task": {"const": "transcribe"},
            "language": {**TEXT, "description": "The one that was asked for, or unknown."},
            "duration": SECONDS,
            "text": TEXT,
            "usage": _ref("Usage"),
            "notices": {"type": "array", "items": TEXT, "description": "Sentences about what was odd."},
            "segments": {"type": "array", "items": _ref("Segment")},
            "words": {"type": "array", "items": _ref("Word")},
        },
        optional=("segments", "words"),
    ),
    "Word": _object(
        {
            "word": TEXT,
            "start": SECONDS,
            "end": SECONDS,
            "probability": PROBABILITY,
            "alternatives": {"type": "array", "items": _object({"text": TEXT, "probability": PROBABILITY})},
            "joins": {"type": "boolean", "description": "It follows the word before it without a space."},
        }
    ),
    "Segment": _object(
        {
            "id": COUNT,
            "seek": COUNT,
            "start": SECONDS,
            "end": SECONDS,
            "text": TEXT,
            "tokens": {"type": "array", "items": COUNT},
            "temperature": SECONDS,
            "avg_logprob": {"type": "number", "maximum": 0},
            "compression_ratio": SECONDS,
            "no_speech_prob": PROBABILITY,
        }
    ),
    "Model": _object({"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT}),
    "ModelList": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _ref("Model")}}),
    "About": _object(
        {
            "name": TEXT,
            "model": TEXT,
            "realtime": {"type": "boolean"},
            "needs_key": {"type": "boolean"},
            "delay_ms": COUNT,
            "sample_rate": COUNT,
            "backend": {"enum": ["webgpu", "numpy"]},
            "adapter": TEXT,
            "max_upload_bytes": COUNT,
        }
    ),
    "Health": _object(
        {
            "status": {"type": "string", "enum": list(get_args(State))},
            "live": COUNT,
            "files": COUNT,
            "queued": COUNT,
            "error": TEXT,
        },
        optional=("error",),
    ),
}
