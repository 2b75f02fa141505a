"""Times the GPU kernels at the shapes of the 4B network, with random weights made on the spot.

`bench_kernels(ops)` needs no model: it allocates all layers (2.3 GB), so that a pass over them leaves no cache warm,
and replays passes of many dispatches between two timestamps. Runs natively and, through the harness, in Chromium.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.gpu.commands import Program
from voxtral.gpu.device import Binding, Dispatch
from voxtral.gpu.tensor import Matrix
from voxtral.model.layers import KVCache, LayerWeights, RopeTable, apply_layer
from voxtral.ops.webgpu import WebGpuOps

WARM_UP_S = 1.5  # an idle GPU takes a second to reach its clock
PASS_MS = 15.0  # of a timed pass; timestamps are 0.065 ms apart, an answer takes 2 ms
N_PASSES = 3
NOISE_BYTES = 16 << 20


COPY_KERNEL = """
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> n: vec4<u32>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) invocation: u32) {
    let i = workgroup.x * 256u + invocation;
    if (i < n.x) {
        copied[i] = source[i];
    }
}
"""


class KernelBench:
    """The layers of a network without a model file. config: its widths and numbers of layers."""

    def __init__(self, ops: WebGpuOps, config: ModelConfig) -> None:
        self.ops, self.config = ops, config
        rng = np.random.default_rng(0)
        self._rng = rng
        self._noise = ops.tensor(rng.integers(0, 2**32, NOISE_BYTES // 4, np.uint32))
        scales = rng.uniform(0.002, 0.006, NOISE_BYTES // 2).astype(np.float16)
        self._scales = ops.tensor(scales.view(np.uint32))
        self._recorded: dict[str, tuple[Program, int]] = {}

    def matrix(self, n_rows: int, n_cols: int) -> Matrix:
        """Random weights; every matrix begins elsewhere in the noise."""
        matrix = self.ops.matrix(n_rows, n_cols)
        for part in matrix.parts:
            self._cover(self._noise, part.nibbles)
            self._cover(self._scales, part.scales)
        return matrix

    def _cover(self, source: Any, target: Any) -> None:
        for done in range(0, target.n_bytes, NOISE_BYTES):
            n_bytes = min(NOISE_BYTES, target.n_bytes - done)
            self.ops.device.copy(source.memory.buffer, 0, target.memory.buffer, done, n_bytes)

    def floats(self, *shape: int) -> Any:
        return self.ops.tensor(self._rng.standard_normal(shape).astype(np.float32))

    def layer(self, dim: int, qkv: int, out: int, ffn: int, biases: bool) -> LayerWeights:
        bias = self.floats if biases else lambda _: None
        return LayerWeights(
            self.floats(dim), self.matrix(qkv, dim), bias(qkv), self.matrix(dim, out), bias(dim),
            self.floats(dim), self.matrix(2 * ffn, dim), self.matrix(dim, ffn), bias(dim),
        )  # fmt: skip

    async def add(self, name: str, build: Callable[[], Any], n: int = 1) -> None:
        """Record `build`, which does a thing n times, to be timed under this name."""

        def record() -> None:
            build()

        self._recorded[name] = (await self.ops.program(record, "bench"), n)

    async def run(self) -> dict[str, float]:
        """GPU milliseconds of everything added, for each thing once: the best of some passes.

        Compiling is over by now: a GPU that waits for a compiler slows down, and the next kernel would seem slow.
        """
        best = dict.fromkeys(self._recorded, float("inf"))
        end = time.perf_counter() + WARM_UP_S
        while time.perf_counter() < end:
            for program, _ in self._recorded.values():
                await self._timed([program.tape] * 10)
        for _ in range(N_PASSES):
            for name, (program, n) in self._recorded.items():
                once = await self._timed([program.tape])
                repeats = max(1, int(PASS_MS / max(once, 0.01)))
                best[name] = min(best[name], await self._timed([program.tape] * repeats) / repeats / n)
        for program, _ in self._recorded.values():
            self.ops.device.destroy_buffer(program.params)
        self._recorded = {}
        return best

    async def copy_gigabytes_per_s(self) -> float:
        """Read plus write bandwidth of a plain copy between buffers that no cache holds."""
        device, n_bytes = self.ops.device, 128 << 20
        buffers = [device.create_buffer(n_bytes, "copy") for _ in range(4)]
        params = device.create_buffer(16, "copy params", uniform=True)
        device.write(params, 0, np.array([n_bytes // 16, 0, 0, 0], np.uint32))
        pipeline = await device.create_pipeline("copy", COPY_KERNEL, ("read", "read_write", "uniform"), {})
        dispatches = []
        for source, target in ((0, 1), (2, 3)):
            bindings = [
                Binding(buffers[source], 0, n_bytes),
                Binding(buffers[target], 0, n_bytes),
                Binding(params, 0, 16),
            ]
            dispatches.append(
                Dispatch(pipeline, device.create_bind_group(pipeline, bindings), (n_bytes // 16 // 256, 1, 1))
            )
        tape = device.create_tape(dispatches)
        repeats = max(1, int(PASS_MS / max(await self._timed([tape]), 0.01)))
        end, best = time.perf_counter() + WARM_UP_S, float("inf")
        while time.perf_counter() < end:
            best = min(best, await self._timed([tape] * repeats) / repeats)
        for buffer in (*buffers, params):
            device.destroy_buffer(buffer)
        return 4 * n_bytes / best / 1e6

    async def _timed(self, tapes: list[Any]) -> float:
        started = time.perf_counter()
        ms = await self.ops.device.time_ms(tapes)
        return (time.perf_counter() - started) * 1000 if ms is None else ms


def gigabytes(matrix: Matrix) -> float:
    return matrix.shape[0] * matrix.shape[1] / 32 * 18 / 1e9


async def bench_kernels(
    ops: WebGpuOps, config: ModelConfig | None = None, contexts: tuple[int, ...] = (64, 1024, 8191)
) -> dict[str, Any]:
    """Microseconds and GB/s of every kernel of a decoder step, the step itself, and the encoder at each chunk size."""
    bench = KernelBench(ops, config or ModelConfig(EncoderConfig(), DecoderConfig()))
    return {
        "adapter": ops.device.info.name,
        "features": sorted(ops.device.info.features),
        "copy, GB/s": round(await bench.copy_gigabytes_per_s()),
        **await _decoder(bench, contexts),
        **await _encoder(bench),
    }


async def _decoder(bench: KernelBench, contexts: tuple[int, ...]) -> dict[str, Any]:
    ops, config = bench.ops, bench.config.decoder
    width, kv_width = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    layers = [
        bench.layer(config.dim, width + 2 * kv_width, width, config.ffn_dim, biases=False)
        for _ in range(config.n_layers)
    ]
    head, norm = bench.matrix(config.vocab_size, config.dim), bench.floats(config.dim)
    caches = [KVCache.allocate(ops, config.window, kv_width, "float16", "cache") for _ in range(config.n_layers)]
    rope = RopeTable(ops, config.head_dim, 64)
    rope.prepare(0, 64)
    state, tokens = ops.zeros((4,), "uint32"), ops.zeros((64,), "uint32")
    positions = {context: ops.tensor(np.array([context, 0, 0, 0], np.uint32)) for context in contexts}
    heads = (config.n_heads, config.n_kv_heads)
    x, q, wide = bench.floats(1, config.dim), bench.floats(1, width), bench.floats(1, config.ffn_dim)
    logits = bench.floats(1, config.vocab_size)
    first = layers[0]
    moved = {
        f"norm_qkv {_shape(first.qkv)}": gigabytes(first.qkv),
        f"linear_add {_shape(first.out)}": gigabytes(first.out),
        f"norm_swiglu {_shape(first.gate_up)}": gigabytes(first.gate_up),
        f"linear_add {_shape(first.down)}": gigabytes(first.down),
        f"head {_shape(head)}": gigabytes(head),
    }

    def qkv(layer: LayerWeights) -> None:
        norm = layer.attention_norm
        ops.norm_qkv(x, norm, layer.qkv, None, rope.tensor, caches[0].kv, state, *heads)

    operations = (
        qkv,
        lambda layer: ops.linear_add(q, layer.out, x),
        lambda layer: ops.norm_swiglu(x, layer.ffn_norm, layer.gate_up),
        lambda layer: ops.linear_add(wide, layer.down, x),
    )
    for name, op in zip(moved, operations, strict=False):
        await bench.add(name, lambda op=op: [op(layer) for layer in layers], len(layers))
    await bench.add(f"head {_shape(head)}", lambda: ops.norm_linear(x, norm, head))
    await bench.add("argmax", lambda: ops.argmax_advance(logits, state, tokens))

    def step(position: Any) -> None:
        for layer, cache in zip(layers, caches, strict=True):
            apply_layer(ops, layer, x, cache, rope, position, *heads, config.window, layer.ffn_norm)
        ops.argmax_advance(ops.norm_linear(x, norm, head), state, tokens)

    for context, position in positions.items():
        moved[f"attention at {context}"] = context * kv_width * 4 / 1e9
        await bench.add(
            f"attention at {context}",
            lambda position=position: [ops.attention(q, cache.kv, position, *heads, config.window) for cache in caches],
            len(caches),
        )
        await bench.add(f"step at {context}", lambda position=position: step(position))
    times = await bench.run()
    table = {name: _row(ms, moved.get(name, 0.0)) for name, ms in times.items() if not name.startswith("step")}
    steps = {f"decode {name}, ms": round(ms, 3) for name, ms in times.items() if name.startswith("step")}
    for layer in layers:
        _free(ops, layer)
    ops.free([cache.kv for cache in caches])
    return {"decoder": table, **steps}


async def _encoder(bench: KernelBench) -> dict[str, Any]:
    ops, config = bench.ops, bench.config.encoder
    width = config.n_heads * config.head_dim
    layers = [bench.layer(config.dim, 3 * width, width, config.ffn_dim, biases=True) for _ in range(config.n_layers)]
    max_rows = 4 * ops.chunk_tokens[0]
    caches = [
        KVCache.allocate(ops, config.window - 1 + max_rows, width, "float16", "cache") for _ in range(config.n_layers)
    ]
    rope = RopeTable(ops, config.head_dim, max_rows)
    rope.prepare(0, max_rows)
    position = ops.tensor(np.array([5000], np.uint32))
    heads = (config.n_heads, config.n_heads)
    conv = (bench.floats(config.dim, 3 * config.dim), bench.floats(config.dim))
    weights = (layers[0].qkv, layers[0].out, layers[0].gate_up, layers[0].down)
    n_weights = sum(matrix.shape[0] * matrix.shape[1] for matrix in weights) * len(layers)

    async def at(n_tokens: int) -> dict[str, float]:
        n_rows = 4 * n_tokens
        x, q, wide = (bench.floats(n_rows, n) for n in (config.dim, width, config.ffn_dim))
        frames = bench.floats(8 * n_tokens + 1, config.dim)

        def qkv(i: int) -> None:
            layer = layers[i]
            norm = layer.attention_norm
            ops.norm_qkv(x, norm, layer.qkv, layer.qkv_bias, rope.tensor, caches[i].kv, position, *heads)

        def whole(i: int) -> None:
            apply_layer(ops, layers[i], x, caches[i], rope, position, *heads, config.window, layers[i].ffn_norm)

        operations: dict[str, Callable[[int], Any]] = {
            "qkv": qkv,
            "attention": lambda i: ops.attention(q, caches[i].kv, position, *heads, config.window),
            "out": lambda i: ops.linear_add(q, layers[i].out, x, layers[i].out_bias),
            "norm_swiglu": lambda i: ops.norm_swiglu(x, layers[i].ffn_norm, layers[i].gate_up),
            "down": lambda i: ops.linear_add(wide, layers[i].down, x, layers[i].down_bias),
            "layer": whole,
        }
        for name, op in operations.items():
            await bench.add(f"{name}, us", lambda op=op: [op(i) for i in range(len(layers))], len(layers))
        await bench.add("conv1, us", lambda: ops.conv1d_gelu(frames, *conv, 2))
        times = await bench.run()
        ms = times["layer, us"] * len(layers)
        row = {name: round(ms * 1000, 2) for name, ms in times.items()}
        return {**row, "all layers, ms": round(ms, 3), "TFLOP/s": round(2 * n_rows * n_weights / ms / 1e9, 2)}

    return {f"encoder, {4 * n} rows": await at(n) for n in ops.chunk_tokens}


def _shape(matrix: Matrix) -> str:
    return f"{matrix.shape[1]} to {matrix.shape[0]}"


def _row(ms: float, gigabytes_moved: float) -> dict[str, float]:
    return {"us": round(ms * 1000, 2), "GB/s": round(gigabytes_moved / ms * 1000)}


def _free(ops: WebGpuOps, layer: LayerWeights) -> None:
    for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
        for part in matrix.parts:
            ops.free([part.nibbles, part.scales])
