"""What people type as files: names, patterns that no shell expanded, `-` for standard input."""

import glob
from collections.abc import Sequence
from pathlib import Path

from voxtral.errors import ConfigError

STDIN = Path("-")


def expanded(typed: Sequence[str]) -> list[Path]:
    """The files in order, each once; what is a pattern and matches nothing stays as it is. Raises ConfigError."""
    files: dict[Path, None] = {}
    for text in typed:
        is_name = text == "-" or not glob.has_magic(text) or Path(text).exists()
        files |= dict.fromkeys([Path(text)] if is_name else _matching(text) or [Path(text)])
    if typed.count("-") > 1:
        raise ConfigError("- is standard input, which can be read only once; name it once")
    return list(files)


def _matching(pattern: str) -> list[Path]:
    paths = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 Path.glob refuses absolute patterns
    return sorted(path for path in paths if path.is_file())
