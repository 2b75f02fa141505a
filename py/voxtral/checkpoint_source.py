"""A checkpoint in safetensors as the GGUF file it would be; its tensors are made of the checkpoint while they are read.

types       matrices keep their own, or get the one asked for; norms, biases and convolutions become F32
q, k rows   transformers rotates halves of a head, so its rows are in another order: put back to adjacent pairs
metadata    the counts that shapes do not tell

    as_gguf      the whole file, matrices in their own types
    gguf_parts   its header and tensors
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxtral.checkpoint import OWN_TYPES, Network, read_network
from voxtral.errors import ModelFileError
from voxtral.gguf import header_bytes, padded
from voxtral.quant import GgmlType, dequantise, quantise
from voxtral.safetensors import Checkpoint, StoredTensor, read_rows
from voxtral.shards import MemorySource, Piece, ShardedCursor, require_range
from voxtral.weights import ARCHITECTURE, ENCODER, metadata, tensor_shapes

GENERAL_NAMES = {"consolidated", "model"}  # of files, which tell nothing about the model


def as_gguf(checkpoint: Checkpoint) -> ShardedCursor:
    """Raises ModelFileError if it is not this network, whole."""
    header, tensors = gguf_parts(read_network(checkpoint), _title(checkpoint.path))
    name = str(checkpoint.path)
    return ShardedCursor([MemorySource(header, name), *tensors], name)


def gguf_parts(network: Network, title: str, matrices: GgmlType | None = None) -> tuple[bytes, list["TensorSource"]]:
    """The header, and the tensors that follow it.

    title: a name for people. matrices: the type to store them in; all numbers are then looked at, too.
    """
    tensors, table = [], []
    for name, shape in tensor_shapes(network.config):
        stored, kind, is_copy = network.tensors[name], GgmlType.F32, False
        if len(shape) == 2:
            is_copy = matrices is None
            kind = OWN_TYPES[stored.dtype] if matrices is None else matrices
        tensors.append(TensorSource(stored, kind, is_copy, _head_dim(name, network)))
        table.append((name, shape, kind))
    text = title.encode(errors="replace").decode()  # a file's name may be bytes that are no text
    about: dict[str, str | int] = {"general.architecture": ARCHITECTURE, "general.name": text}
    return header_bytes({**about, **metadata(network.config)}, table), tensors


class TensorSource:
    """A tensor of the file with the padding behind it, as a `shards.ByteSource`.

    is_copy: its numbers are as they are stored. head_dim: its rows are heads of so many, in halves.
    """

    def __init__(self, stored: StoredTensor, kind: GgmlType, is_copy: bool, head_dim: int | None) -> None:
        self.stored = stored
        self.name = str(stored.path)
        self._kind, self._is_copy, self._head_dim = kind, is_copy, head_dim
        self.row_bytes = kind.n_bytes(math.prod(stored.shape[1:]))
        self._n_data_bytes = stored.shape[0] * self.row_bytes
        self.n_bytes = padded(self._n_data_bytes)

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        return bytes(self.view(offset, n_bytes))

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, self.view(offset, n_bytes))

    def close(self) -> None:
        """Nothing to let go of: nothing stays open."""

    def view(self, offset: int, n_bytes: int) -> memoryview:
        """`read_at` without a copy where none is needed."""
        require_range(self.name, self.n_bytes, offset, n_bytes)
        end = min(offset + n_bytes, self._n_data_bytes)
        n_padding = n_bytes - max(0, end - offset)
        if n_padding == n_bytes:
            return memoryview(bytes(n_bytes))
        first = offset // self.row_bytes
        rows = self._rows(first, -(-end // self.row_bytes))
        data = rows[offset - first * self.row_bytes : end - first * self.row_bytes]
        return memoryview(bytes(data) + bytes(n_padding)) if n_padding else data

    def _rows(self, first: int, end: int) -> memoryview:
        """Whole rows in the file's order and type. Raises ModelFileError if there are none, or no numbers in them."""
        rows = read_rows(self.stored, first, end - first) if self._head_dim is None else self._sorted_rows(first, end)
        if self._is_copy:
            return rows.reshape(-1).data
        n_weights = (end - first) * math.prod(self.stored.shape[1:])
        try:
            return memoryview(quantise(dequantise(rows.tobytes(), OWN_TYPES[self.stored.dtype], n_weights), self._kind))
        except ModelFileError as error:
            where = f"{self.name}: tensor {self.stored.name!r}, rows {first} to {end - 1}"
            raise ModelFileError(f"{where}: {error}; the file is damaged") from error

    def _sorted_rows(self, first: int, end: int) -> NDArray[np.uint8]:
        """Rows of q or k: row j of a head's second half moves behind row j of its first."""
        head_dim = self._head_dim or 1
        first_head, end_head = first // head_dim, -(-end // head_dim)
        rows = read_rows(self.stored, first_head * head_dim, (end_head - first_head) * head_dim)
        in_pairs = rows.reshape(-1, 2, head_dim // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
        return in_pairs[first - first_head * head_dim : end - first_head * head_dim]


def _head_dim(name: str, network: Network) -> int | None:
    """Rows of a head, for the tensors whose rows are to be put in order."""
    if not network.in_halves or not name.endswith(("wq.weight", "wq.bias", "wk.weight")):
        return None
    return (network.config.encoder if name.startswith(ENCODER) else network.config.decoder).head_dim


def _title(path: Path) -> str:
    """What to call a model whose files do not tell: by its file, or by its folder."""
    name = path.name.split(".")[0]
    is_telling = path.is_file() and name not in GENERAL_NAMES
    return name if is_telling else (path if path.is_dir() else path.parent).resolve().name
