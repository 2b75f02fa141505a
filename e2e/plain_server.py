"""A server of files like any static host that knows nothing of the app: no headers of its own, types by suffix."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class PlainServer(ThreadingHTTPServer):
    """asked: the addresses of all requests so far. extra: headers of every answer."""

    daemon_threads = True

    def __init__(self, folder: Path, extra: dict[str, str]) -> None:
        self.asked: list[str] = []
        self.extra = extra
        super().__init__(("localhost", 0), partial(_Handler, directory=str(folder)))
        self.url = f"http://localhost:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: PlainServer
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        super().end_headers()

    def send_head(self) -> Any:
        self.server.asked.append(self.path)
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_plainly(folder: Path, **extra: str) -> Iterator[PlainServer]:
    """extra: headers by name, with _ for -."""
    with PlainServer(folder, {name.replace("_", "-"): value for name, value in extra.items()}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
