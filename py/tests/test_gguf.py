"""The header parser against the gguf package, and against damage."""

import asyncio
import contextlib
import itertools
import math
import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.errors import ModelFileError
from voxtral.gguf import FIRST_READ_BYTES, MAX_VALUES, GgufIndex, header_bytes, read_index
from voxtral.mapped_file import FileSource
from voxtral.quant import GgmlType, dequantise
from voxtral.shards import MemorySource, ShardedCursor

TESTS = Path(__file__).parent
DEMO = TESTS.parents[1] / "static" / "model" / "voxtral-demo-q4_0.gguf"
MODELS = [*sorted((TESTS / "golden").glob("*/model.gguf")), DEMO]


def parse(data: bytes) -> GgufIndex:
    return asyncio.run(read_index(MemorySource(data, "m.gguf")))


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def tensor_line(name: str, sizes: list[int], ggml_type: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, ggml_type, offset)


def file_bytes(
    tensors: Sequence[bytes] = (),
    metadata: Sequence[bytes] = (),
    data: bytes = b"",
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A GGUF file of these table lines and metadata entries."""
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata)) + b"".join([*metadata, *tensors])
    return header + bytes(-len(header) % alignment) + data


SMALL = file_bytes(
    [tensor_line("a", [32, 2], 2, 0), tensor_line("b", [8], 0, 64)],
    [string("k") + struct.pack("<If", 6, 1.5)],
    bytes(96),
)


@pytest.mark.parametrize("path", MODELS, ids=[path.parent.name for path in MODELS])
def test_index_is_what_the_gguf_package_reads(path: Path) -> None:
    index = asyncio.run(read_index(FileSource(path)))
    judge = gguf.GGUFReader(path)
    assert index.version == 3
    fields = {key: field.contents() for key, field in judge.fields.items()}
    assert index.metadata == {key: value for key, value in fields.items() if not key.startswith("GGUF.")}
    assert index.data_start == judge.data_offset
    assert index.name == str(path)
    found = [(t.name, t.shape, t.ggml_type, t.offset, t.n_bytes) for t in index.tensors.values()]
    expected = [
        (t.name, tuple(int(n) for n in reversed(t.shape)), int(t.tensor_type), t.data_offset, t.n_bytes)
        for t in judge.tensors
    ]
    assert found == expected


def write_odd_file(path: Path) -> dict[str, np.ndarray]:
    """Every value type, long arrays, every tensor type, odd names and sizes."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "voxtral")
    writer.add_string("text", "grüße € 😀")
    writer.add_string("empty", "")
    for add, value in [
        (writer.add_uint8, 255), (writer.add_int8, -128), (writer.add_uint16, 65535), (writer.add_int16, -32768),
        (writer.add_uint32, 2**32 - 1), (writer.add_int32, -(2**31)), (writer.add_uint64, 2**64 - 1),
        (writer.add_int64, -(2**63)), (writer.add_float32, 0.1), (writer.add_float64, 0.1), (writer.add_bool, True),
    ]:  # fmt: skip
        add(f"scalar.{add.__name__}", value)
    writer.add_array("numbers", list(range(70_000)))  # longer than the first read
    writer.add_array("floats", [0.5, -1.5])
    writer.add_array("words", [f"word {i}" for i in range(20_000)])
    writer.add_array("flags", [True, False])
    arrays = {
        "f32": rng.normal(size=(3, 5, 7)).astype(np.float32),
        "f16": rng.normal(size=(1, 3)).astype(np.float16),
        "q4_0": rng.normal(size=(3, 96)).astype(np.float32),
        "q8_0": rng.normal(size=(5, 32)).astype(np.float32),
        'ünïcode "name"\n': rng.normal(size=1).astype(np.float32),
    }
    for name, array in arrays.items():
        kind = {"q4_0": gguf.GGMLQuantizationType.Q4_0, "q8_0": gguf.GGMLQuantizationType.Q8_0}.get(name)
        writer.add_tensor(name, gguf.quantize(array, kind) if kind else array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return arrays


def test_odd_files_of_the_gguf_writer(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    write_odd_file(path)
    whole = path.read_bytes()
    index = parse(whole)
    judge = gguf.GGUFReader(path)
    assert index.data_start > FIRST_READ_BYTES, "the header must need a second read"
    for key, field in judge.fields.items():
        if not key.startswith("GGUF."):
            assert index.metadata[key] == field.contents(), key
    for expected in judge.tensors:
        tensor = index.tensors[expected.name]
        assert (tensor.offset, tensor.n_bytes) == (expected.data_offset, expected.n_bytes)
        assert tensor.shape == tuple(int(n) for n in reversed(expected.shape))
        raw = whole[tensor.offset : tensor.offset + tensor.n_bytes]
        values = dequantise(raw, tensor.ggml_type, int(expected.n_elements))
        np.testing.assert_array_equal(values, gguf.dequantize(expected.data, expected.tensor_type).reshape(-1))


def test_only_the_header_is_read() -> None:
    class Counting(MemorySource):
        n_read = 0

        async def read_at(self, offset: int, n_bytes: int) -> bytes:
            self.n_read += n_bytes
            return await super().read_at(offset, n_bytes)

    whole = DEMO.read_bytes()
    source = Counting(whole, "demo")
    asyncio.run(read_index(source))
    assert source.n_read == FIRST_READ_BYTES < len(whole)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 553_344), max_size=6))
