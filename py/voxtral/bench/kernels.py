"""Times each operation at the shapes of the loaded model.

A program does one operation once for every layer, so that between two uses of a layer's weights all the others pass
through the caches, as in a real step. Inputs are noise; keys and values are whatever the stream's rings hold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from voxtral.bench.timer import Timed, Timer, digits
from voxtral.config import GROUP, MEL_FRAMES_PER_TOKEN
from voxtral.model.allocation import Allocation
from voxtral.model.layers import KVCache, LayerWeights, RopeTable
from voxtral.model.stream import Stream
from voxtral.model.voxtral import Voxtral
from voxtral.ops.base import N_CANDIDATES

POSITION = 5000  # of the encoder: its window is full


@dataclass(frozen=True)
class Kernel:
    """One operation. build: does it `n` times; n_bytes, n_flops: what one of these has to read and to compute."""

    name: str
    rows: int
    build: Callable[[], Any]
    n: int = 1
    n_bytes: float = 0.0
    n_flops: float = 0.0


class KernelBench:
    """Every kernel of a model. Allocates its inputs once; `close` gives them back."""

    def __init__(self, model: Voxtral, stream: Stream) -> None:
        self.ops, self.model, self.stream = model.ops, model, stream
        self._rng = np.random.default_rng(0)
        self._memory = Allocation(model.ops)

    def noise(self, *shape: int) -> Any:
        """A tensor of random numbers."""
        return self._memory.keep(self.ops.tensor(self._rng.standard_normal(shape).astype(np.float32), "bench"))

    def numbers(self, *values: int) -> Any:
        """A tensor of whole numbers."""
        return self._memory.keep(self.ops.tensor(np.array(values, np.uint32), "bench"))

    def choices(self) -> Any:
        """Room for what one step of the decoder chooses."""
        return self._memory.zeros((1, 2 * N_CANDIDATES), "uint32", "bench")

    def rope(self, head_dim: int, n_rows: int) -> RopeTable:
        rope = RopeTable(self._memory, head_dim, n_rows)
        rope.prepare(0, n_rows)
        return rope

    def close(self) -> None:
        self._memory.free()


async def time_kernels(
    kernels: Sequence[Kernel], bench: KernelBench, timer: Timer, copy_gb_per_s: float
) -> list[dict[str, Any]]:
    """A row for each kernel: kernel, rows, us, and where they mean something gb_per_s, percent_of_copy, tflop_per_s."""
    programs = []
    for kernel in kernels:

        def record(kernel: Kernel = kernel) -> None:
            kernel.build()

        programs.append(await bench.ops.program(record, "bench"))
    timed = [Timed([program], kernel.n) for program, kernel in zip(programs, kernels, strict=True)]
    times = await timer.best_ms(timed)
    bench.ops.free(programs)
    return [_row(kernel, ms, copy_gb_per_s) for kernel, ms in zip(kernels, times, strict=True)]


def _row(kernel: Kernel, ms: float, copy_gb_per_s: float) -> dict[str, Any]:
    gb_per_s = kernel.n_bytes / ms / 1e6
    return {
        "kernel": kernel.name,
        "rows": kernel.rows,
        "us": digits(ms * 1000),
        "gb_per_s": digits(gb_per_s) if gb_per_s else None,
        "percent_of_copy": digits(100 * gb_per_s / copy_gb_per_s) if gb_per_s else None,
        "tflop_per_s": digits(kernel.n_flops / ms / 1e9) if kernel.n_flops else None,
    }


def decoder_kernels(bench: KernelBench, contexts: Sequence[int]) -> Iterator[Kernel]:
    """What a decoder step consists of; attention at each context."""
    ops, config, weights = bench.ops, bench.model.config.decoder, bench.model.weights
    _, caches = bench.stream.rings
    width, kv_width = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    heads = (config.n_heads, config.n_kv_heads)
    rope, state = bench.rope(config.head_dim, 1), bench.numbers(contexts[0], 0, 0, 0)
    moving, choices = bench.numbers(0, 0, 0, 0), bench.choices()
    x, q, wide = bench.noise(1, config.dim), bench.noise(1, width), bench.noise(1, config.ffn_dim)
    logits, audio = bench.noise(1, config.vocab_size), bench.noise(1, config.dim)
    table, norm = weights.token_embeddings, weights.decoder_norm
    yield from _layer_products(bench, weights.decoder_layers, caches, rope, state, (x, q, wide), heads)
    for context in sorted({min(context, config.window) for context in contexts}):
        yield _attention(bench, caches, q, context, kv_width, context - 1, heads, config.window)
    yield _product("head", 1, table, lambda: ops.norm_linear(x, norm, table))
    yield Kernel("argmax", 1, lambda: ops.argmax_advance(logits, moving, choices))
    yield Kernel("embed", 1, lambda: ops.embed(table, audio, state))


def encoder_kernels(bench: KernelBench, n_tokens: int) -> Iterator[Kernel]:
    """What a call of the encoder for n tokens consists of."""
    ops, config, weights = bench.ops, bench.model.config.encoder, bench.model.weights
    caches, _ = bench.stream.rings
    rows, width = GROUP * n_tokens, config.n_heads * config.head_dim
    heads = (config.n_heads, config.n_heads)
    rope, position = bench.rope(config.head_dim, rows), bench.numbers(POSITION)
    x, q, wide = bench.noise(rows, config.dim), bench.noise(rows, width), bench.noise(rows, config.ffn_dim)
    frames = bench.noise(MEL_FRAMES_PER_TOKEN * n_tokens + 1, config.dim)
    groups = bench.noise(n_tokens, GROUP * config.dim)
    adapter = weights.adapter[0]
    yield _convolution("conv1", rows, frames, weights.conv1, bench)
    yield from _layer_products(bench, weights.encoder_layers, caches, rope, position, (x, q, wide), heads)
    yield _attention(bench, caches, q, config.window, width, POSITION, heads, config.window)
    yield _product("adapter", n_tokens, adapter, lambda: ops.linear(groups, adapter, gelu=True))


def _layer_products(
    bench: KernelBench,
    layers: list[LayerWeights],
    caches: list[KVCache],
    rope: RopeTable,
    position: Any,
    inputs: tuple[Any, Any, Any],
    heads: tuple[int, int],
) -> Iterator[Kernel]:
    """The four products of a block, over all layers."""
    ops, (x, q, wide) = bench.ops, inputs
    rows, first = x.shape[0], layers[0]

    def qkv(layer: LayerWeights, cache: KVCache) -> Any:
        return ops.norm_qkv(x, layer.attention_norm, layer.qkv, layer.qkv_bias, rope.tensor, cache.kv, position, *heads)

    operations: tuple[tuple[str, Any, Callable[[LayerWeights, KVCache], Any]], ...] = (
        ("qkv", first.qkv, qkv),
        ("out", first.out, lambda layer, _: ops.linear_add(q, layer.out, x, layer.out_bias)),
        ("gate, up", first.gate_up, lambda layer, _: ops.norm_swiglu(x, layer.ffn_norm, layer.gate_up)),
        ("down", first.down, lambda layer, _: ops.linear_add(wide, layer.down, x, layer.down_bias)),
    )

    def over_layers(operation: Callable[[LayerWeights, KVCache], Any]) -> Any:
        return [operation(layer, cache) for layer, cache in zip(layers, caches, strict=True)]

    for name, matrix, operation in operations:
        yield _product(name, rows, matrix, partial(over_layers, operation), len(layers))


def _attention(
    bench: KernelBench,
    caches: list[KVCache],
    q: Any,
    n_keys: int,
    kv_width: int,
    position: int,
    heads: tuple[int, int],
    window: int,
) -> Kernel:
    """Attention of the rows of q at that position, the first of which sees n_keys."""
    ops, rows = bench.ops, q.shape[0]
    at = bench.numbers(position, 0, 0, 0)
    n_bytes = n_keys * 2 * kv_width * (2 if caches[0].dtype == "float16" else 4)

    def build() -> Any:
        return [ops.attention(q, cache.kv, at, *heads, window) for cache in caches]

    name = f"attention over {n_keys}"
    return Kernel(name, rows, build, len(caches), n_bytes, 4 * rows * n_keys * q.shape[1])


def _convolution(name: str, rows: int, x: Any, weights: tuple[Any, Any], bench: KernelBench) -> Kernel:
    n_out, n_in = weights[0].shape

    def build() -> Any:
        return bench.ops.conv1d_gelu(x, *weights, 2)

    return Kernel(f"{name} {n_in} to {n_out}", rows, build, 1, 4 * n_in * n_out, 2 * rows * n_in * n_out)


def _product(name: str, rows: int, matrix: Any, build: Callable[[], Any], n: int = 1) -> Kernel:
    n_out, n_in = matrix.shape
    n_bytes = matrix.nbytes if isinstance(matrix, np.ndarray) else matrix.kind.n_bytes(n_out * n_in)
    return Kernel(f"{name} {n_in} to {n_out}", rows, build, n, n_bytes, 2 * rows * n_in * n_out)
