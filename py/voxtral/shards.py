"""Bytes of a model, wherever they lie: in memory, in a file, or cut into shards.

    ByteSource      what everything above reads from: n_bytes, name, read_at
    MemorySource, ShardedCursor (a ByteSource over the concatenation of others)

Shards are plain byte cuts (`split -b 512m`), not gguf-split files: only the first has a header, and
tensors straddle cuts. Sources of files on disk are in mapped_file.py, the browser's in browser/.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from voxtral.errors import ModelFileError

DEVICE_ALIGNMENT = 4  # bytes; of what can be written to a GPU buffer

SHARD_NAME = re.compile(r"(?P<stem>shard-|.+\.gguf[.-](?:part[.-]?)?)(?P<index>[a-z]{2,4}|\d{1,9})")


class Piece(NamedTuple):
    """Part of a range of bytes on its way to a device."""

    n_bytes: int
    data: Any  # bytes or a memoryview; in the browser a typed array that never enters Python's memory

    def in_python(self, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from start to end, copied to Python's memory."""
        if isinstance(self.data, bytes | memoryview):
            return bytes(self.data[start:end])
        data: bytes = self.data.subarray(start, end).to_bytes()
        return data


def cut_out(pieces: Sequence[Piece], offset: int, n_bytes: int) -> bytes:
    """These bytes of consecutive pieces, as far as they reach, in Python's memory."""
    ends = accumulate(piece.n_bytes for piece in pieces)
    starts = [(piece, offset - end + piece.n_bytes) for piece, end in zip(pieces, ends, strict=True)]
    return b"".join(piece.in_python(max(start, 0), max(start + n_bytes, 0)) for piece, start in starts)


class ByteSource(Protocol):
    """Random access to a fixed number of bytes. A piece's data may be overwritten by the next read of its source."""

    @property
    def n_bytes(self) -> int:
        """Size."""

    @property
    def name(self) -> str:
        """What to call it in a sentence for a person."""

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Exactly n_bytes from offset. Raises ModelFileError if they are not all there."""

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        """The same for a device; cheapest when called with rising offsets."""

    def close(self) -> None:
        """Let go of what reading took: connections, buffers; the next read takes them again."""


def require_range(name: str, size: int, offset: int, n_bytes: int) -> None:
    """Raise ModelFileError unless offset … offset + n_bytes lies inside size bytes."""
    if not (offset >= 0 and n_bytes >= 0 and offset + n_bytes <= size):
        raise ModelFileError(
            f"{name}: expected bytes {offset} to {offset + n_bytes}, but there are only {size}; "
            "the file is incomplete, download it again"
        )


class MemorySource:
    """Bytes already in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self.n_bytes = len(data)
        self.name = name

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        require_range(self.name, self.n_bytes, offset, n_bytes)
        return bytes(self._data[offset : offset + n_bytes])

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self.read_at(offset, n_bytes))

    def close(self) -> None:
        """Nothing to let go of: the bytes are the source."""


