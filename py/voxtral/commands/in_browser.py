"""What `bench`, `wer` and `ablation` share where they drive the page in a headless Chromium, a tool of the checkout."""

import argparse
import contextlib
import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voxtral.errors import ConfigError, DeviceError
from voxtral.web import places


def add_browser_options(parser: argparse.ArgumentParser) -> None:
    """--browser and --chromium."""
    parser.add_argument("--browser", action="store_true", help="in the page, in a headless Chromium")
    parser.add_argument("--chromium", metavar="COMMAND", help="with --browser: starts it; the address is added")


def require_sense(options: argparse.Namespace, recordings: Path | None = None) -> None:
    """Raises ConfigError for options that contradict each other. recordings: a set, None for our own."""
    if options.chromium and not options.browser:
        raise ConfigError("--chromium belongs to --browser; add it, or leave --chromium out")
    if not options.browser:
        return
    if options.adapter:
        raise ConfigError(
            "--adapter names a GPU for this process, but --browser chooses its own; leave one of them out"
        )
    if recordings and not recordings.is_dir():
        raise ConfigError(f"{recordings}: --browser takes a folder, found none there; name the one it lies in")
    if not places.is_checkout():
        raise ConfigError("--browser needs a checkout, with the page and serve.py; run it there: PYTHONPATH=py")


def chromium_command(options: argparse.Namespace) -> list[str] | None:
    """What starts the browser; None: the system's. Raises ConfigError."""
    try:
        return shlex.split(options.chromium) if options.chromium else None
    except ValueError as error:
        raise ConfigError(f"--chromium {options.chromium}: expected a command, found {error}; correct it") from error


def tool(name: str) -> Any:
    """A module of py/tools, which an installed package has none of."""
    for path in (str(places.CHECKOUT), str(places.CHECKOUT / "py")):
        if path not in sys.path:
            sys.path.insert(0, path)
    return importlib.import_module(f"tools.{name}")


@contextlib.contextmanager
def driving() -> Iterator[None]:
    """A block in which a browser that fails is a DeviceError."""
    try:
        yield
    except tool("chromium").BrowserError as error:
        raise DeviceError(str(error)) from error
