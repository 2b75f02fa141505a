"""Model files from an address to a folder: resumed where they broke off, checked against their list, tried again.

    fetch(address, folder, tell)    all files that the address's manifest.json lists, or else its shards and tekken.json

A file grows as NAME.part and takes its name when it is whole: its size, and its SHA-256 where the list has one, are
right. What is whole already is not fetched again; what was begun goes on with a Range request. Only the standard
library is used, and bytes pass through a megabyte at a time.
"""

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from voxtral.errors import ModelFileError
from voxtral.model_files import MANIFEST, Listed, digest, parse_manifest, shard_name

STALL_S = 60.0  # without a byte, or a connection
TRIES = 6  # in a row without a new byte
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
READ_BYTES = 1 << 20
MANIFEST_BYTES = 1 << 20  # at most
TOKENIZER = "tekken.json"
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that a later try may not meet

T = TypeVar("T")
Tell = Callable[[str, int, int], None]  # file, its bytes so far, in total


class _PassingError(Exception):
    """A try that failed, and may go well later. pause_s: what the server asked for."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class _MissingError(Exception):
    """There is no such file."""


def fetch(address: str, folder: Path, tell: Tell) -> list[Path]:
    """Bring a model's files into a folder; returns them. Raises ModelFileError; what came stays for the next call."""
    if urlsplit(address).scheme not in {"http", "https"}:
        raise ModelFileError(f"{address}: expected an http or https address")
    base = address.rstrip("/")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_fetch_file(f"{base}/{quote(file.name)}", folder / file.name, file, tell) for file in _files(base)]
    except OSError as error:
        raise ModelFileError(
            f"{error.filename or folder}: {error.strerror or error}; what has come so far is kept, make room and go on"
        ) from error


def _files(base: str) -> Iterator[Listed]:
    """What there is to fetch: as listed, or one shard after the other until there are no more."""
    try:
        data = _retrying(f"{base}/{MANIFEST}", lambda: _small(f"{base}/{MANIFEST}"))
    except _MissingError:
        yield Listed(TOKENIZER, None, None)
        i = 0
        while i == 0 or _exists(f"{base}/{shard_name(i)}"):
            yield Listed(shard_name(i), None, None)
            i += 1
    else:
        yield from parse_manifest(data, f"{base}/{MANIFEST}")


def _fetch_file(url: str, path: Path, file: Listed, tell: Tell) -> Path:
    if path.is_file() and _is_as_listed(path, file):
        tell(file.name, path.stat().st_size, path.stat().st_size)
        return path
    part = path.with_name(path.name + ".part")
    for is_last in (False, True):
        try:
            n_bytes = _retrying(
                url, lambda: _go_on(url, part, file, tell), lambda: part.stat().st_size if part.exists() else 0
            )
        except _MissingError:
            raise ModelFileError(f"expected a file at {url}, there is none; check the address") from None
        found = digest(part)[0] if file.sha256 else None
        if n_bytes == part.stat().st_size and found == file.sha256:
            part.replace(path)
            return path
        part.unlink()  # resuming a damaged file would keep the damage
        if is_last:
            raise ModelFileError(f"{url}: expected SHA-256 {file.sha256}, found {found} twice; ask who offers it")
    raise AssertionError("not reached")


def _is_as_listed(path: Path, file: Listed) -> bool:
    if file.n_bytes not in (None, path.stat().st_size):
        return False
    return file.sha256 is None or file.sha256 == digest(path)[0]


def _go_on(url: str, part: Path, file: Listed, tell: Tell) -> int:
    """Fetch what is missing of a file; returns its size."""
    start = part.stat().st_size if part.exists() else 0
    with _open(url, start) as response:
        total = _total(response, start)
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0  # a server without ranges sends all of it
        if total is None:
            raise ModelFileError(f"{url}: expected a server that tells the file's size, this one does not")
        if file.n_bytes not in (None, total):
            raise ModelFileError(
                f"{url}: expected {file.n_bytes:,} bytes, the server has {total:,}; it is another file"
            )
        with part.open("r+b" if start else "wb") as target:
            target.seek(start)
            target.truncate()
            while chunk := _read(response):
                target.write(chunk)
                start += len(chunk)
                tell(file.name, start, total)
    if start < total:
        raise _PassingError(f"it broke off after {start:,} of {total:,} bytes")
    return total


def _open(url: str, start: int) -> Any:
    """A response with a good status, from byte `start` on where the server can."""
    headers = {"Accept-Encoding": "identity", "Cache-Control": "no-store"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=STALL_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                return _open(url, 0)  # more is here than there: begin again
            if error.code in PASSING:
                raise _PassingError(
                    f"the server answered {error.code}", _seconds(error.headers.get("Retry-After"))
                ) from error
            if error.code in (404, 410):
                raise _MissingError from error
            raise ModelFileError(
                f"{url}: the server answered {error.code} {error.reason}; check the address"
            ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(str(getattr(error, "reason", error))) from error
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise ModelFileError(f"{url}: expected the file's own bytes, the server packs them; ask who offers it")
    return response


def _total(response: Any, start: int) -> int | None:
    """The whole file's size, by what the server says."""
    if response.status == http.client.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d{1,16})-\d{1,16}/(\d{1,16})", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise ModelFileError(
                f"{response.url}: expected the bytes from {start:,} on, the server sent "
                f"{response.headers.get('Content-Range')!r:.80}; ask who offers it"
            )
        return int(match[2])
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"\d{1,16}", length) else None


def _read(response: Any) -> bytes:
    try:
        data: bytes = response.read(READ_BYTES)
    except http.client.IncompleteRead as error:
        data = error.partial
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(str(error) or type(error).__name__) from error
    return data


def _small(url: str) -> bytes:
    """The whole of a small file."""
    with _open(url, 0) as response:
        data: bytes = response.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise ModelFileError(f"{url}: expected at most {MANIFEST_BYTES:,} bytes, found more; it is another file")
    return data


def _exists(url: str) -> bool:
    def look() -> bool:
        _open(url, 0).close()
        return True

    try:
        return _retrying(url, look)
    except _MissingError:
        return False


def _retrying(url: str, action: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Try until it goes well, or has failed TRIES times in a row without progress."""
    n_failed, seen = 0, progress()
    while True:
        try:
            return action()
        except _PassingError as error:
            n_failed = 0 if progress() > seen else n_failed
            seen = progress()
            n_failed += 1
            if n_failed >= TRIES:
                raise ModelFileError(
                    f"{url} could not be fetched ({error}); what has come is kept, try again later"
                ) from error
            time.sleep(min(LONGEST_PAUSE_S, max(error.pause_s, FIRST_PAUSE_S * 2 ** (n_failed - 1))))


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and re.fullmatch(r"\d{1,5}", retry_after) else 0.0
