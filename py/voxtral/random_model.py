"""Networks with random weights in the real file layout: full size without the real weights.

They say nothing, but they load, fit and run as the real ones do: same tensors, types, shards and byte counts. Scales
are chosen so that activations stay near 1 and the most likely token varies.
"""

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import (
    BOS_TOKEN,
    EOS_TOKEN,
    N_SPECIAL_TOKENS,
    STREAMING_PAD_TOKEN,
    STREAMING_WORD_TOKEN,
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
)
from voxtral.errors import ConfigError
from voxtral.gguf import header_bytes, padded
from voxtral.model_files import TOKENIZER
from voxtral.quant import WEIGHTS_PER_BLOCK, GgmlType, quantise
from voxtral.weights import (
    ADA_DOWN,
    ARCHITECTURE,
    MATRIX_TYPES,
    TOKEN_EMBEDDINGS,
    metadata,
    tensor_shapes,
    tensor_types,
)

FULL = ModelConfig(EncoderConfig(), DecoderConfig())
PRESETS = {
    "4b": FULL,
    # One full-width layer on each side, with a small vocabulary: for comparison with other implementations.
    "4b-layer": ModelConfig(replace(FULL.encoder, n_layers=1), replace(FULL.decoder, n_layers=1, vocab_size=4096)),
    "1b": ModelConfig(replace(FULL.encoder, n_layers=8), replace(FULL.decoder, n_layers=6)),
    "small": ModelConfig(
        EncoderConfig(n_layers=4, dim=128, n_heads=4, head_dim=64, ffn_dim=512),
        DecoderConfig(n_layers=4, dim=256, n_heads=8, n_kv_heads=2, head_dim=64, ffn_dim=768, vocab_size=4096),
    ),
}
TYPES = {kind.name.lower(): kind for kind in MATRIX_TYPES}
SHARD_BYTES = 512 << 20  # as `split -b 512m` cuts
WEIGHTS_AT_ONCE = 1 << 22  # 16 MiB in F32
BLOCKS_AT_ONCE = 1 << 20  # of Q4_0, 18 MB
N_LEVELS = 1 << 16  # different weights of a matrix that is not quantised
NIBBLE_STD = 4.61  # of q - 8, q uniform over 0 … 15
SPECIAL_NAMES = {
    0: "<unk>",
    BOS_TOKEN: "<s>",
    EOS_TOKEN: "</s>",
    STREAMING_PAD_TOKEN: "[STREAMING_PAD]",
    STREAMING_WORD_TOKEN: "[STREAMING_WORD]",
}

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


