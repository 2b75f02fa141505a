"""Checkpoints in safetensors → GGUF files for this engine, a few megabytes at a time."""

import math
from collections.abc import Iterator
from pathlib import Path

from voxtral.checkpoint import read_network
from voxtral.checkpoint_source import TensorSource, gguf_parts
from voxtral.errors import ModelFileError
from voxtral.model_files import TOKENIZER, Tell, complete_file, explaining
from voxtral.quant import GgmlType
from voxtral.safetensors import open_checkpoint

MATRIX_TYPES = {
    "q4_0": GgmlType.Q4_0,
    "q8_0": GgmlType.Q8_0,
    "f16": GgmlType.F16,
    "bf16": GgmlType.BF16,
    "f32": GgmlType.F32,
}
WEIGHTS_AT_ONCE = 1 << 20


def convert(path: Path, target: Path, matrices: GgmlType, tell: Tell, name: str | None = None) -> list[Path]:
    """Write a checkpoint's network as a GGUF file, which must be new, and its tokenizer beside it; returns both.

    path: what `open_checkpoint` takes. tell: gets bytes of the checkpoint. name: the model's, None for the file's. The
    file has its name once it is whole.
    Raises ModelFileError.
    """
    checkpoint = open_checkpoint(path)
    header, tensors = gguf_parts(read_network(checkpoint), name or target.stem, matrices)
    tokenizer = _tokenizer(checkpoint.files[0].parent, target.parent)
    with explaining(target):
        if target.exists():
            raise ModelFileError(f"{target}: expected a new file, one is there already; name another")
        with complete_file(target) as file:
            file.write(header)
            for data in _content(tensors, tell):
                file.write(data)
        if tokenizer is None:
            return [target]
        with complete_file(target.parent / TOKENIZER) as file:
            file.write(tokenizer)
    return [target, target.parent / TOKENIZER]


def _content(tensors: list[TensorSource], tell: Tell) -> Iterator[memoryview]:
    """All tensors in pieces, whole rows of about a million weights at a time."""
    done, total = 0, sum(tensor.stored.n_bytes for tensor in tensors)
    for tensor in tensors:
        step = max(1, WEIGHTS_AT_ONCE // math.prod(tensor.stored.shape[1:])) * tensor.row_bytes
        for offset in range(0, tensor.n_bytes, step):
            n_bytes = min(step, tensor.n_bytes - offset)
            yield tensor.view(offset, n_bytes)
            tell(done + tensor.stored.n_bytes * (offset + n_bytes) // tensor.n_bytes, total)
        done += tensor.stored.n_bytes


def _tokenizer(beside: Path, folder: Path) -> bytes | None:
    """The tekken.json beside the checkpoint, if there is one; in the target's folder must be none other."""
    with explaining(beside):
        if not (beside / TOKENIZER).exists():
            return None
        tokenizer = (beside / TOKENIZER).read_bytes()
        if (folder / TOKENIZER).exists() and (folder / TOKENIZER).read_bytes() != tokenizer:
            raise ModelFileError(f"{folder / TOKENIZER}: belongs to another model; choose another folder")
    return tokenizer
