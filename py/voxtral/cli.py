"""The command line: what commands there are, and how they end.

Composition root on CPython. Anything a user did wrong is one sentence on stderr and an exit code that scripts can go
by (exit_codes.py).
"""

import argparse
import asyncio
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence

from voxtral import exit_codes
from voxtral.commands.ablation import add_ablation_command
from voxtral.commands.adapters import add_adapters_command
from voxtral.commands.bench import add_bench_command
from voxtral.commands.listen import add_listen_command
from voxtral.commands.tokens import add_tokens_command
from voxtral.commands.transcribe import add_transcribe_command
from voxtral.commands.wer import add_wer_command
from voxtral.errors import VoxtralError
from voxtral.model_commands import add_model_commands
from voxtral.server.command import add_serve_command
from voxtral.terminal import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        return exit_codes.DONE
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be bytes that are no text
    try:
        result = options.command(options)
        exit_code: int = asyncio.run(result) if asyncio.iscoroutine(result) else result
        return exit_code
    except VoxtralError as error:
        say(str(error))
        return exit_codes.code_of(error, options)
    except BrokenPipeError:  # the reader went away, as `| head` does; do not let the exit's flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.READER_GONE
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voxtral",
        description="Voxtral Realtime speech recognition on this machine.",
        epilog=exit_codes.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"voxtral {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND")
    add_transcribe_command(commands)
    add_listen_command(commands)
    add_serve_command(commands)
    add_adapters_command(commands)
    add_bench_command(commands)
    add_wer_command(commands)
    add_ablation_command(commands)
    add_tokens_command(commands)
    add_model_commands(commands)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("voxtral")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"
