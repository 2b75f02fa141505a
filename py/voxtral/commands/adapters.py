"""`voxtral adapters`: what WebGPU finds on this machine."""

import argparse
from collections.abc import Sequence
from typing import Any

from voxtral.errors import DeviceError, in_words
from voxtral.native_loading import import_native
from voxtral.placement import MAX_CPU_PARAMETERS

KINDS = {"DiscreteGPU": "GPU card", "IntegratedGPU": "built-in GPU", "CPU": "software on the CPU"}
COLUMNS = ("", "no.", "name", "by", "kind", "largest buffer", "largest binding", "driver")


def add_adapters_command(commands: Any) -> None:
    adapters = commands.add_parser("adapters", help="list the GPUs that --adapter may name")
    adapters.set_defaults(command=_adapters)


def _adapters(_options: argparse.Namespace) -> int:
    adapters = import_native().list_adapters()
    if not adapters:
        raise DeviceError(
            "no GPU adapter found; install the GPU's Vulkan driver (models of up to "
            f"{MAX_CPU_PARAMETERS // 1_000_000} million parameters compute without one, with numpy)"
        )
    rows = [
        (
            "*" if one.is_chosen else "",
            str(one.number),
            one.name,
            one.backend,
            KINDS.get(one.kind, "unknown"),
            in_words(one.limits["maxBufferSize"]),
            in_words(one.limits["maxStorageBufferBindingSize"]),
            one.driver,
        )
        for one in adapters
    ]
    print("\n".join(aligned([COLUMNS, *rows])))
    print("* is taken where --adapter names no other; one in software only where --adapter or --backend webgpu asks")
    return 0


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns begin below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
