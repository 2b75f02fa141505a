"""Does this GPU compute what it should? Every form of every kernel, at the model's own widths, against numpy.

Drivers and shader compilers have been seen to compute nonsense without a word. `self_check` runs before a model is
used: each check does one operation on a few random rows, once on the GPU, tuned as for the model's own number of
outputs, and once with numpy. A form that fails is replaced, first by doing without the device's traits, then by the
plain kernel; each replacement is one sentence in the result.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.config import ModelConfig
from voxtral.errors import DeviceError
from voxtral.gpu.device import Device
from voxtral.ops.base import N_CANDIDATES, DecoderState, Fill, Ops
from voxtral.ops.reference import ReferenceOps
from voxtral.quant import GgmlType, quantise
from voxtral.shards import Piece

AnyOps = Ops[Any, Any, Any]
Results = list[NDArray[Any]]
LARGEST_ERROR = 1e-2  # of the largest value: nonsense is far beyond, rounding far below (py/tests/tolerances.py)
N_OUTPUTS = 24  # instead of the model's thousands
MOST_KEYS = 96  # in the rings of the check
FEW_ROWS, MANY_ROWS = 5, 70
FORM_OF_ROWS = {1: "row", FEW_ROWS: "few_rows", MANY_ROWS: "many_rows"}


class GpuOps(Ops[Any, Any, Any], Protocol):
    """What `webgpu.WebGpuOps` is besides `Ops`."""

    device: Device
    traits: frozenset[str]
    plain: set[str]
    tuned_for: int

    def use_traits(self, traits: frozenset[str]) -> None: ...


@dataclass(frozen=True)
class Widths:
    """Of one half of the network, with the number of rows to try."""

    half: str
    n_rows: int
    dim: int
    ffn_dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int
    n_logits: int  # 0: no head
    cache_dtype: str

    @property
    def width(self) -> int:
        """Of all heads."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Of the keys of one position."""
        return self.n_kv_heads * self.head_dim

    @property
    def has_biases(self) -> bool:
        return self.half == "encoder"


@dataclass(frozen=True)
class Check:
    """One operation. form: of `webgpu.FORMS`, or "" where there is only one kernel; kind: of its matrices, if any."""

    name: str
    form: str
    run: "Callable[[_Bench], Awaitable[Results]]"
    kind: GgmlType = GgmlType.F32


class _Bench:
    """The same random numbers for either backend; `free` gives back what was made of them.

    kind: of its matrices; gpu: ops, if it is one.
    """

    def __init__(self, ops: AnyOps, kind: GgmlType, gpu: "GpuOps | None" = None) -> None:
        self.ops = ops
        self._kind = kind
        self._gpu = gpu
        self._rng = np.random.default_rng(7)
        self._made: list[Any] = []

    def array(self, *shape: int) -> NDArray[np.float32]:
        return self._rng.standard_normal(shape, np.float32)

    def floats(self, *shape: int) -> Any:
        return self.keep(self.ops.tensor(self.array(*shape)))

    def integers(self, *values: int) -> Any:
        return self.keep(self.ops.tensor(np.array(values, np.uint32)))

    def keep(self, tensor: Any) -> Any:
        self._made.append(tensor)
        return tensor

    async def matrix(self, n_rows: int, n_cols: int) -> Any:
        raw = quantise(self.array(n_rows, n_cols) / np.float32(np.sqrt(n_cols)), self._kind)
        n_blocks = len(raw) // self._kind.block_bytes
        raw += bytes(-len(raw) % 4)
        matrix = self.keep(self.ops.matrix(n_rows, n_cols, self._kind, "check"))
        await self.ops.fill([Fill(matrix, self._kind, 0, n_blocks, 0)], [Piece(len(raw), raw)])
        return matrix

    async def result(self, build: Callable[[], Any], tuned_for: int = 0) -> NDArray[Any]:
        """What `build` returns, computed by kernels tuned for this many outputs of a product."""
        if self._gpu:
            self._gpu.tuned_for = tuned_for  # read before anything else can run
        program = await self.ops.program(build, "check")
        self.ops.submit([program])
        found: NDArray[Any] = await self.ops.read(self.ops.outputs(program))
        self.ops.free([program])
        return found

    def free(self) -> None:
        self.ops.free(self._made)


