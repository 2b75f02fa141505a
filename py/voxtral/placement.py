"""Where a model of some size may compute: on a GPU, or with numpy on the CPU. One rule for the page and the command."""

from voxtral.errors import DeviceError, TooSlowError
from voxtral.gpu.device import Device

MAX_CPU_PARAMETERS = 100_000_000  # beyond that a CPU, as a software GPU, is no help to anyone waiting


def found(answer: Device | DeviceError | None, backend: str | None, n_parameters: int) -> Device | None:
    """The GPU, if there is one. Raises DeviceError where it is needed and there is none.

    answer: the GPU, or why there is none; None: backend is numpy, and nobody asked for one.
    """
    is_large = n_parameters > MAX_CPU_PARAMETERS
    if answer is None and is_large:
        raise DeviceError(f"{_needs(n_parameters)}, but numpy was asked for, which computes on the CPU; leave that out")
    if not isinstance(answer, DeviceError):
        return answer
    if is_large:
        raise DeviceError(f"{_needs(n_parameters)}: {answer}") from answer
    if backend == "webgpu":
        raise answer
    return None


def choose(found: Device | None, backend: str | None, n_parameters: int) -> Device | None:
    """The GPU for a model of that size, or None: the CPU. Raises TooSlowError if neither is any good."""
    if found is None or backend == "webgpu" or not found.info.is_software:
        return found
    if n_parameters > MAX_CPU_PARAMETERS:
        raise TooSlowError(
            f"{_needs(n_parameters)}, but the only one here is {found.info.name}, software on the CPU: it would need "
            "minutes for every second of speech; use a machine with a GPU, or check that hardware acceleration is on"
        )
    return None  # the CPU itself is faster than one that pretends to be a GPU


def _needs(n_parameters: int) -> str:
    return f"this model has {n_parameters / 1e9:.1f} billion parameters and needs a GPU"