def make_random(
    config: ModelConfig,
    folder: Path,
    seed: int = 1,
    shard_bytes: int = SHARD_BYTES,
    kind: GgmlType = GgmlType.Q4_0,
) -> list[Path]:
    """Write shard-aa, shard-ab, … (or model.gguf if one is enough) and tekken.json; returns the weight files.

    kind: of the matrices, one of TYPES. The same seed gives the same bytes. Raises ConfigError where the folder cannot
    be written or holds other weights.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        if others := [name for name in names if name.endswith(".gguf") or name.startswith("shard-")]:
            raise ConfigError(f"{folder} already holds weights ({', '.join(others)}); choose an empty folder")
        (folder / TOKENIZER).write_text(json.dumps(random_tekken(config.decoder.vocab_size)))
        with _ShardWriter(folder, shard_bytes) as out:
            _write_gguf(config, kind, np.random.Generator(np.random.SFC64(seed)), out)
        return out.finish()
    except OSError as error:
        sentence = f"{folder}: cannot be written ({error.strerror}); check the space and the permissions"
        raise ConfigError(sentence) from error


def _write_gguf(config: ModelConfig, kind: GgmlType, rng: np.random.Generator, out: "_ShardWriter") -> None:
    out.write(header(config, kind))
    for name, shape in tensor_shapes(config):
        if len(shape) != 2:
            out.write(_floats(name, shape, rng).tobytes())
        elif kind is GgmlType.Q4_0:
            for blocks in _q4_0_blocks(name, shape, rng):
                out.write(blocks.tobytes())
        else:
            for weights in _weights(name, shape, kind, rng):
                out.write(weights.data)
        out.pad()


def header(config: ModelConfig, kind: GgmlType = GgmlType.Q4_0) -> bytes:
    """Magic, metadata and tensor table. kind: of the matrices."""
    about: dict[str, str | int] = {
        "general.architecture": ARCHITECTURE,
        "general.name": "Voxtral with random weights",
        **metadata(config),
    }
    return header_bytes(about, tensor_types(config, kind))


def _weights(
    name: str, shape: tuple[int, ...], kind: GgmlType, rng: np.random.Generator
) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
    """Bits of the weights of a matrix whose products keep the size of their input, a few megabytes at a time.

    They are evenly spread over N_LEVELS values and looked up: several times as fast as drawing and rounding each.
    """
    n_rows, n_cols = shape
    spread = np.linspace(-1, 1, N_LEVELS) * (math.sqrt(3) * _gain(name) / math.sqrt(n_cols))
    levels = np.frombuffer(quantise(spread.astype(np.float32), kind), f"<u{kind.block_bytes}")
    silent = range(EOS_TOKEN * n_cols, (EOS_TOKEN + 1) * n_cols) if name == TOKEN_EMBEDDINGS else range(0)
    for first in range(0, n_rows * n_cols, WEIGHTS_AT_ONCE):
        n = min(WEIGHTS_AT_ONCE, n_rows * n_cols - first)
        weights = levels[rng.bit_generator.random_raw(math.ceil(n / 4)).astype("<u8", copy=False).view("<u2")[:n]]
        if first == 0:
            weights[silent.start : silent.stop] = 0  # `</s>` is never the maximum
        yield weights


def _q4_0_blocks(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[NDArray[np.void]]:
    """Q4_0 blocks of a matrix whose products keep the size of their input, a few megabytes at a time."""
    n_rows, n_cols = shape
    std = _gain(name) / math.sqrt(n_cols)
    n_left = n_rows * n_cols // WEIGHTS_PER_BLOCK
    first = True
    while n_left:
        n_blocks = min(n_left, BLOCKS_AT_ONCE)
        blocks = np.empty(n_blocks, _BLOCK)
        blocks["nibbles"] = np.frombuffer(rng.bytes(16 * n_blocks), np.uint8).reshape(-1, 16)
        draw = np.frombuffer(rng.bytes(2 * n_blocks), np.uint16)
        # Scales vary by half and have either sign, as in real files; the sign also centres q - 8, whose mean is -0.5.
        size = (0.75 + (draw >> 1) / 65_536) * (std / NIBBLE_STD)
        blocks["scale"] = np.where(draw & 1, size, -size)
        if name == TOKEN_EMBEDDINGS and first:
            n_row_blocks = n_cols // WEIGHTS_PER_BLOCK
            # `</s>` is never the maximum.
            blocks["scale"][EOS_TOKEN * n_row_blocks : (EOS_TOKEN + 1) * n_row_blocks] = 0
        first = False
        n_left -= n_blocks
        yield blocks


def _gain(name: str) -> float:
    if name == TOKEN_EMBEDDINGS:
        return 1.75  # logits of such a standard deviation: one stands out, not always the same
    if name.endswith(("wq.weight", "wk.weight")):
        return 1.5  # attention that looks somewhere
    return 2.0 if name.endswith(ADA_DOWN) else 1.0


def _floats(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    noise = rng.standard_normal(shape, np.float32)
    if len(shape) == 3:
        return noise * np.float32(1.5 / math.sqrt(shape[1] * shape[2]))
    return noise * np.float32(0.1) if name.endswith("bias") else 1 + noise * np.float32(0.2)


def random_tekken(vocab_size: int) -> dict[str, object]:
    """A tokenizer of the right size whose pieces are single bytes and short made-up words."""
    n_pieces = vocab_size - N_SPECIAL_TOKENS
    pieces = [bytes([value]) for value in range(256)] + [f" {_syllables(i)}".encode() for i in range(n_pieces - 256)]
    return {
        "config": {
            "pattern": ".",
            "num_vocab_tokens": n_pieces,
            "default_vocab_size": vocab_size,
            "default_num_special_tokens": N_SPECIAL_TOKENS,
            "version": "v13",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
            for rank, piece in enumerate(pieces[:n_pieces])
        ],
        "special_tokens": [
            {"rank": rank, "token_str": SPECIAL_NAMES.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(N_SPECIAL_TOKENS)
        ],
        "type": "Tekken",
        "version": 1,
    }


def _syllables(number: int) -> str:
    """A pronounceable name for a number, another one for each."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    name = syllables[number % len(syllables)]
    while number := number // len(syllables):
        name = syllables[number % len(syllables)] + name
    return name


class _ShardWriter:
    """One stream of bytes, cut into files of at most shard_bytes."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._paths: list[Path] = []
        self._file: IO[bytes] | None = None
        self._n_bytes = 0

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        while view:
            room = self._shard_bytes - self._n_bytes % self._shard_bytes
            if self._file is None or self._n_bytes % self._shard_bytes == 0:
                self._next()
            assert self._file is not None
            self._n_bytes += self._file.write(view[:room])
            view = view[room:]

    def pad(self) -> None:
        self.write(bytes(padded(self._n_bytes) - self._n_bytes))

    def _next(self) -> None:
        if self._file:
            self._file.close()
        index = len(self._paths)
        self._paths.append(self._folder / f"shard-{chr(97 + index // 26)}{chr(97 + index % 26)}")
        self._file = self._paths[-1].open("wb")

    def finish(self) -> list[Path]:
        """The files, in order; a single one is named as what it is."""
        if len(self._paths) == 1:
            self._paths = [self._paths[0].rename(self._folder / "model.gguf")]
        return self._paths
