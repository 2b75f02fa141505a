"""`voxtral serve`: its options, and everything it needs put together; composition root of the server."""

import argparse
import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtral.config import DEFAULT_DELAY_MS, StreamingConfig
from voxtral.errors import ConfigError
from voxtral.loading import Loaded
from voxtral.native_loading import DELAY_HELP, EngineOptions, load_native
from voxtral.server.security import KEY_VARIABLE, Access, read_keys
from voxtral.terminal import Progress, say
from voxtral.web import addresses, runtime
from voxtral.web.site import Site

if TYPE_CHECKING:
    import socket

    from voxtral.server.engine import Facts
    from voxtral.server.scheduler import Load

DEFAULT_HOST = "127.0.0.1"
DEFAULT_UPLOAD_MB = 1000
DEFAULT_QUEUE = 64
DEFAULT_GRACE_S = 20.0
PACKAGES = ("starlette", "uvicorn", "websockets", "python_multipart")  # what the server needs beside the engine


def add_serve_command(commands: Any) -> None:
    serve = commands.add_parser(
        "serve", help="the page and a transcription API on one port", description="Serve the page and an API."
    )
    EngineOptions.add_to(serve)
    serve.add_argument("--delay-ms", type=int, default=DEFAULT_DELAY_MS, metavar="N", help=DELAY_HELP)
    where = serve.add_argument_group("where, and for whom")
    port = addresses.DEFAULT_PORT
    where.add_argument("--host", default=DEFAULT_HOST, help=f"default {DEFAULT_HOST}; any but loopback needs a key")
    where.add_argument("--port", type=addresses.port_number, default=port, help=f"default {port}; 0: a free one")
    where.add_argument("--api-key", metavar="KEY", help=f"what clients must know; or {KEY_VARIABLE}, or:")
    where.add_argument("--api-key-file", type=Path, metavar="FILE", help="a key in each line")
    where.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help="whose pages may use the API; repeatable"
    )
    how = serve.add_argument_group("how much, and under which names")
    how.add_argument("--seats", type=_count, metavar="N", help="sessions at once; default: as many as fit")
    how.add_argument("--queue", type=_count, default=DEFAULT_QUEUE, metavar="N", help="files that may wait")
    how.add_argument("--max-upload-mb", type=_count, default=DEFAULT_UPLOAD_MB, metavar="N", help="of one file")
    how.add_argument(
        "--served-name", action="append", default=[], metavar="NAME", help="of the model, for clients; repeatable"
    )
    how.add_argument(
        "--grace-s", type=_seconds, default=DEFAULT_GRACE_S, metavar="S", help="for what runs when it stops"
    )
    page = serve.add_argument_group("the page")
    page.add_argument("--models", type=Path, metavar="DIR", help="models that browsers may load, under /models/")
    page.add_argument("--no-page", action="store_true", help="the API alone; needs no browser runtime")
    page.add_argument("--no-open", action="store_true", help="do not open the browser")
    serve.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    """Raises VoxtralError."""
    access = Access(options.host, read_keys(options.api_key, options.api_key_file), tuple(options.allow_origin))
    StreamingConfig(options.delay_ms)
    if options.models and not options.models.is_dir():
        raise ConfigError(f"--models {options.models}: expected a folder, found none; make it, or name another")
    _require_packages()
    from voxtral.server import serving

    try:
        listener = serving.listen(options.host, options.port)
    except OSError as error:
        raise ConfigError(addresses.why_not(error, options.host, options.port, "voxtral serve")) from error
    with listener:
        if not options.no_page:
            _fetch_runtime()
        return asyncio.run(_run(options, access, listener))


async def _run(options: argparse.Namespace, access: Access, listener: "socket.socket") -> int:
    from voxtral.server.app import Parts, make_app
    from voxtral.server.draining import Draining
    from voxtral.server.engine import Engine
    from voxtral.server.serving import Server
    from voxtral.server.uploads import UploadLimits

    streaming = StreamingConfig(options.delay_ms)
    names = tuple(dict.fromkeys(options.served_name))
    with Progress() as progress:
        load = _loader(EngineOptions.of(options), streaming, progress)
        engine = Engine(load, streaming, options.seats, options.queue, names[0] if names else None)
        await engine.start()
    draining = Draining()
    site = None if options.no_page else Site(options.models)
    uploads = UploadLimits(options.max_upload_mb * 1_000_000)
    parts = Parts(engine, names or (engine.facts.model_id,), site, access, uploads, draining)
    server = Server(make_app(parts), draining, engine.close, options.grace_s)
    address = addresses.page_address(options.host, listener.getsockname()[1])
    listener.listen()  # who reads the next line may connect at once
    print(_welcome(address, engine.facts), flush=True)
    if not options.no_open and not options.no_page:
        addresses.open_page(address)
    exit_code = await server.run_on(listener)
    print("stopped", flush=True)
    return exit_code


def _loader(options: EngineOptions, streaming: StreamingConfig, progress: Progress) -> "Load":
    """What the engine calls in its thread, and calls again should the GPU go away."""

    async def load() -> Loaded:
        tell = progress.of("loading")

        async def told(done: int, total: int) -> None:
            tell(done, total)

        return await load_native(options, streaming, say, told)

    return load


def _welcome(address: str, facts: "Facts") -> str:
    what = f"{facts.model} on {facts.adapter}, {facts.n_seats} sessions at once"
    return f"Voxtral is at {address}: {what} (Ctrl-C stops it)"


def _fetch_runtime() -> None:
    """The page needs it, the API does not, so nothing fails for want of it."""
    try:
        runtime.ensure(say)
    except runtime.RuntimeFetchError as error:
        say(f"the page will not start in browsers, but the API works: {error}")


def _require_packages() -> None:
    """Raises ConfigError."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            package = name.replace("_", "-")
            raise ConfigError(f"the package {package} does not load ({error}); run `pip install {package}`") from error


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number, 1 or more, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds
