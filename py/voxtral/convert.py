"""Checkpoints in safetensors → GGUF files for this engine, a few megabytes at a time.

types       matrices as asked for; norms, biases and convolutions in F32
q, k rows   transformers rotates halves of a head, so its rows are in another order: put back to adjacent pairs
metadata    the counts that shapes do not tell
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxtral.checkpoint import Network, read_network
from voxtral.errors import ModelFileError
from voxtral.gguf import header_bytes, padded
from voxtral.model_files import Tell, complete_file, explaining
from voxtral.quant import GgmlType, quantise
from voxtral.safetensors import StoredTensor, open_checkpoint, read_rows
from voxtral.weights import ARCHITECTURE, ENCODER, metadata, tensor_types

MATRIX_TYPES = {"q4_0": GgmlType.Q4_0, "q8_0": GgmlType.Q8_0, "f16": GgmlType.F16}
TOKENIZER = "tekken.json"
WEIGHTS_AT_ONCE = 1 << 20


def convert(path: Path, target: Path, matrices: GgmlType, tell: Tell) -> list[Path]:
    """Write a checkpoint's network as a GGUF file, which must be new, and its tokenizer beside it; returns both.

    path: what `open_checkpoint` takes. tell: gets bytes of the checkpoint. The file has its name once it is whole.
    Raises ModelFileError.
    """
    checkpoint = open_checkpoint(path)
    network = read_network(checkpoint)
    tokenizer = _tokenizer(checkpoint.files[0].parent, target.parent)
    with explaining(target):
        if target.exists():
            raise ModelFileError(f"{target}: expected a new file, one is there already; name another")
        with complete_file(target) as file:
            for data in _content(network, target.stem, matrices, tell):
                file.write(data)
        if tokenizer is None:
            return [target]
        with complete_file(target.parent / TOKENIZER) as file:
            file.write(tokenizer)
    return [target, target.parent / TOKENIZER]


def _content(network: Network, name: str, matrices: GgmlType, tell: Tell) -> Iterator[bytes]:
    """The GGUF file, in pieces."""
    title = name.encode(errors="replace").decode()  # a file's name may be bytes that are no text
    about: dict[str, str | int] = {"general.architecture": ARCHITECTURE, "general.name": title}
    yield header_bytes({**about, **metadata(network.config)}, tensor_types(network.config, matrices))
    done, total = 0, sum(stored.n_bytes for stored in network.tensors.values())
    for tensor_name, _, kind in tensor_types(network.config, matrices):
        stored, n_written = network.tensors[tensor_name], 0
        for start, rows in _row_blocks(stored, _head_dim(tensor_name, network)):
            try:
                data = quantise(rows, kind)
            except ModelFileError as error:
                where = f"{stored.path}: tensor {stored.name!r}, rows {start} to {start + len(rows) - 1}"
                raise ModelFileError(f"{where}: {error}; the file is damaged") from error
            yield data
            n_written += len(data)
            done += stored.n_bytes // stored.shape[0] * len(rows)
            tell(done, total)
        yield bytes(padded(n_written) - n_written)


def _row_blocks(stored: StoredTensor, head_dim: int | None) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and rows, about a million weights at a time; head_dim: the rows are heads of so many, in halves."""
    n_rows = stored.shape[0]
    step = max(1, WEIGHTS_AT_ONCE // math.prod(stored.shape[1:]))
    if head_dim:
        step = max(1, step // head_dim) * head_dim
    for start in range(0, n_rows, step):
        rows = read_rows(stored, start, min(step, n_rows - start))
        yield start, _in_pairs(rows, head_dim) if head_dim else rows


def _in_pairs(rows: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Rows of whole heads: row j of a head's second half moves behind row j of its first."""
    heads = rows.reshape(-1, 2, head_dim // 2, rows.shape[1])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(rows.shape)


def _head_dim(name: str, network: Network) -> int | None:
    """Rows of a head, for the tensors whose rows are to be put in order."""
    if not network.in_halves or not name.endswith(("wq.weight", "wq.bias", "wk.weight")):
        return None
    return (network.config.encoder if name.startswith(ENCODER) else network.config.decoder).head_dim


def _tokenizer(beside: Path, folder: Path) -> bytes | None:
    """The tekken.json beside the checkpoint, if there is one; in the target's folder must be none other."""
    with explaining(beside):
        if not (beside / TOKENIZER).exists():
            return None
        tokenizer = (beside / TOKENIZER).read_bytes()
        if (folder / TOKENIZER).exists() and (folder / TOKENIZER).read_bytes() != tokenizer:
            raise ModelFileError(f"{folder / TOKENIZER}: belongs to another model; choose another folder")
    return tokenizer
