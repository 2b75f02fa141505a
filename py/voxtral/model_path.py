"""A path on this machine as a model.

open_model_files    weights to read, and where their tokenizer is
weights_sha256      which weights they are, for reports
"""

import asyncio
import hashlib
from contextlib import closing
from pathlib import Path

from voxtral.checkpoint_source import as_gguf
from voxtral.errors import ModelFileError
from voxtral.mapped_file import FileSource
from voxtral.model_files import TOKENIZER, explaining
from voxtral.safetensors import is_checkpoint, open_checkpoint
from voxtral.shards import ShardedCursor, weight_names

HASHED_BYTES = 1 << 24  # at once


def open_model_files(path: Path | str) -> tuple[ShardedCursor, Path]:
    """Weights as a GGUF file, and where their tekken.json belongs.

    path: a .gguf file; a .safetensors file or its index.json; a folder with one of these, whole or in shards.
    Raises ModelFileError if there are no weights, or safetensors that are not this network; the tokenizer is not
    looked at.
    """
    path = Path(path)
    with explaining(path):
        if not path.exists():
            raise ModelFileError(
                f"{path}: no such file or folder; give a .gguf or .safetensors file, or a folder with a model's files"
            )
        if is_checkpoint(path):
            return as_gguf(open_checkpoint(path)), (path if path.is_dir() else path.parent) / TOKENIZER
        weights = [path]
        if path.is_dir():
            names = [child.name for child in path.iterdir() if child.is_file()]
            weights = [path / name for name in weight_names(names, str(path), "safetensors")]
        return ShardedCursor([FileSource(weight) for weight in weights]), weights[0].parent / TOKENIZER


async def weights_sha256(path: Path) -> str:
    """SHA-256 of the files with a model's weights as they lie there, one behind the other, in hexadecimal.

    Of one file it is what sha256sum says; of shards, that of the file they were cut from; of several safetensors, that
    of all in the order of their names. It takes about as long as reading them. path: as open_model_files takes it.
    Raises ModelFileError.
    """
    if is_checkpoint(path):  # not as_gguf, which would convert all of it
        source = ShardedCursor([FileSource(file) for file in open_checkpoint(path).files])
    else:
        source, _ = open_model_files(path)
    sums = hashlib.sha256()
    with closing(source):
        for start in range(0, source.n_bytes, HASHED_BYTES):
            sums.update(await source.read_at(start, min(HASHED_BYTES, source.n_bytes - start)))
            await asyncio.sleep(0)  # where an interruption ends it
    return sums.hexdigest()