class ShardedCursor:
    """The concatenation of one or more sources as one source, with a reading position."""

    def __init__(self, sources: Sequence[ByteSource], name: str | None = None) -> None:
        """name: of the whole, if that of the first source does not do."""
        if not sources:
            raise ModelFileError("expected at least one model file or shard, found none")
        self._sources = list(sources)
        self._starts = [0, *accumulate(source.n_bytes for source in sources)]
        self.n_bytes = self._starts[-1]
        more = f" and {len(sources) - 1} more shards" if len(sources) > 1 else ""
        self.name = name or sources[0].name + more
        self._position = 0

    def slices(self, offset: int, n_bytes: int) -> list[tuple[int, int, int]]:
        """Where a range lies: (shard index, offset in that shard, n_bytes) in order, none of them empty."""
        require_range(self.name, self.n_bytes, offset, n_bytes)
        slices = []
        shard = bisect_right(self._starts, offset) - 1
        while n_bytes > 0:
            local = offset - self._starts[shard]
            n = min(n_bytes, self._starts[shard + 1] - offset)
            if n:  # an empty shard holds nothing
                slices.append((shard, local, n))
            offset, n_bytes, shard = offset + n, n_bytes - n, shard + 1
        return slices

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        parts = [await self._sources[shard].read_at(local, n) for shard, local, n in self.slices(offset, n_bytes)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pieces_at(self, offset: int, n_bytes: int) -> list[Piece]:
        """A range for a device, in parts that are multiples of 4 long except for the last; closes earlier shards."""
        slices = self.slices(offset, n_bytes)
        for source in self._sources[: slices[0][0] if slices else 0]:
            source.close()
        if any(n % DEVICE_ALIGNMENT for _, _, n in slices[:-1]):
            return [Piece(n_bytes, await self.read_at(offset, n_bytes))]
        return [await self._sources[shard].piece_at(local, n) for shard, local, n in slices]

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self.read_at(offset, n_bytes))

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def part_at(self, offset: int) -> str:
        """Name of the shard where a byte lies, or would lie."""
        return self._sources[min(bisect_right(self._starts, offset), len(self._sources)) - 1].name

    def likely_cut(self) -> tuple[ByteSource, int]:
        """Where bytes are missing, when some are: (a shard that ends too early, that end's offset in the whole).

        All shards but the last are equally long, unless one of them was not copied whole.
        """
        equal = max(source.n_bytes for source in self._sources)
        for source, end in zip(self._sources[:-1], self._starts[1:], strict=False):
            if source.n_bytes < equal:
                return source, end
        return self._sources[-1], self.n_bytes

    def seek(self, offset: int) -> None:
        """Set the position of the next `read`; may be the end."""
        require_range(self.name, self.n_bytes, offset, 0)
        self._position = offset

    def tell(self) -> int:
        return self._position

    async def read(self, n_bytes: int) -> bytes:
        """The next n_bytes. Raises ModelFileError if fewer are left."""
        data = await self.read_at(self._position, n_bytes)
        self._position += n_bytes
        return data


def shard_order(names: Sequence[str]) -> list[str]:
    """The names that are shards of one file, in order: by number if numbered, else by letters."""
    matches = [match for name in names if (match := SHARD_NAME.fullmatch(name))]
    stems = {match["stem"] for match in matches}
    if len(stems) > 1:
        raise ModelFileError(f"expected the shards of one model, found several: {', '.join(sorted(stems))}")
    # Letters as `split` writes them: it lengthens the suffix so that plain string order holds.
    matches.sort(key=lambda m: (int(m["index"]), "") if m["index"].isdecimal() else (-1, m["index"]))
    return [match.string for match in matches]


def weight_names(names: Sequence[str], where: str, *others: str) -> list[str]:
    """Among a folder's file names, the one .gguf or all its shards, in the order of their bytes.

    others: what the folder might have held instead, for the sentence. Raises ModelFileError, naming `where`, if there
    are no weights or several models.
    """
    whole = sorted(name for name in names if name.endswith(".gguf"))
    if len(whole) > 1:
        raise ModelFileError(f"{where}: expected one .gguf file, found {', '.join(whole)}; name one of them")
    if found := whole or shard_order(names):
        return found
    kinds = ["a .gguf file", "shards (shard-aa, shard-ab, …)", *others]
    raise ModelFileError(f"{where}: expected {', '.join(kinds[:-1])} or {kinds[-1]}, found none; name another folder")


def part_at(source: ByteSource, offset: int) -> str:
    """Name of the file where a byte of a source lies: of the shard, where there are several."""
    return source.part_at(offset) if isinstance(source, ShardedCursor) else source.name


def likely_cut(source: ByteSource) -> tuple[ByteSource, int]:
    """`ShardedCursor.likely_cut` for any source."""
    return source.likely_cut() if isinstance(source, ShardedCursor) else (source, source.n_bytes)
