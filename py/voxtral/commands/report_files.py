"""Files of reports that commands write and read; writing is `transcript_output.write_new`: whole, or not at all."""

from pathlib import Path

from voxtral.errors import ConfigError


def require_place(path: Path | None) -> None:
    """Before hours of measuring: raises ConfigError where --json surely cannot be written."""
    if path is None:
        return
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--json {path}: its folder does not exist; make it, or name another")
    if path.exists() and not path.is_file():
        raise ConfigError(f"--json {path}: expected a file, found another thing of this name; name another")


def read(path: Path, option: str) -> bytes:
    """The content of a report that an option names. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read ({error.strerror}); name a report's JSON") from error