def test_shards_have_the_index_of_the_whole(cuts: list[int]) -> None:
    whole = (TESTS / "golden" / "tiny" / "model.gguf").read_bytes()
    edges = [0, *sorted(cuts), len(whole)]
    shards = [MemorySource(whole[a:b], "m.gguf") for a, b in itertools.pairwise(edges)]
    assert asyncio.run(read_index(ShardedCursor(shards))).tensors == parse(whole).tensors


def test_versions_and_alignment() -> None:
    assert parse(file_bytes(version=2)).version == 2
    aligned = string("general.alignment") + struct.pack("<II", 4, 128)
    index = parse(file_bytes([tensor_line("a", [4], 0, 128)], [aligned], bytes(144), alignment=128))
    assert index.data_start == 128
    assert index.tensors["a"].offset == 256
    assert parse(SMALL).metadata == {"k": 1.5}


def metadata(kind: int, value: bytes, key: str = "k") -> bytes:
    return string(key) + struct.pack("<I", kind) + value


NESTED = b"".join(struct.pack("<IQ", 9, 1) for _ in range(1000))
DAMAGED = {
    "empty file": (b"", "found an empty file"),
    "other magic": (b"\x89PNG\r\n" + bytes(99), "first bytes b'GGUF'"),
    "two bytes": (b"GG", "first bytes b'GGUF'"),
    "only the magic": (b"GGUF", "file ends at 4"),
    "version 1": (file_bytes(version=1), "found version 1"),
    "version 99": (file_bytes(version=99), "found version 99"),
    "big-endian": (file_bytes(version=0x03000000), "big-endian file of version 3"),
    "2^60 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(99), "claims 1152921504606846976 tensors"),
    "2^60 metadata": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(99), "claims 1152921504606846976 metadata"),
    "2^63 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0) + bytes(99), "claims 9223372036854775808 tensors"),
    "2^32 metadata": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**32) + bytes(99), "claims 4294967296 metadata"),
    "65537 metadata": (b"GGUF" + struct.pack("<IQQ", 3, 0, 65537) + bytes(2**20), "expected at most 65536"),
    "long key": (file_bytes([], [struct.pack("<Q", 2**60) + b"12345"]), "key at byte 32 claims to take 11529215046068"),
    "long value": (file_bytes([], [string("k") + struct.pack("<IQ", 8, 2**60)]), "metadata 'k' at byte"),
    "value type": (file_bytes([], [metadata(13, bytes(8))]), "found type 13"),
    "2^60 elements": (file_bytes([], [metadata(9, struct.pack("<IQ", 0, 2**60))]), "claims 1152921504606846976 elem"),
    "many elements": (file_bytes([], [metadata(9, struct.pack("<IQ", 0, 2**19) + bytes(2**19))]), "at most 262144"),
    "same key": (file_bytes([], [metadata(0, b"1"), metadata(0, b"2")]), "metadata 'k' is listed twice"),
    "long tensor name": (file_bytes([tensor_line("n" * 1025, [8], 0, 0)], data=bytes(32)), "1025 bytes, expected at"),
    "2^60 letters of a name": (file_bytes([struct.pack("<Q", 2**60) + b"n"]), "tensor name at byte 32 claims to take"),
    "element type": (file_bytes([], [metadata(9, struct.pack("<IQ", 77, 1) + bytes(99))]), "found type 77"),
    "long array": (file_bytes([], [metadata(9, struct.pack("<IQ", 4, 2**61))]), "2305843009213693952 elements"),
    "many strings": (file_bytes([], [metadata(9, struct.pack("<IQ", 8, 2**61))]), "elements in metadata 'k'"),
    "nested arrays": (file_bytes([], [metadata(9, NESTED)]), "nested more than 4"),
    "alignment 0": (file_bytes([], [metadata(4, struct.pack("<I", 0), "general.alignment")]), "power of two"),
    "alignment 48": (file_bytes([], [metadata(4, struct.pack("<I", 48), "general.alignment")]), "found 48"),
    "alignment text": (file_bytes([], [metadata(8, string("32"), "general.alignment")]), "found '32'"),
    "no dimensions": (file_bytes([tensor_line("a", [], 0, 0)]), "found 0"),
    "many dimensions": (file_bytes([tensor_line("a", [1] * 5, 0, 0)]), "found 5"),
    "empty dimension": (file_bytes([tensor_line("a", [32, 0], 2, 0)]), "shape [0, 32]"),
    "odd rows": (file_bytes([tensor_line("a", [33, 2], 2, 0)]), "multiple of 32 for Q4_0"),
    "type Q4_K": (file_bytes([tensor_line("a", [256], 12, 0)], data=bytes(999)), "'a' is of type Q4_K"),
    "unknown type": (file_bytes([tensor_line("a", [256], 1234, 0)], data=bytes(999)), "type number 1234"),
    "huge tensor": (file_bytes([tensor_line("a", [2**63, 2**63], 0, 0)], data=bytes(99)), "are missing"),
    "offset of 2^60": (file_bytes([tensor_line("a", [8], 0, 2**60)], data=bytes(99)), "are missing"),
    "offset past the end": (file_bytes([tensor_line("a", [8], 0, 32)], data=bytes(32)), "32 are missing"),
    "offset near 2^64": (file_bytes([tensor_line("a", [8], 0, 2**64 - 32)], data=bytes(99)), "are missing"),
    "huge offset": (file_bytes([tensor_line("a", [8], 0, 2**63)], data=bytes(99)), "are missing"),
    "odd offset": (file_bytes([tensor_line("a", [8], 0, 4)], data=bytes(99)), "multiple of 32"),
    "overlap": (
        file_bytes([tensor_line("a", [32, 4], 2, 0), tensor_line("b", [8], 0, 64)], data=bytes(99)),
        "'b' starts at byte 192, inside tensor 'a'",
    ),
    "same name": (
        file_bytes([tensor_line("a", [8], 0, 0), tensor_line("a", [8], 0, 32)], data=bytes(64)), "listed twice"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_sentence(kind: str) -> None:
    data, sentence = DAMAGED[kind]
    with pytest.raises(ModelFileError) as error, no_more_memory_than(len(data) + 100_000):
        parse(data)
    assert str(error.value).startswith("m.gguf: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@contextlib.contextmanager
def no_more_memory_than(n_bytes: int) -> Iterator[None]:
    """What Python allocates inside, numpy's arrays included, never exceeds n_bytes at once."""
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= n_bytes


@pytest.mark.parametrize("where", ["key", "value", "tensor name"])
def test_a_name_of_100_mb_is_neither_read_nor_allocated(tmp_path: Path, where: str) -> None:
    """The file has them all, as zeros."""
    counts = (1, 0) if where == "tensor name" else (0, 1)
    before = string("k") + struct.pack("<I", 8) if where == "value" else b""
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, *counts) + before + struct.pack("<Q", 100_000_000))
        file.truncate(200_000_000)
    with pytest.raises(ModelFileError, match=r"100000000|at most 8388608 bytes"), no_more_memory_than(1_000_000):
        asyncio.run(read_index(FileSource(path)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(0, b"1"), (8, struct.pack("<Q", 2) + b"ab"), (9, struct.pack("<IQ", 4, 0))],
    ids=["numbers", "texts", "arrays"],
)
def test_metadata_may_hold_a_limited_number_of_objects(kind: int, value: bytes) -> None:
    """In Python they are larger than in the file, so it is their number that keeps them small."""

    def stuffed(n: int, key: str) -> bytes:
        return metadata(9, struct.pack("<IQ", kind, n) + n * value, key)

    n = MAX_VALUES // 8
    with no_more_memory_than(100 * 2 * n):
        assert len(parse(file_bytes([], [stuffed(n, "a"), stuffed(n, "b")])).metadata["b"]) == n
    too_many = [stuffed(MAX_VALUES - n, "a"), stuffed(n + 1, "b")]
    with pytest.raises(ModelFileError, match=f"claims {n + 1} elements in metadata 'b', expected at most {n};"):
        parse(file_bytes([], too_many))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_files_with_wrong_numbers_are_read_or_refused_whole_and_in_shards(data: st.DataObject) -> None:
    """Up to three of their counts, lengths, types and offsets are wrong."""
    places = itertools.count()
    wrong = data.draw(st.sets(st.integers(0, 25), max_size=3))

    def number(right: int) -> int:
        anything = st.integers(0, 40) | st.sampled_from([2**16, 2**31, 2**32 - 1])
        return data.draw(anything) if next(places) in wrong else right

    def large(right: int) -> int:
        found = number(right)
        return data.draw(st.sampled_from([found, 2**60, 2**64 - 32])) if found != right else right

    def text(raw: bytes) -> bytes:
        return struct.pack("<Q", large(len(raw))) + raw

    def entry(i: int) -> bytes:
        kind, value = data.draw(st.sampled_from([(0, b"1"), (5, bytes(4)), (8, b""), (9, b""), (12, bytes(8))]))
        if kind == 8:
            value = text(b"some text")
        if kind == 9:
            value = struct.pack("<IQ", number(5), large(3)) + bytes(12)
        return text(b"key %d" % i) + struct.pack("<I", number(kind)) + value

    def line(i: int) -> bytes:
        sizes = [large(32) for _ in range(data.draw(st.integers(1, 2)))]
        numbers = struct.pack(f"<I{len(sizes)}Q", number(len(sizes)), *sizes)
        return text(b"tensor %d" % i) + numbers + struct.pack("<IQ", number(2), large(576 * i))

    entries = [entry(i) for i in range(data.draw(st.integers(0, 2)))]
    lines = [line(i) for i in range(data.draw(st.integers(1, 3)))]
    whole = b"GGUF" + struct.pack("<IQQ", number(3), large(len(lines)), large(len(entries))) + b"".join(entries + lines)
    whole += bytes(-len(whole) % 32 + 576 * number(len(lines)) % 4000)
    with no_more_memory_than(len(whole) + 100_000):
        read = read_or_refuse(MemorySource(whole, "m.gguf"))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    edges = [0, *cuts, len(whole)]
    shards = ShardedCursor([MemorySource(whole[a:b], "m.gguf") for a, b in itertools.pairwise(edges)])
    assert wrong or read
    assert read_or_refuse(shards) == read


