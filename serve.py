"""Start the app: fetch the pinned runtime once, serve the page on this machine, open it.

    python3 serve.py [--port 8000] [--host localhost] [--no-open] [--models DIR]
    python3 serve.py --export DIR

Standard library only, Python 3.11+. What is served, and from where:

    /                 app/index.html
    /app/ /static/    the folders of that name; static/runtime/ is fetched by py/voxtral/web/runtime.py
    /dist/*.whl       the package voxtral with its shaders, built in memory by py/voxtral/web/wheel.py
    /models/          the folder given with --models; a folder's address, or its manifest.json, answers with a listing
    /service_worker.js    keeps the app on the visitor's machine; its list of files is py/voxtral/web/precache.py's

Only GET and HEAD, only files inside those folders (py/voxtral/web/site.py). Every answer carries the headers below.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

ROOT = Path(__file__).resolve().parent
if sys.version_info < (3, 11):  # noqa: UP036 - said here, before an import below fails in another way
    sys.exit(f"serve.py needs Python 3.11 or newer, this is {sys.version.split()[0]}")
sys.path.insert(0, str(ROOT / "py"))

from voxtral.web import addresses, runtime  # noqa: E402
from voxtral.web.export import ExportError, export  # noqa: E402
from voxtral.web.responses import Response, refused, respond  # noqa: E402
from voxtral.web.site import Site  # noqa: E402

IDLE_TIMEOUT_S = 60


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
        asked = {name.lower(): value for name, value in self.headers.items()}
        self._send(respond(self.server.site, self.command, self.path, asked))

    do_HEAD = do_GET

    def _not_allowed(self) -> None:
        self.close_connection = True
        self._send(refused(HTTPStatus.METHOD_NOT_ALLOWED))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _not_allowed

    def _send(self, response: Response) -> None:
        with contextlib.ExitStack() as stack:
            source = response.source
            if isinstance(source, Path):
                try:
                    file = stack.enter_context(source.open("rb"))
                except OSError as error:  # gone since it was found
                    is_forbidden = isinstance(error, PermissionError)
                    response = refused(HTTPStatus.FORBIDDEN if is_forbidden else HTTPStatus.NOT_FOUND)
                    source = response.source
            self._send_head(response)
            start, end = response.start, response.end
            if self.command == "HEAD" or end == start:
                return
            if isinstance(source, bytes):
                self.wfile.write(source[start:end])
            else:
                n_sent = self.connection.sendfile(file, start, end - start)
                self.close_connection |= n_sent < end - start  # it shrank meanwhile: nobody must wait for the rest

    def _send_head(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by the base class for requests it cannot read; the default page has none of our headers."""
        del message, explain
        self.close_connection = True
        self.command = self.command or ""
        self._send(refused(HTTPStatus(code)))

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
        return _fail(addresses.why_not(error, options.host, options.port, "python3 serve.py"))
    except KeyboardInterrupt:
        return _fail("stopped while fetching the runtime; the next start goes on from here")
    with server, contextlib.suppress(KeyboardInterrupt):
        address = addresses.page_address(options.host, int(server.server_address[1]))
        print(f"Voxtral is at {address} (Ctrl-C stops it)", flush=True)
        if not options.no_open:
            addresses.open_page(address)
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
    default = addresses.DEFAULT_PORT
    parser.add_argument("--port", type=addresses.port_number, default=default, help=f"default {default}")
    parser.add_argument("--host", default="localhost", help="address to listen on, default localhost")
    parser.add_argument("--no-open", action="store_true", help="do not open the browser")
    parser.add_argument("--models", type=_folder, metavar="DIR", help="folder with .gguf files, offered under /models/")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="do not serve: write a folder for any static host into DIR"
    )
    return parser.parse_args(arguments)


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
