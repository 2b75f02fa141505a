"""A GPUDevice as a `gpu.device.Device`.

Manners: descriptors are converted once, JS handles are kept in JS arrays, and a submit costs a handful of calls
however many dispatches it replays (app/tape.js).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import js  # type: ignore[import-not-found]
import numpy as np
from pyodide.ffi import JsException, JsProxy, create_proxy, to_js  # type: ignore[import-not-found]

from voxtral.browser.values import first_line, to_object
from voxtral.errors import DeviceError, ShaderError
from voxtral.gpu.device import AdapterInfo, Binding, Dispatch, Limits, MemoryUse, refused, require_room

SMALLEST_STAGING_BYTES = 256
BINDING_TYPES = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}
SCOPES = ("validation", "out-of-memory")  # as what a refused buffer shows itself


class BrowserPipeline(NamedTuple):
    pipeline: Any
    layout: Any


class _Asked(NamedTuple):
    """A buffer that may turn out to be refused."""

    label: str
    n_bytes: int
    held_bytes: int  # by the device when it was asked for
    scopes: Any  # a JS array of promises of an error or null: each that Python takes in hand costs turns of its loop


class BrowserDevice:
    """`gpu.device.Device` over a GPUDevice. replay(encoder, tapes): see app/tape.js."""

    def __init__(self, device: Any, info: AdapterInfo, limits: Limits, replay: Any) -> None:
        self.info = info
        self.limits = limits
        self.memory = MemoryUse()
        self._device = device
        self._queue = device.queue
        self._replay = replay
        self._prelude = "enable subgroups; " if "subgroups" in info.features else ""  # no newline: errors name lines
        self._staging: dict[int, list[Any]] = {}
        self._asked: list[_Asked] = []
        self._scopes = to_js(SCOPES)
        self._push_scope = device.pushErrorScope.bind(device)
        self._pop_scope = device.popErrorScope.bind(device)
        self._failure: DeviceError | None = None
        self._is_destroyed = False  # by us
        self._on_lost: Callable[[DeviceError], None] | None = None
        self._watch = asyncio.ensure_future(self._watch_lost())
        self._error_handler = create_proxy(self._on_error)
        device.addEventListener("uncapturederror", self._error_handler)

    def on_lost(self, callback: Callable[[DeviceError], None]) -> None:
        self._on_lost = callback
        if self._failure is not None:
            callback(self._failure)

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> Any:
        require_room(self, n_bytes, label)
        usage = js.GPUBufferUsage
        kind = usage.UNIFORM if uniform else usage.STORAGE
        descriptor = {"label": label, "size": n_bytes, "usage": kind | usage.COPY_SRC | usage.COPY_DST}
        return self._create_buffer(descriptor)

    async def settle(self) -> None:
        if self._asked:
            asked, self._asked = self._asked, []
            try:
                answers = await js.Promise.all(to_js([ask.scopes for ask in asked]).flat())
            except JsException as error:
                raise self._failure or DeviceError(f"the GPU went away ({first_line(error)}); try again") from error
            for i, answer in enumerate(answers):
                if answer:
                    ask = asked[i // len(SCOPES)]
                    raise refused(self, ask.n_bytes, ask.label, ask.held_bytes, first_line(answer.message))
        if self._failure is not None:
            raise self._failure

    def destroy_buffer(self, buffer: Any) -> None:
        self.memory.add(-buffer.size)
        buffer.destroy()

    def write(self, buffer: Any, offset: int, data: Any) -> None:
        if isinstance(data, JsProxy):  # a typed array: only a reference passes through Python
            self._queue.writeBuffer(buffer, offset, data)
            return
        proxy = create_proxy(memoryview(data).cast("B"))
        view = proxy.getBuffer("u8")  # the bytes where they lie in the WebAssembly heap; writeBuffer copies them
        try:
            self._queue.writeBuffer(buffer, offset, view.data)
        except JsException as error:
            raise DeviceError(f"writing {view.nbytes} bytes to the GPU failed: {first_line(error)}") from error
        finally:
            view.release()
            proxy.destroy()

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> bytes:
        await self.settle()  # or what follows from a refused buffer would be reported in its place
        size = max(SMALLEST_STAGING_BYTES, 1 << (n_bytes - 1).bit_length())
        free = self._staging.setdefault(size, [])
        staging = free.pop() if free else self._create_staging(size)
        self.copy(buffer, offset, staging, 0, n_bytes)
        try:
            await staging.mapAsync(js.GPUMapMode.READ, 0, n_bytes)
        except JsException as error:
            raise self._failure or DeviceError(
                f"reading {n_bytes} bytes from the GPU failed: {first_line(error)}"
            ) from error
        data: bytes = staging.getMappedRange(0, n_bytes).to_bytes()
        staging.unmap()
        free.append(staging)
        if self._failure is not None:
            raise self._failure
        return data

    def copy(self, source: Any, source_offset: int, target: Any, target_offset: int, n_bytes: int) -> None:
        encoder = self._device.createCommandEncoder()
        encoder.copyBufferToBuffer(source, source_offset, target, target_offset, n_bytes)
        self._queue.submit(to_js([encoder.finish()]))

    async def create_pipeline(
        self, label: str, wgsl: str, bindings: Sequence[str], overrides: Mapping[str, float]
    ) -> BrowserPipeline:
        device = self._device
        entries = [
            {"binding": i, "visibility": js.GPUShaderStage.COMPUTE, "buffer": {"type": BINDING_TYPES[access]}}
            for i, access in enumerate(bindings)
        ]
        device.pushErrorScope("validation")  # or a faulty kernel would count as a lost device
        module = device.createShaderModule(to_object({"label": label, "code": self._prelude + wgsl}))
        layout = device.createBindGroupLayout(to_object({"label": label, "entries": entries}))
        whole_layout = device.createPipelineLayout(to_object({"bindGroupLayouts": [layout]}))
        scope = device.popErrorScope()
        stage = {"module": module, "entryPoint": "main", "constants": dict(overrides)}
        descriptor = to_object({"label": label, "layout": whole_layout, "compute": stage})
        try:
            pipeline = await device.createComputePipelineAsync(descriptor)
        except JsException as error:
            notes = await module.getCompilationInfo()
            lines = [f"line {note.lineNum}:{note.linePos} {note.message}" for note in notes.messages]
            words = "; ".join(lines) or first_line(error)
            raise ShaderError(f"kernel {label} does not compile on {self.info.name}: {words}") from error
        finally:
            await scope
        return BrowserPipeline(pipeline, layout)

    def create_bind_group(self, pipeline: BrowserPipeline, bindings: Sequence[Binding]) -> Any:
        entries = [
            {"binding": i, "resource": {"buffer": buffer, "offset": offset, "size": size}}
            for i, (buffer, offset, size) in enumerate(bindings)
        ]
        return self._device.createBindGroup(to_object({"layout": pipeline.layout, "entries": entries}))

    def create_tape(self, dispatches: Sequence[Dispatch]) -> Any:
        return to_js([item for step in dispatches for item in (step.pipeline.pipeline, step.bind_group, *step.grid)])

    def submit(self, tapes: Sequence[Any]) -> None:
        encoder = self._device.createCommandEncoder()
        self._replay(encoder, to_js(tapes))
        self._queue.submit(to_js([encoder.finish()]))

    async def time_ms(self, tapes: Sequence[Any]) -> float | None:
        if "timestamp-query" not in self.info.features:
            self.submit(tapes)
            await self._queue.onSubmittedWorkDone()
            return None
        queries = self._device.createQuerySet(to_object({"type": "timestamp", "count": 2}))
        usage = js.GPUBufferUsage
        usages = usage.QUERY_RESOLVE | usage.COPY_SRC
        times = self._create_buffer({"label": "times", "size": 16, "usage": usages})
        writes = {"querySet": queries, "beginningOfPassWriteIndex": 0, "endOfPassWriteIndex": 1}
        encoder = self._device.createCommandEncoder()
        self._replay(encoder, to_js(tapes), to_object({"timestampWrites": writes}))
        encoder.resolveQuerySet(queries, 0, 2, times, 0)
        self._queue.submit(to_js([encoder.finish()]))
        start, end = np.frombuffer(await self.read(times, 0, 16), np.uint64).tolist()
        queries.destroy()
        self.destroy_buffer(times)
        milliseconds: float = (end - start) / 1e6
        return milliseconds

    def destroy(self) -> None:
        self._is_destroyed = True
        self.memory.now = 0
        self._device.removeEventListener("uncapturederror", self._error_handler)
        self._error_handler.destroy()
        self._device.destroy()

    def _create_staging(self, size: int) -> Any:
        usage = js.GPUBufferUsage
        return self._create_buffer({"label": "readback", "size": size, "usage": usage.MAP_READ | usage.COPY_DST})

    def _create_buffer(self, descriptor: Mapping[str, Any]) -> Any:
        """A buffer, perhaps an invalid one: which it is, the scopes around its creation tell `settle`."""
        self._scopes.forEach(self._push_scope)
        buffer = self._device.createBuffer(to_object(descriptor))
        scopes = self._scopes.map(self._pop_scope)
        self._asked.append(_Asked(descriptor["label"], descriptor["size"], self.memory.now, scopes))
        self.memory.add(descriptor["size"])
        return buffer

    async def _watch_lost(self) -> None:
        lost = await self._device.lost
        if not self._is_destroyed:
            self._fail(f"the GPU went away ({lost.message or lost.reason}); try again, or reload the page")

    def _on_error(self, event: Any) -> None:
        event.preventDefault()  # or the console would say it too
        self._fail(f"the GPU reported: {first_line(event.error.message)}")

    def _fail(self, sentence: str) -> None:
        if self._failure is None:
            self._failure = DeviceError(sentence)
            if self._on_lost is not None:
                self._on_lost(self._failure)
