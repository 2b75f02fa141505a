"""How a WebSocket of `/v1/realtime` begins and ends: its subprotocol, its close codes, the sentence beside one."""

import asyncio
import json
import math
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from voxtral.server.dialects import Dialect
from voxtral.server.errors import ApiError

POLICY, FAILED, RESTARTING, TRY_AGAIN = 1008, 1011, 1012, 1013  # RFC 6455 and IANA's list of close codes
MAX_REASON_BYTES = 123  # of a close frame
SEND_TIMEOUT_S = 30.0  # a client that does not read what it is told
SUBPROTOCOL = "realtime"


class EndingError(Exception):
    """The connection ends, with an error event and a close code."""

    def __init__(self, error: ApiError, code: int) -> None:
        super().__init__(str(error))
        self.error, self.code = error, code


async def accept(websocket: WebSocket) -> None:
    """Complete the handshake; browsers want one of the subprotocols back that they offered."""
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None)


async def end(websocket: WebSocket, dialect: Dialect, ending: EndingError) -> None:
    """Say why, and close; a client that has gone, or does not listen, is left."""
    reason = str(ending)
    if ending.error.retry_after_s is not None:
        reason = f"try again in {math.ceil(ending.error.retry_after_s)} s: {reason}"
    with suppress(TimeoutError, WebSocketDisconnect, WebSocketDisconnected):
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await websocket.send_text(json.dumps(dialect.error(ending.error)))
            await websocket.close(ending.code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