async def self_check(ops: "GpuOps", config: ModelConfig, kinds: Sequence[GgmlType], cache_dtype: str) -> list[str]:
    """Check all forms, and replace those that fail. Returns what was replaced, a sentence each.

    kinds: of the model's matrices. Raises DeviceError when even a plain kernel computes nonsense.
    """
    checks = list(_checks(config, kinds, cache_dtype))
    try:
        # All at once, so that their kernels are compiled side by side; one that fails waits for the others to clear up.
        results = await asyncio.gather(*(_error_of(check, ops) for check in checks), return_exceptions=True)
    finally:
        ops.tuned_for = 0
    for check, error in zip(checks, results, strict=True):
        if isinstance(error, BaseException):
            raise error
        if error > LARGEST_ERROR:
            sentence = _replace(check, ops, error)
            return [sentence, *await self_check(ops, config, kinds, cache_dtype)]
    return []


def _replace(check: Check, ops: "GpuOps", error: float) -> str:
    """Use something else for what failed; the sentence that says so."""
    sentence = f"{ops.device.info.name} computes {check.name} wrongly (off by {error:.0%} of the largest value)"
    if ops.traits:
        sentence += f"; kernels now do without {' and '.join(sorted(ops.traits))}"
        ops.use_traits(frozenset())
    elif check.form and check.form not in ops.plain:
        sentence += "; the plain kernel is used, which is slower"
        ops.plain.add(check.form)
    else:
        raise DeviceError(f"{sentence}; update the browser or the graphics driver, or compute on the CPU")
    return sentence


async def _error_of(check: Check, ops: "GpuOps") -> float:
    """Of the worst value, as a fraction of the largest; infinite where one is not a number."""
    bench = _Bench(ops, check.kind, ops)
    try:
        found = await check.run(bench)
    finally:
        bench.free()
    worst = 0.0
    for a, b in zip(found, await check.run(_Bench(ReferenceOps(), check.kind)), strict=True):
        error = float(np.max(np.abs(a.astype(np.float64) - b)) / max(float(np.max(np.abs(b))), 1e-9))
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def _checks(config: ModelConfig, kinds: Sequence[GgmlType], cache_dtype: str) -> Iterator[Check]:
    """Those that a model of this shape needs."""
    encoder, decoder = config.encoder, config.decoder
    keys = [min(half.window, MOST_KEYS) for half in (encoder, decoder)]
    halves = [
        Widths("encoder", n_rows, encoder.dim, encoder.ffn_dim, encoder.n_heads, encoder.n_heads, encoder.head_dim,
               keys[0], 0, cache_dtype)
        for n_rows in (FEW_ROWS, MANY_ROWS)
    ]  # fmt: skip
    halves.append(
        Widths("decoder", 1, decoder.dim, decoder.ffn_dim, decoder.n_heads, decoder.n_kv_heads, decoder.head_dim,
               keys[1], decoder.vocab_size, cache_dtype)
    )  # fmt: skip
    yield Check("convolutions", "conv", lambda bench: _convolutions(bench, encoder.dim))
    for half in halves:
        name = f"the {half.half}'s attention with {_rows(half)}"
        yield Check(name, "attention", lambda bench, half=half: _attention(bench, half))  # type: ignore[misc]
    for kind in kinds:
        name = f"the decoder's state with {kind.name} weights"
        yield Check(name, "", lambda bench: _state(bench, decoder.dim), kind)
        for half in halves:
            form, whose, rows = FORM_OF_ROWS[half.n_rows], f"the {half.half}'s {kind.name}", _rows(half)
            yield Check(f"{whose} products with {rows}", form, lambda bench, half=half: _products(bench, half), kind)  # type: ignore[misc]
            yield Check(f"{whose} queries and keys with {rows}", form, lambda bench, half=half: _qkv(bench, half), kind)  # type: ignore[misc]


def _rows(half: Widths) -> str:
    return "1 row" if half.n_rows == 1 else f"{half.n_rows} rows"


async def _convolutions(bench: _Bench, dim: int) -> Results:
    ops = bench.ops
    x, weight, bias = bench.floats(11, dim), bench.floats(N_OUTPUTS, 3 * dim), bench.floats(N_OUTPUTS)
    at = bench.integers(0)
    return [
        await bench.result(lambda: ops.conv1d_gelu(x, weight, bias, 1, at)),
        await bench.result(lambda: ops.conv1d_gelu(x, weight, bias, 2)),
    ]


