"""The disk of an ordinary Python, for the command line and the tests.

DirectoryDisk      `storage.Disk`: a folder of folders
DirectoryFolder    `storage.ModelFolder`: a begun file is NAME.part
fetch_model        a model from a source into a folder
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from voxtral.download import download
from voxtral.errors import ModelFileError, in_words
from voxtral.mapped_file import FileSource
from voxtral.model_files import BEGUN, is_file_name
from voxtral.native_network import NativeTransport
from voxtral.progress import Tell
from voxtral.shards import Piece
from voxtral.sources import read_offer
from voxtral.storage import Room, StorageFullError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


async def fetch_model(source: str, folder: Path, tell: Tell, n_connections: int = 3) -> list[Path]:
    """Bring the files of a source (sources.py) into a folder; returns them. What came before is gone on with.

    Raises ModelFileError; what has come stays.
    """
    network = NativeTransport()
    tell("listing", 0, 0)
    offer = await read_offer(network, source)
    await download(offer, DirectoryFolder(folder), network, tell, n_connections)
    return [folder / file.name for file in offer.files]


class DirectoryDisk:
    """`storage.Disk`: each folder in a folder is a model."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keys(self) -> list[str]:
        with _explaining(self._path):
            return sorted(path.name for path in self._path.iterdir() if path.is_dir()) if self._path.exists() else []

    async def folder(self, key: str) -> "DirectoryFolder":
        path = _inside(self._path, key)
        with _explaining(path):
            path.mkdir(parents=True, exist_ok=True)
        return DirectoryFolder(path)

    async def delete(self, key: str) -> None:
        path = _inside(self._path, key)
        with _explaining(path):
            if path.exists():
                shutil.rmtree(path)

    async def room(self) -> Room:
        with _explaining(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            used = sum(path.stat().st_size for path in self._path.rglob("*") if path.is_file())
            return Room(used + shutil.disk_usage(self._path).free, used)


class DirectoryFolder:
    """`storage.ModelFolder`; the folder is made when the first file is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def sizes(self) -> dict[str, int]:
        return {name: size for name, size in self._files().items() if not name.endswith(BEGUN)}

    async def begun(self) -> dict[str, int]:
        files = self._files()
        return {name.removesuffix(BEGUN): size for name, size in files.items() if name.endswith(BEGUN)}

    async def open(self, name: str) -> "BegunFile":
        return BegunFile(self._begun_path(name))

    async def finish(self, name: str) -> None:
        begun, path = self._begun_path(name), _inside(self._path, name)
        with _explaining(path):
            begun.replace(path)

    async def reopen(self, name: str) -> "BegunFile":
        begun, path = self._begun_path(name), _inside(self._path, name)
        with _explaining(path):
            path.replace(begun)
        return await self.open(name)

    async def source(self, name: str) -> FileSource:
        return FileSource(_inside(self._path, name))

    async def read(self, name: str) -> bytes:
        path = _inside(self._path, name)
        with _explaining(path):
            return path.read_bytes()

    async def write(self, name: str, data: bytes) -> None:
        path = _inside(self._path, name)
        new = path.with_name(f".{name}.new")  # hidden: no file of the model
        with _explaining(path):
            self._path.mkdir(parents=True, exist_ok=True)
            try:
                new.write_bytes(data)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)

    async def delete(self, name: str) -> None:
        for path in (_inside(self._path, name), self._begun_path(name)):
            with _explaining(path):
                path.unlink(missing_ok=True)

    def _begun_path(self, name: str) -> Path:
        return _inside(self._path, name).with_name(name + BEGUN)

    def _files(self) -> dict[str, int]:
        with _explaining(self._path):
            if not self._path.exists():
                return {}
            visible = [path for path in self._path.iterdir() if path.is_file() and not path.name.startswith(".")]
            return {path.name: path.stat().st_size for path in visible}


class BegunFile:
    """`storage.OpenFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explaining(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._file: IO[bytes] = path.open("r+b", buffering=0)
            self._n_bytes = self._file.seek(0, os.SEEK_END)

    @property
    def n_bytes(self) -> int:
        return self._n_bytes

    async def write(self, piece: Piece) -> None:
        with _explaining(self._path):
            try:
                self._file.seek(self._n_bytes)
                rest = memoryview(piece.data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(self._n_bytes)
                raise
        self._n_bytes += piece.n_bytes

    async def read(self, offset: int, n_bytes: int) -> bytes:
        with _explaining(self._path):
            self._file.seek(offset)
            data = self._file.read(n_bytes)
        if len(data) != n_bytes:
            raise ModelFileError(f"{self._path}: expected {n_bytes:,} bytes at {offset:,}, found {len(data):,}")
        return data

    async def clear(self) -> None:
        with _explaining(self._path):
            self._file.truncate(0)
        self._n_bytes = 0

    async def flush(self) -> None:
        with _explaining(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _inside(folder: Path, name: str) -> Path:
    """A file or folder of that name. Raises ModelFileError, as names come from outside."""
    if not is_file_name(name):
        raise ModelFileError(f"{name[:80]!r}: expected the plain name of a file; whoever offers it should rename it")
    return folder / name


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Make a sentence of what the system refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            free = shutil.disk_usage(path.parent).free
            raise StorageFullError(f"{path.parent}: {in_words(free)} are free") from error
        where = str(error.filename or path)
        raise ModelFileError(f"{where[:200]}: {error.strerror or error}; check the path and the room there") from error
