"""The device side of one session: caches, positions, and the programs that advance them.

A stream takes mel frames and gives token ids. Per chunk of n tokens it submits one encoder program
(conv stem, layers, adapter: n audio embeddings) and n runs of the decoder program; only the ids come
back. The conv stem keeps no state: position p sees mel frames 8p - 3 … 8p + 7, so each chunk brings
three frames of history with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
from voxtral.model.layers import AnyOps, KVCache, RopeTable, apply_layer
from voxtral.model.loader import ModelWeights, Progress
from voxtral.ops.base import DecoderState

HISTORY_MEL_FRAMES = 3
LARGEST_F32_CACHE_BYTES = 64 << 20  # of all rings of a stream; beyond that they hold float16

Probe = Callable[[str, NDArray[np.float32]], None]  # stage name as in the golden files, new rows


@dataclass(frozen=True)
class Checkpoint:
    """A stream's state at one position: copies of the used cache rows, and the numbers beside them."""

    position: int  # tokens
    last_token: int
    caches: list[tuple[KVCache, int]]  # copies, and how many rows they hold


class Stream:
    """Device state of one session. Create with `Stream.create`; one advance at a time."""

    def __init__(self, ops: AnyOps, config: ModelConfig, weights: ModelWeights) -> None:
        encoder, decoder = config.encoder, config.decoder
        self._ops, self._config, self._weights = ops, config, weights
        self.position = 0  # tokens, encoder and decoder alike
        self.chunk_tokens = ops.chunk_tokens
        max_tokens = ops.chunk_tokens[0]
        max_rows = max_tokens * GROUP
        self._encoder_width = encoder.n_heads * encoder.head_dim
        self._decoder_width = decoder.n_kv_heads * decoder.head_dim
        # The first row of a chunk still needs keys that the last row would push out of a ring of `window`.
        encoder_capacity = encoder.window - 1 + max_rows
        dtype = cache_dtype(config, encoder_capacity)
        self._encoder_caches = [
            KVCache.allocate(ops, encoder_capacity, self._encoder_width, dtype, f"encoder {i}")
            for i in range(encoder.n_layers)
        ]
        self._decoder_caches = [
            KVCache.allocate(ops, decoder.window, self._decoder_width, dtype, f"decoder {i}")
            for i in range(decoder.n_layers)
        ]
        self._encoder_rope = RopeTable(ops, encoder.head_dim, max_rows)
        self._decoder_rope = RopeTable(ops, decoder.head_dim, max_tokens)
        self._encoder_position = ops.zeros((1,), "uint32", "encoder position")
        self._state = ops.zeros((len(DecoderState),), "uint32", "decoder state")
        self._mel = ops.zeros((HISTORY_MEL_FRAMES + max_tokens * MEL_FRAMES_PER_TOKEN, N_MEL_BINS), label="mel")
        self._audio = ops.zeros((max_tokens, decoder.dim), label="audio embeddings")
        self._tokens = ops.zeros((max_tokens,), "uint32", "tokens")
        self._delay = ops.zeros((1, decoder.dim), label="delay embedding")
        self._ffn_norms = [ops.zeros((decoder.dim,), label=f"ffn norm {i}") for i in range(decoder.n_layers)]
        self._conditioned_delay = -1
        self._encode: dict[int, Any] = {}
        self._decode: Any = None
        self._condition: Any = None
        self._stem: Any = None  # recorded only for probing

    @classmethod
    async def create(
        cls, ops: AnyOps, config: ModelConfig, weights: ModelWeights, progress: Progress | None = None
    ) -> "Stream":
        """Allocate everything and record every program; progress: programs done, and in total."""
        stream = cls(ops, config, weights)
        builds = {f"encode {n}": stream._encoder_program(n) for n in ops.chunk_tokens}
        builds |= {"decode": stream._decoder_program, "condition": stream._condition_program}
        programs = {}
        for label, build in builds.items():
            programs[label] = await ops.program(build, label)
            if progress:
                await progress(len(programs), len(builds))
        stream._encode = {n: programs[f"encode {n}"] for n in ops.chunk_tokens}
        stream._decode, stream._condition = programs["decode"], programs["condition"]
        return stream

    @property
    def programs(self) -> dict[str, Any]:
        """The recorded programs, by name; for reports about them."""
        return {**{f"encode {n}": program for n, program in self._encode.items()}, "decode": self._decode}

    # -- position -------------------------------------------------------------------------------
    def start(self, streaming: StreamingConfig) -> None:
        """Begin at position 0 with the prompt of this delay; cached keys before it are never looked at."""
        self._condition_on(streaming.delay_tokens)
        self._set_position(0, 0, streaming)

    def resume(self, checkpoint: Checkpoint, streaming: StreamingConfig) -> None:
        """Begin where a checkpoint of the same padding and delay was taken."""
        self._condition_on(streaming.delay_tokens)
        for (saved, n_rows), cache in zip(checkpoint.caches, self._caches, strict=True):
            self._ops.copy_rows(saved.kv, cache.kv, n_rows)
        self._set_position(checkpoint.position, checkpoint.last_token, streaming)

    def checkpoint(self, last_token: int) -> Checkpoint:
        """Copy what `resume` needs; `last_token` is the one generated last."""
        copies: list[tuple[KVCache, int]] = []
        for cache in self._caches:
            is_encoder = len(copies) < len(self._encoder_caches)
            n_rows = min(self.position * (GROUP if is_encoder else 1), cache.capacity)
            width = self._encoder_width if is_encoder else self._decoder_width
            copy = KVCache.allocate(self._ops, n_rows, width, cache.dtype, "checkpoint")
            self._ops.copy_rows(cache.kv, copy.kv, n_rows)
            copies.append((copy, n_rows))
        return Checkpoint(self.position, last_token, copies)

    def _set_position(self, position: int, last_token: int, streaming: StreamingConfig) -> None:
        self.position = position
        self._ops.write(self._encoder_position, np.array([position * GROUP], np.uint32))
        self._ops.write(self._state, np.array([position, last_token, streaming.n_prompt_tokens, 0], np.uint32))

    @property
    def _caches(self) -> list[KVCache]:
        return self._encoder_caches + self._decoder_caches

    # -- advancing ------------------------------------------------------------------------------
    async def advance(self, mel: NDArray[np.float32]) -> list[int]:
        """Token ids of the next n positions, n in chunk_tokens.

        mel: float32 [3 + 8 n, 128], the chunk's frames after three frames of history (0.0 before the
        stream's start). Prompt positions give ids too: what the network would have said there.
        """
        n_tokens = self._take(mel)
        self._ops.submit([self._encode[n_tokens], *[self._decode] * n_tokens])
        ids = await self.ids()
        return [ids[p % self.chunk_tokens[0]] for p in range(self.position - n_tokens, self.position)]

    async def ids(self) -> list[int]:
        """The ring of the last ids, that of position p in slot p % chunk_tokens[0]; waits for the device."""
        return [int(token) for token in await self._ops.read(self._tokens)]

    async def advance_probed(self, mel: NDArray[np.float32], probe: Probe, decode: bool) -> list[int]:
        """Like `advance` for one token, reporting conv2, enc_out, audio_embeds and, if it decodes, logits."""
        if self._stem is None:
            self._stem = await self._ops.program(lambda: self._stem_program(1), "stem")
        self._take(mel)
        for program, name in ((self._stem, "conv2"), (self._encode[1], "enc_out"), (self._decode, "logits")):
            if program is self._decode and not decode:
                return []
            self._ops.submit([program])
            probe(name, await self._ops.read(self._ops.outputs(program)))
            if name == "enc_out":
                probe("audio_embeds", (await self._ops.read(self._audio))[:1])
        return [(await self.ids())[(self.position - 1) % self.chunk_tokens[0]]]

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
        ops.argmax_advance(logits, self._state, self._tokens)
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


def cache_dtype(config: ModelConfig, encoder_capacity: int) -> str:
    """float32 where both rings are small; float16, half the memory and half the traffic, where they are not."""
    encoder, decoder = config.encoder, config.decoder
    n_keys = encoder.n_layers * encoder_capacity * encoder.n_heads * encoder.head_dim
    n_keys += decoder.n_layers * decoder.window * decoder.n_kv_heads * decoder.head_dim
    return "float32" if 2 * 4 * n_keys <= LARGEST_F32_CACHE_BYTES else "float16"


def delay_embedding(delay_tokens: int, dim: int) -> NDArray[np.float32]:
    """The sinusoid of a delay in tokens, cosines first: float32 [dim]."""
    half = dim // 2
    frequencies = np.exp(-np.log(10_000.0) * np.arange(half) / half)
    angles = delay_tokens * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)
