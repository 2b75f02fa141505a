"""What an address answers: asked again where that may help, and understood as it says.

    ask                   an open Body of a good status
    ask_small             all of a small file
    told_bytes            the file's size, by what the answer says; shown_start: where it begins
    persist, Patience     trying again, after a pause
    PassingError          that may help; MissingError: it would not; ExhaustedError: it did not

A page may not see every header of another origin's answers: each of them may be missing.
"""

import re
from asyncio import sleep
from collections.abc import Awaitable, Callable
from time import time
from typing import TypeVar

from voxtral.errors import ModelFileError
from voxtral.transport import Body, BrokenOffError, Transport

TRIES = 8  # in a row without a new byte: two minutes
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_WAIT_S = 300.0  # that a server may ask for

OK, PARTIAL, BEYOND_THE_END = 200, 206, 416
MISSING = {404, 410}
REFUSED = {401, 403}
PASSING = {408, 425, 429, *range(500, 600)} - {501, 505}  # statuses that a later try may not meet
CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d{1,16})-\d{1,16}|\*)/(?P<total>\d{1,16}|\*)", re.ASCII)

T = TypeVar("T")


class PassingError(Exception):
    """A try that failed, and may go well later. status: what the server answered, if it did; pause_s: and asked for."""

    def __init__(self, reason: str, status: int | None = None, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.pause_s = pause_s


class MissingError(ModelFileError):
    """There is no such file, or not for everyone."""


class ExhaustedError(ModelFileError):
    """Tried as often as makes sense."""


async def ask(transport: Transport, url: str, start: int = 0) -> Body:
    """An answer with the file's bytes (200), those from `start` on (206), or none, if there are no such bytes (416).

    Raises PassingError, MissingError, ModelFileError.
    """
    try:
        body = await transport.open(url, start)
    except BrokenOffError as error:
        raise PassingError(str(error)) from error
    is_page = (body.header("Content-Type") or "").startswith("text/html")  # many hosts send one instead of a 404
    if (body.status in (OK, PARTIAL) and not is_page) or (body.status == BEYOND_THE_END and start):
        return body
    body.close()
    if body.status in (OK, PARTIAL):
        raise MissingError(f"expected a file at {url}, the server sent a page; check the address, or log in there")
    if body.status in MISSING:
        raise MissingError(f"expected a file at {url}, there is none; check the address")
    if body.status in REFUSED:
        raise MissingError(f"{url}: the server answered {body.status}; it is not public, or there is no such file")
    if body.status in PASSING:
        raise PassingError(f"the server answered {body.status}", body.status, _seconds(body.header("Retry-After")))
    raise ModelFileError(f"{url}: the server answered {body.status}; check the address")


async def ask_small(transport: Transport, url: str, most_bytes: int) -> bytes:
    """All of a file, in Python's memory. Raises PassingError, MissingError, and ModelFileError if it is larger."""
    body = await ask(transport, url)
    parts, n_bytes = [], 0
    try:
        while (piece := await body.read()) is not None:
            n_bytes += piece.n_bytes
            if n_bytes > most_bytes:
                raise ModelFileError(f"{url}: expected at most {most_bytes:,} bytes, found more; it is another file")
            parts.append(piece.in_python())
    except BrokenOffError as error:
        raise PassingError(str(error)) from error
    finally:
        body.close()
    return b"".join(parts)


def told_bytes(body: Body, start: int) -> int | None:
    """The whole file's size, if the answer to a request from `start` on tells it."""
    if match := CONTENT_RANGE.fullmatch(body.header("Content-Range") or ""):
        return int(match["total"]) if match["total"] != "*" else None
    length = body.header("Content-Length") or ""
    if body.status == BEYOND_THE_END or is_packed(body) or not re.fullmatch(r"\d{1,16}", length, re.ASCII):
        return None
    return int(length) + (start if body.status == PARTIAL else 0)


def shown_start(body: Body) -> int | None:
    """Which byte the answer says to begin with; None if it does not say, or does not let a page of elsewhere see it."""
    match = CONTENT_RANGE.fullmatch(body.header("Content-Range") or "")
    return int(match["start"]) if match and match["start"] else None


def is_packed(body: Body) -> bool:
    """Whether the answer says that its bytes were packed on the way: its length is not the file's then."""
    return body.header("Content-Encoding") not in (None, "", "identity")


async def persist(action: Callable[[], Awaitable[T]], url: str, tries_unanswered: int | None = None) -> T:
    """Do it until it goes well. Raises ExhaustedError, or PassingError when so many tries had no answer at all."""
    patience = Patience(url)
    while True:
        try:
            return await action()
        except PassingError as error:
            if error.status is None and tries_unanswered is not None and patience.n_failed + 1 >= tries_unanswered:
                raise
            await patience.wait(error)


class Patience:
    """Waits after each failure longer than after the one before, and gives up when that has not helped."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.n_failed = 0  # in a row

    def renew(self) -> None:
        """It went on meanwhile."""
        self.n_failed = 0

    async def wait(self, error: PassingError) -> None:
        """Before the next try. Raises ExhaustedError when there should be none."""
        self.n_failed += 1
        if self.n_failed >= TRIES:
            raise ExhaustedError(
                f"{self._url} could not be fetched ({error}); what has come is kept, try again later"
            ) from error
        if error.pause_s > LONGEST_WAIT_S:
            raise ExhaustedError(
                f"{self._url} could not be fetched ({error}, and asks to wait {error.pause_s / 60:.0f} minutes); "
                "what has come is kept, try again then"
            ) from error
        await sleep(max(error.pause_s, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.n_failed - 1))))


def _seconds(retry_after: str | None) -> float:
    """Of a Retry-After: a number, or a date."""
    if not retry_after:
        return 0.0
    if re.fullmatch(r"\d{1,9}", retry_after, re.ASCII):
        return float(retry_after)
    from email.utils import parsedate_to_datetime  # a large module, which a page has no use for at its start

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, OverflowError):
        return 0.0
