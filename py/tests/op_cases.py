"""Every operation on random data, as plain cases that any two backends can be compared on.

A scenario is written once against `ops.base.Ops`; `run_case` runs it on the GPU and on numpy with the same
random numbers and reports the distance. No pytest here: the same cases run in CPython and inside a browser.

Nothing may hide: outputs and scratch memory are filled with NaN before each run, shapes are no multiples of any
tile, and persistent tensors have rows beyond those an operation may touch.
"""

import math
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tolerances import BUDGETS, PACKED, PACKED_CHAIN, PACKED_SCENARIOS, Budget

from voxtral.ops.base import FILL_BYTES, N_CANDIDATES, Fill, Ops
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.quant import GgmlType, quantise
from voxtral.shards import Piece

AnyOps = Ops[Any, Any, Any]
Arrays = dict[str, NDArray[Any]]
UNTOUCHED = 0x7FC0_1234  # a NaN no arithmetic makes


@dataclass(frozen=True)
class Case:
    """One scenario with its arguments. serial, max_binding_bytes: how to build the WebGpuOps under test.

    Its traits are those of the WebGpuOps that the case is given.
    """

    scenario: str
    arguments: dict[str, Any] = field(default_factory=dict)
    serial: bool | None = None
    max_binding_bytes: int | None = None

    @property
    def name(self) -> str:
        parts = [f"{key}={value}" for key, value in self.arguments.items()]
        if self.serial is not None:
            parts.append("serial" if self.serial else "teams")
        if self.max_binding_bytes is not None:
            parts.append(f"split={self.max_binding_bytes}")
        return f"{self.scenario}({', '.join(parts)})"


@dataclass(frozen=True)
class Report:
    """problems: empty when all outputs are within budget; else one diagnosis each."""

    name: str
    nmse: float
    problems: tuple[str, ...]


async def run_case(ops: WebGpuOps, case: Case) -> Report:
    """Compare `case` on the device of `ops` with numpy."""
    if case.serial is not None or case.max_binding_bytes is not None:
        ops = WebGpuOps(ops.device, case.serial, case.max_binding_bytes, ops.traits)
    scenario = SCENARIOS[case.scenario]
    seed = zlib.crc32(repr((case.scenario, case.arguments)).encode())
    found = await scenario(ops, np.random.default_rng(seed), **case.arguments)
    expected = await scenario(ReferenceOps(), np.random.default_rng(seed), **case.arguments)
    budget = budget_of(case, ops.traits).nmse
    worst, problems = 0.0, []
    for output, want in expected.items():
        nmse, problem = compare(found[output], want, budget)
        worst = max(worst, nmse)
        if problem:
            problems.append(f"{case.name}: {output}: {problem}")
    return Report(case.name, worst, tuple(problems))


def budget_of(case: Case, traits: frozenset[str]) -> Budget:
    """float16 caches and packed integers have budgets of their own."""
    is_f16 = case.arguments.get("dtype") == "float16"
    budget = BUDGETS[f"{case.scenario} float16" if is_f16 else case.scenario]
    if "packed" in traits and case.scenario == "scratch_reuse":
        return PACKED_CHAIN
    return max(budget, PACKED) if "packed" in traits and case.scenario in PACKED_SCENARIOS else budget


def compare(found: NDArray[Any], want: NDArray[Any], budget: float) -> tuple[float, str]:
    """(nmse, diagnosis or "")."""
    if found.shape != want.shape or found.dtype != want.dtype:
        return np.inf, f"{found.dtype}{list(found.shape)}, expected {want.dtype}{list(want.shape)}"
    # Bits first: equal NaNs are memory that nobody should have touched.
    bits = np.dtype(f"u{found.itemsize}")
    differs = found.view(bits) != want.view(bits)
    if not differs.any():
        return 0.0, ""
    error = np.where(differs, found.astype(np.float64) - want.astype(np.float64), 0.0)
    power = np.nansum(np.square(want, dtype=np.float64)) if want.dtype.kind == "f" else 0.0
    nmse = float(np.sum(np.square(error)) / power) if power else np.inf
    if nmse <= budget:
        return nmse, ""
    at = np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, np.abs(error))), want.shape)
    place = tuple(int(i) for i in at)
    n_nan = int(np.isnan(error).sum())
    return nmse, (
        f"nmse {nmse:.2e} > {budget:.0e}; worst at {place}: {found[at]}, expected {want[at]}; "
        f"{int(differs.sum())} of {differs.size} differ, {n_nan} of them NaN"
    )


