"""What a GPU must do for us, and nothing more.

Implemented by `browser` (navigator.gpu through Pyodide), `gpu.native` (wgpu-py) and
`gpu.recording` (executes nothing, remembers everything; for CPU tests). Mechanism only: buffers,
kernels, tapes. Errors are DeviceError or ShaderError with one sentence.

A Tape is an immutable list of dispatches in the device's own form, made once and replayed for ever;
`submit` runs tapes in order inside one compute pass of one command buffer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from voxtral.errors import DeviceError, MemoryRefusedError, in_words


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

    features: optional WebGPU features the device was given and WGSL language features, by their names in the
    specifications. subgroup_size: invocations of every subgroup, 0 where that varies or is not known.
    """

    name: str
    backend: str
    is_software: bool
    features: frozenset[str] = frozenset()
    subgroup_size: int = 0


@dataclass
class MemoryUse:
    """Bytes in use now, and the most there ever were."""

    now: int = 0
    peak: int = 0

    def add(self, n_bytes: int) -> None:
        """Count bytes taken, or with a negative number given back."""
        self.now += n_bytes
        self.peak = max(self.peak, self.now)


# What the kernels and buffers were made for, by the specification's names: the defaults of WebGPU. Only an adapter
# below them (WebGPU's compatibility mode has such) lacks one.
NEEDED_LIMITS = {
    "maxBufferSize": 268_435_456,
    "maxStorageBufferBindingSize": 134_217_728,
    "maxStorageBuffersPerShaderStage": 8,
    "maxComputeInvocationsPerWorkgroup": 256,
    "maxComputeWorkgroupSizeX": 256,
    "maxComputeWorkgroupStorageSize": 16_384,
    "maxComputeWorkgroupsPerDimension": 65_535,
}

# Optional features that are asked for wherever the adapter has them; nothing needs them.
WANTED_FEATURES = ("subgroups", "timestamp-query")
PACKED_DOT = "packed_4x8_integer_dot_product"  # WGSL's name of a language feature that some kernels use


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
    """One GPU. Buffers, pipelines, bind groups and tapes are opaque to everyone else. memory: of its buffers."""

    info: AdapterInfo
    limits: Limits
    memory: MemoryUse

    def on_lost(self, callback: Callable[[DeviceError], None]) -> None:
        """Call back once when the device is lost or reports an error nobody waits for: results are worthless then."""

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> Any:
        """A zero-filled buffer (storage, or uniform) that can be copied from and to; n_bytes is a multiple of 4.

        Raises MemoryRefusedError if it is known to be refused; that may turn out only in `settle`.
        """

    async def settle(self) -> None:
        """Wait until every buffer asked for is there. Raises MemoryRefusedError, naming the first that is not."""

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


def require_limits(name: str, granted: Mapping[str, int]) -> None:
    """Raise DeviceError, naming all that is missing, unless an adapter grants every one of NEEDED_LIMITS."""
    lacking = [
        f"{limit} {granted[limit]:,} where {needed:,} is needed"
        for limit, needed in NEEDED_LIMITS.items()
        if granted[limit] < needed
    ]
    if lacking:
        raise DeviceError(f"{name} is too limited a GPU, it grants {' and '.join(lacking)}; use another GPU or browser")


def require_room(device: Device, n_bytes: int, label: str) -> None:
    """Raise MemoryRefusedError for a buffer larger than the device makes any."""
    largest = device.limits.max_buffer_size
    if n_bytes > largest:
        raise refused(device, n_bytes, label, device.memory.now, f"its largest buffer is {in_words(largest)}")


def refused(device: Device, n_bytes: int, label: str, held_bytes: int, reason: str) -> MemoryRefusedError:
    """The sentence for a buffer that cannot be had; held_bytes: what the device held when it was asked for."""
    return MemoryRefusedError(
        f"{device.info.name} has no room for the {in_words(n_bytes)} of {label!r} beside the {in_words(held_bytes)} "
        f"that it holds ({reason})"
    )
