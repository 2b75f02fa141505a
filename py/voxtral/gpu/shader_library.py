"""The WGSL kernels: where their text lies, what they bind, and the pipelines made of them.

One kernel is one file of `shaders/` with one entry point, `main`. Its final text is the files of
`shaders/common/` it names here, then the file itself; nothing is preprocessed. A kernel that reads matrices is
registered for each type of weights, over one file. Variants are WGSL `override` constants, so a pipeline is known by
(kernel, overrides) and never by a shape. See shaders/README.md.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from voxtral.gpu.device import PACKED_DOT, AdapterInfo, Device
from voxtral.quant import GgmlType

READ, WRITE, UNIFORM = "read", "read_write", "uniform"
TEAM_SUM, ACTIVATIONS = "team_sum", "activations"
# Files of common/ that have a second form, for devices with a trait; its name ends in the trait.
TRAITS = {TEAM_SUM: "subgroups", ACTIVATIONS: "packed"}
# What files of common/ make of matrices of each type.
WEIGHTS = {
    GgmlType.Q4_0: ("weights_q4_0",),
    GgmlType.F16: ("weights_f16", "weights_floats"),
    GgmlType.BF16: ("weights_bf16", "weights_floats"),
    GgmlType.F32: ("weights_f32", "weights_floats"),
}
LARGEST_SUBGROUP = 64  # as the smallest workgroup that uses them


@dataclass(frozen=True)
class Kernel:
    """common: files of shaders/common/ it needs, in order; bindings: access of each @binding of @group(0), the uniform
    parameters last where it has any; traits: of those it needs, the ones it has a form for; file: if not its name."""

    common: tuple[str, ...]
    bindings: tuple[str, ...]
    traits: frozenset[str] = frozenset(TRAITS.values())
    file: str = ""


def kernel_for(name: str, kind: GgmlType) -> str:
    """The kernel of that file that reads matrices of a type: `matvec_bf16`."""
    return f"{name}_{kind.name.lower()}"


def _of_weights(name: str, common: tuple[str, ...], bindings: tuple[str, ...], *traits: str) -> "dict[str, Kernel]":
    """A kernel for each type of weights; packed integers are multiplied with those of Q4_0 only."""
    return {
        kernel_for(name, kind): Kernel(
            ("grid", *files, *common),
            bindings,
            frozenset(traits) - (frozenset() if kind is GgmlType.Q4_0 else {TRAITS[ACTIVATIONS]}),
            name,
        )
        for kind, files in WEIGHTS.items()
    }


KERNELS = {
    "ada_norm_weight": Kernel(("grid",), (READ, READ, WRITE, UNIFORM)),
    "advance_encoder": Kernel((), (WRITE, WRITE, UNIFORM)),
    "argmax_advance": Kernel(("best_four",), (READ, WRITE, WRITE, UNIFORM)),
    "argmax_part": Kernel(("grid", "best_four"), (READ, WRITE, UNIFORM)),
    "attention": Kernel(("kv_load", "attention_span"), (READ, READ, READ, WRITE, WRITE)),
    "attention_reduce": Kernel(("attention_span",), (READ, READ, READ, WRITE)),
    "attention_serial": Kernel(("grid", "kv_load"), (READ, READ, READ, WRITE, UNIFORM)),
    "conv1d_gelu": Kernel(("grid", "gelu"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    "conv1d_gelu_team": Kernel(("grid", "gelu", TEAM_SUM), (READ, READ, READ, READ, WRITE, UNIFORM)),
    **_of_weights("embed", (), (READ, READ, READ, READ, WRITE, UNIFORM)),
    **_of_weights("gemm", ("gelu", "silu", "epilogue"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    **_of_weights("matmul", ("gelu", "epilogue"), (READ, READ, READ, READ, WRITE, UNIFORM)),
    # Without traits: nine sums a team are sooner added up in a tree than by subgroups.
    **_of_weights("few_rows", (TEAM_SUM, "gelu", "silu", "epilogue"), (READ, READ, READ, READ, READ, WRITE, UNIFORM)),
    **_of_weights(
        "matvec",
        (ACTIVATIONS, TEAM_SUM, "row_products", "gelu", "silu", "epilogue"),
        (READ, READ, READ, READ, READ, WRITE, UNIFORM),
        *TRAITS.values(),
    ),
    **_of_weights(
        "qkv",
        (ACTIVATIONS, TEAM_SUM, "row_products", "kv_store", "append_pair"),
        (READ, READ, READ, READ, READ, READ, WRITE, WRITE, UNIFORM),
        *TRAITS.values(),
    ),
    "repack_q4_0": Kernel(("grid",), (READ, WRITE, WRITE, UNIFORM)),
    "rms_norm": Kernel(("grid", "workgroup_sum"), (READ, READ, WRITE, UNIFORM)),
    "rope_append_kv": Kernel(("grid", "kv_store", "append_pair"), (READ, READ, READ, WRITE, WRITE, UNIFORM)),
    "sum_splits": Kernel(("grid", "gelu", "epilogue"), (READ, READ, WRITE, UNIFORM)),
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


def traits_of(info: AdapterInfo) -> frozenset[str]:
    """What a device is good at; Apple's GPUs have packed products only in name, as a sequence of other steps."""
    traits = set()
    if "subgroups" in info.features and 0 < info.subgroup_size <= LARGEST_SUBGROUP:
        traits.add("subgroups")
    if PACKED_DOT in info.features and "apple" not in info.name.lower():
        traits.add("packed")
    return frozenset(traits)


@cache
def kernel_source(kernel: str, traits: frozenset[str] = frozenset()) -> str:
    """The exact WGSL text a device compiles for `kernel`; traits: "subgroups", "packed", where it has them."""
    folder, known = shaders_folder(), KERNELS[kernel]
    traits &= known.traits
    names = [f"{name}_{TRAITS[name]}" if TRAITS.get(name) in traits else name for name in known.common]
    parts = [folder / "common" / f"{name}.wgsl" for name in names]
    parts.append(folder / f"{known.file or kernel}.wgsl")
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


class ShaderLibrary:
    """Pipelines of one device, each compiled once. traits: see kernel_source."""

    def __init__(self, device: Device, traits: frozenset[str]) -> None:
        self._device = device
        self._traits = traits
        self._pipelines: dict[Variant, Any] = {}

    @property
    def variants(self) -> list[Variant]:
        """What has been compiled so far."""
        return list(self._pipelines)

    def __getitem__(self, variant: Variant) -> Any:
        return self._pipelines[variant]

    async def compile(self, variants: Iterable[Variant]) -> None:
        """Compile those that are missing, all at once; raises ShaderError."""
        missing = [variant for variant in dict.fromkeys(variants) if variant not in self._pipelines]
        pipelines = await asyncio.gather(*(self._compile(variant) for variant in missing))
        self._pipelines.update(zip(missing, pipelines, strict=True))

    async def _compile(self, variant: Variant) -> Any:
        kernel = KERNELS[variant.kernel]
        overrides = dict(variant.overrides)
        if TRAITS[TEAM_SUM] in self._traits & kernel.traits and TEAM_SUM in kernel.common:
            overrides["SUBGROUP"] = self._device.info.subgroup_size
        source = kernel_source(variant.kernel, self._traits)
        return await self._device.create_pipeline(variant.label, source, kernel.bindings, overrides)
