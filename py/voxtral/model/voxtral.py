"""The loaded network: weights on a device, and streams that listen with them.

The silent prefix — the positions of left padding that no real sample can touch — is the same for every session of
one delay and padding. It is computed once, and later sessions start right behind it. Small networks keep copies of its
keys and values, from which any stream starts. Large ones do not have the room: there they stay in the rings of the
stream that computed them until a long session takes the encoder's slots, and only that half is computed again.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np

from voxtral.config import MEL_FRAMES_PER_TOKEN, N_MEL_BINS, SAMPLES_PER_TOKEN, ModelConfig, StreamingConfig
from voxtral.gguf import GgufIndex
from voxtral.mel import log_mel
from voxtral.model.layers import AnyOps
from voxtral.model.loader import ModelWeights, Progress, load_weights, read_header
from voxtral.model.memory import MemoryNeed
from voxtral.model.prefix import Prefix, Prefixes, key_of
from voxtral.model.stream import HISTORY_MEL_FRAMES, Stream, cache_dtype
from voxtral.quant import GgmlType
from voxtral.readings import Choice
from voxtral.shards import ShardedCursor
from voxtral.weights import matrix_types


class Voxtral:
    """A network ready to listen. Streams are lent and taken back; a lent one serves one session at a time."""

    def __init__(
        self, ops: AnyOps, config: ModelConfig, weights: ModelWeights, index: GgufIndex, replaced: list[str]
    ) -> None:
        self.ops = ops
        self.replaced = replaced  # kernels that compute nonsense here, a sentence each
        self.config = config
        self.metadata = index.metadata
        self._index = index
        self.n_parameters = sum(math.prod(info.shape) for info in index.tensors.values())
        self.weights = weights
        self.prefixes = Prefixes()
        self._idle: list[Stream] = []
        self._remembering: dict[int, Voxtral] = {}  # by how many tokens

    @classmethod
    async def load(cls, ops: AnyOps, source: ShardedCursor, progress: Progress | None = None) -> "Voxtral":
        """Check the file, then move its weights to the device, whose kernels are checked meanwhile.

        Raises ModelFileError, DeviceError.
        """
        index, config = await read_header(source)
        with MemoryNeed.of(index, config, ops.chunk_tokens[0]).explaining():
            try:
                async with asyncio.TaskGroup() as tasks:
                    weights = tasks.create_task(load_weights(ops, source, index, config, progress))
                    dtype = cache_dtype(config, ops.chunk_tokens[0])
                    replaced = tasks.create_task(ops.self_check(config, matrix_types(index, config), dtype))
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
            ops.end_of_filling()
        return cls(ops, config, weights.result(), index, replaced.result())

    @property
    def matrix_types(self) -> list[GgmlType]:
        """The types that its matrices are of, each once."""
        return matrix_types(self._index, self.config)

    def remembering(self, n_tokens: int) -> "Voxtral":
        """The same network, on the same weights, whose streams look back on n_tokens at most, and take less memory."""
        if n_tokens not in self._remembering:
            decoder = self.config.decoder
            config = replace(self.config, decoder=replace(decoder, window=min(n_tokens, decoder.window)))
            self._remembering[n_tokens] = Voxtral(self.ops, config, self.weights, self._index, self.replaced)
        return self._remembering[n_tokens]

    async def borrow(self, on_programs: Progress | None = None, on_memory: Progress | None = None) -> Stream:
        """A stream for one session; the first use allocates rings and compiles kernels.

        on_programs: how many are recorded; on_memory: bytes on the device that are there besides the matrices.
        """
        if self._idle:
            return self._idle.pop()
        need = MemoryNeed.of(self._index, self.config, self.ops.chunk_tokens[0])
        with need.explaining():
            if on_memory:
                await on_memory(need.vectors, need.vectors + need.caches)
            stream = Stream(self.ops, self.config, self.weights)
            with stream.memory.or_nothing():
                await self.ops.settle()
                if on_memory:
                    await on_memory(need.vectors + need.caches, need.vectors + need.caches)
                await stream.record(on_programs)
        return stream

    def give_back(self, stream: Stream) -> None:
        """End of the session: its stream may serve the next one."""
        self._idle.append(stream)

    async def warm_up(self, streaming: StreamingConfig) -> None:
        """Compile every kernel and stand behind the silent prefix, so that the first word costs no more than the next.

        After a long session, too, it does at leisure what the next one would have to wait for.
        """
        stream = await self.borrow()
        await self.prefix(stream, streaming)
        self.give_back(stream)

    async def prefix(self, stream: Stream, streaming: StreamingConfig) -> Prefix:
        """Bring `stream` behind the silent prefix of this delay and padding; computes what is not there any more."""
        async for _ in self.approach(stream, streaming):
            await asyncio.sleep(0)  # a CPU takes seconds for it all, and others have their turn meanwhile
        prefix = self.prefixes.find(key_of(streaming)) or stream.prefix
        assert prefix
        return prefix

    async def approach(
        self, stream: Stream, streaming: StreamingConfig, n_tokens: int | None = None
    ) -> AsyncIterator[None]:
        """`prefix` in steps of up to n_tokens of silence, None: as many as the device takes; may be left halfway."""
        key = key_of(streaming)
        if kept := self.prefixes.find(key):
            stream.resume(kept.checkpoint, streaming)
            return
        known = stream.prefix
        if known and known.key == key and stream.keeps_decoder_rows(known.checkpoint):
            if not stream.keeps_encoder_rows(known.checkpoint):
                stream.restart_encoder(streaming)
                stream.prefix = None  # until its rows are there again
                async for _ in self._hear_silence(stream, streaming, n_tokens, decode=False):
                    yield
                stream.prefix = known
            stream.resume(known.checkpoint, streaming)
            return
        stream.start(streaming)
        choices: list[Choice] = []
        async for said in self._hear_silence(stream, streaming, n_tokens):
            choices += said
            yield
            if kept := self.prefixes.find(key):  # another session was there first
                stream.resume(kept.checkpoint, streaming)
                return
        prefix = Prefix(key, await stream.checkpoint(choices[-1][0].token), choices)
        if prefix.checkpoint.copies:
            self.prefixes.keep(prefix, prefix.checkpoint.copies)
        else:
            stream.prefix = prefix

    async def _hear_silence(
        self, stream: Stream, streaming: StreamingConfig, limit: int | None, decode: bool = True
    ) -> AsyncIterator[list[Choice]]:
        """Advance over the silent prefix, if not by the encoder alone, by up to `limit` tokens; what is said there."""
        n_silent = streaming.n_silent_tokens
        silence = log_mel(np.zeros(n_silent * SAMPLES_PER_TOKEN, np.float32))
        mel = np.concatenate([np.zeros((HISTORY_MEL_FRAMES, N_MEL_BINS), np.float32), silence])
        while stream.position < n_silent:
            n_left = min(n_silent - stream.position, limit or n_silent)
            n_tokens = next(n for n in stream.chunk_tokens if n <= n_left)
            start = stream.position * MEL_FRAMES_PER_TOKEN
            chunk = mel[start : start + HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN]
            if decode:
                yield await stream.advance(chunk)
            else:
                stream.encode(chunk)
                yield []
