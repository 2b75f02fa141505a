"""A folder of models in memory: `storage.ModelFolder` with a quota, to be copied at any moment as a crash would."""

import asyncio
import copy

from voxtral.errors import ModelFileError
from voxtral.shards import MemorySource, Piece
from voxtral.storage import StorageFullError


class MemoryFolder:
    """whole, unfinished: bytes by name; quota_bytes: of both together; n_open: files not closed yet."""

    def __init__(self, quota_bytes: int | None = None) -> None:
        self.whole: dict[str, bytes] = {}
        self.unfinished: dict[str, bytearray] = {}
        self.quota_bytes = quota_bytes
        self.n_open = 0
        self.n_flushed = 0
        self.writing: set[str] = set()

    def after_crash(self) -> "MemoryFolder":
        """The folder as it lies on the disk now."""
        other = copy.deepcopy(self)
        other.n_open = 0
        other.writing.clear()
        return other

    def require_room(self, n_bytes: int) -> None:
        used = sum(map(len, self.whole.values())) + sum(map(len, self.unfinished.values()))
        if self.quota_bytes is not None and used + n_bytes > self.quota_bytes:
            raise StorageFullError(f"{self.quota_bytes - used} bytes are free")

    async def sizes(self) -> dict[str, int]:
        return {name: len(data) for name, data in self.whole.items()}

    async def begun(self) -> dict[str, int]:
        return {name: len(data) for name, data in self.unfinished.items()}

    async def open(self, name: str) -> "MemoryFile":
        file = MemoryFile(self, self.unfinished.setdefault(name, bytearray()))
        self.n_open += 1
        await asyncio.sleep(0)  # who is cancelled here has a file open
        return file

    async def finish(self, name: str) -> None:
        self.whole[name] = bytes(self.unfinished.pop(name))

    async def reopen(self, name: str) -> "MemoryFile":
        self.unfinished[name] = bytearray(self.whole.pop(name))
        return await self.open(name)

    async def source(self, name: str) -> MemorySource:
        if name not in self.whole:
            raise ModelFileError(f"{name}: no such file")
        return MemorySource(self.whole[name], name)

    async def read(self, name: str) -> bytes:
        return self.whole[name]

    async def write(self, name: str, data: bytes) -> None:
        assert name not in self.writing
        self.writing.add(name)
        await asyncio.sleep(0)
        self.writing.remove(name)
        self.whole[name] = data

    async def delete(self, name: str) -> None:
        self.whole.pop(name, None)
        self.unfinished.pop(name, None)


class MemoryFile:
    """`storage.OpenFile`."""

    def __init__(self, folder: MemoryFolder, data: bytearray) -> None:
        self._folder, self._data = folder, data
        self._is_open = True

    @property
    def n_bytes(self) -> int:
        return len(self._data)

    async def write(self, piece: Piece) -> None:
        assert self._is_open
        assert len(piece.data) == piece.n_bytes > 0
        self._folder.require_room(piece.n_bytes)
        self._data += piece.data

    async def read(self, offset: int, n_bytes: int) -> bytes:
        assert 0 <= offset <= offset + n_bytes <= len(self._data)
        return bytes(self._data[offset : offset + n_bytes])

    async def clear(self) -> None:
        del self._data[:]

    async def flush(self) -> None:
        assert self._is_open
        self._folder.n_flushed += 1

    def close(self) -> None:
        self._folder.n_open -= self._is_open
        self._is_open = False