# -- helpers ----------------------------------------------------------------------------------------
def floats(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def q4_0_bytes(rng: np.random.Generator, n_rows: int, n_cols: int) -> bytes:
    """Random blocks; scales of both signs, all normal f16, about 1 / (5 sqrt(n_cols)) so that outputs are near 1."""
    blocks = rng.integers(0, 256, (n_rows * n_cols // 32, 18), dtype=np.uint8)
    scales = rng.uniform(0.5, 1.5, len(blocks)) * rng.choice([-1.0, 1.0], len(blocks)) * 0.2 / np.sqrt(n_cols)
    blocks[:, :2] = scales.astype("<f2").view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def weight_bytes(rng: np.random.Generator, n_rows: int, n_cols: int, kind: str = "q4_0") -> bytes:
    """Rows of random weights of a type, so large that outputs are near 1; no float16 is subnormal."""
    if kind == "q4_0":
        return q4_0_bytes(rng, n_rows, n_cols)
    size = rng.uniform(0.01, 1.5, n_rows * n_cols) * rng.choice([-1.0, 1.0], n_rows * n_cols) / np.sqrt(n_cols)
    return quantise(size.astype(np.float32), GgmlType[kind.upper()])


async def matrix(ops: AnyOps, rng: np.random.Generator, rows: list[int], n_cols: int, kind: str = "q4_0") -> Any:
    """A matrix of the rows of several."""
    raw = b"".join(weight_bytes(rng, n_rows, n_cols, kind) for n_rows in rows)
    return await filled(ops, raw, sum(rows), n_cols, GgmlType[kind.upper()])


async def filled(ops: AnyOps, raw: bytes, n_rows: int, n_cols: int, kind: GgmlType = GgmlType.Q4_0) -> Any:
    """A matrix of these blocks."""
    made = ops.matrix(n_rows, n_cols, kind, "matrix")
    unit = math.lcm(kind.block_bytes, 4)
    step = FILL_BYTES // unit * unit
    for start in range(0, len(raw), step):
        part = raw[start : start + step]
        fill = Fill(made, kind, start // kind.block_bytes, len(part) // kind.block_bytes, 0)
        padded = part + bytes(-len(part) % 4)
        await ops.fill([fill], [Piece(len(padded), padded)])
    return made


def untouched(*shape: int) -> NDArray[np.float32]:
    return np.full(shape, UNTOUCHED, np.uint32).view(np.float32)


async def run(ops: AnyOps, build: Callable[[], Any], times: int = 1) -> Any:
    """Record, poison, submit; returns what build returned in the last run."""
    program = await ops.program(build, "case")
    if isinstance(ops, WebGpuOps):
        ops.poison()
    for _ in range(times):
        ops.submit([program])
    return ops.outputs(program)


# -- scenarios --------------------------------------------------------------------------------------
async def conv1d_gelu(
    ops: AnyOps, rng: np.random.Generator, n: int, c_in: int, c_out: int, stride: int, position: int | None = None
) -> Arrays:
    x = ops.tensor(floats(rng, n, c_in))
    weight = ops.tensor(floats(rng, c_out, 3 * c_in, scale=1.5 / np.sqrt(3 * c_in)))
    bias = ops.tensor(floats(rng, c_out, scale=0.1))
    at = None if position is None else ops.tensor(np.array([position], np.uint32))
    return {"y": await ops.read(await run(ops, lambda: ops.conv1d_gelu(x, weight, bias, stride, at)))}


async def rms_norm(ops: AnyOps, rng: np.random.Generator, m: int, k: int, scale: float = 1.0) -> Arrays:
    x, weight = ops.tensor(floats(rng, m, k, scale=scale)), ops.tensor(floats(rng, k))
    return {"y": await ops.read(await run(ops, lambda: ops.rms_norm(x, weight)))}


async def linear(
    ops: AnyOps,
    rng: np.random.Generator,
    m: int,
    k: int,
    n: list[int],
    bias: bool = False,
    gelu: bool = False,
    out_rows: int | None = None,
    kind: str = "q4_0",
) -> Arrays:
    x = ops.tensor(floats(rng, m, k))
    weight = await matrix(ops, rng, n, k, kind)
    b = ops.tensor(floats(rng, sum(n))) if bias else None
    out = None if out_rows is None else ops.tensor(untouched(out_rows, sum(n)))
    y = await run(ops, lambda: ops.linear(x, weight, b, gelu, out))
    arrays = {"y": await ops.read(y)}
    if out is not None:
        arrays["out"] = await ops.read(out)
    return arrays


async def linear_add(
    ops: AnyOps,
    rng: np.random.Generator,
    m: int,
    k: int,
    n: int,
    bias: bool = False,
    times: int = 1,
    kind: str = "q4_0",
) -> Arrays:
    x, weight = ops.tensor(floats(rng, m, k)), await matrix(ops, rng, [n], k, kind)
    b = ops.tensor(floats(rng, n)) if bias else None
    residual = ops.tensor(floats(rng, m, n))
    await run(ops, lambda: ops.linear_add(x, weight, residual, b), times)
    return {"residual": await ops.read(residual)}


async def norm_linear(
    ops: AnyOps,
    rng: np.random.Generator,
    m: int,
    k: int,
    n: list[int],
    bias: bool = False,
    scale: float = 1.0,
    kind: str = "q4_0",
) -> Arrays:
    x, norm = ops.tensor(floats(rng, m, k, scale=scale)), ops.tensor(floats(rng, k))
    weight = await matrix(ops, rng, n, k, kind)
    b = ops.tensor(floats(rng, sum(n))) if bias else None
    return {"y": await ops.read(await run(ops, lambda: ops.norm_linear(x, norm, weight, b)))}


async def norm_swiglu(
    ops: AnyOps, rng: np.random.Generator, m: int, k: int, f: int, scale: float = 1.0, kind: str = "q4_0"
) -> Arrays:
    """scale: of the norm's weight, so of the gates."""
    x, norm = ops.tensor(floats(rng, m, k)), ops.tensor(floats(rng, k, scale=scale))
    gate_up = await matrix(ops, rng, [f, f], k, kind)
    return {"y": await ops.read(await run(ops, lambda: ops.norm_swiglu(x, norm, gate_up)))}


async def ada_norm_weight(ops: AnyOps, rng: np.random.Generator, k: int) -> Arrays:
    weight, ada, out = ops.tensor(floats(rng, k)), ops.tensor(floats(rng, 1, k)), ops.tensor(untouched(k))
    await run(ops, lambda: ops.ada_norm_weight(weight, ada, out))
    return {"out": await ops.read(out)}


async def norm_qkv(
    ops: AnyOps,
    rng: np.random.Generator,
    m: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    capacity: int,
    rope_rows: int,
    position: int,
    k: int = 96,
    dtype: str = "float32",
    bias: bool = False,
    kind: str = "q4_0",
) -> Arrays:
    x, norm = ops.tensor(floats(rng, m, k)), ops.tensor(floats(rng, k))
    rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
    weight = await matrix(ops, rng, rows, k, kind)
    b = ops.tensor(floats(rng, sum(rows))) if bias else None
    angles = rng.uniform(0, 2 * np.pi, (rope_rows, head_dim // 2))
    rope = ops.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32))
    kv = ops.zeros((capacity, 2 * kv_heads * head_dim), dtype)
    ops.write(kv, floats(rng, capacity, 2 * kv_heads * head_dim).astype(dtype))
    at = ops.tensor(np.array([position], np.uint32))
    q = await run(ops, lambda: ops.norm_qkv(x, norm, weight, b, rope, kv, at, heads, kv_heads))
    return {"q": await ops.read(q), "kv": await ops.read(kv)}


async def attention(
    ops: AnyOps,
    rng: np.random.Generator,
    m: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    window: int,
    position: int,
    spare: int = 0,
    scale: float = 1.0,
    dtype: str = "float32",
) -> Arrays:
    """The ring holds window - 1 + m + spare keys; slots no row may see hold NaN."""
    capacity = window - 1 + m + spare
    cached = np.full((capacity, 2 * kv_heads * head_dim), np.nan, np.float32)
    visible = np.arange(max(0, position - window + 1), position + m) % capacity
    cached[visible] = floats(rng, len(visible), cached.shape[1])
    q = ops.tensor(floats(rng, m, heads * head_dim, scale=scale))
    kv, at = ops.zeros(cached.shape, dtype), ops.tensor(np.array([position], np.uint32))
    ops.write(kv, cached.astype(dtype))
    return {"y": await ops.read(await run(ops, lambda: ops.attention(q, kv, at, heads, kv_heads, window)))}


async def embed(
    ops: AnyOps,
    rng: np.random.Generator,
    vocabulary: int,
    dim: int,
    position: int,
    token: int,
    audio_row: int = 0,
    kind: str = "q4_0",
) -> Arrays:
    table = await matrix(ops, rng, [vocabulary], dim, kind)
    audio = ops.tensor(floats(rng, 3, dim))
    state = ops.tensor(np.array([position, token, 39, audio_row], np.uint32))
    return {"y": await ops.read(await run(ops, lambda: ops.embed(table, audio, state)))}


async def argmax_advance(
    ops: AnyOps, rng: np.random.Generator, n: int, winners: list[int], position: int, ring: int, level: float = 9.0
) -> Arrays:
    """All `winners` share the largest value, `level` above the noise or far below zero."""
    logits = floats(rng, 1, n) + np.float32(min(level, 0.0))
    logits[0, winners] = logits.max() + np.float32(1.0)
    x = ops.tensor(logits)
    state = ops.tensor(np.array([position, 7, 39, 2], np.uint32))
    choices = ops.tensor(np.full((ring, 2 * N_CANDIDATES), UNTOUCHED, np.uint32))
    await run(ops, lambda: ops.argmax_advance(x, state, choices))
    ids, log_probabilities = np.split(await ops.read(choices), 2, axis=1)
    return {"state": await ops.read(state), "ids": ids, "log_probabilities": log_probabilities.view(np.float32)}


async def advance_encoder(ops: AnyOps, rng: np.random.Generator, n_rows: int) -> Arrays:  # noqa: ARG001
    position = ops.tensor(np.array([4_000_000_000], np.uint32))
    state = ops.tensor(np.array([5, 6, 7, 8], np.uint32))
    await run(ops, lambda: ops.advance_encoder(position, n_rows, state), times=2)
    return {"position": await ops.read(position), "state": await ops.read(state)}


async def decode_loop(ops: AnyOps, rng: np.random.Generator, vocabulary: int, dim: int, steps: int) -> Arrays:
    """embed, norm, tied head, argmax: the state alone drives a program through prompt and generation."""
    table = await matrix(ops, rng, [vocabulary], dim)
    audio = ops.tensor(floats(rng, steps, dim, scale=0.05))
    weight = ops.tensor(np.ones(dim, np.float32))
    state = ops.tensor(np.array([0, 0, 4, 0], np.uint32))
    choices = ops.tensor(np.full((steps - 2, 2 * N_CANDIDATES), 99, np.uint32))

    def step() -> None:
        ops.argmax_advance(ops.norm_linear(ops.embed(table, audio, state), weight, table), state, choices)

    await run(ops, step, times=steps)
    return {"state": await ops.read(state), "tokens": (await ops.read(choices))[:, 0].copy()}


async def scratch_reuse(ops: AnyOps, rng: np.random.Generator, m: int, dim: int) -> Arrays:
    """Layers that lend their scratch to one another, an output kept from the middle, two programs sharing."""
    weight = ops.tensor(np.ones(dim, np.float32))
    matrices = [await matrix(ops, rng, [2 * dim], dim) for _ in range(4)]
    x = ops.tensor(floats(rng, m, dim))

    def build() -> tuple[Any, Any]:
        y, middle = x, None
        for i, gate_up in enumerate(matrices):
            y = ops.norm_swiglu(y, weight, gate_up)
            middle = y if i == 1 else middle
        return y, middle

    first = await ops.program(build, "first")
    second = await ops.program(lambda: ops.norm_linear(x, weight, matrices[0]), "second")
    if isinstance(ops, WebGpuOps):
        ops.poison()
    ops.submit([second, first, second])
    y, middle = ops.outputs(first)
    return {"y": await ops.read(y), "middle": await ops.read(middle), "second": await ops.read(ops.outputs(second))}


SCENARIOS: dict[str, Callable[..., Awaitable[Arrays]]] = {
    scenario.__name__: scenario
    for scenario in (
        conv1d_gelu, rms_norm, linear, norm_linear, norm_swiglu, linear_add, ada_norm_weight, norm_qkv, attention,
        embed, argmax_advance, advance_encoder, decode_loop, scratch_reuse,
    )
}  # fmt: skip

_QKV = {"heads": 6, "kv_heads": 2, "head_dim": 32, "capacity": 27, "rope_rows": 8, "position": 25}
# What reads a matrix otherwise where it is not of Q4_0: every kernel, ends of rows and of tiles, and matrices in parts
# of a few rows, also where rows are twice as long.
FLOAT_CASES: list[tuple[str, dict[str, Any], bool | None, int | None]] = [
    *(
        ("linear", {"m": m, "k": k, "n": n, "bias": True}, serial, None)
        for serial in (False, True)
        for m, k, n in [
            (1, 32, [1]),
            (1, 96, [5, 7]),
            (1, 1280, [67]),
            (4, 96, [33, 34]),
            (16, 160, [9]),
            (18, 96, [70]),
        ]
    ),
    ("linear", {"m": 1, "k": 4128, "n": [9]}, False, None),  # three words a hand, the last not for all
    *(
        ("linear", {"m": m, "k": 96, "n": [20, 13], "gelu": True, "out_rows": m + 2}, False, 9 * 384)
        for m in (1, 3, 20)
    ),
    ("linear", {"m": 5, "k": 96, "n": [20, 13]}, True, 9 * 384),
    # K in parts, the matrix in parts, and tiles of 64 rows
    ("linear_add", {"m": 66, "k": 1184, "n": 70, "bias": True}, False, 20 * 4736),
    ("norm_linear", {"m": 1, "k": 3072, "n": [70]}, False, None),
    ("norm_linear", {"m": 7, "k": 96, "n": [33]}, False, None),
    *(("norm_swiglu", {"m": m, "k": 96, "f": 164}, False, None) for m in (1, 6, 33)),
    ("norm_swiglu", {"m": 3, "k": 96, "f": 40}, False, 32 * 192),
    *(("norm_qkv", {"m": m, **_QKV}, serial, None) for m in (1, 4) for serial in (False, True)),
    ("norm_qkv", {"m": 1, **_QKV, "dtype": "float16"}, False, 50 * 192),
    *(
        ("embed", {"vocabulary": 64, "dim": 96, "position": 39, "token": t, "audio_row": 1}, None, None)
        for t in (0, 63)
    ),
    *(("embed", {"vocabulary": 64, "dim": 96, "position": 39, "token": t}, None, 21 * 192) for t in (9, 20, 63)),
]

CASES = [
    *(
        Case("conv1d_gelu", arguments, serial=serial)
        for serial in (False, True)
        for arguments in [
            {"n": 10, "c_in": 128, "c_out": 96, "stride": 1},
            {"n": 11, "c_in": 128, "c_out": 70, "stride": 1, "position": 0},
            {"n": 11, "c_in": 128, "c_out": 70, "stride": 1, "position": 3},
            {"n": 9, "c_in": 64, "c_out": 64, "stride": 2},
            {"n": 3, "c_in": 4, "c_out": 1, "stride": 2},
            {"n": 72, "c_in": 36, "c_out": 131, "stride": 2, "position": 0},
        ]
    ),
    *(Case("rms_norm", {"m": m, "k": k}) for m, k in [(1, 32), (3, 96), (5, 384), (32, 1280), (1, 3072)]),
    Case("rms_norm", {"m": 2, "k": 96, "scale": 1e-4}),
    Case("rms_norm", {"m": 2, "k": 96, "scale": 1e4}),
    *(
        Case("linear", {"m": 1, "k": k, "n": n}, serial=serial)
        for serial in (False, True)
        for k, n in [(32, [1]), (32, [3]), (96, [5, 7]), (160, [17]), (384, [768, 128, 128]), (1280, [67]), (9216, [9])]
    ),
    # Few rows for the matrix-vector kernel, then tiles of 32 rows and, where outputs are many, of 64.
    *(
        Case("linear", {"m": m, "k": k, "n": [33, 34]}, serial=serial)
        for serial in (False, True)
        for m, k in [(2, 96), (3, 96), (4, 1280), (5, 96), (16, 96), (17, 96), (32, 160), (71, 1280)]
    ),
    *(Case("linear", {"m": m, "k": 64, "n": [8200], "bias": True}, serial=False) for m in (17, 67)),
    # As many outputs as it takes for each number of lanes of the matrix-vector kernel; three tiles of a long row.
    *(Case("norm_linear", {"m": 1, "k": 96, "n": [n]}, serial=False) for n in (6_150, 12_300, 24_601)),
    Case("norm_linear", {"m": 1, "k": 9216, "n": [70]}, serial=False),
    Case("norm_swiglu", {"m": 1, "k": 96, "f": 6_148}, serial=False),
    *(
        Case("norm_linear", {"m": m, "k": k, "n": n, "bias": bias}, serial=serial)
        for serial in (False, True)
        for m, k, n, bias in [
            (1, 32, [3], False),
            (1, 3072, [70], False),
            (1, 1280, [33, 34], True),
            (4, 1280, [67], True),
            (7, 96, [33], False),
            (18, 160, [70], True),
        ]
    ),
    Case("norm_linear", {"m": 1, "k": 96, "n": [33], "scale": 1e-4}, serial=False),
    Case("norm_linear", {"m": 3, "k": 96, "n": [33], "scale": 1e4}, serial=False),
    Case("norm_linear", {"m": 1, "k": 96, "n": [33]}, serial=False, max_binding_bytes=8 * 3 * 16),
    *(
        Case("norm_swiglu", {"m": m, "k": k, "f": f, "scale": scale}, serial=serial)
        for serial in (False, True)
        for m, k, f, scale in [
            (1, 96, 4, 1.0),
            (1, 3072, 36, 1.0),
            (4, 1280, 100, 1.0),
            (6, 96, 164, 1.0),
            (33, 160, 72, 1.0),
            (65, 64, 4100, 1.0),
            (2, 64, 64, 300.0),  # exp would overflow
        ]
    ),
    Case("norm_swiglu", {"m": 3, "k": 96, "f": 40}, serial=False, max_binding_bytes=32 * 3 * 16),
    *(
        Case("linear", {"m": m, "k": 160, "n": [70], "bias": bias, "gelu": gelu, "out_rows": m + 2}, serial=False)
        for m in (1, 3, 20)
        for bias, gelu in [(True, False), (False, True), (True, True)]
    ),
    # Three blocks a row and an odd number of rows a part: scales of a part start in the middle of a word of the file's.
    *(
        Case("linear", {"m": m, "k": 96, "n": [20, 13], "bias": True}, serial=False, max_binding_bytes=7 * 3 * 16)
        for m in (1, 3, 20)
    ),
    Case("linear", {"m": 1, "k": 32, "n": [66_000]}, serial=False),
    Case("linear", {"m": 1, "k": 32, "n": [66_000]}, serial=True),
    Case("linear", {"m": 1, "k": 32, "n": [600_011]}, serial=False),  # more than 32 768 workgroups: a folded grid
    *(
        Case("linear_add", {"m": m, "k": 160, "n": 70, "bias": bias, "times": 3}, serial=False)
        for m in (1, 5, 20)
        for bias in (False, True)
    ),
    # K in two, four (unequal) and eight parts; the last with parts of the matrix, too
    Case("linear_add", {"m": 66, "k": 1184, "n": 70, "bias": True}, serial=False),
    Case("linear_add", {"m": 66, "k": 2080, "n": 70}, serial=False),
    Case(
        "linear", {"m": 66, "k": 4128, "n": [70], "bias": True, "gelu": True}, serial=False, max_binding_bytes=132_096
    ),
    Case("ada_norm_weight", {"k": 96}),
    Case("ada_norm_weight", {"k": 3072}),
    *(
        Case(
            "norm_qkv",
            {
                "m": m,
                "heads": h,
                "kv_heads": kv,
                "head_dim": hd,
                "capacity": c,
                "rope_rows": r,
                "position": p,
                "dtype": dtype,
                "bias": bias,
            },
            serial=serial,
        )
        for serial in (False, True)
        for dtype in ("float32", "float16")
        for m, h, kv, hd, c, r, p, bias in [
            (1, 4, 4, 32, 20, 8, 0, False),
            (1, 6, 2, 32, 27, 8, 1_000_003, False),
            (1, 4, 1, 128, 75, 16, 74, True),
            (4, 6, 2, 32, 27, 8, 25, True),  # both rings wrap
            (5, 8, 2, 128, 5, 16, 13, False),
            (18, 4, 4, 64, 20, 24, 13, True),
        ]
    ),
    Case(
        "norm_qkv",
        {"m": 1, "heads": 2, "kv_heads": 1, "head_dim": 32, "capacity": 8, "rope_rows": 4, "position": 9},
        serial=False,
        max_binding_bytes=50 * 3 * 16,
    ),
    *(
        Case(
            "attention",
            {
                "m": m,
                "heads": h,
                "kv_heads": kv,
                "head_dim": hd,
                "window": w,
                "position": p,
                "spare": s,
                "scale": scale,
                "dtype": dtype,
            },
            serial=serial,
        )
        for serial in (False, True)
        for dtype in ("float32", "float16")
        for m, h, kv, hd, w, p, s, scale in [
            (1, 4, 4, 32, 20, 0, 0, 1.0),  # a single key
            (4, 4, 4, 32, 20, 0, 0, 1.0),  # a stream's start: 1, 2, 3, 4 keys
            (4, 4, 4, 32, 20, 18, 0, 1.0),  # the window fills up between rows
            (4, 4, 4, 64, 250, 1_000, 3, 1.0),  # rolled over, several splits
            (1, 6, 2, 64, 75, 74, 0, 1.0),
            (1, 6, 2, 64, 75, 500, 0, 1.0),
            (3, 8, 2, 128, 65, 64, 1, 1.0),
            (1, 8, 2, 128, 200, 150, 0, 1.0),
            (1, 8, 2, 128, 2_100, 2_050, 0, 1.0),  # more keys than splits of the smallest size hold
            (1, 8, 2, 128, 2_100, 5, 0, 1.0),  # most splits are empty
            (2, 3, 1, 96, 70, 400, 0, 1.0),  # 12 lanes a key do not divide the workgroup
            (5, 2, 1, 32, 1, 7, 0, 1.0),  # a window of itself only
            (32, 4, 4, 64, 33, 5, 0, 1.0),
            (70, 16, 16, 64, 90, 1_000, 0, 1.0),  # so many rows that nothing is split
            (2, 2, 1, 64, 150, 149, 0, 20.0),  # scores in the hundreds
        ]
    ),
    Case("embed", {"vocabulary": 64, "dim": 96, "position": 0, "token": 50}),
    Case("embed", {"vocabulary": 64, "dim": 96, "position": 38, "token": 50, "audio_row": 2}),
    Case("embed", {"vocabulary": 64, "dim": 96, "position": 39, "token": 63, "audio_row": 1}),
    Case("embed", {"vocabulary": 70_000, "dim": 32, "position": 99, "token": 69_999}),
    *(
        Case("embed", {"vocabulary": 64, "dim": 96, "position": 39, "token": token}, max_binding_bytes=21 * 3 * 16)
        for token in (0, 20, 21, 41, 42, 63)
    ),
    *(
        Case("argmax_advance", {"n": n, "winners": winners, "position": position, "ring": 8, "level": level})
        for n, winners, position, level in [
            (1, [0], 0, 9.0),
            (5, [4], 7, 9.0),
            (1536, [1535], 8, 9.0),
            (1536, [0, 1, 1535], 9, 9.0),
            (2, [1], 6, 9.0),  # fewer than are asked for
            (1536, [300, 44, 1000], 10, 9.0),  # the tree sees 300 - 256 = 44's neighbour first
            (5000, [4999, 7, 2049, 263, 4100, 8], 11, 9.0),  # more of the same than are asked for, over all shares
            (70_000, [69_998, 69_999], 70_000, 9.0),
            (1000, [777], 3, -1e30),
        ]
    ),
    Case("advance_encoder", {"n_rows": 4}),
    Case("decode_loop", {"vocabulary": 70, "dim": 96, "steps": 9}),
    Case("decode_loop", {"vocabulary": 5000, "dim": 96, "steps": 9}, serial=False),
    Case("decode_loop", {"vocabulary": 70, "dim": 96, "steps": 9}, serial=False, max_binding_bytes=13 * 3 * 16),
    *(
        Case(scenario, {**arguments, "kind": kind}, serial, max_binding_bytes)
        for kind in ("f16", "bf16", "f32")
        for scenario, arguments, serial, max_binding_bytes in FLOAT_CASES
    ),
    Case("scratch_reuse", {"m": 1, "dim": 96}),
    Case("scratch_reuse", {"m": 5, "dim": 96}, serial=False),
]
