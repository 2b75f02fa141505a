"""A Device over wgpu-py, for the command line, tests and tools; the only module that imports wgpu.

    list_adapters   what there is on this machine
    open_native     a device on one of them

Limits are asked for by name: the WebGPU defaults, raised only for buffer sizes, so that whatever runs here
also runs in a browser. wgpu-py tells of a lost device in its log alone: here the first call that fails tells.
"""

import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import wgpu  # type: ignore[import-untyped]

from voxtral.errors import DeviceError, ShaderError
from voxtral.gpu.device import (
    NEEDED_LIMITS,
    PACKED_DOT,
    WANTED_FEATURES,
    AdapterInfo,
    Binding,
    Dispatch,
    Limits,
    MemoryUse,
    refused,
    require_limits,
    require_room,
)

STORAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
UNIFORM = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST

# Not among our Limits, as no kernel is chosen by them, but asked for so that the device is no larger than a browser's.
OTHER_DEFAULT_LIMITS = {
    "max-storage-buffers-per-shader-stage": 8,
    "max-uniform-buffers-per-shader-stage": 12,
    "max-uniform-buffer-binding-size": 65_536,
    "max-compute-workgroup-size-x": 256,
    "max-compute-workgroup-size-y": 256,
    "max-compute-workgroup-size-z": 64,
}

FEATURE_NAMES = {"subgroups": "subgroup"}  # where wgpu's differ from the specification's
SUBGROUP_SIZES = {0x10DE: 32}  # by PCI vendor, where every GPU has one size: NVIDIA

LOST = "device is lost"  # what wgpu says whatever a lost device is asked for
LOSS_REPORTS = ("DEVICE LOST!", "The WGPU device was lost")  # wgpu-py's own, also where we gave the device back

_Failures = (wgpu.GPUError, RuntimeError)


class NativeAdapter(NamedTuple):
    """A way to a GPU; one GPU has several, by several drivers' interfaces. number: counts from 1."""

    number: int
    name: str
    backend: str  # Vulkan, Metal, D3D12 or OpenGL
    kind: str  # DiscreteGPU, IntegratedGPU, CPU or Unknown
    driver: str
    limits: Mapping[str, int]  # those of NEEDED_LIMITS
    is_chosen: bool  # where none is named


def list_adapters() -> list[NativeAdapter]:
    """Every adapter of this machine, in the order of their numbers."""
    chosen = _best_adapter()
    found: list[NativeAdapter] = []
    for number, adapter in enumerate(_all_adapters(), 1):
        info = adapter.info
        is_chosen = chosen is not None and chosen.info == info and not any(one.is_chosen for one in found)
        names = (_name(adapter), info["backend_type"], info["adapter_type"], info["description"])
        found.append(NativeAdapter(number, *names, _needed_limits(adapter), is_chosen))
    return found


class NativePipeline(NamedTuple):
    pipeline: Any
    layout: Any


