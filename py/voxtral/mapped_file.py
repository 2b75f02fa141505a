"""Files on disk, read through memory maps.

    window       a part of a file, where the system's own cache has it: nothing is copied
    FileSource   `shards.ByteSource` of a whole file

Each window is a map of its own and goes with its last reference. So of a file larger than memory, a process holds the
part that it is reading and no more, on every system, and nothing stays open between two reads.
"""

import errno
import mmap
import sys
from pathlib import Path

from voxtral.errors import ModelFileError
from voxtral.shards import Piece, require_range

# Brings a window's pages in one go, and where a file has become shorter refuses, instead of ending the process later.
POPULATE_READ = 22 if sys.platform == "linux" else None  # MADV_POPULATE_READ, of Linux 5.14


def window(path: Path, offset: int, n_bytes: int) -> memoryview:
    """These bytes of a file, read-only. Raises ModelFileError if they cannot be read or are not there any more."""
    if not n_bytes:
        return memoryview(b"")
    before = offset % mmap.ALLOCATIONGRANULARITY
    try:
        with path.open("rb", buffering=0) as file:
            n_found = max(0, file.seek(0, 2) - offset)
            if n_found >= n_bytes:
                mapped = mmap.mmap(file.fileno(), before + n_bytes, access=mmap.ACCESS_READ, offset=offset - before)
                _populate(mapped)
                return memoryview(mapped)[before:]
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise ModelFileError(f"{path}: cannot be read at byte {offset}: {error.strerror}") from error
        n_found = 0  # it was cut between being measured and being mapped
    raise ModelFileError(
        f"{path}: expected {n_bytes} bytes at byte {offset}, found {n_found}; the file became shorter while it was "
        "read, fetch it again"
    )


def _populate(mapped: mmap.mmap) -> None:
    if POPULATE_READ is None:
        return
    try:
        mapped.madvise(POPULATE_READ)
    except OSError as error:
        if error.errno != errno.EINVAL:  # that is an older system, where pages come one by one
            raise


class FileSource:
    """A file on disk; opened for each read, so that there is nothing to close."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self.name = str(path)
        try:
            with self._path.open("rb") as file:
                self.n_bytes = file.seek(0, 2)
        except OSError as error:
            raise ModelFileError(f"{self.name}: cannot be opened: {error.strerror}") from None

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        return bytes(self._window(offset, n_bytes))

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, self._window(offset, n_bytes))

    def close(self) -> None:
        """Nothing to let go of: nothing stays open."""

    def _window(self, offset: int, n_bytes: int) -> memoryview:
        require_range(self.name, self.n_bytes, offset, n_bytes)
        return window(self._path, offset, n_bytes)
