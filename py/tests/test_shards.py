"""Byte sources: any cuts must read like the whole file."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voxtral.errors import ModelFileError
from voxtral.mapped_file import FileSource
from voxtral.shards import (
    SHARD_NAME,
    ByteSource,
    MemorySource,
    ShardedCursor,
    shard_order,
)

WHOLE = bytes(range(256)) * 4


def cut(data: bytes, cuts: list[int]) -> list[MemorySource]:
    """data in len(cuts) + 1 shards, some perhaps empty."""
    edges = [0, *sorted(cuts), len(data)]
    return [MemorySource(data[a:b], f"shard-{i}") for i, (a, b) in enumerate(pairwise(edges))]


def read(source: ByteSource, offset: int, n_bytes: int) -> bytes:
    return asyncio.run(source.read_at(offset, n_bytes))


cuts = st.lists(st.integers(0, len(WHOLE)), max_size=8)
edges = st.tuples(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE))).map(sorted)


@settings(deadline=None)
@given(cuts, edges)
def test_any_cuts_read_like_the_whole(cuts: list[int], edges: list[int]) -> None:
    start, end = edges
    cursor = ShardedCursor(cut(WHOLE, cuts))
    assert cursor.n_bytes == len(WHOLE)
    assert read(cursor, start, end - start) == WHOLE[start:end]


@given(cuts, edges)
def test_slices_are_the_range_in_order_and_none_is_empty(cuts: list[int], edges: list[int]) -> None:
    start, end = edges
    sources = cut(WHOLE, cuts)
    slices = ShardedCursor(sources).slices(start, end - start)
    assert all(n > 0 for _, _, n in slices)
    assert b"".join(read(sources[shard], local, n) for shard, local, n in slices) == WHOLE[start:end]


@settings(deadline=None)
@given(cuts, st.lists(st.integers(0, 300), max_size=10))
def test_cursor_reads_on_from_where_it_is(cuts: list[int], sizes: list[int]) -> None:
    async def walk() -> None:
        cursor, position = ShardedCursor(cut(WHOLE, cuts)), 0
        for size in sizes:
            if position + size > len(WHOLE):
                cursor.seek(position := 5)
            assert await cursor.read(size) == WHOLE[position : position + size]
            position += size
            assert cursor.tell() == position

    asyncio.run(walk())


@pytest.mark.parametrize(("offset", "n_bytes"), [(1020, 5), (1025, 0), (-1, 4), (4, -1), (0, 2**63)])
def test_reading_past_the_end_is_one_sentence(tmp_path: Path, offset: int, n_bytes: int) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(WHOLE)
    for source in (MemorySource(WHOLE, "a.gguf"), FileSource(path), ShardedCursor(cut(WHOLE, [9, 700]))):
        with pytest.raises(ModelFileError, match="there are only 1024"):
            read(source, offset, n_bytes)


ints = st.integers(-3, len(WHOLE) + 3) | st.sampled_from([-(2**63), 2**31, 2**60, 2**64])


@settings(deadline=None, max_examples=300)
@given(cuts, st.lists(st.tuples(st.sampled_from(["seek", "read", "read_at", "slices", "pieces_at"]), ints, ints)))
def test_any_use_of_a_cursor_is_right_or_refused(cuts: list[int], uses: list[tuple[str, int, int]]) -> None:
    async def use(cursor: ShardedCursor, what: str, offset: int, n_bytes: int) -> bytes | None:
        if what == "seek":
            cursor.seek(offset)
            return None
        if what == "read":
            return await cursor.read(n_bytes)
        if what == "read_at":
            return await cursor.read_at(offset, n_bytes)
        if what == "slices":
            found = cursor.slices(offset, n_bytes)
            return b"".join([await sources[shard].read_at(local, n) for shard, local, n in found])
        return b"".join([piece.data for piece in await cursor.pieces_at(offset, n_bytes)])

    sources = cut(WHOLE, cuts)
    cursor = ShardedCursor(sources)
    for what, offset, n_bytes in uses:
        start = cursor.tell() if what == "read" else offset
        n = 0 if what == "seek" else n_bytes
        if start >= 0 and n >= 0 and start + n <= len(WHOLE):
            found = asyncio.run(use(cursor, what, offset, n_bytes))
            assert found == (None if what == "seek" else WHOLE[start : start + n])
            assert what not in ("seek", "read") or cursor.tell() == start + n
        else:
            with pytest.raises(ModelFileError, match="there are only 1024"):
                asyncio.run(use(cursor, what, offset, n_bytes))
            assert what == "seek" or cursor.tell() == start or what != "read"


@given(
    st.lists(st.text(max_size=12) | st.from_regex(SHARD_NAME, fullmatch=True) | st.integers(0).map("shard-{}".format))
)
@example(["shard-" + 5000 * "1"])
def test_any_names_are_put_in_order_or_refused(names: list[str]) -> None:
    try:
        ordered = shard_order(names)
    except ModelFileError:
        return
    assert set(ordered) <= set(names)


def test_names_say_how_many_shards() -> None:
    assert ShardedCursor([MemorySource(b"", "m.gguf")]).name == "m.gguf"
    assert ShardedCursor(cut(WHOLE, [1, 2])).name == "shard-0 and 2 more shards"
    with pytest.raises(ModelFileError, match="at least one"):
        ShardedCursor([])


def test_shards_are_put_in_order() -> None:
    assert shard_order(["shard-ab", "x", "shard-aa", "tekken.json"]) == ["shard-aa", "shard-ab"]
    assert shard_order(["shard-10", "shard-9"]) == ["shard-9", "shard-10"]
    assert shard_order(["m.gguf.001", "m.gguf.000"]) == ["m.gguf.000", "m.gguf.001"]
    assert shard_order(["m.gguf.part-ab", "m.gguf.part-aa"]) == ["m.gguf.part-aa", "m.gguf.part-ab"]
    with pytest.raises(ModelFileError, match="several"):
        shard_order(["a.gguf.0", "b.gguf.0"])


def test_shards_already_read_are_let_go() -> None:
    class Closing(MemorySource):
        n_closed = 0

        def close(self) -> None:
            self.n_closed += 1

    shards = [Closing(WHOLE[start : start + 400], f"shard-{start}") for start in (0, 400, 800)]
    cursor = ShardedCursor(shards)
    asyncio.run(cursor.pieces_at(300, 200))  # straddles: the first is still needed
    assert [shard.n_closed for shard in shards] == [0, 0, 0]
    asyncio.run(cursor.pieces_at(500, 100))
    assert [shard.n_closed for shard in shards] == [1, 0, 0]
    asyncio.run(cursor.pieces_at(1024, 0))
    cursor.close()
    assert [shard.n_closed for shard in shards] == [2, 1, 1]
