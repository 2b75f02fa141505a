"""Start the app: fetch the pinned runtime once, serve the page on this machine, open it.

    python3 serve.py [--port 8000] [--host localhost] [--no-open] [--models DIR]
    python3 serve.py --export DIR

Standard library only, Python 3.11+. What is served, and from where:

    /                 app/index.html
    /app/ /static/    the folders of that name; static/runtime/ is fetched by py/tools/runtime.py
    /dist/*.whl       the package voxtral with its shaders, built in memory by py/tools/wheel.py
    /models/          the folder given with --models; a folder's address, or its manifest.json, answers with a listing
    /service_worker.js    keeps the app on the visitor's machine; its list of files is py/tools/precache.py's

Only GET and HEAD, only files inside those folders (py/tools/site.py). Every answer carries the headers below.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import signal
import socket
import sys
import threading
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

ROOT = Path(__file__).resolve().parent
if sys.version_info < (3, 11):  # noqa: UP036 - said here, before an import below fails in another way
    sys.exit(f"serve.py needs Python 3.11 or newer, this is {sys.version.split()[0]}")
sys.path.insert(0, str(ROOT / "py"))

from tools import runtime  # noqa: E402
from tools.export import ExportError, export  # noqa: E402
from tools.headers import COMMON_HEADERS  # noqa: E402
from tools.site import Content, RefusedError, Site, decode_address  # noqa: E402

DEFAULT_PORT = 8000
IDLE_TIMEOUT_S = 60


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


class Server(ThreadingHTTPServer):
    """One thread for each connection; `site` says what there is to serve."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two servers share a port

    def __init__(self, host: str, port: int, site: Site) -> None:
        self.site = site
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        self.address_family = found[0][0]
        super().__init__((host, port), Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would ask the name service for our name, which can hang
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "voxtral"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S

    def do_GET(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body would be taken for the next request
        content = None
        try:
            content = self.server.site.find(decode_address(self.path))
            self._answer(content)
        except RefusedError as refusal:
            self._refuse(refusal.status, content)
        except PermissionError:
            self._refuse(HTTPStatus.FORBIDDEN)
        except FileNotFoundError:  # gone since it was found
            self._refuse(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _not_allowed(self) -> None:
        self.close_connection = True
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed

    def _answer(self, content: Content) -> None:
        headers = {"ETag": content.etag, "Cache-Control": content.cache_control}
        known = [tag.strip().removeprefix("W/") for tag in self.headers.get("If-None-Match", "").split(",")]
        if content.etag in known or "*" in known:
            self._send_head(HTTPStatus.NOT_MODIFIED, headers, None)
            return
        headers |= {"Content-Type": content.mime, "Accept-Ranges": "bytes"}
        span = None
        if self.command == "GET" and self.headers.get("If-Range", content.etag) == content.etag:
            span = parse_range(self.headers.get("Range"), content.size)
        start, end = span or (0, content.size)
        status = HTTPStatus.OK
        if span:
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
        if isinstance(content.source, bytes):
            self._send_head(status, headers, end - start)
            if self.command == "GET":
                self.wfile.write(content.source[start:end])
            return
        with content.source.open("rb") as file:
            self._send_head(status, headers, end - start)
            if self.command == "GET" and end > start:
                n_sent = self.connection.sendfile(file, start, end - start)
                self.close_connection |= n_sent < end - start  # it shrank meanwhile: nobody must wait for the rest

    def _refuse(self, status: HTTPStatus, content: Content | None = None) -> None:
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and content:
            headers["Content-Range"] = f"bytes */{content.size}"
        body = f"{status.value} {status.phrase}\n".encode()
        self._send_head(status, headers, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, headers: dict[str, str], n_bytes: int | None) -> None:
        self.send_response(status)
        for name, value in {**COMMON_HEADERS, **headers}.items():
            self.send_header(name, value)
        if n_bytes is not None:
            self.send_header("Content-Length", str(n_bytes))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by the base class for requests it cannot read; the default page has none of our headers."""
        del message, explain
        self.close_connection = True
        self.command = self.command or ""
        self._refuse(HTTPStatus(code))

    def log_error(self, format: str, *args: object) -> None:
        """Nothing: the base class calls it for idle connections alone, and browsers leave many."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del size
        if isinstance(code, int) and code >= 400:
            self.log_message("%s %s", int(code), self.requestline)


def make_server(
    host: str, port: int, models: Path | None = None, mounts: dict[str, Path] | None = None
) -> ThreadingHTTPServer:
    """A server that listens already and answers once `serve_forever` runs; port 0 takes a free one.

    models: folder behind /models/. mounts: further folders by their first path segment, for tests.
    Raises OSError when the address cannot be had.
    """
    return Server(host, port, Site(models, mounts))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways to stop end in KeyboardInterrupt
    try:
        runtime.ensure()
        if options.export:
            return _export(options.export)
        server = make_server(options.host, options.port, options.models)
    except (runtime.RuntimeFetchError, ExportError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_why_no_server(error, options.host, options.port))
    except KeyboardInterrupt:
        return _fail("stopped while fetching the runtime; the next start goes on from here")
    with server, contextlib.suppress(KeyboardInterrupt):
        shown_host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{shown_host}:{server.server_address[1]}"
        print(f"Voxtral is at {address} (Ctrl-C stops it)", flush=True)
        if not options.no_open and _has_screen():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
    print("stopped", flush=True)
    return 0


def _export(folder: Path) -> int:
    try:
        version, n_files, n_bytes = export(folder)
    except OSError as error:
        return _fail(f"{folder} cannot be written ({error.strerror or error}); name another folder, or make room")
    print(f"{folder}: version {version}, {n_files} files, {n_bytes / 1e6:.1f} MB; HOSTING.md there says how to go on")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve.py", description="Serve the Voxtral page on this machine.")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}")
    parser.add_argument("--host", default="localhost", help="address to listen on, default localhost")
    parser.add_argument("--no-open", action="store_true", help="do not open the browser")
    parser.add_argument("--models", type=_folder, metavar="DIR", help="folder with .gguf files, offered under /models/")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="do not serve: write a folder for any static host into DIR"
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def _why_no_server(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; start with: python3 serve.py --port {port + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; start with: python3 serve.py --port {DEFAULT_PORT}"
    return f"cannot listen on {host}, port {port}: {error.strerror or error}"


def _has_screen() -> bool:
    """Without a display the default browser would be a text browser in this very terminal."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
