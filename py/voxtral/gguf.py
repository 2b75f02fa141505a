"""The header of a GGUF file: metadata and where each tensor lies; read from any ByteSource, and made.

    magic, version, counts | metadata | tensor table | zeros up to the alignment | data

Little-endian, versions 2 and 3. Only the header is read, a piece at a time, so 2.5 GB of weights cost
nothing here. Nothing in the file is believed before it is compared with the file's size: no claim of a hostile file
takes memory, only what is there does, and that is limited (MAX_HEADER_BYTES of it, MAX_VALUES small objects).
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from voxtral.errors import ModelFileError
from voxtral.quant import GgmlType, type_name
from voxtral.shards import ByteSource, likely_cut, part_at

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
FIRST_READ_BYTES = 256 * 1024  # the 4B file's header takes 76 KB
MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 1 << 16  # of metadata, and of tensors
MAX_DIMS = 4
MAX_NESTING = 4  # of arrays in metadata
MAX_VALUES = 1 << 18  # in all arrays of the metadata
MAX_NAME_BYTES = 1024  # of a key or a tensor; it is to fit into a sentence
MIN_METADATA_BYTES = 8 + 4 + 1  # key length, type, value
MIN_TENSOR_BYTES = 8 + 4 + 4 + 8  # name length, n_dims, type, offset

# Metadata value types with a fixed size, as numpy names them.
SCALARS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
UINT32, STRING, ARRAY = 4, 8, 9


@dataclass(frozen=True)
class TensorInfo:
    """One tensor. shape is in PyTorch's order (outermost first); offset counts from the file's start.

    part: the file in which it begins, which is a shard where there are several.
    """

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    n_bytes: int
    part: str


class _Entry(NamedTuple):
    """A line of the tensor table, not yet believed; its offset counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufIndex:
    """Everything a header says. `name` is what to call the file in a sentence."""

    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    data_start: int
    name: str

    @property
    def n_parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


async def read_index(source: ByteSource) -> GgufIndex:
    """Read the header. Raises ModelFileError if the file is not a whole, sound GGUF file."""
    n_wanted = min(FIRST_READ_BYTES, source.n_bytes)
    while True:
        try:
            return _HeaderReader(await source.read_at(0, n_wanted), source).index()
        except _HeaderGoesOnError as goes_on:
            n_wanted = min(source.n_bytes, max(2 * n_wanted, goes_on.n_bytes))


def header_bytes(metadata: Mapping[str, str | int], tensors: Iterable[tuple[str, tuple[int, ...], GgmlType]]) -> bytes:
    """The header of a file with these tensors one after the other, each padded to the alignment, and so is the header.

    Metadata: texts and unsigned 32-bit numbers. tensors: name, shape in PyTorch's order, type.
    """
    table, offset, n_tensors = b"", 0, 0
    for name, shape, kind in tensors:
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        table += _string_bytes(name) + sizes + struct.pack("<IQ", kind, offset)
        offset += padded(kind.n_bytes(math.prod(shape)))
        n_tensors += 1
    values = b"".join(_string_bytes(key) + _value_bytes(value) for key, value in metadata.items())
    header = MAGIC + struct.pack("<IQQ", VERSIONS[-1], n_tensors, len(metadata)) + values + table
    return header.ljust(padded(len(header)), b"\0")


def padded(n_bytes: int) -> int:
    """The next multiple of the alignment."""
    return n_bytes + -n_bytes % DEFAULT_ALIGNMENT


