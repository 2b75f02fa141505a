"""A server of model files that misbehaves as it is told, for downloads by urllib and by pages of any origin.

    with bad_server({"shard-aa": data}) as server:      at server.address, on a port of its own
        server.moods["shard-aa"] = ["cut", 503]         what to do at the next requests for it; then it behaves
        server.bytes_per_s = 1e6                        how fast a connection is at best
        server.requests, server.sent["shard-aa"]        what was asked for, and the bytes that went out
    with bad_hub(files) as hub:                         the hub's addresses: hub.address/OWNER/REPO, …/api/models/…;
        hub.cdn.moods["shard-aa"] = [403]               its files lie on a second server, to which it redirects

A mood is a status to answer with (429 and the like with Retry-After: server.retry_after), or of these one, or some
joined by " + ":
    cut             half of what was asked for, then the connection ends        hang up     no answer
    stall           half, then nothing until server.let_go()                    no answer   not until server.let_go()
    wrong byte      the first one is another                                    wrong length    7 bytes more than come
    no range        all of the file whatever was asked for                      wrong range     one byte off
    no length       as HTTP 1.0 had it: the end is the end                      page        a page in the file's stead
    packed          with gzip, as it says                                       badly packed    it says so, and is not
A page of another origin sees the answers (Access-Control-Allow-Origin), but of their headers only what browsers show
anyway: not Content-Range, Content-Encoding, Retry-After. What needs a preflight (OPTIONS) is refused, and so is HEAD.
"""

import gzip
import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HUB_REPO = "TrevorJS/voxtral-mini-realtime-gguf"
SLICE_BYTES = 64 << 10


class BadServer(ThreadingHTTPServer):
    """files: path without the first slash → bytes; path is also what moods, requests and sent go by."""

    daemon_threads = True
    cdn: "BadServer"  # of a hub

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.files = dict(files)
        self.redirects: dict[str, str] = {}  # path → address
        self.moods: defaultdict[str, list[Any]] = defaultdict(list)
        self.bytes_per_s: float | None = None
        self.retry_after = "0"
        self.requests: list[tuple[str, str | None]] = []  # path and Range of each
        self.sent: Counter[str] = Counter()  # bytes of files by path
        self._going_on = threading.Event()

    @property
    def address(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    @property
    def sent_bytes(self) -> int:
        return sum(self.sent.values())

    def n_requests(self, path: str) -> int:
        return [asked for asked, _ in self.requests].count(path)

    def let_go(self) -> None:
        """End what stalls; nothing stalls from now on."""
        self._going_on.set()

    def wait(self) -> None:
        self._going_on.wait()

    def handle_error(self, *_arguments: object) -> None:
        """Clients that go away are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: BadServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLICE_BYTES)  # what is sent soon arrives

    def do_GET(self) -> None:
        server, path, wanted = self.server, unquote(urlsplit(self.path).path)[1:], self.headers.get("Range")
        server.requests.append((path, wanted))
        mood = server.moods[path].pop(0) if server.moods[path] else None
        moods = set(mood.split(" + ")) if isinstance(mood, str) else set()
        if "no answer" in moods:
            server.wait()
        if moods & {"hang up", "no answer"}:
            self._end_connection()
        elif isinstance(mood, int):
            self._answer(mood, {"Retry-After": server.retry_after})
        elif "page" in moods:
            self._answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html><title>Welcome</title>")
        elif path in server.redirects:
            self._answer(302, {"Location": server.redirects[path]})
        elif path in server.files:
            self._answer_file(path, wanted, moods)
        else:
            self._answer(404)

    def do_OPTIONS(self) -> None:
        self._answer(403)

    def do_HEAD(self) -> None:
        self._answer(405)

    def _answer_file(self, path: str, wanted: str | None, moods: set[str]) -> None:
        data = self.server.files[path]
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        start = int(match[1]) if match and "no range" not in moods else 0
        if start and start >= len(data):
            self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        headers = {"Content-Type": "application/octet-stream"}
        if start:
            shown = start + 1 if "wrong range" in moods else start
            headers["Content-Range"] = f"bytes {shown}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if moods & {"packed", "badly packed"}:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body) if "packed" in moods else body
        headers["Content-Length"] = str(len(body) + (7 if "wrong length" in moods else 0))
        if "no length" in moods:
            del headers["Content-Length"]
        if "wrong byte" in moods and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self._start(206 if start else 200, headers)
        self._send(path, body[: len(body) // 2] if moods & {"cut", "stall"} else body)
        if "stall" in moods:
            self.server.wait()
        if moods & {"cut", "stall", "no length", "wrong length"}:
            self._end_connection()

    def _answer(self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"") -> None:
        self._start(status, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Access-Control-Allow-Origin": "*", **headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, path: str, body: bytes) -> None:
        pace = self.server.bytes_per_s
        n_slice = min(SLICE_BYTES, max(1, int(pace / 50))) if pace else SLICE_BYTES
        started = time.monotonic()
        for offset in range(0, len(body), n_slice):
            part = body[offset : offset + n_slice]
            self.server.sent[path] += len(part)  # before it is, so that who got all of it finds it counted
            self.wfile.write(part)
            if pace:
                time.sleep(max(0.0, started + (offset + len(part)) / pace - time.monotonic()))

    def _end_connection(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_arguments: object) -> None: ...


@contextmanager
def bad_server(files: Mapping[str, bytes]) -> Iterator[BadServer]:
    with BadServer(files) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.let_go()
            server.shutdown()


@contextmanager
def bad_hub(files: Mapping[str, bytes], repo: str = HUB_REPO, revision: str = "main") -> Iterator[BadServer]:
    """The hub with one repository of these files; README.md lies beside them."""
    entries = [
        {"type": "directory", "oid": "0" * 40, "size": 0, "path": "images"},
        {"type": "file", "oid": "1" * 40, "size": 5, "path": "README.md"},
        *(
            {
                "type": "file",
                "oid": "2" * 40,
                "size": len(data),
                "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134},
                "path": name,
            }
            for name, data in files.items()
        ),
    ]
    with (
        bad_server({f"api/models/{repo}/tree/{revision}": json.dumps(entries).encode()}) as hub,
        bad_server(files) as cdn,
    ):
        hub.cdn = cdn
        for name in files:
            hub.redirects[f"{repo}/resolve/{revision}/{name}"] = f"{cdn.address}/{quote(name)}?signature=1"
        yield hub


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """A manifest.json that lists them."""
    entries = [
        {"name": name, "n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]
    return json.dumps({"files": entries}).encode()
