"""What a GPU must do for us, and nothing more.

Implemented by `gpu.browser` (navigator.gpu through Pyodide), `gpu.native` (wgpu-py) and
`gpu.recording` (executes nothing, remembers everything; for CPU tests). Mechanism only: buffers,
kernels, tapes. Errors are DeviceError or ShaderError with one sentence.

A Tape is an immutable list of dispatches in the device's own form, made once and replayed for ever;
`submit` runs tapes in order inside one compute pass of one command buffer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Limits:
    """The WebGPU limits that shape our kernels; the defaults are those every adapter grants."""

    max_buffer_size: int = 268_435_456
    max_storage_buffer_binding_size: int = 134_217_728
    max_compute_workgroups_per_dimension: int = 65_535
    max_compute_invocations_per_workgroup: int = 256
    max_compute_workgroup_storage_size: int = 16_384
    min_storage_buffer_offset_alignment: int = 256
    min_uniform_buffer_offset_alignment: int = 256


@dataclass(frozen=True)
class AdapterInfo:
    """Who computes: names for people, and whether it is a CPU pretending (SwiftShader, llvmpipe).

    features: optional WebGPU features the device was given, by their names in the specification.
    """

    name: str
    backend: str
    is_software: bool
    features: frozenset[str] = frozenset()


# Optional features that are asked for wherever the adapter has them; nothing needs them.
WANTED_FEATURES = ("subgroups", "timestamp-query")


class Binding(NamedTuple):
    """A range of a buffer as one kernel argument; sizes in bytes."""

    buffer: Any
    offset: int
    size: int


class Dispatch(NamedTuple):
    """One kernel launch; `bind_group` holds the arguments, `grid` the workgroup counts."""

    pipeline: Any
    bind_group: Any
    grid: tuple[int, int, int]


class Device(Protocol):
    """One GPU. Buffers, pipelines, bind groups and tapes are opaque to everyone else."""

    info: AdapterInfo
    limits: Limits

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> Any:
        """A zero-filled buffer (storage, or uniform) that can be copied from and to; n_bytes is a multiple of 4."""

    def destroy_buffer(self, buffer: Any) -> None:
        """Give the memory back now."""

    def write(self, buffer: Any, offset: int, data: Any) -> None:
        """Queue a write of a C-contiguous numpy array or bytes (a multiple of 4 bytes)."""

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> bytes:
        """The bytes after everything submitted so far."""

    def copy(self, source: Any, source_offset: int, target: Any, target_offset: int, n_bytes: int) -> None:
        """Queue a buffer-to-buffer copy behind everything submitted so far."""

    async def create_pipeline(
        self, label: str, wgsl: str, bindings: Sequence[str], overrides: Mapping[str, float]
    ) -> Any:
        """Compile entry point `main`. bindings: 'read', 'read_write' or 'uniform' for each @binding of @group(0).

        What `wgsl` uses of the device's features the device enables itself: Tint demands `enable`, naga refuses it.
        Raises ShaderError with the compiler's words and line."""

    def create_bind_group(self, pipeline: Any, bindings: Sequence[Binding]) -> Any:
        """Arguments for a pipeline, in binding order."""

    def create_tape(self, dispatches: Sequence[Dispatch]) -> Any:
        """Freeze dispatches for replay."""

    def submit(self, tapes: Sequence[Any]) -> None:
        """Run tapes in order, in one compute pass and one command buffer; does not wait."""

    async def time_ms(self, tapes: Sequence[Any]) -> float | None:
        """Run tapes like `submit` and wait; the GPU's own milliseconds for the pass, None if it cannot tell."""

    def destroy(self) -> None:
        """Release the device and everything on it."""
