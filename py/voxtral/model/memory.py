"""How much of a GPU a network takes, from its file's header alone: for progress in bytes, and for sentences."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voxtral.config import ModelConfig
from voxtral.errors import MemoryRefusedError, in_words
from voxtral.gguf import GgufIndex
from voxtral.model.stream import cache_dtype, encoder_capacity
from voxtral.weights import tensor_shapes


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device, without the scratch of a step. matrices: as in the file; vectors: every other weight."""

    matrices: int
    vectors: int
    caches: int

    @classmethod
    def of(cls, index: GgufIndex, config: ModelConfig, chunk_tokens: int) -> "MemoryNeed":
        """For one session at a time that takes up to chunk_tokens tokens of audio at once."""
        shapes = dict(tensor_shapes(config))
        return cls(
            matrices=sum(index.tensors[name].n_bytes for name, shape in shapes.items() if len(shape) == 2),
            vectors=4 * sum(math.prod(shape) for shape in shapes.values() if len(shape) != 2),
            caches=cache_bytes(config, chunk_tokens),
        )

    @property
    def total(self) -> int:
        return self.matrices + self.vectors + self.caches

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Let a refusal of memory say what the whole model needs."""
        try:
            yield
        except MemoryRefusedError as error:
            raise MemoryRefusedError(
                f"this model needs {in_words(self.total)} of GPU memory, {in_words(self.matrices + self.vectors)} for "
                f"its weights and {in_words(self.caches)} to remember what it hears, but {error}; close other tabs and "
                "programs that use the GPU, then try again"
            ) from error


def cache_bytes(config: ModelConfig, chunk_tokens: int) -> int:
    """Of what one session remembers."""
    encoder, decoder = config.encoder, config.decoder
    n_keys = encoder.n_layers * encoder_capacity(config, chunk_tokens) * encoder.n_heads * encoder.head_dim
    n_keys += decoder.n_layers * decoder.window * decoder.n_kv_heads * decoder.head_dim
    return 2 * n_keys * (4 if cache_dtype(config, chunk_tokens) == "float32" else 2)
