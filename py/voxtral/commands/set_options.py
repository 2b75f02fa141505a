"""What `wer` and `ablation` ask about a set of recordings alike."""

import argparse
from pathlib import Path

from voxtral.accuracy import normalization

DEFAULT_NORMALIZER = "basic"
TABLES_HELP = "each table of a folder is one, so of Common Voice --groups test hears test.tsv"


def add_set_options(parser: argparse.ArgumentParser, groups_help: str, limit_help: str) -> None:
    """SET, --groups (a tuple of names, None: all), --limit (1 or more, None: all) and --normalizer."""
    parser.add_argument("set", nargs="?", type=Path, metavar="SET", help="a folder, or a table in it; default: our own")
    parser.add_argument("--groups", type=_names, metavar="NAME,…", help=f"{groups_help}; {TABLES_HELP}")
    parser.add_argument("--limit", type=_positive, metavar="N", help=limit_help)
    parser.add_argument(
        "--normalizer",
        choices=normalization.NAMES,
        default=DEFAULT_NORMALIZER,
        help="how texts are written before they are compared; english: Whisper's; default: basic",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) or (text,)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number, 1 or more, got {text!r}")
    return int(text)
