"""Products with matrices on a GPU: which kernel serves how many rows, with what tuning and on what grid.

`form_of` names the form, `launches` plans what each part of the matrix needs. Rules are fixed and were measured on an
H200 (SPEED.md); nothing here changes a result beyond rounding.

    row        one row: two quads of the matrix a workgroup                     matvec (and qkv)
    few_rows   2 to some 16: four rows by a quad a workgroup                    few_rows
    many_rows  tiles of 64 outputs; K is split where these are too few          gemm, then sum_splits
    plain      any number, each output by one invocation, without barriers      matmul

Of each kernel there is one for every type of weights. Tuning that depends on the type is in TUNING.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from voxtral.config import RMS_NORM_EPS
from voxtral.gpu.commands import Grid, fold_grid
from voxtral.gpu.shader_library import kernel_for
from voxtral.gpu.tensor import Matrix, MatrixPart, Tensor
from voxtral.quant import GgmlType

QUAD = 4  # rows of the matrix that are taken at once; rows of x, too, are mostly taken four at a time
MATVEC_OUTPUTS = 8  # of a workgroup of matvec and qkv
GEMM_TILE = 64  # outputs, and mostly rows, of a workgroup of gemm
SMALLEST_TEAM, LARGEST_TEAM = 64, 256  # invocations of a workgroup that add up vec4s in at most 16 KiB
MANY_TILES = 256  # workgroups that keep a wide GPU busy
MOST_SPLITS = 8
FEWEST_BLOCKS = 16  # of K in a split
ELEMENT_WG = 64


class Tuning(NamedTuple):
    """What suits weights of one type.

    busy: invocations of a product's dispatch, about; fewer leave a wide GPU waiting for memory. steps: words of each
    row that an invocation of matvec and qkv fetches at once, 1 or 2; a word of all eight rows takes two loads of 16
    bytes in Q4_0, eight in F16 and BF16, 16 in F32.
    """

    busy: int
    steps: int


TUNING = {
    GgmlType.Q4_0: Tuning(busy=98_304, steps=2),
    GgmlType.F16: Tuning(busy=98_304, steps=1),
    GgmlType.BF16: Tuning(busy=98_304, steps=1),
    GgmlType.F32: Tuning(busy=98_304, steps=1),
}

Scratch = Callable[[tuple[int, ...], str], Tensor]


@dataclass(frozen=True)
class Product:
    """y [M, N] = or += gelu?(norm?(x) [M, K] times weight^T + bias?), or SwiGLU of a gate over an up half.

    The norm is applied on the way by `row` and `few_rows` only; others take x as it is.
    """

    x: Tensor
    weight: Matrix
    y: Tensor
    norm: Tensor | None = None
    bias: Tensor | None = None
    has_gelu: bool = False
    accumulates: bool = False
    is_gated: bool = False

    @property
    def epilogue(self) -> dict[str, float]:
        """Overrides of shaders/common/epilogue.wgsl."""
        return {"HAS_BIAS": self.bias is not None, "HAS_GELU": self.has_gelu, "ACCUMULATE": self.accumulates}


class Launch(NamedTuple):
    """What `Recorder.dispatch` takes."""

    kernel: str
    arguments: tuple[Tensor, ...]
    params: tuple[int, ...]
    grid: Grid
    overrides: dict[str, float]


def form_of(n_outputs: int, n_rows: int) -> str:
    """row, few_rows or many_rows: more rows share better in tiles, if these are enough for a whole GPU."""
    if n_rows == 1:
        return "row"
    return "few_rows" if n_rows <= 16 or (n_rows <= 64 and n_outputs <= 2048) else "many_rows"


def launches(
    form: str, product: Product, tuned_for: int, absent: Tensor, plain_wg: int, scratch: Scratch
) -> Iterator[Launch]:
    """One product's launches, in order; tuned_for: how many outputs; absent: bound where there is no norm or bias."""
    n_parts = len(product.weight.parts)
    for part in product.weight.parts:
        if form in ("row", "few_rows"):
            yield _by_teams(product, part, tuned_for // n_parts, absent, is_row=form == "row")
        elif form == "many_rows":
            yield from _by_tiles(product, part, tuned_for // n_parts, absent, scratch)
        else:
            yield _plain(product, part, absent, plain_wg)


def team_shape(n_workgroups: int, weight: Matrix, n_slots: int) -> dict[str, float]:
    """Overrides of a product by teams that add up n_slots vec4s: where there are few, each gets more hands."""
    wanted = min(math.ceil(TUNING[weight.kind].busy / n_workgroups), weight.n_words)  # no more hands than words
    largest = LARGEST_TEAM if n_slots <= 4 else LARGEST_TEAM // 2 if n_slots <= 8 else LARGEST_TEAM // 4
    wg = min(largest, max(SMALLEST_TEAM, 1 << (wanted - 1).bit_length()))
    return {"WG": wg, "N_WORDS": weight.n_words, "TEAM_SLOTS": n_slots}


def row_shape(n_outputs: int, weight: Matrix, has_norm: bool) -> dict[str, float]:
    """Overrides of a product of one row, shaders/common/row_products.wgsl, that has so many outputs."""
    shape = team_shape(math.ceil(n_outputs / MATVEC_OUTPUTS), weight, 2 + has_norm)
    return shape | {"STEPS": TUNING[weight.kind].steps} | _norm(has_norm)


def _norm(has_norm: bool) -> dict[str, float]:
    return {"HAS_NORM": True, "EPS": RMS_NORM_EPS} if has_norm else {}


def _by_teams(product: Product, part: MatrixPart, tuned_for: int, absent: Tensor, is_row: bool) -> Launch:
    n_rows, n_columns = product.x.shape[0], product.y.shape[1]
    weight, has_norm = product.weight, product.norm is not None
    if is_row:
        kernel = "matvec"
        params: tuple[int, ...] = (part.n_rows, part.first_row, n_columns)
        grid = fold_grid(math.ceil(part.n_rows / MATVEC_OUTPUTS))
        shape = row_shape(tuned_for, weight, has_norm)
    else:
        kernel, n_slots = "few_rows", 4
        params = (part.n_rows, part.first_row, n_rows, n_columns)
        grid = fold_grid(math.ceil(part.n_rows / QUAD), math.ceil(n_rows / QUAD))
        if product.is_gated:
            n_slots, grid = 8, fold_grid(math.ceil(n_columns / QUAD), grid[2])
        n_workgroups = math.ceil(tuned_for / n_slots) * grid[2]
        shape = team_shape(n_workgroups, weight, n_slots + has_norm) | _norm(has_norm)
    if product.is_gated:
        shape |= {"IS_GATED": True, "UP_QUAD": n_columns // QUAD}
    arguments = (
        product.x, product.norm or absent, part.weights, part.scales or absent, product.bias or absent, product.y,
    )  # fmt: skip
    return Launch(kernel_for(kernel, weight.kind), arguments, params, grid, shape | product.epilogue)


def _by_tiles(product: Product, part: MatrixPart, tuned_for: int, absent: Tensor, scratch: Scratch) -> Iterator[Launch]:
    n_rows, n_columns, n_blocks = product.x.shape[0], product.y.shape[1], product.weight.n_blocks
    n_tiles = math.ceil(tuned_for / GEMM_TILE) * math.ceil(n_rows / GEMM_TILE)
    n_splits = 1 if product.is_gated else gemm_splits(n_tiles, n_blocks)
    tile_rows = GEMM_TILE if n_splits > 1 or n_tiles >= MANY_TILES // 2 else GEMM_TILE // 2
    shape: dict[str, float] = {"TILE_ROWS": tile_rows, "IS_GATED": product.is_gated, "N_SPLITS": n_splits}
    params = (part.n_rows, part.first_row, n_rows, n_columns, n_blocks)
    grid = fold_grid(math.ceil(part.n_rows / GEMM_TILE), math.ceil(n_rows / tile_rows) * n_splits)
    sums = product.y if n_splits == 1 else scratch((n_splits, n_rows, n_columns), "split sums")
    arguments = (product.x, part.weights, part.scales or absent, product.bias or absent, sums)
    kernel = kernel_for("gemm", product.weight.kind)
    yield Launch(kernel, arguments, params, grid, shape | (product.epilogue if n_splits == 1 else {}))
    if n_splits > 1:
        n_sums = n_rows * part.n_rows
        yield Launch(
            "sum_splits",
            (sums, product.bias or absent, product.y),
            (n_sums, n_splits, part.n_rows, part.first_row, n_columns, n_rows * n_columns),
            fold_grid(math.ceil(n_sums / ELEMENT_WG)),
            {"WG": ELEMENT_WG, **product.epilogue},
        )


def gemm_splits(n_tiles: int, n_blocks: int) -> int:
    """Into how many parts K is split, a power of two, so that there are workgroups for a wide GPU."""
    wanted = min(MOST_SPLITS, 2 * MANY_TILES // n_tiles, n_blocks // FEWEST_BLOCKS)
    return 1 if n_tiles >= MANY_TILES or wanted < 2 else 1 << int(math.log2(wanted))


def _plain(product: Product, part: MatrixPart, absent: Tensor, wg: int) -> Launch:
    n_rows, n_columns = product.x.shape[0], product.y.shape[1]
    rows = 1 if n_rows == 1 else QUAD
    params = (part.n_rows, part.first_row, n_rows, n_columns, product.weight.n_blocks)
    grid = fold_grid(math.ceil(part.n_rows / (QUAD * wg)), math.ceil(n_rows / rows))
    arguments = (product.x, part.weights, part.scales or absent, product.bias or absent, product.y)
    kernel = kernel_for("matmul", product.weight.kind)
    return Launch(kernel, arguments, params, grid, {"WG": wg, "ROWS": rows, **product.epilogue})
