"""The loaded network: weights on a device, and streams that listen with them.

The silent prefix — the positions of left padding that no real sample can touch — is computed once for
each delay and padding and kept as a checkpoint, so that a new session starts right behind it.
"""

import math
from dataclasses import dataclass

import numpy as np

from voxtral.config import MEL_FRAMES_PER_TOKEN, N_MEL_BINS, SAMPLES_PER_TOKEN, ModelConfig, StreamingConfig
from voxtral.gguf import GgufIndex
from voxtral.mel import log_mel
from voxtral.model.layers import AnyOps
from voxtral.model.loader import ModelWeights, Progress, load_weights
from voxtral.model.stream import HISTORY_MEL_FRAMES, Checkpoint, Stream
from voxtral.shards import ShardedCursor

MAX_PREFIXES = 3  # checkpoints kept; each is some 90 MB for the 4B model at 76 tokens


@dataclass(frozen=True)
class Prefix:
    """State behind the silent prefix, and the ids generated on the way."""

    checkpoint: Checkpoint
    tokens: list[int]  # one for each position


class Voxtral:
    """A network ready to listen. Streams are lent and taken back; a lent one serves one session at a time."""

    def __init__(self, ops: AnyOps, config: ModelConfig, weights: ModelWeights, index: GgufIndex) -> None:
        self.ops = ops
        self.config = config
        self.metadata = index.metadata
        self.n_parameters = sum(math.prod(info.shape) for info in index.tensors.values())
        self._weights = weights
        self._idle: list[Stream] = []
        self._prefixes: dict[tuple[int, int], Prefix] = {}  # by delay and left padding

    @classmethod
    async def load(cls, ops: AnyOps, source: ShardedCursor, progress: Progress | None = None) -> "Voxtral":
        """Check the file, then move its weights to the device. Raises ModelFileError, DeviceError."""
        config, weights, index = await load_weights(ops, source, progress)
        return cls(ops, config, weights, index)

    async def borrow(self, progress: Progress | None = None) -> Stream:
        """A stream for one session; the first use allocates caches and compiles kernels (progress: of the programs)."""
        return self._idle.pop() if self._idle else await Stream.create(self.ops, self.config, self._weights, progress)

    def give_back(self, stream: Stream) -> None:
        """End of the session: its stream may serve the next one."""
        self._idle.append(stream)

    async def warm_up(
        self, streaming: StreamingConfig, on_programs: Progress | None = None, on_prefix: Progress | None = None
    ) -> None:
        """Compile every kernel and compute the silent prefix, so that the first word costs no more than the next."""
        stream = await self.borrow(on_programs)
        await self.prefix(stream, streaming, on_prefix)
        self.give_back(stream)

    async def prefix(self, stream: Stream, streaming: StreamingConfig, progress: Progress | None = None) -> Prefix:
        """The silent prefix for this delay and padding, computed on `stream` the first time."""
        key = (streaming.delay_tokens, streaming.left_pad_tokens)
        if key not in self._prefixes:
            if len(self._prefixes) >= MAX_PREFIXES:
                self._forget_oldest_prefix()
            self._prefixes[key] = await self._compute_prefix(stream, streaming, progress)
        return self._prefixes[key]

    async def _compute_prefix(self, stream: Stream, streaming: StreamingConfig, progress: Progress | None) -> Prefix:
        stream.start(streaming)
        silence = log_mel(np.zeros(streaming.n_silent_tokens * SAMPLES_PER_TOKEN, np.float32))
        mel = np.concatenate([np.zeros((HISTORY_MEL_FRAMES, N_MEL_BINS), np.float32), silence])
        tokens: list[int] = []
        while len(tokens) < streaming.n_silent_tokens:
            n_tokens = next(n for n in stream.chunk_tokens if n <= streaming.n_silent_tokens - len(tokens))
            start = len(tokens) * MEL_FRAMES_PER_TOKEN
            tokens += await stream.advance(mel[start : start + HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN])
            if progress:
                await progress(len(tokens), streaming.n_silent_tokens)
        return Prefix(stream.checkpoint(tokens[-1]), tokens)

    def _forget_oldest_prefix(self) -> None:
        oldest = self._prefixes.pop(next(iter(self._prefixes)))
        self.ops.free([cache.kv for cache, _ in oldest.checkpoint.caches])
