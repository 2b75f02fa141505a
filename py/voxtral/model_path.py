"""A path on this machine as a model: weights to read, and where their tokenizer is."""

from pathlib import Path

from voxtral.checkpoint_source import as_gguf
from voxtral.errors import ModelFileError
from voxtral.mapped_file import FileSource
from voxtral.model_files import TOKENIZER, explaining
from voxtral.safetensors import is_checkpoint, open_checkpoint
from voxtral.shards import ShardedCursor, weight_names


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