class NativeDevice:
    """`gpu.device.Device` on Vulkan, Metal or Direct3D 12."""

    def __init__(self, device: Any, info: AdapterInfo, limits: Limits) -> None:
        self.info = info
        self.limits = limits
        self.memory = MemoryUse()
        self._device = device
        self._failure: DeviceError | None = None
        self._on_lost: Callable[[DeviceError], None] | None = None

    def on_lost(self, callback: Callable[[DeviceError], None]) -> None:
        """The call that finds the device lost calls back, before it raises."""
        self._on_lost = callback
        if self._failure is not None:
            callback(self._failure)

    def _failed(self, what: str, error: Exception) -> DeviceError:
        """The error to raise for one of wgpu's."""
        if self._failure is None and LOST in str(error):
            self._failure = DeviceError(
                f"the GPU {self.info.name} went away; see that its driver works, then try again"
            )
            if self._on_lost is not None:
                self._on_lost(self._failure)
        return self._failure or DeviceError(f"{what} failed on {self.info.name}: {_sentence(error)}")

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> Any:
        require_room(self, n_bytes, label)
        try:
            buffer = self._device.create_buffer(label=label, size=n_bytes, usage=UNIFORM if uniform else STORAGE)
        except _Failures as error:
            if LOST in str(error):
                raise self._failed(f"taking {n_bytes} bytes of memory", error) from error
            raise refused(self, n_bytes, label, self.memory.now, _sentence(error)) from error
        self.memory.add(n_bytes)
        return buffer

    async def settle(self) -> None:
        """Nothing to wait for: wgpu-py refuses at once."""

    def destroy_buffer(self, buffer: Any) -> None:
        self.memory.add(-buffer.size)
        buffer.destroy()

    def write(self, buffer: Any, offset: int, data: Any) -> None:
        try:
            self._device.queue.write_buffer(buffer, offset, data)
        except _Failures as error:
            raise self._failed("writing to its memory", error) from error

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> bytes:
        try:
            return bytes(self._device.queue.read_buffer(buffer, offset, n_bytes))
        except _Failures as error:
            raise self._failed(f"reading {n_bytes} bytes back", error) from error

    def copy(self, source: Any, source_offset: int, target: Any, target_offset: int, n_bytes: int) -> None:
        try:
            encoder = self._device.create_command_encoder()
            encoder.copy_buffer_to_buffer(source, source_offset, target, target_offset, n_bytes)
            self._device.queue.submit([encoder.finish()])
        except _Failures as error:
            raise self._failed(f"copying {n_bytes} bytes", error) from error

    async def create_pipeline(
        self, label: str, wgsl: str, bindings: Sequence[str], overrides: Mapping[str, float]
    ) -> NativePipeline:
        types = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}
        entries = [
            {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": types[access]}}
            for i, access in enumerate(bindings)
        ]
        try:
            module = self._device.create_shader_module(label=label, code=wgsl)
            layout = self._device.create_bind_group_layout(label=label, entries=entries)
            pipeline = self._device.create_compute_pipeline(
                label=label,
                layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                compute={"module": module, "entry_point": "main", "constants": dict(overrides)},
            )
        except _Failures as error:
            if LOST in str(error):
                raise self._failed(f"compiling {label}", error) from error
            raise ShaderError(f"kernel {label} does not compile on {self.info.name}: {_words(error)}") from error
        return NativePipeline(pipeline, layout)

    def create_bind_group(self, pipeline: NativePipeline, bindings: Sequence[Binding]) -> Any:
        entries = [
            {"binding": i, "resource": {"buffer": buffer, "offset": offset, "size": size}}
            for i, (buffer, offset, size) in enumerate(bindings)
        ]
        try:
            return self._device.create_bind_group(layout=pipeline.layout, entries=entries)
        except _Failures as error:
            raise self._failed("binding buffers", error) from error

    def create_tape(self, dispatches: Sequence[Dispatch]) -> Any:
        return tuple((step.pipeline.pipeline, step.bind_group, step.grid) for step in dispatches)

    def submit(self, tapes: Sequence[Any]) -> None:
        try:
            encoder = self._device.create_command_encoder()
            self._replay(encoder.begin_compute_pass(), tapes)
            self._device.queue.submit([encoder.finish()])
        except _Failures as error:
            raise self._failed("computing", error) from error

    def _replay(self, compute_pass: Any, tapes: Sequence[Any]) -> None:
        for tape in tapes:
            for pipeline, bind_group, grid in tape:
                compute_pass.set_pipeline(pipeline)
                compute_pass.set_bind_group(0, bind_group)
                compute_pass.dispatch_workgroups(*grid)
        compute_pass.end()

    async def time_ms(self, tapes: Sequence[Any]) -> float | None:
        try:
            return await self._time_ms(tapes)
        except _Failures as error:
            raise self._failed("measuring", error) from error

    async def _time_ms(self, tapes: Sequence[Any]) -> float | None:
        if "timestamp-query" not in self.info.features:
            self.submit(tapes)
            await self._device.queue.on_submitted_work_done_async()
            return None
        queries = self._device.create_query_set(type="timestamp", count=2)
        times = self._device.create_buffer(size=16, usage=wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC)
        writes = {"query_set": queries, "beginning_of_pass_write_index": 0, "end_of_pass_write_index": 1}
        encoder = self._device.create_command_encoder()
        self._replay(encoder.begin_compute_pass(timestamp_writes=writes), tapes)
        encoder.resolve_query_set(queries, 0, 2, times, 0)
        self._device.queue.submit([encoder.finish()])
        start, end = self._device.queue.read_buffer(times).cast("Q").tolist()
        return float(end - start) / 1e6

    def destroy(self) -> None:
        self.memory.now = 0
        self._device.destroy()


async def open_native(adapter: str | None = None, default_limits: bool = False) -> NativeDevice:
    """A device on this machine's best adapter, on the one numbered `adapter`, or the first whose name contains that.

    default_limits: ask for no more than every WebGPU adapter grants, and no optional feature.
    Raises DeviceError without an adapter.
    """
    chosen = _find_adapter(adapter)
    require_limits(_name(chosen), _needed_limits(chosen))
    limits = Limits()
    features: list[str] = []
    language: list[str] = []
    if not default_limits:
        features = [name for name in WANTED_FEATURES if FEATURE_NAMES.get(name, name) in chosen.features]
        language = [PACKED_DOT]  # naga translates them for every backend
        limits = replace(
            limits,
            max_buffer_size=chosen.limits["max-buffer-size"],
            max_storage_buffer_binding_size=chosen.limits["max-storage-buffer-binding-size"],
        )
    required = {name.replace("_", "-"): value for name, value in asdict(limits).items()} | OTHER_DEFAULT_LIMITS
    try:
        device = await chosen.request_device_async(
            required_limits=required, required_features=[FEATURE_NAMES.get(name, name) for name in features]
        )
    except (wgpu.GPUError, RuntimeError, ValueError) as error:
        raise DeviceError(f"adapter {_name(chosen)!r} gives no WebGPU device: {_sentence(error)}") from error
    info = AdapterInfo(
        name=_name(chosen),
        backend=chosen.info["backend_type"],
        is_software=chosen.info["adapter_type"] == "CPU",
        features=frozenset([*features, *language]),
        subgroup_size=_subgroup_size(chosen),
    )
    return NativeDevice(device, info, limits)


def _subgroup_size(adapter: Any) -> int:
    """Invocations of every subgroup, 0 where that varies or is not known."""
    # So wgpu-py writes what the specification calls subgroupMinSize; on Vulkan it is always the widest range.
    smallest, largest = (adapter.info.get(f"stackgroup_{end}_size", 0) for end in ("min", "max"))
    return smallest if smallest == largest else SUBGROUP_SIZES.get(adapter.info["vendor_id"], 0)


def _find_adapter(name: str | None) -> Any:
    if name is None:
        if (best := _best_adapter()) is not None:
            return best
        raise DeviceError("no GPU adapter found; install the GPU's Vulkan driver")
    adapters = _all_adapters()
    if name.isdecimal() and 1 <= int(name) <= len(adapters):
        return adapters[int(name) - 1]
    matching = [one for one in adapters if name.lower() in f"{_name(one)} {one.info['backend_type']}".lower()]
    if matching:
        return matching[0]
    found = ", ".join(f"{i} {_name(one)!r} by {one.info['backend_type']}" for i, one in enumerate(adapters, 1))
    raise DeviceError(f"no GPU adapter is called {name!r}; found: {found or 'none'}")


def _best_adapter() -> Any:
    """The one that wgpu recommends, or None."""
    _prepare()
    try:
        return wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError:
        return None


def _all_adapters() -> list[Any]:
    _prepare()
    try:
        return list(wgpu.gpu.enumerate_adapters_sync())
    except RuntimeError:
        return []


def _prepare() -> None:
    """Keep drivers and wgpu-py from writing on stderr what our errors say in a sentence."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # Mesa complains without it
    logging.getLogger("wgpu").addFilter(_is_no_loss)  # adding it again changes nothing


def _is_no_loss(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(LOSS_REPORTS)


def _name(adapter: Any) -> str:
    return str(adapter.info["device"])


def _needed_limits(adapter: Any) -> dict[str, int]:
    return {name: adapter.limits[_with_dashes(name)] for name in NEEDED_LIMITS}


def _with_dashes(limit: str) -> str:
    """The specification's name of a limit as wgpu-py writes it: maxBufferSize is max-buffer-size."""
    return re.sub("[A-Z]", lambda capital: f"-{capital[0].lower()}", limit)


def _words(error: Exception) -> str:
    """What the compiler said, and where, out of its drawing of the source."""
    said = re.search(r"error: (.+)", str(error))
    where = re.search(r"wgsl:(\d+:\d+)", str(error))
    return f"line {where[1]} {said[1]}" if said and where else _sentence(error)


def _sentence(error: Exception) -> str:
    """The last line of wgpu's explanation is the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
