"""Where a command's transcripts go, and in which format: printed one after another, or a file for each in a folder.

add_output_options   what the command line says of that
Output               made of those; `put` writes one document
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from voxtral.document import FORMATS, Document, render
from voxtral.errors import ConfigError
from voxtral.subtitles import RANGES, SubtitleLimits


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--format, --out, and the limits of subtitles."""
    parser.add_argument("--format", choices=FORMATS, default="txt", help="json: one line per file; default: txt")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a file for each there, instead of printing")
    limits = parser.add_argument_group("limits of subtitles")
    for name, (is_whole, least, most) in RANGES.items():
        option, kind = f"--{name.replace('_', '-')}", int if is_whole else float
        default = f"{getattr(SubtitleLimits(), name):.3g}"
        limits.add_argument(option, type=kind, metavar="N", help=f"{least} to {most}; default: {default}")


class Output:
    """Raises ConfigError for options that do not go together, DocumentError for limits nothing can keep."""

    def __init__(self, options: argparse.Namespace, files: Sequence[Path]) -> None:
        self._format: str = options.format
        self._folder: Path | None = options.out
        self._limits = {name: getattr(options, name) for name in RANGES if getattr(options, name) is not None}
        SubtitleLimits.of(self._limits)
        if self._folder is None:
            if self._format in ("srt", "vtt") and len(files) > 1:
                raise ConfigError(f"{self._format} of several files needs a file for each; add --out DIR")
            return
        if not self._folder.is_dir():
            raise ConfigError(f"--out {self._folder}: expected a folder, found none; make it, or name another")
        names = [self._name(file) for file in files]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(
                f"--out {self._folder}: several files would become {twice[0]}; transcribe them one by one"
            )

    def put(self, document: Document, file: Path) -> None:
        """Print or write the transcript of a file. Raises ConfigError when it cannot be written."""
        if self._folder is None and self._format == "json":
            print(json.dumps(document.as_dict(), ensure_ascii=False), flush=True)
            return
        content = render(document.as_dict(), self._format, self._limits)
        if self._folder is None:
            print(content.removesuffix("\n"), flush=True)
            return
        path = self._folder / self._name(file)
        try:
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another folder") from error

    def _name(self, file: Path) -> str:
        return f"{file.stem}.{self._format}"
