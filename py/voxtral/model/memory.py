"""How much of a GPU a network takes, from its dimensions alone: for progress in bytes, and for sentences."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voxtral.config import ModelConfig
from voxtral.errors import MemoryRefusedError, in_words
from voxtral.model.stream import cache_dtype, encoder_capacity
from voxtral.quant import WEIGHTS_PER_BLOCK, GgmlType
from voxtral.weights import tensor_shapes


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device, without the scratch of a step. matrices: in Q4_0 blocks; vectors: every other weight."""

    matrices: int
    vectors: int
    caches: int

    @classmethod
    def of(cls, config: ModelConfig, chunk_tokens: int) -> "MemoryNeed":
        """For one session at a time that takes up to chunk_tokens tokens of audio at once."""
        shapes = [shape for _, shape in tensor_shapes(config)]
        n_weights = sum(math.prod(shape) for shape in shapes if len(shape) == 2)
        return cls(
            matrices=n_weights // WEIGHTS_PER_BLOCK * GgmlType.Q4_0.block_bytes,
            vectors=4 * sum(math.prod(shape) for shape in shapes if len(shape) != 2),
            caches=_cache_bytes(config, chunk_tokens),
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


def _cache_bytes(config: ModelConfig, chunk_tokens: int) -> int:
    encoder, decoder = config.encoder, config.decoder
    n_keys = encoder.n_layers * encoder_capacity(config, chunk_tokens) * encoder.n_heads * encoder.head_dim
    n_keys += decoder.n_layers * decoder.window * decoder.n_kv_heads * decoder.head_dim
    return 2 * n_keys * (4 if cache_dtype(config, chunk_tokens) == "float32" else 2)
