"""What stands before the routes: who comes in (security.py), while the server is not stopping, and what is counted.

The page needs no key, its calls of the API do; GET /v1/voxtral tells the page so, and needs none either.
"""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from voxtral.server.dialects import first_dialect
from voxtral.server.draining import Draining
from voxtral.server.endings import POLICY, SUBPROTOCOL, TRY_AGAIN, EndingError, accept, end
from voxtral.server.errors import ApiError
from voxtral.server.security import Access

API = "/v1/"
OPEN = ("/v1/voxtral",)  # to whoever may see the page
API_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, access: Access, draining: Draining) -> None:
        self._app, self._access, self._draining = app, access, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_api = scope["path"].startswith(API)
        try:
            self._access.check_host(headers)
            if is_api:
                self._access.check_origin(headers)
        except ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        if not is_api:
            await self._app(scope, receive, send)
            return
        with self._draining.running():
            try:
                self._check_api(scope, headers)
            except ApiError as error:
                await _refuse_readably(error, scope, receive, send)
                return
            await self._app(scope, receive, _with_headers(send))

    def _check_api(self, scope: Scope, headers: Mapping[str, str]) -> None:
        if scope["path"] not in OPEN:
            self._access.check_key(headers, scope.get("subprotocols", ()))
        if scope["type"] == "websocket" or scope["method"] == "POST":
            self._draining.require_open()


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """With an HTTP status, a WebSocket's handshake too."""
    headers = {**API_HEADERS, **error.headers}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    response = JSONResponse(error.as_dict(), error.status, headers)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


async def _refuse_readably(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """A browser tells its page nothing of a refused handshake: there the connection is made, and closed with reasons.

    Who offers our subprotocol is a browser, or like one; programs read statuses.
    """
    if scope["type"] != "websocket" or SUBPROTOCOL not in scope["subprotocols"]:
        await _refuse(error, scope, receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await accept(websocket)
    code = TRY_AGAIN if error.retry_after_s is not None else POLICY
    await end(websocket, first_dialect(websocket.query_params), EndingError(error, code))


def _with_headers(send: Send) -> Send:
    """Adds what every answer of the API says."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in API_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
