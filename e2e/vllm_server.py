"""A transcription server for tests that speaks as vLLM documents it, strictly, and can be told to misbehave.

`/v1/realtime`: session.created; session.update {model}; commit starts the generation, appends of base64 PCM16 at 16 kHz
follow, each 80 ms of them are answered by a transcription.delta, mostly an empty one; commit with final=true ends in
transcription.done {text, usage}. Whatever vLLM refuses is refused, with its code, and kept in `mistakes`.
`/v1/audio/transcriptions` knows text and json; verbose_json is refused, as vLLM does for this model, unless the server
has_words. What is heard is one word in every half second of sound, whatever it is.
"""

import asyncio
import base64
import binascii
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

MODEL = "mistralai/Voxtral-Mini-4B-Realtime-2602"
WORDS = ("one", "four", "one", "seven")
SAMPLE_RATE = 16_000
STEP_SAMPLES = 1280
KEY_SUBPROTOCOL = "openai-insecure-api-key."


class VllmServer:
    """The server and what a test tells it.

    key: what it wants, as a Bearer; has_proxy: a proxy before it turns the subprotocol of browsers into that.
    n_busy: so many answers are 429; ends_after_s: of sound, then its memory is full, once: transcription.done without a
    final commit; breaks_after_s: of sound, then the connection is closed, once, with breaks_with, and the door with it.
    lets_in: while it is not so, connections and files wait at the door, so that a test can look at what the page says.
    """

    def __init__(self) -> None:
        self.model = MODEL
        self.key: str | None = None
        self.has_proxy = False
        self.has_realtime = True
        self.has_words = False
        self.allows_origins = True
        self.n_busy = 0
        self.breaks_with = 1011
        self.breaks_after_s: float | None = None
        self.ends_after_s: float | None = None
        self.lets_in = True
        self.n_open = 0  # connections
        self.connections: list[list[dict[str, Any]]] = []  # messages, without their sound
        self.sound: list[bytearray] = []
        self.uploads: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.mistakes: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def may(self, authorization: str | None) -> bool:
        return self.key is None or authorization == f"Bearer {self.key}"

    # -- routes --------------------------------------------------------------------------------
    async def models(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if refusal := self._refusal(request):
            return refusal
        return JSONResponse({"object": "list", "data": [{"id": self.model, "object": "model", "owned_by": "vllm"}]})

    async def transcriptions(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        async with request.form() as form:
            upload: Any = form["file"]
            content = await upload.read()
            fields = {name: value for name, value in form.items() if name != "file"}
        if refusal := self._refusal(request):
            return refusal
        await self._at_the_door()
        self.uploads.append({**fields, "name": upload.filename, "content": content})
        if fields.get("model") != self.model:
            return error(404, f"The model `{fields.get('model')}` does not exist.", "NotFoundError")
        if fields.get("response_format") == "verbose_json" and not self.has_words:
            return error(400, f"Currently do not support verbose_json for {self.model}")
        seconds = max(1, (len(content) - 44) // (2 * SAMPLE_RATE))
        spoken = [WORDS[i % len(WORDS)] for i in range(2 * seconds)]
        answer: dict[str, Any] = {"text": " ".join(spoken), "usage": {"type": "duration", "seconds": seconds}}
        if self.has_words:
            answer["duration"] = float(seconds)
            answer["words"] = [{"word": word, "start": i / 2, "end": i / 2 + 0.3} for i, word in enumerate(spoken)]
        return JSONResponse(answer)

    def _refusal(self, request: Request) -> Response | None:
        if not self.may(request.headers.get("authorization")):
            return JSONResponse({"error": "Unauthorized"}, 401)
        if self.n_busy > 0:
            self.n_busy -= 1
            headers = {"Retry-After": "1", "Access-Control-Expose-Headers": "Retry-After"}
            return JSONResponse({"error": {"message": "Too many requests", "code": 429}}, 429, headers)
        return None

    async def realtime(self, websocket: WebSocket) -> None:
        authorization = websocket.headers.get("authorization")
        offered = websocket.scope["subprotocols"]
        for protocol in offered if self.has_proxy else ():
            if protocol.startswith(KEY_SUBPROTOCOL):
                authorization = f"Bearer {protocol.removeprefix(KEY_SUBPROTOCOL)}"
        if not self.may(authorization):
            await websocket.send_denial_response(JSONResponse({"error": "Unauthorized"}, 401))
            return
        await self._at_the_door()
        await websocket.accept("realtime" if self.has_proxy and "realtime" in offered else None)
        self.n_open += 1
        try:
            await Connection(self, websocket).run()
        finally:
            self.n_open -= 1

    async def _at_the_door(self) -> None:
        while not self.lets_in:
            await asyncio.sleep(0.01)


def error(status: int, message: str, kind: str = "BadRequestError") -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)


class Connection:
    """One WebSocket."""

    def __init__(self, server: VllmServer, websocket: WebSocket) -> None:
        self.server, self.websocket = server, websocket
        self.is_validated = self.is_generating = self.is_full = False
        self.pcm = bytearray()
        self.n_steps = 0
        self.text = ""
        self.messages: list[dict[str, Any]] = []
        server.connections.append(self.messages)
        server.sound.append(self.pcm)

    async def run(self) -> None:
        await self.send("session.created", id=f"sess-{uuid.uuid4()}", created=int(time.time()))
        try:
            while True:
                await self.take(await self.websocket.receive_text())
        except WebSocketDisconnect:
            pass

    async def send(self, kind: str, **fields: Any) -> None:
        await self.websocket.send_text(json.dumps({"type": kind, **fields}))

    async def refuse(self, sentence: str, code: str) -> None:
        self.server.mistakes.append(f"{code}: {sentence}")
        await self.send("error", error=sentence, code=code)

    async def take(self, text: str) -> None:
        try:
            event = json.loads(text)
        except ValueError:
            await self.refuse("Invalid JSON", "invalid_json")
            return
        kind = event.get("type")
        self.messages.append({name: value for name, value in event.items() if name != "audio"})
        if kind == "session.update":
            self.is_validated = event.get("model") == self.server.model
            if not self.is_validated:
                await self.refuse(f"The model `{event.get('model')}` does not exist.", "model_not_found")
        elif kind == "input_audio_buffer.append":
            await self.append(event.get("audio"))
        elif kind == "input_audio_buffer.commit":
            await self.commit(final=event.get("final", False))
        else:
            await self.refuse(f"Unknown event type: {kind}", "unknown_event")

    async def append(self, audio: Any) -> None:
        if self.is_full:
            return  # kept for an utterance that never begins
        try:
            pcm = base64.b64decode(audio, validate=True)
        except (binascii.Error, TypeError, ValueError):
            pcm = b""
        if not pcm or len(pcm) % 2 or not self.is_generating:
            await self.refuse("Invalid audio data", "invalid_audio")
            return
        self.pcm += pcm
        await self.generate()

    async def commit(self, *, final: bool) -> None:
        if not self.is_validated:
            await self.refuse("Model not validated. Send a session.update first.", "model_not_validated")
        elif not final:
            self.is_generating = True
        elif not self.pcm:
            await self.refuse("Can't process empty audio.", "processing_error")
        else:
            await self.finish()

    async def finish(self) -> None:
        usage = {"prompt_tokens": 39, "completion_tokens": self.n_steps, "total_tokens": 39 + self.n_steps}
        await self.send("transcription.done", text=self.text, usage=usage)
        self.is_generating = False

    async def generate(self) -> None:
        """A delta for each 80 ms; a word where a half of a second begins, in two deltas if it is long."""
        while len(self.pcm) >= 2 * STEP_SAMPLES * (self.n_steps + 1):
            second = self.n_steps * STEP_SAMPLES / SAMPLE_RATE
            before = (self.n_steps - 1) * STEP_SAMPLES / SAMPLE_RATE
            self.n_steps += 1
            word = WORDS[int(second * 2) % len(WORDS)]
            delta = f" {word}"[:4] if int(second * 2) != int(before * 2) or second == 0 else ""
            if not delta and len(word) > 3 and self.text.endswith(f" {word}"[:4]):
                delta = word[3:]
            self.text += delta
            await self.send("transcription.delta", delta=delta)
            server = self.server
            if server.ends_after_s is not None and second >= server.ends_after_s:
                server.ends_after_s = None
                self.is_full = True
                await self.finish()
                return
            if server.breaks_after_s is not None and second >= server.breaks_after_s:
                server.breaks_after_s = None
                server.lets_in = False
                await self.websocket.close(server.breaks_with)
                raise WebSocketDisconnect(server.breaks_with)


@contextmanager
def serve_vllm(**behaviour: Any) -> Iterator[VllmServer]:
    """Running on a free port; behaviour: attributes of VllmServer."""
    server = VllmServer()
    for name, value in behaviour.items():
        setattr(server, name, value)
    routes = [
        Route("/v1/models", server.models),
        Route("/v1/audio/transcriptions", server.transcriptions, methods=["POST"]),
        *([WebSocketRoute("/v1/realtime", server.realtime)] if server.has_realtime else []),
    ]
    anyone = {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}  # vLLM's defaults
    middleware = [Middleware(CORSMiddleware, **anyone)] if server.allows_origins else []
    config = uvicorn.Config(
        Starlette(routes=routes, middleware=middleware),
        host="localhost",
        port=0,
        log_level="critical",
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
        lifespan="off",
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    server.port = running.servers[0].sockets[0].getsockname()[1]
    yield server
    running.should_exit = True
    thread.join()
