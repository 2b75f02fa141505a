"""Checkpoints in safetensors files: what lies in them, and rows of it.

    8 bytes: size of the header | header: JSON, for each tensor its dtype, shape and place | data

A checkpoint is one file, or several that an index.json or a folder puts together. Nothing a header says is believed
before it is compared with the file's size; only the rows that are asked for are ever in memory.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import ModelFileError
from voxtral.mapped_file import window
from voxtral.model_files import explaining

MAX_HEADER_BYTES = 1 << 20  # that of the 4B model takes 100 kB; as Python's objects it takes twenty times its size
MAX_DIMS = 8
MAX_NAME_LENGTH = 1024  # it is to fit into a sentence
METADATA = "__metadata__"
SHARD_NAME = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors")  # of transformers
SUFFIX, INDEX_SUFFIX = ".safetensors", ".safetensors.index.json"
WHOLE_NAMES = ("consolidated.safetensors", "model.safetensors.index.json", "model.safetensors")  # the first one there

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


class StoredTensor(NamedTuple):
    """A tensor in a file; offset counts from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    n_bytes: int


class Checkpoint(NamedTuple):
    """One or more files together. path: what was asked for; metadata: what their headers say besides."""

    path: Path
    files: list[Path]
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]

    @property
    def n_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors.values())


def is_checkpoint(path: Path) -> bool:
    """Whether a path is to be read as safetensors, by its name; a folder if it has no weights in GGUF form."""
    if path.is_dir():
        return any(path.glob(f"*{SUFFIX}")) and not (any(path.glob("*.gguf")) or any(path.glob("shard-*")))
    return path.name.endswith((SUFFIX, INDEX_SUFFIX))


def open_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a .safetensors file, of an index.json with its files, or of a folder.

    Raises ModelFileError unless every file is whole and sound.
    """
    with explaining(path):
        files = _files(path)
        tensors: dict[str, StoredTensor] = {}
        metadata: dict[str, str] = {}
        for file in files:
            found, said = _read_header(file)
            if twice := tensors.keys() & found.keys():
                raise ModelFileError(
                    f"{file}: tensor {min(twice)!r} is also in {tensors[min(twice)].path.name}; "
                    "the files are not one checkpoint, name the right one"
                )
            tensors |= found
            metadata |= said
    return Checkpoint(path, files, tensors, metadata)


def read_rows(tensor: StoredTensor, start: int, n_rows: int) -> NDArray[np.uint8]:
    """Rows of the first dimension as they are stored, [n_rows, bytes of a row], where the system's own cache has them.

    Raises ModelFileError if they are not there any more.
    """
    row_bytes = math.prod(tensor.shape[1:]) * DTYPE_BYTES[tensor.dtype]
    raw = window(tensor.path, tensor.offset + start * row_bytes, n_rows * row_bytes)
    return np.frombuffer(raw, np.uint8).reshape(n_rows, row_bytes)


# -- files --------------------------------------------------------------------------------------------
def _files(path: Path) -> list[Path]:
    if path.is_dir():
        for name in WHOLE_NAMES:
            if (path / name).is_file():
                return _files(path / name)
        if found := sorted(path.glob(f"*{SUFFIX}")):
            return _all_there(found)
        raise ModelFileError(f"{path}: expected a .safetensors file in this folder, found none")
    if path.name.endswith(".json"):
        return _indexed_files(path)
    if (shard := SHARD_NAME.fullmatch(path.name)) and int(shard["count"]) > 1:
        raise ModelFileError(f"{path}: is one of {int(shard['count'])} files of a checkpoint; name their folder")
    return [path]


def _all_there(files: list[Path]) -> list[Path]:
    """The same, unless one of them says that there should be more."""
    for file in files:
        if shard := SHARD_NAME.fullmatch(file.name):
            names = [f"{shard['stem']}-{i:05}-of-{shard['count']}{SUFFIX}" for i in range(1, int(shard["count"]) + 1)]
            _require_there(file.parent, names, file.name)
    return files


def _require_there(folder: Path, names: Sequence[str], who_says: str) -> None:
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ModelFileError(
            f"{folder / missing[0]}: is missing, and so are {len(missing) - 1} more of the {len(names)} files that "
            f"{who_says} tells of; the download is incomplete, repeat it"
        )


def _indexed_files(path: Path) -> list[Path]:
    """The files of an index: {"weight_map": {tensor: file}}."""
    with path.open("rb") as file:
        weight_map = _json(file.read(MAX_HEADER_BYTES + 1), path).get("weight_map")
    names = set(weight_map.values()) if isinstance(weight_map, dict) and _all_texts(weight_map) else set()
    if not names or any(not name.endswith(SUFFIX) or Path(name).name != name or "\0" in name for name in names):
        raise ModelFileError(f"{path}: expected a weight_map of tensors to .safetensors files beside it; name the file")
    _require_there(path.parent, sorted(names), path.name)
    return [path.parent / name for name in sorted(names)]


def _all_texts(values: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


# -- a header -----------------------------------------------------------------------------------------
def _read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    with path.open("rb") as file:
        n_file_bytes = file.seek(0, 2)
        file.seek(0)
        n_header_bytes = int.from_bytes(file.read(8), "little")
        if n_file_bytes < 8 or n_header_bytes > min(n_file_bytes - 8, MAX_HEADER_BYTES):
            raise ModelFileError(
                f"{path}: expected a safetensors file, with a header of at most {MAX_HEADER_BYTES:,} bytes, "
                f"found one of {n_header_bytes:,} in a file of {n_file_bytes:,}; is it the right file, and whole?"
            )
        header = _json(file.read(n_header_bytes), path)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not _all_texts(metadata):
        raise ModelFileError(f"{path}: expected {METADATA} to hold texts; the file is damaged")
    data_start = 8 + n_header_bytes
    tensors = [_tensor(name, entry, path, data_start) for name, entry in header.items()]
    _check_layout(tensors, path, data_start, n_file_bytes)
    return {tensor.name: tensor for tensor in tensors}, metadata


def _json(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object, in which no name is there twice."""
    if len(data) > MAX_HEADER_BYTES:
        raise ModelFileError(f"{path}: expected at most {MAX_HEADER_BYTES:,} bytes, found more; is it the right file?")
    try:
        found = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = f"{error}" if isinstance(error, _TwiceError) else "found something else"
        raise ModelFileError(f"{path}: expected a list of tensors in JSON, {reason}; is it the right file?") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"{path}: expected a list of tensors in JSON, found another value; is it the right file?")
    return found


