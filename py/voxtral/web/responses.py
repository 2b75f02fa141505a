"""What a GET or HEAD request is answered with: status, headers and a span of content; sending it is the server's part.

Conditional requests and ranges are RFC 9110's, one range at a time; whatever nobody understands gets the whole file.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from voxtral.web.headers import COMMON_HEADERS
from voxtral.web.site import Content, RefusedError, Site, decode_address


class Response(NamedTuple):
    """source: bytes, or a file, of which bytes start … end - 1 are the body; None where there is no body."""

    status: HTTPStatus
    headers: dict[str, str]
    source: bytes | Path | None
    start: int
    end: int


def respond(site: Site, method: str, target: str, headers: Mapping[str, str]) -> Response:
    """The response to GET or HEAD of a request target; headers: by lower-case names. Never raises."""
    content = None
    try:
        content = site.find(decode_address(target))
        return _of(content, method, headers)
    except RefusedError as refusal:
        return refused(refusal.status, content)
    except PermissionError:
        return refused(HTTPStatus.FORBIDDEN)
    except OSError:  # gone since it was found
        return refused(HTTPStatus.NOT_FOUND)


def refused(status: HTTPStatus, content: Content | None = None) -> Response:
    """The response to a request that gets no content."""
    body = f"{status.value} {status.phrase}\n".encode()
    headers = {**COMMON_HEADERS, "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and content:
        headers["Content-Range"] = f"bytes */{content.size}"
    return _sized(status, headers, body, 0, len(body))


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last+1 byte of one `bytes=` range; None means the whole file, as for a header nobody understands.

    Raises RefusedError (416) when the range lies outside the file.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (header or "").replace(" ", ""), re.ASCII)
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or (first == "" and int(last) == 0):
        raise RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return start, end


def _of(content: Content, method: str, asked: Mapping[str, str]) -> Response:
    headers = {**COMMON_HEADERS, "ETag": content.etag, "Cache-Control": content.cache_control}
    known = [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]
    if content.etag in known or "*" in known:
        return Response(HTTPStatus.NOT_MODIFIED, headers, None, 0, 0)
    headers |= {"Content-Type": content.mime, "Accept-Ranges": "bytes"}
    span = None
    if method == "GET" and asked.get("if-range", content.etag) == content.etag:
        span = parse_range(asked.get("range"), content.size)
    if span is None:
        return _sized(HTTPStatus.OK, headers, content.source, 0, content.size)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{content.size}"
    return _sized(HTTPStatus.PARTIAL_CONTENT, headers, content.source, *span)


def _sized(status: HTTPStatus, headers: dict[str, str], source: bytes | Path, start: int, end: int) -> Response:
    return Response(status, {**headers, "Content-Length": str(end - start)}, source, start, end)
