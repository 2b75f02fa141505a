"""The device side of one session: caches, positions, and the programs that advance them.

A stream takes mel frames and gives token ids. Per chunk of n tokens it submits one encoder program
(conv stem, layers, adapter: n audio embeddings) and n runs of the decoder program; only the ids of the
likeliest tokens and their probabilities come back. The conv stem keeps no state: position p sees mel
frames 8p - 3 … 8p + 7, so each chunk brings three frames of history with it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import (
    GROUP,
    MEL_FRAMES_PER_TOKEN,
    N_MEL_BINS,
    ModelConfig,
    StreamingConfig,
)
from voxtral.errors import MemoryRefusedError
from voxtral.model.allocation import Allocation
from voxtral.model.layers import AnyOps, KVCache, RopeTable, apply_layer
from voxtral.model.loader import ModelWeights, Progress
from voxtral.model.prefix import Checkpoint, Copies, Prefix
from voxtral.ops.base import N_CANDIDATES, DecoderState
from voxtral.readings import Candidate, Choice

HISTORY_MEL_FRAMES = 3
LARGEST_COPY_BYTES = 16 << 20  # of a checkpoint; beside the 4B model there is no room for the 87 MB of its own
LARGEST_F32_CACHE_BYTES = 64 << 20  # of all rings of a stream; beyond that they hold float16

Probe = Callable[[str, NDArray[np.float32]], None]  # stage name as in the golden files, new rows


class Stream:
    """Device state of one session. Making one asks for its memory; `record` must follow. One advance at a time."""

    def __init__(self, ops: AnyOps, config: ModelConfig, weights: ModelWeights) -> None:
        self._ops, self._config, self._weights = ops, config, weights
        self.memory = Allocation(ops)
        self.position = 0  # tokens, encoder and decoder alike
        self.prefix: Prefix | None = None  # computed here, and nowhere but in these rings
        self.chunk_tokens = ops.chunk_tokens
        self._conditioned_delay = -1
        self._encode: dict[int, Any] = {}
        self._decode: Any = None
        self._condition: Any = None
        self._stem: dict[int, Any] = {}  # recorded only for probing
        with self.memory.or_nothing():
            self._allocate(self.memory)

    def _allocate(self, memory: Allocation) -> None:
        encoder, decoder = self._config.encoder, self._config.decoder
        max_tokens = self.chunk_tokens[0]
        max_rows = max_tokens * GROUP
        encoder_width = encoder.n_heads * encoder.head_dim
        decoder_width = decoder.n_kv_heads * decoder.head_dim
        capacity, dtype = encoder_capacity(self._config, max_tokens), cache_dtype(self._config, max_tokens)
        self._encoder_caches = [
            KVCache.allocate(memory, capacity, encoder_width, dtype, f"encoder {i}") for i in range(encoder.n_layers)
        ]
        self._decoder_caches = [
            KVCache.allocate(memory, decoder.window, decoder_width, dtype, f"decoder {i}")
            for i in range(decoder.n_layers)
        ]
        self._encoder_rope = RopeTable(memory, encoder.head_dim, max_rows)
        self._decoder_rope = RopeTable(memory, decoder.head_dim, max_tokens)
        self._encoder_position = memory.zeros((1,), "uint32", "encoder position")
        self._state = memory.zeros((len(DecoderState),), "uint32", "decoder state")
        self._mel = memory.zeros((HISTORY_MEL_FRAMES + max_tokens * MEL_FRAMES_PER_TOKEN, N_MEL_BINS), label="mel")
        self._audio = memory.zeros((max_tokens, decoder.dim), label="audio embeddings")
        self._choices = memory.zeros((max_tokens, 2 * N_CANDIDATES), "uint32", "choices")
        self._delay = memory.zeros((1, decoder.dim), label="delay embedding")
        self._ffn_norms = [memory.zeros((decoder.dim,), label=f"ffn norm {i}") for i in range(decoder.n_layers)]

    async def record(self, progress: Progress | None = None) -> None:
        """Record every program, which compiles its kernels; progress: programs done, and in total."""
        builds = {f"encode {n}": self._encoder_program(n) for n in self.chunk_tokens}
        builds |= {"decode": self._decoder_program, "condition": self._condition_program}
        programs = {}
        for label, build in builds.items():
            programs[label] = self.memory.keep(await self._ops.program(build, label))
            await self._ops.settle()
            if progress:
                await progress(len(programs), len(builds))
        self._encode = {n: programs[f"encode {n}"] for n in self.chunk_tokens}
        self._decode, self._condition = programs["decode"], programs["condition"]

    @property
    def programs(self) -> dict[str, Any]:
        """The recorded programs, by name; for reports about them."""
        return {**{f"encode {n}": program for n, program in self._encode.items()}, "decode": self._decode}

    @property
    def rings(self) -> tuple[list[KVCache], list[KVCache]]:
        """Keys and values of the encoder's and the decoder's layers; a bench may spoil them until the next start."""
        return self._encoder_caches, self._decoder_caches

    # -- position -------------------------------------------------------------------------------
    def start(self, streaming: StreamingConfig) -> None:
        """Begin at position 0 with the prompt of this delay; cached keys before it are never looked at."""
        self.prefix = None
        self._condition_on(streaming.delay_tokens)
        self._set_position(0, 0, streaming)

    def restart_encoder(self, streaming: StreamingConfig) -> None:
        """Begin at position 0 for `encode`; what the decoder remembers stays good."""
        self._set_position(0, 0, streaming)

    def resume(self, checkpoint: Checkpoint, streaming: StreamingConfig) -> None:
        """Go back to a place that both halves keep, of the same padding and delay."""
        if not (self.keeps_encoder_rows(checkpoint) and self.keeps_decoder_rows(checkpoint)):
            raise RuntimeError(f"position {checkpoint.position} was overwritten; go there by Voxtral.prefix")
        self._condition_on(streaming.delay_tokens)
        if checkpoint.copies:
            self.prefix = None
            for (copy, n_rows), cache in zip(checkpoint.copies.rings, self._caches, strict=True):
                self._ops.copy_rows(copy.kv, cache.kv, n_rows)
        self._set_position(checkpoint.position, checkpoint.last_token, streaming)

    async def checkpoint(self, last_token: int) -> Checkpoint:
        """The present position, to which `resume` leads back; `last_token` is the one generated last.

        With copies of what the rings hold, where these are small and the device has room for them.
        """
        used = [(cache, min(self.position * GROUP, cache.capacity)) for cache in self._encoder_caches]
        used += [(cache, min(self.position, cache.capacity)) for cache in self._decoder_caches]
        n_bytes = sum(n_rows * cache.row_bytes for cache, n_rows in used)
        copies = None
        if n_bytes <= LARGEST_COPY_BYTES:
            with suppress(MemoryRefusedError):
                copies = Copies(*await self._copied(used), n_bytes)
        return Checkpoint(self.position, last_token, copies)

    async def _copied(self, used: list[tuple[KVCache, int]]) -> tuple[list[tuple[KVCache, int]], Allocation]:
        memory = Allocation(self._ops)
        with memory.or_nothing():
            rings = [
                (KVCache.allocate(memory, n_rows, cache.width, cache.dtype, "checkpoint"), n_rows)
                for cache, n_rows in used
            ]
            await self._ops.settle()
            for (copy, n_rows), (cache, _) in zip(rings, used, strict=True):
                self._ops.copy_rows(cache.kv, copy.kv, n_rows)
        return rings, memory

    def keeps_encoder_rows(self, checkpoint: Checkpoint) -> bool:
        """Whether every row that encoder positions behind the checkpoint look at is still there."""
        oldest = max(0, checkpoint.position * GROUP - self._config.encoder.window + 1)
        return checkpoint.copies is not None or self.position * GROUP <= oldest + self._encoder_caches[0].capacity

    def keeps_decoder_rows(self, checkpoint: Checkpoint) -> bool:
        """The same of the decoder."""
        oldest = max(0, checkpoint.position - self._config.decoder.window + 1)
        return checkpoint.copies is not None or self.position <= oldest + self._decoder_caches[0].capacity

    @property
    def _caches(self) -> list[KVCache]:
        return self._encoder_caches + self._decoder_caches

    def _set_position(self, position: int, last_token: int, streaming: StreamingConfig) -> None:
        self.position = position
        self._ops.write(self._encoder_position, np.array([position * GROUP], np.uint32))
        self._ops.write(self._state, np.array([position, last_token, streaming.n_prompt_tokens, 0], np.uint32))

    # -- advancing ------------------------------------------------------------------------------
    async def advance(self, mel: NDArray[np.float32]) -> list[Choice]:
        """The tokens chosen at the next n positions, and what else was likely there; n in chunk_tokens.

        mel: float32 [3 + 8 n, 128], the chunk's frames after three frames of history (0.0 before the
        stream's start). Prompt positions give tokens too: what the network would have said there.
        """
        n_tokens = self._take(mel)
        self._ops.submit([self._encode[n_tokens], *[self._decode] * n_tokens])
        return await self.choices(n_tokens)

    def encode(self, mel: NDArray[np.float32]) -> None:
        """The encoder's half of `advance`, where the decoder's rows are there already."""
        self._ops.submit([self._encode[self._take(mel)]])

    async def choices(self, n: int) -> list[Choice]:
        """Those of the last n positions, n up to chunk_tokens[0]; waits for the device."""
        ring = await self._ops.read(self._choices)
        rows = ring[np.arange(self.position - n, self.position) % len(ring)]
        ids = rows[:, :N_CANDIDATES].tolist()
        probabilities = np.exp(rows[:, N_CANDIDATES:].view(np.float32)).tolist()
        return [tuple(map(Candidate, *row)) for row in zip(ids, probabilities, strict=True)]

    async def advance_probed(self, mel: NDArray[np.float32], probe: Probe, decode: bool) -> list[Choice]:
        """Like `advance`, reporting conv2, enc_out, audio_embeds and, if it decodes, each position's logits."""
        n_tokens = self._take(mel)
        if n_tokens not in self._stem:
            program = await self._ops.program(lambda: self._stem_program(n_tokens), f"stem {n_tokens}")
            self._stem[n_tokens] = self.memory.keep(program)
        for program, name in ((self._stem[n_tokens], "conv2"), (self._encode[n_tokens], "enc_out")):
            self._ops.submit([program])
            probe(name, await self._ops.read(self._ops.outputs(program)))
        probe("audio_embeds", (await self._ops.read(self._audio))[:n_tokens])
        if not decode:
            return []
        for _ in range(n_tokens):
            self._ops.submit([self._decode])
            probe("logits", await self._ops.read(self._ops.outputs(self._decode)))
        return await self.choices(n_tokens)

    def _take(self, mel: NDArray[np.float32]) -> int:
        """Hand a chunk's frames and angles to the device and move on; returns its number of tokens."""
        n_tokens = (len(mel) - HISTORY_MEL_FRAMES) // MEL_FRAMES_PER_TOKEN
        self._ops.write(self._mel, mel)
        self._encoder_rope.prepare(self.position * GROUP, n_tokens * GROUP)
        self._decoder_rope.prepare(self.position, n_tokens)
        self.position += n_tokens
        return n_tokens

    # -- programs -------------------------------------------------------------------------------
    def _stem_program(self, n_tokens: int) -> Any:
        """Mel to encoder input [4 n, dim]."""
        ops, weights = self._ops, self._weights
        mel = ops.view(self._mel, (HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN, N_MEL_BINS))
        x = ops.conv1d_gelu(mel, *weights.conv0, stride=1, position=self._encoder_position)  # [8 n + 1, dim]
        return ops.conv1d_gelu(x, *weights.conv1, stride=2)  # [4 n, dim]

    def _encoder_program(self, n_tokens: int) -> Callable[[], Any]:
        """Mel to audio embeddings [n, dec dim]; returns the encoder's output [4 n, dim]."""

        def build() -> Any:
            ops, weights, config = self._ops, self._weights, self._config.encoder
            x = self._stem_program(n_tokens)
            for layer, cache in zip(weights.encoder_layers, self._encoder_caches, strict=True):
                position, rope = self._encoder_position, self._encoder_rope
                heads = (config.n_heads, config.n_heads, config.window)
                apply_layer(ops, layer, x, cache, rope, position, *heads, layer.ffn_norm)
            x = ops.rms_norm(x, weights.encoder_norm)
            groups = ops.view(x, (n_tokens, GROUP * config.dim))  # four positions make one token
            ops.linear(ops.linear(groups, weights.adapter[0], gelu=True), weights.adapter[1], out=self._audio)
            ops.advance_encoder(self._encoder_position, n_tokens * GROUP, self._state)
            return x

        return build

    def _decoder_program(self) -> Any:
        """One position: audio embedding + previous token to the next token; returns the logits [1, vocab]."""
        ops, weights, config = self._ops, self._weights, self._config.decoder
        x = ops.embed(weights.token_embeddings, self._audio, self._state)
        layers = zip(weights.decoder_layers, self._decoder_caches, self._ffn_norms, strict=True)
        for layer, cache, ffn_norm in layers:
            heads = (config.n_heads, config.n_kv_heads, config.window)
            apply_layer(ops, layer, x, cache, self._decoder_rope, self._state, *heads, ffn_norm)
        logits = ops.norm_linear(x, weights.decoder_norm, weights.token_embeddings)
        ops.argmax_advance(logits, self._state, self._choices)
        return logits

    def _condition_program(self) -> None:
        """Fold 1 + ada, constant for a delay, into each layer's FFN norm."""
        ops = self._ops
        for layer, ada, out in zip(self._weights.decoder_layers, self._weights.ada, self._ffn_norms, strict=True):
            scale = ops.linear(ops.linear(self._delay, ada.down, gelu=True), ada.up)
            ops.ada_norm_weight(layer.ffn_norm, scale, out)

    def _condition_on(self, delay_tokens: int) -> None:
        if delay_tokens != self._conditioned_delay:
            self._ops.write(self._delay, delay_embedding(delay_tokens, self._config.decoder.dim)[None])
            self._ops.submit([self._condition])
            self._conditioned_delay = delay_tokens


def encoder_capacity(config: ModelConfig, chunk_tokens: int) -> int:
    """Slots of its rings: the first row of a chunk still needs keys that the last would push out of `window` slots."""
    return config.encoder.window - 1 + chunk_tokens * GROUP


def cache_dtype(config: ModelConfig, chunk_tokens: int) -> str:
    """float32 where both rings are small; float16, half the memory and half the traffic, where they are not."""
    encoder, decoder = config.encoder, config.decoder
    n_keys = encoder.n_layers * encoder_capacity(config, chunk_tokens) * encoder.n_heads * encoder.head_dim
    n_keys += decoder.n_layers * decoder.window * decoder.n_kv_heads * decoder.head_dim
    return "float32" if 2 * 4 * n_keys <= LARGEST_F32_CACHE_BYTES else "float16"


def delay_embedding(delay_tokens: int, dim: int) -> NDArray[np.float32]:
    """The sinusoid of a delay in tokens, cosines first: float32 [dim]."""
    half = dim // 2
    frequencies = np.exp(-np.log(10_000.0) * np.arange(half) / half)
    angles = delay_tokens * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