def _string_bytes(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value_bytes(value: str | int) -> bytes:
    """Type and value of a metadata entry."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string_bytes(value)
    return struct.pack("<II", UINT32, value)


class _HeaderGoesOnError(Exception):
    """The header needs at least its first n_bytes, which the file has, but we have not read yet."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes


class _HeaderReader:
    """Parses the first bytes of a source."""

    def __init__(self, data: bytes, source: ByteSource) -> None:
        self._data = data
        self._source = source
        self._n_file_bytes = source.n_bytes
        self._name = source.name
        self._position = 0
        self._n_values = 0

    def index(self) -> GgufIndex:
        version = self._version()
        n_tensors, n_metadata = self._unpack("<QQ")
        self._require_count("tensors", n_tensors, MIN_TENSOR_BYTES)
        self._require_count("metadata entries", n_metadata, MIN_METADATA_BYTES)
        metadata = self._metadata(n_metadata)
        entries = [self._entry() for _ in range(n_tensors)]
        alignment = self._alignment(metadata)
        data_start = self._position + -self._position % alignment
        tensors = [self._tensor(entry, data_start) for entry in entries]
        self._check_layout(tensors, data_start, alignment)
        return GgufIndex(version, metadata, {tensor.name: tensor for tensor in tensors}, data_start, self._name)

    # -- pieces of the header ---------------------------------------------------------------------
    def _version(self) -> int:
        found = self._data[: len(MAGIC)]
        if found != MAGIC:
            what = f"{found!r}" if found else "an empty file"
            raise self._error(f"expected a GGUF file (first bytes {MAGIC!r}), found {what}; is it the right file?")
        self._take(len(MAGIC))
        (version,) = self._unpack("<I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            found_version = f"a big-endian file of version {swapped}" if swapped in VERSIONS else f"version {version}"
            raise self._error(f"expected GGUF version 2 or 3, little-endian, found {found_version}; convert it again")
        return int(version)

    def _metadata(self, n_entries: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(n_entries):
            key = self._short_string("a metadata key")
            if key in metadata:
                raise self._error(f"metadata {key!r} is listed twice; the file is damaged")
            (kind,) = self._unpack("<I")
            metadata[key] = self._value(kind, key, nesting=0)
        return metadata

    def _value(self, kind: int, key: str, nesting: int) -> Any:
        if kind in SCALARS:
            return self._scalars(kind, 1)[0]
        if kind == STRING:
            return self._string(f"metadata {key!r}")
        if kind != ARRAY or nesting >= MAX_NESTING:
            what = f"type {kind}" if kind != ARRAY else f"arrays nested more than {MAX_NESTING} deep"
            raise self._error(f"metadata {key!r} at byte {self._position}: expected a GGUF value, found {what}")
        element_kind, n_elements = self._unpack("<IQ")
        element_bytes = np.dtype(SCALARS[element_kind]).itemsize if element_kind in SCALARS else 8
        self._require_count(f"elements in metadata {key!r}", n_elements, element_bytes, MAX_VALUES - self._n_values)
        self._n_values += n_elements
        if element_kind in SCALARS:
            return self._scalars(element_kind, n_elements)
        return [self._value(element_kind, key, nesting + 1) for _ in range(n_elements)]

    def _entry(self) -> _Entry:
        name = self._short_string("a tensor name")
        (n_dims,) = self._unpack("<I")
        if not 1 <= n_dims <= MAX_DIMS:
            raise self._error(f"tensor {name!r}: expected 1 to {MAX_DIMS} dimensions, found {n_dims}")
        sizes = self._unpack(f"<{n_dims}Q")  # innermost first
        kind, offset = self._unpack("<IQ")
        return _Entry(name, tuple(reversed(sizes)), kind, offset)

    def _tensor(self, entry: _Entry, data_start: int) -> TensorInfo:
        name, shape, kind, offset = entry
        part = part_at(self._source, data_start + offset)
        try:
            ggml_type = GgmlType(kind)
        except ValueError:
            raise ModelFileError(
                f"{part}: tensor {name!r} is of type {type_name(kind)}, expected F32, F16, BF16, Q4_0 or Q8_0; "
                "quantise the model to Q4_0"
            ) from None
        n_elements = math.prod(shape)
        if n_elements == 0 or shape[-1] % ggml_type.block_weights:
            raise self._error(
                f"tensor {name!r} has shape {list(shape)}, expected no empty dimension"
                f" and rows that are a multiple of {ggml_type.block_weights} for {ggml_type.name}"
            )
        return TensorInfo(name, shape, kind, data_start + offset, ggml_type.n_bytes(n_elements), part)

    def _alignment(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 65536 or alignment & (alignment - 1):
            raise self._error(f"expected general.alignment to be a power of two from 8, found {alignment!r:.80}")
        return alignment

    def _check_layout(self, tensors: list[TensorInfo], data_start: int, alignment: int) -> None:
        """Tensors must have different names, be aligned, not overlap, and end inside the file."""
        names: set[str] = set()
        end, previous = data_start, "the header"
        for tensor in sorted(tensors, key=lambda t: t.offset):
            if tensor.name in names:
                raise self._error(f"tensor {tensor.name!r} is listed twice; the file is damaged")
            names.add(tensor.name)
            if (tensor.offset - data_start) % alignment:
                raise self._error(
                    f"tensor {tensor.name!r} starts at byte {tensor.offset}, expected a multiple of {alignment} "
                    f"after byte {data_start}; the file is damaged"
                )
            if tensor.offset < end:
                raise self._error(
                    f"tensor {tensor.name!r} starts at byte {tensor.offset}, inside {previous}, which ends at {end}; "
                    "the file is damaged"
                )
            end, previous = tensor.offset + tensor.n_bytes, f"tensor {tensor.name!r}"
        if end > self._n_file_bytes and tensors:
            part, cut = likely_cut(self._source)
            broken = min((t for t in tensors if t.offset + t.n_bytes > cut), key=lambda t: t.offset)
            n_missing = end - self._n_file_bytes
            raise ModelFileError(
                f"{part.name}: ends within tensor {broken.name!r}: expected {part.n_bytes + n_missing:,} bytes, found "
                f"{part.n_bytes:,}, {n_missing:,} are missing; the download is incomplete, repeat it"
            )

    # -- primitive reads ----------------------------------------------------------------------------
    def _error(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._name}: {what}")

    def _require_count(self, what: str, n: int, min_bytes: int, limit: int = MAX_ENTRIES) -> None:
        """Refuse a count the rest of the file cannot hold, before anything is made of it."""
        n_left = self._n_file_bytes - self._position
        if n * min_bytes > n_left:
            raise self._error(
                f"the header claims {n} {what}, but only {n_left} bytes follow; "
                "the file is truncated or damaged, download it again"
            )
        if n > limit:
            raise self._error(
                f"the header claims {n} {what}, expected at most {limit}; it is damaged, or another model"
            )

    def _take(self, n_bytes: int, what: str = "the header") -> int:
        """Step over n_bytes; returns where they begin."""
        start = self._position
        end = start + n_bytes
        if end > self._n_file_bytes:
            raise self._error(
                f"{what} at byte {start} should take {n_bytes} bytes, but the file ends at {self._n_file_bytes}; "
                "it is truncated or damaged, download it again"
            )
        if end > MAX_HEADER_BYTES:
            raise self._error(f"expected a header of at most {MAX_HEADER_BYTES} bytes, {what} ends at {end}")
        if end > len(self._data):
            raise _HeaderGoesOnError(end)
        self._position = end
        return start

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(layout, self._data, self._take(struct.calcsize(layout)))

    def _short_string(self, what: str) -> str:
        (n_bytes,) = self._unpack("<Q")
        if n_bytes > MAX_NAME_BYTES:
            raise self._error(
                f"{what} at byte {self._position} claims to take {n_bytes} bytes, expected at most {MAX_NAME_BYTES}; "
                "the file is damaged"
            )
        return self._text(n_bytes, what)

    def _string(self, what: str) -> str:
        (n_bytes,) = self._unpack("<Q")
        return self._text(n_bytes, what)

    def _text(self, n_bytes: int, what: str) -> str:
        start = self._take(n_bytes, what)
        return self._data[start : start + n_bytes].decode(errors="replace")

    def _scalars(self, kind: int, n: int) -> list[Any]:
        dtype = np.dtype(SCALARS[kind])
        start = self._take(n * dtype.itemsize, "a metadata array")
        values: list[Any] = np.frombuffer(self._data, dtype, n, start).tolist()
        return values
