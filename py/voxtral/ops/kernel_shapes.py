"""Which form of a kernel serves which shape: fixed rules, measured on an H200 (SPEED.md) and harmless elsewhere.

Plain numbers in, override constants out; `ops.webgpu` uses them, and nothing here changes a result beyond rounding.
"""

import math

TILE = 4  # rows and outputs of one invocation or team of a product, time steps and channels of a convolution
GEMM_OUTPUTS = 64  # of a workgroup
MATVEC_WG = 256  # invocations of matvec_q4_0 and qkv_q4_0
MATVEC_WORKGROUPS = 384  # at least, where that many can be had
MAX_TILE_ITEMS = 192  # as in shaders/common/staged_products.wgsl
ATTENTION_WORKGROUPS = 256  # about; a wide GPU is busy, and what they leave is soon added up
SMALLEST_SPLIT = 32  # keys, as in shaders/common/attention_span.wgsl
MAX_SPLITS = 64


def matvec_shape(n_outputs: int, n_blocks: int) -> dict[str, int]:
    """Overrides of common/staged_products.wgsl for a matrix [n_outputs, 32 n_blocks].

    Few lanes an output share more of what is staged, but few outputs then make too few workgroups for a wide GPU.
    """
    n_items = 2 * n_blocks
    tile = next(n for n in range(min(n_items, MAX_TILE_ITEMS), 0, -1) if n_items % n == 0)
    lanes = next((n for n in (16, 32, 64) if n_outputs * n >= TILE * MATVEC_WG * MATVEC_WORKGROUPS), 128)
    return {"WG": MATVEC_WG, "LANES": lanes, "N_BLOCKS": n_blocks, "TILE_ITEMS": tile}


def matvec_outputs(shape: dict[str, int]) -> int:
    """Outputs of a workgroup of that shape."""
    return TILE * shape["WG"] // shape["LANES"]


def is_few_rows(n_outputs: int, n_rows: int) -> bool:
    """Whether to take rows four at a time: more share better in tiles, if these are enough for a whole GPU."""
    return n_rows <= 16 or (n_rows <= 64 and n_outputs <= 2048)


def few_rows_wg(n_outputs: int) -> int:
    """Invocations of few_rows_q4_0: many outputs fill a GPU with small workgroups, which have less to add up."""
    return 32 if n_outputs >= 4096 else 64


def gemm_rows(n_outputs: int, n_rows: int) -> int:
    """Rows of a tile of gemm_q4_0: large tiles read less, small ones keep more of the GPU busy."""
    n_tiles = math.ceil(n_outputs / GEMM_OUTPUTS) * math.ceil(n_rows / 64)
    return 64 if n_tiles >= 128 else 32


def attention_splits(n_workgroups: int, window: int) -> int:
    """Over how many workgroups the keys of four queries are spread, when there are n_workgroups without."""
    return max(1, min(MAX_SPLITS, ATTENTION_WORKGROUPS // n_workgroups, math.ceil(window / SMALLEST_SPLIT)))