def read_or_refuse(source: MemorySource | ShardedCursor) -> object:
    """What a file holds, or None."""
    try:
        index = asyncio.run(read_index(source))
    except ModelFileError:
        return None
    for tensor in index.tensors.values():
        raw = asyncio.run(source.read_at(tensor.offset, tensor.n_bytes))
        assert len(dequantise(raw, tensor.ggml_type, math.prod(tensor.shape))) == math.prod(tensor.shape)
    return index.tensors, repr(index.metadata)  # NaN is not equal to itself, but looks the same


def test_a_header_made_here_is_the_gguf_package_s(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    tensors = [("a", (3, 64), GgmlType.Q4_0), ("ü", (5,), GgmlType.F32), ("c", (2, 3, 4), GgmlType.F16)]
    writer = gguf.GGUFWriter(path, "voxtral")
    writer.add_name("grüße")
    writer.add_uint32("voxtral.n", 2**32 - 1)
    for name, shape, kind in tensors:
        values = np.zeros(shape, np.float16 if kind == GgmlType.F16 else np.float32)
        quantised = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0) if kind == GgmlType.Q4_0 else values
        writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = header_bytes({"general.architecture": "voxtral", "general.name": "grüße", "voxtral.n": 2**32 - 1}, tensors)
    whole = path.read_bytes()
    assert len(header) == parse(whole).data_start
    assert whole.startswith(header)


