"""What goes wrong on the server, in the one shape its clients know: OpenAI's error object, with the right status.

ApiError          a sentence with its status, code, and the parameter that is to blame
├── BusyError     every seat is taken: come again in retry_after_s
└── DownError     no model answers: it is gone, or the server is going
log_unforeseen    writes to the log what a client must not see
as_api_error      any exception as one of these; what nobody foresaw becomes a sentence that gives nothing away
"""

import logging
import math
from typing import Any

from voxtral.errors import AudioError, ConfigError, DeviceError, DocumentError, ModelFileError, VoxtralError

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "unavailable",
}
STOPPING = "The server is stopping; try again in a moment"
CUT_OFF = "The server stopped before this was heard to its end; send it again"
SHOWN_CHARACTERS = 60  # of what a client sent
UNFORESEEN = (
    "Something failed inside the server, which wrote it to its log; try again, and tell its operator if it stays"
)


log = logging.getLogger(__name__)


class ApiError(VoxtralError):
    """One sentence for a client. param: the field it is about; code: for programs, by default that of the status."""

    def __init__(
        self,
        sentence: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.param, self.retry_after_s = status, param, retry_after_s
        self.code = code or CODES.get(status, "error")

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class BusyError(ApiError):
    """All seats, and for files the queue, are taken."""

    def __init__(self, sentence: str, retry_after_s: float) -> None:
        super().__init__(sentence, 429, retry_after_s=retry_after_s)
        self.retry_after_s: float = retry_after_s


class DownError(ApiError):
    """There is no model that could answer."""

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence, 503, retry_after_s=retry_after_s)


def log_unforeseen(error: BaseException) -> None:
    """With its traceback; what is foreseen is the client's affair."""
    if isinstance(error, ModelFileError) or not isinstance(error, VoxtralError):
        log.error("Something nobody foresaw", exc_info=error)


def shown(text: str) -> str:
    """What a client sent, fit for a sentence."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")


def as_api_error(error: BaseException) -> ApiError:
    """What a client is told of it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, AudioError):
        return ApiError(str(error), 400, "file", "invalid_audio")
    if isinstance(error, ConfigError | DocumentError):
        return ApiError(str(error), 400)
    if isinstance(error, DeviceError):
        return DownError(str(error))
    return ApiError(UNFORESEEN, 500)  # a ModelFileError too: it names files of the server
