"""Whether the bytes of a model are those its header promises: shards of two models can have equal sizes.

Weights of any network are small numbers. Read at the wrong place, the same bytes give scales that are huge, or no
numbers at all, so a few samples of each file tell.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import ModelFileError
from voxtral.gguf import GgufIndex, TensorInfo
from voxtral.quant import GgmlType, dequantise
from voxtral.shards import ByteSource, part_at

MOST = 1e4  # no weight and no scale of a block is larger, by far
SAMPLE_BLOCKS = 256  # of a tensor, in a row
TENSORS_PER_PART = 12  # looked at in each file, from its beginning to its end


class ImplausibleError(ModelFileError):
    """A file's bytes are no weights. file: its name."""

    def __init__(self, sentence: str, file: str) -> None:
        super().__init__(sentence)
        self.file = file


async def require_plausible(source: ByteSource, index: GgufIndex) -> None:
    """Look at weights in every file of a model. Raises ImplausibleError."""
    by_part: dict[str, list[TensorInfo]] = {}
    for tensor in index.tensors.values():
        by_part.setdefault(part_at(source, tensor.offset + tensor.n_bytes // 2), []).append(tensor)
    for part, tensors in by_part.items():
        for tensor in _spread(tensors):
            values = await _sample(source, tensor)
            if not (np.isfinite(values).all() and np.abs(values).max(initial=0) <= MOST):
                raise ImplausibleError(
                    f"{part}: expected the weights of {tensor.name!r}, found bytes that are none; "
                    "this file is of another model, or damaged",
                    part.rsplit("/", 1)[-1],
                )


def _spread(tensors: list[TensorInfo]) -> list[TensorInfo]:
    """The largest tensor of each stretch of a file."""
    tensors.sort(key=lambda tensor: tensor.offset)
    n_stretches = min(TENSORS_PER_PART, len(tensors))
    ends = [len(tensors) * i // n_stretches for i in range(n_stretches + 1)]
    return [max(tensors[start:end], key=lambda tensor: tensor.n_bytes) for start, end in itertools.pairwise(ends)]


async def _sample(source: ByteSource, tensor: TensorInfo) -> NDArray[np.float32]:
    """Weights, or scales of blocks, from the middle of a tensor."""
    kind = GgmlType(tensor.ggml_type)
    n_blocks = min(SAMPLE_BLOCKS, tensor.n_bytes // kind.block_bytes)
    middle = tensor.n_bytes // kind.block_bytes // 2
    start = min(middle, tensor.n_bytes // kind.block_bytes - n_blocks)
    data = await source.read_at(tensor.offset + start * kind.block_bytes, n_blocks * kind.block_bytes)
    if kind.block_weights == 1:
        return dequantise(data, kind, n_blocks)
    heads = np.frombuffer(data, np.uint8).reshape(n_blocks, kind.block_bytes)[:, :2]
    return np.ascontiguousarray(heads).view("<f2").astype(np.float32)[:, 0]