async def _state(bench: _Bench, dim: int) -> Results:
    """embed, argmax and the counters: two steps, the second with the token of the first."""
    ops = bench.ops
    table, audio, norm = await bench.matrix(N_OUTPUTS, dim), bench.floats(2, dim), bench.floats(dim)
    logits = bench.floats(1, N_OUTPUTS)
    state, position = bench.integers(*[0] * len(DecoderState)), bench.integers(0)
    choices = bench.keep(ops.zeros((2, 2 * N_CANDIDATES), "uint32"))
    delay, weight = bench.floats(1, dim), bench.keep(ops.zeros((dim,)))
    counters = bench.keep(ops.zeros((len(DecoderState),), "uint32"))

    def step() -> Any:
        ops.ada_norm_weight(norm, delay, weight)
        x = ops.embed(table, audio, state)
        ops.argmax_advance(logits, state, choices)
        ops.advance_encoder(position, 4, counters)
        return ops.rms_norm(x, weight)

    x = await bench.result(step)
    y = await bench.result(step)
    ids, log_probabilities = np.split(await ops.read(choices), 2, axis=1)
    return [x, y, ids, log_probabilities.view(np.float32), await ops.read(state), await ops.read(position)]


async def _products(bench: _Bench, w: Widths) -> Results:
    ops, results = bench.ops, []
    for n_cols in (w.width, w.ffn_dim):
        x, residual = bench.floats(w.n_rows, n_cols), bench.floats(w.n_rows, N_OUTPUTS)
        matrix = await bench.matrix(N_OUTPUTS, n_cols)
        bias = bench.floats(N_OUTPUTS) if w.has_biases else None

        def add(x: Any = x, matrix: Any = matrix, residual: Any = residual, bias: Any = bias) -> Any:
            ops.linear_add(x, matrix, residual, bias)
            return residual

        results.append(await bench.result(add, w.dim))
    x, norm = bench.floats(w.n_rows, w.dim), bench.floats(w.dim)
    gate_up, head = await bench.matrix(2 * N_OUTPUTS, w.dim), await bench.matrix(N_OUTPUTS, w.dim)
    results.append(await bench.result(lambda: ops.norm_swiglu(x, norm, gate_up), 2 * w.ffn_dim))
    if w.n_logits:
        results.append(await bench.result(lambda: ops.norm_linear(x, norm, head), w.n_logits))
        results.append(await bench.result(lambda: ops.linear(x, head, None, gelu=True), w.dim))
    return results


async def _qkv(bench: _Bench, w: Widths) -> Results:
    """One key head with its queries: all there is to a head, at the width that counts."""
    ops, group = bench.ops, w.n_heads // w.n_kv_heads
    width = (group + 2) * w.head_dim
    x, norm, matrix = bench.floats(w.n_rows, w.dim), bench.floats(w.dim), await bench.matrix(width, w.dim)
    bias = bench.floats(width) if w.has_biases else None
    turns = bench.array(w.n_rows, w.head_dim // 2)
    rope = bench.keep(ops.tensor(np.stack([np.cos(turns), np.sin(turns)], axis=-1)))
    kv = bench.keep(ops.zeros((w.n_rows + 2, 2 * w.head_dim), w.cache_dtype))
    at = bench.integers(3)
    q = await bench.result(
        lambda: ops.norm_qkv(x, norm, matrix, bias, rope, kv, at, group, 1), w.width + 2 * w.kv_width
    )
    return [q, (await ops.read(kv)).astype(np.float32)]


async def _attention(bench: _Bench, w: Widths) -> Results:
    """Positions before and behind the ring's first turn."""
    ops, results = bench.ops, []
    capacity = w.window + w.n_rows - 1
    kv = bench.keep(ops.zeros((capacity, 2 * w.kv_width), w.cache_dtype))
    ops.write(kv, bench.array(capacity, 2 * w.kv_width).astype(w.cache_dtype))
    q = bench.floats(w.n_rows, w.width)
    for position in (9, 3 * capacity + 5):
        at = bench.integers(position)
        results.append(
            await bench.result(lambda at=at: ops.attention(q, kv, at, w.n_heads, w.n_kv_heads, w.window))  # type: ignore[misc]
        )
    return results
