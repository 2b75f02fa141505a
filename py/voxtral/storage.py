"""Where a model's files are kept: what a download writes to and a loader reads from, wherever that is.

    Disk          folders by key, and the room that is left; one key is one model
    ModelFolder   the files of a model by name, whole or begun
    OpenFile      one of them while it grows, or is checked
    require_name  what may be the name of a file, or a key

A begun file has its own place (NAME.part on a disk) and becomes the file of that name with `finish`, which is the
only way a whole file comes about. Implemented by `native_files` (pathlib) and in `browser` (origin private file system,
Cache API).
"""

from typing import NamedTuple, Protocol

from voxtral.errors import ModelFileError
from voxtral.shards import ByteSource, Piece


class StorageFullError(ModelFileError):
    """No room is left, or there never was any, for what was to be written; what was written before is kept."""


class Room(NamedTuple):
    """Bytes that may be stored here in all, and those already used; None where nobody says."""

    quota_bytes: int | None
    used_bytes: int | None


def require_name(name: str) -> None:
    """Raise ModelFileError unless that is the plain name of a file or folder; names from outside become paths."""
    if name in ("", ".", "..") or any(c in "/\\" or not c.isprintable() for c in name):
        raise ModelFileError(f"{name!r:.80}: expected the plain name of a file; rename it")


class OpenFile(Protocol):
    """A begun file, open for one reader and writer. Every method but close raises ModelFileError."""

    @property
    def n_bytes(self) -> int:
        """Size now."""

    async def write(self, piece: Piece) -> None:
        """Append. Raises StorageFullError; the file then ends where the last whole `write` ended."""

    async def read(self, offset: int, n_bytes: int) -> bytes:
        """Exactly these bytes, into Python's memory."""

    async def clear(self) -> None:
        """Back to no bytes."""

    async def flush(self) -> None:
        """Let what was written survive a crash."""

    def close(self) -> None:
        """Let go; may be called twice."""


class ModelFolder(Protocol):
    """One model's files. Every method raises ModelFileError."""

    async def sizes(self) -> dict[str, int]:
        """Name and size of each whole file."""

    async def begun(self) -> dict[str, int]:
        """Name and size of each begun file."""

    async def open(self, name: str) -> OpenFile:
        """The begun file of that name, made where there is none."""

    async def finish(self, name: str) -> None:
        """A begun file, closed, is whole: it takes the place of any whole file of that name."""

    async def reopen(self, name: str) -> OpenFile:
        """A whole file as the begun one of that name, to be checked and mended: it is whole no longer."""

    async def source(self, name: str) -> ByteSource:
        """A whole file to read."""

    async def read(self, name: str) -> bytes:
        """A whole small file."""

    async def write(self, name: str, data: bytes) -> None:
        """A whole small file, at once or not at all."""

    async def delete(self, name: str) -> None:
        """A file, whole and begun; none is fine."""


class Disk(Protocol):
    """All models kept here. Every method raises ModelFileError."""

    async def keys(self) -> list[str]:
        """Of the folders there are."""

    async def folder(self, key: str) -> ModelFolder:
        """The folder of that key, made where there is none."""

    async def delete(self, key: str) -> None:
        """A folder with all its files."""

    async def room(self) -> Room:
        """How much may be stored."""