class _TwiceError(ValueError):
    """A name that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _TwiceError(f"found {twice!r:.80} twice")
    return found


def _tensor(name: str, entry: Any, path: Path, data_start: int) -> StoredTensor:
    """An entry as a tensor, if it is one: {"dtype": …, "shape": [sizes], "data_offsets": [first, behind the last]}."""
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if len(name) > MAX_NAME_LENGTH or not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        found = f"{dtype!r:.40}" if isinstance(dtype, str) else "none"
        raise ModelFileError(f"{path}: tensor {name!r:.80}: expected a known dtype, found {found}; the file is damaged")
    try:
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        is_sound = all(type(number) is int and number >= 0 for number in [*shape, begin, end])
        is_sound &= len(shape) <= MAX_DIMS and end - begin == math.prod(shape) * DTYPE_BYTES[dtype]
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise ModelFileError(
            f"{path}: tensor {name!r:.80}: expected data_offsets that fit its shape and dtype; the file is damaged"
        )
    return StoredTensor(name, dtype, tuple(shape), path, data_start + begin, end - begin)


def _check_layout(tensors: list[StoredTensor], path: Path, data_start: int, n_file_bytes: int) -> None:
    """Tensors must not overlap, and end inside the file."""
    end = data_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.n_bytes)):
        if tensor.offset < end:
            raise ModelFileError(f"{path}: tensor {tensor.name!r} lies in another's place; the file is damaged")
        end = tensor.offset + tensor.n_bytes
        if end > n_file_bytes:
            raise ModelFileError(
                f"{path}: ends within tensor {tensor.name!r}, at byte {n_file_bytes:,}; "
                "the download is incomplete, repeat it"
            )
