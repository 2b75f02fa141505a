"""The WebSocket `/v1/realtime`: sound in, words out while it comes, one utterance after the other.

A connection is a few tasks that end together:

    _read      frames to an inbox of a few; where it is full nothing is read, and the client's own sending stops
    _work      the inbox, message by message; sound goes to the engine, which lets it wait where it is behind
    _tell      words of the running utterance to the client, and how far it is
    _drain     the server is stopping

Whatever a client does wrong is an `error` event with one sentence and a code; then either the connection goes on, or
it is closed, with 1008 (policy), 1011 (the server failed), 1012 (it is stopping) or 1013 (no seat; try again).
"""

import asyncio
import json
import logging
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from voxtral.config import StreamingConfig
from voxtral.errors import ConfigError, VoxtralError
from voxtral.resample import Resampler
from voxtral.server.dialects import (
    Dialect,
    Event,
    Heard,
    Item,
    Outcome,
    Settings,
    dialect_of,
    first_dialect,
    new_id,
    parse,
    samples_of,
    session_created,
)
from voxtral.server.draining import Draining, stopping
from voxtral.server.endings import (
    FAILED,
    POLICY,
    RESTARTING,
    SEND_TIMEOUT_S,
    TRY_AGAIN,
    EndingError,
    accept,
    end,
)
from voxtral.server.engine import Engine
from voxtral.server.errors import ApiError, BusyError, as_api_error, shown
from voxtral.server.seats import Seat

INBOX_MESSAGES = 4
MAX_FRAME_BYTES = 2 << 20  # of text, which is 49 s of sound at 16 kHz
MAX_MISTAKES = 20  # without any sound in between
TOLD_EVERY_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """idle_s: a connection from which nothing comes ends; max_connections: at once, whether they have a seat or not."""

    idle_s: float = 60.0
    max_connections: int = 256


class _GoneError(Exception):
    """Nobody is there any more to be told anything."""


@dataclass
class Utterance:
    """From the first sound to the last word; the settings are those of its start."""

    seat: Seat
    item: Item
    dialect: Dialect
    settings: Settings
    resampler: Resampler


