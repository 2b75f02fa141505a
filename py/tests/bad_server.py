"""A server of model files that misbehaves as it is told: each request for a file takes the next of its moods."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BadServer(ThreadingHTTPServer):
    """files: name → bytes; moods: name → what to do at its requests, one after the other, then to behave.

    A mood is a status, or: no range, cut (half of what was asked for), wrong byte, wrong length, packed, wrong range,
    no length, hang up.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("localhost", 0), _Handler)
        self.files = files
        self.moods: defaultdict[str, list[Any]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []  # name and Range of each
        self.sent_bytes = 0

    @property
    def address(self) -> str:
        return f"http://localhost:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: BadServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        name, wanted = self.path[1:], self.headers.get("Range")
        self.server.requests.append((name, wanted))
        mood = self.server.moods[name].pop(0) if self.server.moods[name] else None
        data = self.server.files.get(name)
        if data is None or isinstance(mood, int):
            self.send_response(mood or 404)
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        if mood == "hang up":
            self.connection.close()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and mood != "no range" else 0
        if start >= len(data) > 0 and start:
            self.send_response(416)
            self.end_headers()
            return
        body = data[start:]
        self.send_response(206 if start else 200)
        if start:
            shown = start + 1 if mood == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        if mood == "packed":
            self.send_header("Content-Encoding", "gzip")
        if mood != "no length":
            self.send_header("Content-Length", str(len(body) + (7 if mood == "wrong length" else 0)))
        self.end_headers()
        if mood == "cut":
            body = body[: len(body) // 2]
        if mood == "wrong byte":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.server.sent_bytes += len(body)
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


@contextmanager
def bad_server(files: dict[str, bytes]) -> Iterator[BadServer]:
    with BadServer(files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
