"""A form with a file, as it comes in: to a nameless file on disk, within limits, gone when the request is.

The file has no name from its first byte on, so that nothing stays behind, however the request or the server ends.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from starlette.requests import Request

from voxtral.errors import in_words
from voxtral.server.errors import ApiError, DownError

FILE_FIELD = "file"
MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 << 10  # of all fields but the file
MAX_NAME_CHARACTERS = 120
WRITE_BYTES = 1 << 20  # at once, in another thread: a disk may keep one waiting
ASIDE_BYTES = MAX_FIELD_BYTES + (64 << 10)  # of a request beside its file: fields, their names, what lies between


@dataclass(frozen=True)
class UploadLimits:
    """What one upload may be. folder: where files lie meanwhile, None for the system's place.

    idle_s: without a byte; slowest_bytes_per_s: on the whole, behind the first idle_s; longest_s: of sending it.
    """

    max_bytes: int = 1_000_000_000
    max_audio_s: float = 6 * 3600.0
    idle_s: float = 20.0
    slowest_bytes_per_s: float = 2000.0
    longest_s: float = 3600.0
    folder: Path | None = None


@dataclass
class Upload:
    """A form. file: at its start; name: what the client calls it, n_bytes: its size; fields: their values, in order."""

    file: BinaryIO
    name: str = ""
    n_bytes: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)


@asynccontextmanager
async def received(request: Request, limits: UploadLimits) -> AsyncIterator[Upload]:
    """The whole form, once all of it has come. Raises ApiError, and starlette's ClientDisconnect."""
    boundary = _boundary(request)
    _require_length(request, limits)
    try:
        file = cast(BinaryIO, tempfile.TemporaryFile(dir=limits.folder))  # noqa: SIM115  closed below
    except OSError as error:
        raise _no_room(error) from error
    try:
        form = _Form(boundary, Upload(file), limits)
        pace = _Pace(limits)
        chunks = request.stream()
        while chunk := await pace.next(chunks):
            form.feed(chunk)
            await form.write(WRITE_BYTES)
        form.end()
        await form.write(0)
        file.seek(0)
        yield form.upload
    finally:
        file.close()


def _boundary(request: Request) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        found = kind.decode("latin-1")[:60] or "nothing"
        sentence = f"Expected a form with a file, `Content-Type: multipart/form-data; boundary=…`, found {found}"
        raise ApiError(sentence, 415)
    return options[b"boundary"]


def _require_length(request: Request, limits: UploadLimits) -> None:
    """Refuse what says of itself that it is too long, before any of it is read."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_bytes + ASIDE_BYTES:
        raise _too_large(limits)


def _too_large(limits: UploadLimits) -> ApiError:
    sentence = f"The file is larger than {in_words(limits.max_bytes)}, which is the most this server takes; split it"
    return ApiError(sentence, 413, FILE_FIELD, "file_too_large")


def _no_room(error: OSError) -> ApiError:
    return DownError(f"The server cannot keep the upload ({error.strerror}); try again later", retry_after_s=60)


class _Pace:
    """The next chunk of a request, as long as it comes fast enough."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._begun_s = time.monotonic()
        self._n_bytes = 0

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes:
        """b"" at the end. Raises ApiError."""
        limits, now_s = self._limits, time.monotonic()
        allowed_s = min(limits.longest_s, limits.idle_s + self._n_bytes / limits.slowest_bytes_per_s)
        try:
            async with asyncio.timeout(min(limits.idle_s, self._begun_s + allowed_s - now_s)):
                chunk = await anext(chunks, b"")
        except TimeoutError:
            sentence = f"The upload comes too slowly: {in_words(self._n_bytes)} in {now_s - self._begun_s:.0f} s"
            raise ApiError(f"{sentence}; send it again over a better connection", 408) from None
        self._n_bytes += len(chunk)
        if self._n_bytes > limits.max_bytes + ASIDE_BYTES:  # behind the end of a form there may be anything
            raise _too_large(limits)
        return chunk


class _Form:
    """Bytes of a multipart form to an `Upload`: feed, write what came of the file, end. Raises ApiError."""

    def __init__(self, boundary: bytes, upload: Upload, limits: UploadLimits) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        self.upload = upload
        self._limits = limits
        self._pending = bytearray()  # of the file, on its way to the disk
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._field = ""
        self._has_file = self._is_file = self._is_over = False
        self._content = bytearray()  # of a field
        self._n_aside = self._n_fields = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, data: bytes) -> None:
        from python_multipart.exceptions import FormParserError

        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed() from error

    async def write(self, least: int) -> None:
        """Bring to the disk what waits, if that is more than `least` bytes."""
        if len(self._pending) <= least:
            return
        data, self._pending = self._pending, bytearray()
        try:
            await asyncio.to_thread(self.upload.file.write, data)
        except OSError as error:
            raise _no_room(error) from error

    def end(self) -> None:
        if not self._is_over:
            raise ApiError("The upload ended in the middle of its form; send it again", code="incomplete_upload")
        if not self._has_file:
            sentence = f"The form has no field `{FILE_FIELD}`, which holds the sound; add it"
            raise ApiError(sentence, param=FILE_FIELD, code="missing_required_parameter")

    # -- what the parser finds --------------------------------------------------------------------
    def _begin_part(self) -> None:
        self._headers, self._content = {}, bytearray()
        self._n_fields += 1
        if self._n_fields > MAX_FIELDS:
            raise ApiError(f"The form has more than {MAX_FIELDS} fields; leave some out")

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _begin_content(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise _malformed()
        self._field = _text(options[b"name"])
        self._is_file = self._field == FILE_FIELD
        if not self._is_file:
            return
        if self._has_file:
            raise ApiError("The form has more than one file; send one request for each", param=FILE_FIELD)
        self._has_file = True
        self.upload.name = _plain_name(_text(options.get(b"filename", b"")))

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.upload.n_bytes += end - start
            if self.upload.n_bytes > self._limits.max_bytes:
                raise _too_large(self._limits)
            self._pending += data[start:end]
            return
        self._n_aside += end - start
        if self._n_aside > MAX_FIELD_BYTES:
            sentence = f"The fields of the form hold more than {in_words(MAX_FIELD_BYTES)}; shorten them"
            raise ApiError(sentence, 413, self._field)
        self._content += data[start:end]

    def _end_part(self) -> None:
        if not self._is_file:
            self.upload.fields.setdefault(self._field, []).append(_text(bytes(self._content)))

    def _end(self) -> None:
        self._is_over = True


def _malformed() -> ApiError:
    sentence = "The body is not the form its header announces (multipart/form-data); let your HTTP library write both"
    return ApiError(sentence, code="malformed_form")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _plain_name(name: str) -> str:
    """A client's file name as one short line for sentences, without its folders."""
    plain = re.sub(r"[^\w.,()+@# -]", "_", re.split(r"[/\\]", name)[-1]).strip()
    return plain[-MAX_NAME_CHARACTERS:] or "the file"
