"""The WGSL kernels: where their text lies, what they bind, and the pipelines made of them.

One kernel is one file of `shaders/` with one entry point, `main`. Its final text is the files of
`shaders/common/` it names here, then the file itself; nothing is preprocessed. Variants are WGSL `override`
constants, so a pipeline is known by (kernel, overrides) and never by a shape. See shaders/README.md.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from voxtral.gpu.device import Device

READ, WRITE, UNIFORM = "read", "read_write", "uniform"
TEAM_SUM = "team_sum"  # has a second form for devices with subgroups


@dataclass(frozen=True)
class Kernel:
    """common: files of shaders/common/ it needs, in order; bindings: access of each @binding of @group(0)."""

    common: tuple[str, ...]
    bindings: tuple[str, ...]


KERNELS = {
    "ada_norm_weight": Kernel(("grid",), (READ, READ, WRITE, UNIFORM)),
    "advance_encoder": Kernel((), (WRITE, WRITE, UNIFORM)),
    "argmax_advance": Kernel(("argmax_tree",), (READ, WRITE, WRITE, UNIFORM)),
    "argmax_part": Kernel(("grid", "argmax_tree"), (READ, WRITE, UNIFORM)),
    "attention": Kernel(("kv_load", "attention_span"), (READ, READ, READ, WRITE, WRITE, UNIFORM)),
    "attention_reduce": Kernel(("attention_span",), (READ, READ, READ, WRITE, UNIFORM)),
    "attention_serial": Kernel(("grid", "kv_load"), (READ, READ, READ, WRITE, UNIFORM)),
    "conv1d_gelu": Kernel(("grid", "gelu"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "conv1d_gelu_team": Kernel(("grid", "gelu", TEAM_SUM), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "embed_q4_0": Kernel(("grid", "q4_0"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "gemm_q4_0": Kernel(("grid", "q4_0", "gelu", "silu", "epilogue"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "matmul_q4_0": Kernel(("grid", "q4_0", "gelu", "epilogue"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "few_rows_q4_0": Kernel(
        ("grid", "q4_0", TEAM_SUM, "team_products", "gelu", "silu", "epilogue"),
        (READ, READ, READ, READ, READ, WRITE, UNIFORM),
    ),
    "matvec_q4_0": Kernel(
        ("grid", "q4_0", "staged_products", "gelu", "silu", "epilogue"),
        (READ, READ, READ, READ, READ, WRITE, UNIFORM),
    ),
    "qkv_q4_0": Kernel(
        ("grid", "q4_0", "staged_products", "kv_store", "append_pair"),
        (READ, READ, READ, READ, READ, READ, WRITE, WRITE, UNIFORM),
    ),
    "repack_q4_0": Kernel(("grid",), (READ, WRITE, WRITE, UNIFORM)),
    "rms_norm": Kernel(("grid", "workgroup_sum"), (READ, READ, WRITE, UNIFORM)),
    "rope_append_kv": Kernel(("grid", "kv_store", "append_pair"), (READ, READ, READ, WRITE, WRITE, UNIFORM)),
    "swiglu": Kernel(("grid", "silu"), (READ, WRITE, UNIFORM)),
}


class Variant(NamedTuple):
    """One pipeline: a kernel and its override constants, sorted by name."""

    kernel: str
    overrides: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """For people and profilers: `matvec_q4_0/LANES=32,WG=128`."""
        values = ",".join(f"{name}={value:g}" for name, value in self.overrides)
        return f"{self.kernel}/{values}" if values else self.kernel


def shaders_folder() -> Traversable:
    """shaders/ inside the installed package, or at the root of a checkout."""
    packaged = files("voxtral") / "shaders"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "shaders"


@cache
def kernel_source(kernel: str, subgroups: bool = False) -> str:
    """The exact WGSL text a device compiles for `kernel`, with or without subgroup operations."""
    folder = shaders_folder()
    names = [f"{name}_subgroups" if subgroups and name == TEAM_SUM else name for name in KERNELS[kernel].common]
    parts = [folder / "common" / f"{name}.wgsl" for name in names]
    return "\n".join(part.read_text(encoding="utf-8") for part in [*parts, folder / f"{kernel}.wgsl"])


class ShaderLibrary:
    """Pipelines of one device, each compiled once. subgroups: use them where a kernel has a form that does."""

    def __init__(self, device: Device, subgroups: bool) -> None:
        self._device = device
        self._subgroups = subgroups
        self._pipelines: dict[Variant, Any] = {}

    def __getitem__(self, variant: Variant) -> Any:
        return self._pipelines[variant]

    async def compile(self, variants: Iterable[Variant]) -> None:
        """Compile those that are missing, all at once; raises ShaderError."""
        missing = [variant for variant in dict.fromkeys(variants) if variant not in self._pipelines]
        pipelines = await asyncio.gather(*(self._compile(variant) for variant in missing))
        self._pipelines.update(zip(missing, pipelines, strict=True))

    async def _compile(self, variant: Variant) -> Any:
        bindings = KERNELS[variant.kernel].bindings
        source = kernel_source(variant.kernel, self._subgroups)
        return await self._device.create_pipeline(variant.label, source, bindings, dict(variant.overrides))
