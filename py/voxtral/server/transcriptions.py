"""`POST /v1/audio/transcriptions`: a file in, its transcript out, whole or word by word as server-sent events.

The way of a request: is there room → its form to disk → its fields → the beginning of its sound → a seat (it may wait
for one) → decoding and hearing side by side → the answer. A client that goes away ends it at any of these places.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from voxtral.audio_file import AudioInput, open_stream
from voxtral.config import SAMPLE_RATE
from voxtral.decoding import Addition
from voxtral.server import transcription_formats as formats
from voxtral.server.engine import Engine
from voxtral.server.errors import ApiError, as_api_error, log_unforeseen
from voxtral.server.seats import Seat
from voxtral.server.transcription_options import TranscriptionOptions
from voxtral.server.uploads import FILE_FIELD, Upload, UploadLimits, received
from voxtral.transcription import clock

PIECE_SAMPLES = 10 * SAMPLE_RATE  # fed at once
EVENT_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would hold events back

T = TypeVar("T")

log = logging.getLogger(__name__)


class Transcriptions:
    """An ASGI application for one address. model_ids: names by which clients may ask for the engine's model."""

    def __init__(self, engine: Engine, model_ids: Sequence[str], limits: UploadLimits) -> None:
        self._engine, self._model_ids, self._limits = engine, model_ids, limits
        self._coming: set[Request] = set()  # that are not in the engine's queue yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        has_come = False
        try:
            self._engine.require_room(is_live=False, n_coming=len(self._coming))
            self._coming.add(request)
            async with received(request, self._limits) as upload:
                has_come = True
                options = TranscriptionOptions.of(upload.fields, self._model_ids)
                await _while_there(receive, self._answer(request, upload, options, send))
        except ClientDisconnect:
            log.info("A client went away before its transcript was done")
        except ApiError as error:
            if has_come:
                raise
            # The rest of the body is not waited for.
            response = JSONResponse(error.as_dict(), error.status, {**error.headers, "Connection": "close"})
            await response(scope, receive, send)
        finally:
            self._coming.discard(request)

    async def _answer(self, request: Request, upload: Upload, options: TranscriptionOptions, send: Send) -> None:
        async with DecodedFile(upload, self._limits.max_audio_s) as sound:
            self._coming.discard(request)
            async with await self._engine.open(upload.name, is_live=False, delay_ms=options.delay_ms) as seat:
                if options.is_stream:
                    await _send_events(seat, sound, send)
                    return
                async with aclosing(_heard(seat, sound)) as additions:
                    async for _ in additions:
                        pass
                for sentence in (notices := sound.notices + seat.notices):
                    log.info("%s", sentence)
                content = formats.body(seat.result(), options, notices)
                response = Response(content, media_type=formats.MEDIA_TYPES[options.format])
                await response(request.scope, request.receive, send)


async def _while_there(receive: Receive, answer: Coroutine[Any, Any, None]) -> None:
    """Do this as long as the client is there, whose body has come. Raises ClientDisconnect."""

    async def leaving() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    answering, gone = asyncio.create_task(answer), asyncio.create_task(leaving())
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        has_left = not answering.done()
    finally:
        gone.cancel()
        if not answering.done():
            answering.cancel()
        await asyncio.gather(answering, gone, return_exceptions=True)
    if has_left:
        raise ClientDisconnect
    answering.result()


async def _send_events(seat: Seat, sound: "DecodedFile", send: Send) -> None:
    """Server-sent events: the text as it comes, all of it at the end, or why there is none."""

    async def tell(event: str, is_last: bool = False) -> None:
        await send({"type": "http.response.body", "body": event.encode(), "more_body": not is_last})

    headers = {"Content-Type": "text/event-stream; charset=utf-8", **EVENT_HEADERS}
    raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw_headers})
    try:
        async with aclosing(_heard(seat, sound)) as additions:
            async for addition in additions:
                if addition.text:
                    await tell(formats.delta_event(addition.text))
        event = formats.done_event(seat.result())
    except Exception as error:
        log_unforeseen(error)
        event = formats.error_event(as_api_error(error))
    await tell(event, is_last=True)


async def _heard(seat: Seat, sound: "DecodedFile") -> AsyncGenerator[Addition, None]:
    """Bring the sound to the seat, and pass on what comes of it. Raises what either of them raises."""

    async def feed() -> None:
        try:
            async for piece in sound:
                await seat.feed(piece)
            await seat.finish()
        except BaseException:
            seat.cancel()
            raise

    feeding = asyncio.create_task(feed())
    try:
        async for addition in seat:
            yield addition
        await feeding
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


class DecodedFile:
    """The sound of an upload, mono at 16 kHz, in pieces; a context, which begins with the first piece.

    All of it happens in a thread of its own, one thing after the other: whoever stops waiting for a piece leaves, and
    what is being decoded is closed behind it. Raises AudioError; ApiError for more than max_audio_s.
    """

    def __init__(self, upload: Upload, max_audio_s: float) -> None:
        self.notices: list[str] = []
        self._upload, self._max_audio_s = upload, max_audio_s
        self._thread = ThreadPoolExecutor(1, "decoding")
        self._audio: AudioInput | None = None
        self._pieces: Iterator[NDArray[np.float32]] = iter(())
        self._first: NDArray[np.float32] | None = None
        self._n_samples = 0

    async def __aenter__(self) -> "DecodedFile":
        try:
            self._first = await self._do(self._open)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def __aiter__(self) -> AsyncGenerator[NDArray[np.float32], None]:
        piece, self._first = self._first, None
        while piece is not None:
            for start in range(0, len(piece), PIECE_SAMPLES):
                yield piece[start : start + PIECE_SAMPLES]
            piece = await self._do(self._next)

    async def _do(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)

    # -- in the thread --------------------------------------------------------------------------
    def _open(self) -> NDArray[np.float32] | None:
        self._audio = open_stream(self._upload.file, self._upload.name, self.notices.append)
        self._require_duration(self._audio.duration_s or 0.0)
        self._pieces = iter(self._audio)
        return self._next()

    def _next(self) -> NDArray[np.float32] | None:
        piece = next(self._pieces, None)
        if piece is not None:
            self._n_samples += len(piece)
            self._require_duration(self._n_samples / SAMPLE_RATE)
        return piece

    def _close(self) -> None:
        self._pieces = iter(())
        if self._audio is not None:
            self._audio.__exit__(None, None, None)

    def _require_duration(self, audio_s: float) -> None:
        if audio_s > self._max_audio_s:
            most, found = clock(self._max_audio_s), clock(audio_s)
            sentence = f"The sound is longer than {most}, which is the most this server takes (found {found}); split it"
            raise ApiError(sentence, 413, FILE_FIELD, "audio_too_long")
