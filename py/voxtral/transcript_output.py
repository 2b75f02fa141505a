"""Where a command's transcripts go, and in which format: printed one after another, or a file for each in a folder.

add_output_options   what the command line says of that
Output               made of those; `put` writes one document
write_new            a file, whole or not at all
"""

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxtral.document import FORMATS, Document, render
from voxtral.errors import ConfigError
from voxtral.subtitles import RANGES, SubtitleLimits
from voxtral.typed_files import STDIN


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--format, --output-dir, --overwrite, and the limits of subtitles."""
    parser.add_argument("--format", choices=FORMATS, default="txt", help="json: one line per file; default: txt")
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="write a file for each there, instead of printing"
    )
    parser.add_argument("--overwrite", action="store_true", help="write transcripts anew that are there already")
    add_subtitle_options(parser)


def add_subtitle_options(parser: argparse.ArgumentParser) -> None:
    """What `limits_of` reads."""
    limits = parser.add_argument_group("limits of subtitles")
    for name, (is_whole, least, most) in RANGES.items():
        option, kind = f"--{name.replace('_', '-')}", int if is_whole else float
        default = f"{getattr(SubtitleLimits(), name):.3g}"
        limits.add_argument(option, type=kind, metavar="N", help=f"{least} to {most}; default: {default}")


def limits_of(options: argparse.Namespace) -> dict[str, Any]:
    """The limits of subtitles that were given. Raises DocumentError for what nothing can keep."""
    limits = {name: getattr(options, name) for name in RANGES if getattr(options, name) is not None}
    SubtitleLimits.of(limits)
    return limits


class Output:
    """Raises ConfigError for options that do not go together, DocumentError for limits nothing can keep."""

    def __init__(self, options: argparse.Namespace, files: Sequence[Path]) -> None:
        self.format: str = options.format
        self._folder: Path | None = options.output_dir
        self._overwrites: bool = options.overwrite
        self._limits = limits_of(options)
        if self._folder is None:
            if self.format in ("srt", "vtt") and len(files) > 1:
                raise ConfigError(f"{self.format} of several files needs a file for each; add --output-dir DIR")
            if self._overwrites:
                raise ConfigError("--overwrite is for the files of --output-dir; add that, or leave it out")
            return
        names = [self._name(file) for file in files]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(
                f"--output-dir {self._folder}: several files would become {twice[0]}; transcribe them one by one"
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--output-dir {self._folder}: no folder can be made there ({error.strerror}); name another"
            ) from error

    @property
    def prints(self) -> bool:
        """Whether transcripts are printed, and not written."""
        return self._folder is None

    def is_there(self, file: Path) -> bool:
        """Whether a file's transcript is there already and is to stay."""
        return self._folder is not None and not self._overwrites and (self._folder / self._name(file)).exists()

    def put(self, document: Document, file: Path) -> None:
        """Print or write the transcript of a file. Raises ConfigError when it cannot be written."""
        if self._folder is None and self.format == "json":
            print(json.dumps(document.as_dict(), ensure_ascii=False), flush=True)
            return
        content = render(document.as_dict(), self.format, self._limits)
        if self._folder is None:
            print(content.removesuffix("\n"), flush=True)
        else:
            write_new(self._folder / self._name(file), content, self._overwrites)

    def _name(self, file: Path) -> str:
        return f"{'stdin' if file == STDIN else file.stem}.{self.format}"


def write_new(path: Path, content: str, overwrites: bool) -> None:
    """Raises ConfigError when it cannot be written, or is there already and is not to be overwritten."""
    begun = path.with_name(f"{path.name}.part")
    try:
        if path.exists() and not overwrites:
            raise ConfigError(f"{path}: it is there already; name another, or add --overwrite")
        begun.write_text(content, encoding="utf-8")
        begun.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            begun.unlink()
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another place") from error