class Realtime:
    """The endpoint: one `Connection` for each client. model_names: what a client may ask for."""

    def __init__(self, engine: Engine, model_names: tuple[str, ...], draining: Draining, limits: Limits) -> None:
        self.engine, self.model_names, self.draining, self.limits = engine, model_names, draining, limits
        self._n_connections = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a connection to its end."""
        dialect = first_dialect(websocket.query_params)
        await accept(websocket)
        self._n_connections += 1
        try:
            if self._n_connections > self.limits.max_connections:
                sentence = f"Too many connections ({self.limits.max_connections} are open); try again in some seconds"
                await end(websocket, dialect, EndingError(BusyError(sentence, 10), TRY_AGAIN))
            else:
                await Connection(self, websocket, dialect).run()
        finally:
            self._n_connections -= 1

    def require_model(self, model: str | None) -> None:
        """Raises EndingError for a model that is not served here."""
        if model is not None and model not in self.model_names:
            names = " or ".join(self.model_names)
            error = ApiError(f"The model {shown(model)} is not here; ask for {names}", 404, "model", "model_not_found")
            raise EndingError(error, POLICY)

    def streaming(self, delay_ms: int | None) -> StreamingConfig:
        """Raises ApiError for a delay the model does not know."""
        facts = self.engine.facts
        try:
            return StreamingConfig(facts.delay_ms if delay_ms is None else delay_ms, facts.left_pad_tokens)
        except ConfigError as error:
            raise ApiError(str(error), param="delay_ms", code="invalid_value") from error


class Connection:
    """One client, from its acceptance to its close."""

    def __init__(self, realtime: Realtime, websocket: WebSocket, dialect: Dialect) -> None:
        self._realtime, self._websocket = realtime, websocket
        self._dialect, self._settings = dialect, Settings(rate=dialect.rate)
        self._inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue(INBOX_MESSAGES)  # None: nothing more is read
        self._utterance: Utterance | None = None
        self._teller: asyncio.Task[None]  # of the utterance
        self._is_starting = False
        self._previous_id: str | None = None
        self._n_mistakes = 0
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Until either side ends it."""
        ending: EndingError | None = None
        try:
            async with asyncio.TaskGroup() as self._tasks:
                reader = self._tasks.create_task(self._read())
                self._tasks.create_task(self._work())
                self._tasks.create_task(self._drain(reader))
        except* EndingError as group:
            first = _first(group)
            assert isinstance(first, EndingError)
            ending = first
        except* _GoneError:
            pass
        except* VoxtralError as group:
            ending = EndingError(as_api_error(_first(group)), FAILED)
        except* Exception as group:
            log.exception("a realtime session failed", exc_info=group)
            ending = EndingError(as_api_error(_first(group)), FAILED)
        finally:
            if self._utterance:
                self._utterance.seat.cancel()
        if ending:
            await end(self._websocket, self._dialect, ending)

    # -- the tasks ------------------------------------------------------------------------------
    async def _read(self) -> None:
        """Frames as they come; raises _GoneError when the client has gone."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise _GoneError
            text = message.get("text")
            await self._inbox.put(text if text is not None else b"")

    async def _work(self) -> None:
        realtime = self._realtime
        model = self._websocket.query_params.get("model")
        await self._send(session_created(realtime.model_names[0], self._settings.rate))
        realtime.require_model(model)
        while (message := await self._next()) is not None:
            event: Event | None = None
            try:
                event = _event(message)
                await self._take(event)
            except BusyError as error:
                raise EndingError(error, TRY_AGAIN) from error
            except ApiError as error:
                if error.status >= 500:
                    raise EndingError(error, FAILED) from error
                await self._complain(error, event)
        await self._finish()
        raise EndingError(stopping(), RESTARTING)

    async def _next(self) -> str | bytes | None:
        """The next message. Raises EndingError when none comes for too long."""
        idle_s = self._realtime.limits.idle_s
        try:
            async with asyncio.timeout(idle_s):
                return await self._inbox.get()
        except TimeoutError:
            sentence = f"Nothing came for {idle_s:.0f} s, so the connection was closed; connect again to go on"
            raise EndingError(ApiError(sentence, 408, code="idle_timeout"), POLICY) from None

    async def _drain(self, reader: "asyncio.Task[None]") -> None:
        """The server is stopping: at once where nothing runs, else when the utterance ends, or has had its grace."""
        draining = self._realtime.draining
        await draining.begun.wait()
        if not self._utterance and not self._is_starting and self._inbox.empty():
            raise EndingError(stopping(), RESTARTING)
        await draining.expired.wait()
        reader.cancel()
        await self._inbox.put(None)

    async def _tell(self, utterance: Utterance) -> None:
        """Words as they are heard. Raises the VoxtralError for which the session ended."""
        progress = self._tasks.create_task(self._tell_progress(utterance))
        try:
            async for addition in utterance.seat:
                item, settings, heard_s = utterance.item, utterance.settings, utterance.seat.heard_s
                for event in utterance.dialect.additions(addition, item, heard_s, settings):
                    await self._send(event)
        finally:
            progress.cancel()

    async def _tell_progress(self, utterance: Utterance) -> None:
        told = None
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            heard = Heard(utterance.seat.heard_s, utterance.seat.waiting_s)
            event = utterance.dialect.heard(heard, utterance.settings)
            if event and event != told:
                await self._send(event)
                told = event

    # -- messages -------------------------------------------------------------------------------
    async def _take(self, event: Event) -> None:
        """Do what a message says. Raises ApiError, EndingError."""
        match event["type"]:
            case "session.update":
                await self._update(event)
            case "input_audio_buffer.append":
                samples = samples_of(event)
                utterance = self._utterance or await self._begin()
                self._n_mistakes = 0
                await utterance.seat.feed(utterance.resampler.feed(samples))
            case "input_audio_buffer.commit":
                if not self._dialect.ends_utterance(event):
                    self._utterance or await self._begin()
                elif self._utterance:
                    await self._finish()
                else:
                    sentence = "There is nothing to commit: append sound first"
                    raise ApiError(sentence, code="input_audio_buffer_commit_empty")
            case "input_audio_buffer.clear" if self._dialect.can_clear:
                await self._clear()
            case kind:
                raise ApiError(f"Messages of type {shown(kind)} are not known", param="type", code="unknown_event")

    async def _update(self, event: Event) -> None:
        kind = dialect_of(event)
        dialect = self._dialect if isinstance(self._dialect, kind) else kind()
        before = self._settings if dialect is self._dialect else Settings(rate=dialect.rate)
        settings = dialect.settings(event, before)
        self._realtime.require_model(settings.model)
        streaming = self._realtime.streaming(settings.delay_ms)
        self._dialect, self._settings = dialect, settings
        names = self._realtime.model_names
        if (updated := dialect.updated(settings, settings.model or names[0], streaming.delay_ms)) is not None:
            await self._send(updated)

    async def _begin(self) -> Utterance:
        """Take a seat. Raises BusyError, DownError."""
        self._is_starting = True
        try:
            self._realtime.draining.require_open()
            name = new_id("utterance")
            seat = await self._realtime.engine.open(name, is_live=True, delay_ms=self._settings.delay_ms)
        finally:
            self._is_starting = False
        item = Item(new_id("item"), self._previous_id)
        settings, dialect = self._settings, self._dialect
        utterance = Utterance(seat, item, dialect, settings, Resampler(settings.rate))
        self._teller = self._tasks.create_task(self._tell(utterance))
        self._utterance, self._previous_id = utterance, item.id
        return utterance

    async def _finish(self) -> None:
        """The sound of the utterance is over, if there is one: its last words, and all of it."""
        if (utterance := self._utterance) is None:
            return
        if committed := utterance.dialect.committed(utterance.item):
            await self._send(committed)
        await utterance.seat.feed(utterance.resampler.flush())
        await utterance.seat.finish()
        await self._teller
        n_prompt_tokens = self._realtime.streaming(utterance.settings.delay_ms).n_prompt_tokens
        outcome = Outcome(utterance.seat.result(), n_prompt_tokens, tuple(utterance.seat.notices))
        self._utterance = None
        await self._send(utterance.dialect.done(outcome, utterance.item, utterance.settings))
        if self._realtime.draining.begun.is_set():
            raise EndingError(stopping(), RESTARTING)

    async def _clear(self) -> None:
        """Forget what of the utterance was said."""
        if self._utterance:
            self._utterance.seat.cancel()
            await self._teller
            self._utterance = None
        await self._send({"type": "input_audio_buffer.cleared", "event_id": new_id("event")})

    # -- to the client --------------------------------------------------------------------------
    async def _complain(self, error: ApiError, event: Event | None) -> None:
        """Tell what was wrong and go on, but not for ever."""
        self._n_mistakes += 1
        if self._n_mistakes > MAX_MISTAKES:
            sentence = f"The last {MAX_MISTAKES} messages were all wrong, so the connection was closed"
            raise EndingError(ApiError(sentence, code="too_many_errors"), POLICY)
        await self._send(self._dialect.error(error, event))

    async def _send(self, event: Event) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._websocket.send_text(json.dumps(event))
        except (TimeoutError, WebSocketDisconnect, WebSocketDisconnected) as error:
            raise _GoneError from error


def _event(message: str | bytes) -> Event:
    if isinstance(message, bytes):
        raise ApiError("Binary frames are not heard here: send JSON with base64 in text frames", code="binary_frame")
    return parse(message)


def _first(error: BaseException) -> BaseException:
    """The first error of a group, of groups in it as well."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