def test_a_truncated_file_says_what_is_there_and_what_was_promised() -> None:
    n = len(SMALL)
    with pytest.raises(ModelFileError) as error:
        parse(SMALL[:-10])
    assert f"ends within tensor {last_tensor(parse(SMALL))!r}" in str(error.value)
    assert f"expected {n:,} bytes, found {n - 10:,}, 10 are missing" in str(error.value)


@pytest.mark.parametrize("cut_short", [0, 1, 2, 3])
def test_a_short_shard_is_named_with_the_tensor_it_breaks(cut_short: int) -> None:
    whole = (TESTS / "golden" / "tiny" / "model.gguf").read_bytes()
    size = -(-len(whole) // 4)
    shards = [whole[start : start + size] for start in range(0, len(whole), size)]
    shards[cut_short] = shards[cut_short][:-500]
    source = ShardedCursor(
        [MemorySource(data, f"shard-a{letter}") for letter, data in zip("abcd", shards, strict=True)]
    )
    with pytest.raises(ModelFileError) as error:
        asyncio.run(read_index(source))
    found = len(shards[cut_short])
    cut = cut_short * size + found
    broken = [t.name for t in parse(whole).tensors.values() if t.offset <= cut < t.offset + t.n_bytes]
    assert str(error.value).startswith(f"shard-a{'abcd'[cut_short]}: ends within tensor {broken[0]!r}: ")
    assert f"expected {found + 500:,} bytes, found {found:,}, 500 are missing" in str(error.value)


def test_a_type_we_do_not_read_is_named_with_its_shard() -> None:
    whole = bytearray((TESTS / "golden" / "tiny" / "model.gguf").read_bytes())
    name = last_tensor(parse(bytes(whole)))
    kind_at = whole.index(string(name)) + len(string(name)) + 4 + 8  # behind one dimension
    struct.pack_into("<I", whole, kind_at, 29)
    shards = [MemorySource(bytes(whole[:500_000]), "shard-aa"), MemorySource(bytes(whole[500_000:]), "shard-ab")]
    with pytest.raises(ModelFileError) as error:
        asyncio.run(read_index(ShardedCursor(shards)))
    expected = f"tensor {name!r} is of type IQ1_M, expected F32, F16, BF16, Q4_0 or Q8_0; "
    assert str(error.value).startswith(f"shard-ab: {expected}")


def last_tensor(index: GgufIndex) -> str:
    """Name of the tensor at the end of the file."""
    return max(index.tensors.values(), key=lambda tensor: tensor.offset).name


@pytest.mark.parametrize("n", range(len(SMALL)))
def test_every_truncation_is_refused(n: int) -> None:
    with pytest.raises(ModelFileError):
        parse(SMALL[:n])


def test_a_header_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtral.gguf.FIRST_READ_BYTES", 4)
    index = parse(SMALL)
    assert list(index.tensors) == ["a", "b"]


def parse_or_refuse(data: bytes) -> None:
    try:
        index = parse(data)
    except ModelFileError:
        return
    for tensor in index.tensors.values():  # whatever passes can be read
        assert index.data_start <= tensor.offset
        assert tensor.offset + tensor.n_bytes <= len(data)
        assert tensor.ggml_type in list(GgmlType)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused(data: bytes, with_magic: bool) -> None:
    parse_or_refuse(b"GGUF\x03\0\0\0" + data if with_magic else data)


@settings(deadline=None, max_examples=600)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 97), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], n_cut: int) -> None:
    data = bytearray(SMALL)
    for position, value in changes:
        data[position] = value
    parse_or_refuse(bytes(data[: len(data) - n_cut]))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 7)), min_size=1, max_size=6), st.integers(0, 560_000))
def test_flipped_bits_of_a_real_header_are_read_or_refused(flips: list[tuple[int, int]], n_bytes: int) -> None:
    data = bytearray((TESTS / "golden" / "tiny" / "model.gguf").read_bytes())
    for position, bit in flips:
        data[position] ^= 1 << bit
    parse_or_refuse(bytes(data[:n_bytes]))
