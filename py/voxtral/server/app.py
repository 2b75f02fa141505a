"""Everything that one port answers, put together.

    /v1/audio/transcriptions   transcriptions.py
    /v1/realtime               realtime.py
    /v1/models, /v1/voxtral    which model, and what the page has to know of this server
    /healthz, /openapi.json    for whoever watches over it, for programs that read how to use it
    anything else              the web app (voxtral.web)

gate.py stands before them. An error is OpenAI's error object, whatever it was.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from voxtral.errors import VoxtralError
from voxtral.server.draining import Draining
from voxtral.server.engine import Engine
from voxtral.server.errors import ApiError, as_api_error
from voxtral.server.gate import API, Gate
from voxtral.server.openapi import openapi
from voxtral.server.realtime import Limits, Realtime
from voxtral.server.security import Access
from voxtral.server.transcriptions import Transcriptions
from voxtral.server.uploads import UploadLimits
from voxtral.web import responses
from voxtral.web.places import HERE
from voxtral.web.site import Site

FILE_CHUNK_BYTES = 256 << 10
SENTENCES = {
    404: "There is nothing at this address; the API is described in /openapi.json",
    405: "This address does not take that method; the API is described in /openapi.json",
}


@dataclass(frozen=True)
class Parts:
    """What an application is made of.

    model_ids: the names of its model, first the one it goes by; site: None for no page.
    """

    engine: Engine
    model_ids: tuple[str, ...]
    site: Site | None
    access: Access
    uploads: UploadLimits = field(default_factory=UploadLimits)
    draining: Draining = field(default_factory=Draining)
    limits: Limits = field(default_factory=Limits)


def make_app(parts: Parts) -> ASGIApp:
    """The ASGI application; the engine is started and closed by whoever runs it."""
    api = _Api(parts)
    realtime = Realtime(parts.engine, parts.model_ids, parts.draining, parts.limits)
    transcriptions = Transcriptions(parts.engine, parts.model_ids, parts.uploads)
    routes: list[BaseRoute] = [
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        WebSocketRoute("/v1/realtime", realtime.serve),
        Route("/v1/models", api.models),
        Route("/v1/models/{model_id:path}", api.model),
        Route("/v1/voxtral", api.about),
        Route("/healthz", api.health),
        Route("/openapi.json", api.document),
    ]
    handlers = {HTTPException: _of_http, VoxtralError: _of_error, Exception: _of_error}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    if parts.site:
        app.router.default = _Page(parts.site)
    gate = Gate(app, parts.access, parts.draining)
    if not parts.access.origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=parts.access.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After"],
        allow_private_network=True,
    )


class _Api:
    """The small answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def models(self, request: Request) -> Response:
        del request
        return JSONResponse({"object": "list", "data": [self._card(name) for name in self._parts.model_ids]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model_id"]
        if name not in self._parts.model_ids:
            names = " or ".join(self._parts.model_ids)
            raise ApiError(f"That model is not here; ask for {names}", 404, "model", "model_not_found")
        return JSONResponse(self._card(name))

    def _card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._parts.engine.facts.created, "owned_by": "voxtral"}

    async def about(self, request: Request) -> Response:
        """What a page learns of the server it came from; a static host has no such address."""
        del request
        facts, parts = self._parts.engine.facts, self._parts
        about = {
            "name": parts.model_ids[0],
            "model": facts.model,
            "realtime": True,
            "needs_key": parts.access.needs_key,
            "delay_ms": facts.delay_ms,
            "sample_rate": facts.sample_rate,
            "backend": facts.backend,
            "adapter": facts.adapter,
            "max_upload_bytes": parts.uploads.max_bytes,
        }
        return JSONResponse(about)

    async def document(self, request: Request) -> Response:
        del request
        parts = self._parts
        return JSONResponse(openapi(parts.model_ids, parts.access.needs_key, parts.uploads, HERE.version))

    async def health(self, request: Request) -> Response:
        """200 while new work is taken."""
        del request
        health, draining = self._parts.engine.health, self._parts.draining
        state = "draining" if draining.begun.is_set() else health.state
        content: dict[str, object] = {
            "status": state,
            "live": health.n_live,
            "files": health.n_files,
            "queued": health.n_queued,
        }
        if health.sentence:
            content["error"] = health.sentence
        return JSONResponse(content, 200 if state == "ready" else 503, {"Cache-Control": "no-store"})


class _Page:
    """The web app: what voxtral.web responds with, sent through ASGI."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["path"].startswith(API):
            raise HTTPException(404)
        request = Request(scope)
        if request.method in ("GET", "HEAD"):
            target = scope["raw_path"].decode("latin-1")
            found = await asyncio.to_thread(responses.respond, self._site, request.method, target, request.headers)
        else:
            found = responses.refused(HTTPStatus.METHOD_NOT_ALLOWED)
        response = await asyncio.to_thread(_response, found, request.method)
        await response(scope, receive, send)


def _response(found: responses.Response, method: str) -> Response:
    if method == "HEAD" or found.source is None:
        return Response(None, found.status, found.headers)
    if isinstance(found.source, bytes):
        return Response(found.source[found.start : found.end], found.status, found.headers)
    try:
        file = found.source.open("rb")
    except OSError as error:  # gone since it was found
        is_forbidden = isinstance(error, PermissionError)
        return _response(responses.refused(HTTPStatus.FORBIDDEN if is_forbidden else HTTPStatus.NOT_FOUND), method)
    return StreamingResponse(_span(file, found.start, found.end), found.status, found.headers)


async def _span(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes of a file; fewer where it shrank meanwhile, and then the connection breaks, as it must."""
    with file:
        file.seek(start)
        while start < end and (chunk := await asyncio.to_thread(file.read, min(FILE_CHUNK_BYTES, end - start))):
            start += len(chunk)
            yield chunk


# -- errors ---------------------------------------------------------------------------------------
async def _of_http(request: Request, error: Exception) -> Response:
    """What Starlette refuses, in the one shape of errors."""
    del request
    assert isinstance(error, HTTPException)
    status = error.status_code
    return _answer(ApiError(SENTENCES.get(status, error.detail), status), error.headers)


async def _of_error(request: Request, error: Exception) -> Response:
    del request
    return _answer(as_api_error(error))


def _answer(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(error.as_dict(), error.status, {**(headers or {}), **error.headers})
