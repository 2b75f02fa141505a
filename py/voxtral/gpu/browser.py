"""The door to the browser, and the only module that imports js and pyodide.

`open_browser` gives a Device over navigator.gpu; `HttpSource`, `fetch_bytes`, `Port`, `to_float32`, `to_bytes` and
`now_ms` are the little else that Python needs from JavaScript. Manners: descriptors are converted once, JS handles are
kept in JS arrays, and a submit costs a handful of calls however many dispatches it replays (app/tape.js).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import js  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray
from pyodide.ffi import (  # type: ignore[import-not-found]
    JsException,
    JsProxy,
    create_proxy,
    jsnull,
    to_js,
)

from voxtral.errors import DeviceError, ModelFileError, ShaderError
from voxtral.gpu.device import WANTED_FEATURES, AdapterInfo, Binding, Dispatch, Limits
from voxtral.shards import Piece, require_range

SMALLEST_STAGING_BYTES = 256
HTTP_PARTIAL_CONTENT = 206
MAX_SKIP_BYTES = 1 << 20
SOFTWARE_NAMES = ("swiftshader", "llvmpipe", "lavapipe", "software", "basic render")
BINDING_TYPES = {"read": "read-only-storage", "read_write": "storage", "uniform": "uniform"}


class BrowserPipeline(NamedTuple):
    pipeline: Any
    layout: Any


class BrowserDevice:
    """`gpu.device.Device` over a GPUDevice. replay(encoder, tapes): see app/tape.js."""

    def __init__(self, device: Any, info: AdapterInfo, limits: Limits, replay: Any) -> None:
        self.info = info
        self.limits = limits
        self._device = device
        self._queue = device.queue
        self._replay = replay
        self._prelude = "enable subgroups; " if "subgroups" in info.features else ""  # no newline: errors name lines
        self._staging: dict[int, list[Any]] = {}
        self._failure: DeviceError | None = None
        self._on_lost: Callable[[DeviceError], None] | None = None
        self._watch = asyncio.ensure_future(self._watch_lost())
        self._error_handler = create_proxy(lambda event: self._fail(f"the GPU reported: {_line(event.error.message)}"))
        device.addEventListener("uncapturederror", self._error_handler)

    def on_lost(self, callback: Callable[[DeviceError], None]) -> None:
        """Call back once when the device is lost or reports an error nobody waits for: results are worthless then."""
        self._on_lost = callback
        if self._failure is not None:
            callback(self._failure)

    def create_buffer(self, n_bytes: int, label: str, uniform: bool = False) -> Any:
        usage = js.GPUBufferUsage
        kind = usage.UNIFORM if uniform else usage.STORAGE
        try:
            return self._device.createBuffer(
                _object({"label": label, "size": n_bytes, "usage": kind | usage.COPY_SRC | usage.COPY_DST})
            )
        except JsException as error:
            raise DeviceError(f"the GPU refused {n_bytes} bytes for {label!r}: {_line(error)}") from error

    def destroy_buffer(self, buffer: Any) -> None:
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
            raise DeviceError(f"writing {view.nbytes} bytes to the GPU failed: {_line(error)}") from error
        finally:
            view.release()
            proxy.destroy()

    async def read(self, buffer: Any, offset: int, n_bytes: int) -> bytes:
        size = max(SMALLEST_STAGING_BYTES, 1 << (n_bytes - 1).bit_length())
        free = self._staging.setdefault(size, [])
        staging = free.pop() if free else self._create_staging(size)
        self.copy(buffer, offset, staging, 0, n_bytes)
        try:
            await staging.mapAsync(js.GPUMapMode.READ, 0, n_bytes)
        except JsException as error:
            raise self._failure or DeviceError(
                f"reading {n_bytes} bytes from the GPU failed: {_line(error)}"
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
        module = device.createShaderModule(_object({"label": label, "code": self._prelude + wgsl}))
        layout = device.createBindGroupLayout(_object({"label": label, "entries": entries}))
        whole_layout = device.createPipelineLayout(_object({"bindGroupLayouts": [layout]}))
        scope = device.popErrorScope()
        stage = {"module": module, "entryPoint": "main", "constants": dict(overrides)}
        descriptor = _object({"label": label, "layout": whole_layout, "compute": stage})
        try:
            pipeline = await device.createComputePipelineAsync(descriptor)
        except JsException as error:
            notes = await module.getCompilationInfo()
            lines = [f"line {note.lineNum}:{note.linePos} {note.message}" for note in notes.messages]
            words = "; ".join(lines) or _line(error)
            raise ShaderError(f"kernel {label} does not compile on {self.info.name}: {words}") from error
        finally:
            await scope
        return BrowserPipeline(pipeline, layout)

    def create_bind_group(self, pipeline: BrowserPipeline, bindings: Sequence[Binding]) -> Any:
        entries = [
            {"binding": i, "resource": {"buffer": buffer, "offset": offset, "size": size}}
            for i, (buffer, offset, size) in enumerate(bindings)
        ]
        return self._device.createBindGroup(_object({"layout": pipeline.layout, "entries": entries}))

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
        queries = self._device.createQuerySet(_object({"type": "timestamp", "count": 2}))
        usage = js.GPUBufferUsage
        times = self._device.createBuffer(_object({"size": 16, "usage": usage.QUERY_RESOLVE | usage.COPY_SRC}))
        writes = {"querySet": queries, "beginningOfPassWriteIndex": 0, "endOfPassWriteIndex": 1}
        encoder = self._device.createCommandEncoder()
        self._replay(encoder, to_js(tapes), _object({"timestampWrites": writes}))
        encoder.resolveQuerySet(queries, 0, 2, times, 0)
        self._queue.submit(to_js([encoder.finish()]))
        start, end = np.frombuffer(await self.read(times, 0, 16), np.uint64).tolist()
        queries.destroy()
        times.destroy()
        milliseconds: float = (end - start) / 1e6
        return milliseconds

    def destroy(self) -> None:
        self._device.destroy()

    def _create_staging(self, size: int) -> Any:
        usage = js.GPUBufferUsage
        return self._device.createBuffer(
            _object({"label": "readback", "size": size, "usage": usage.MAP_READ | usage.COPY_DST})
        )

    async def _watch_lost(self) -> None:
        lost = await self._device.lost
        if lost.reason != "destroyed":  # that is us
            self._fail(f"the GPU went away ({lost.message or lost.reason}); reload the page to start again")

    def _fail(self, sentence: str) -> None:
        if self._failure is None:
            self._failure = DeviceError(sentence)
            if self._on_lost is not None:
                self._on_lost(self._failure)


async def open_browser(replay: Any, default_limits: bool = False) -> BrowserDevice:
    """A device on the browser's GPU; `replay` is the function of app/tape.js.

    default_limits: ask for no more than every WebGPU adapter grants, and no optional feature.

    Raises DeviceError without WebGPU.
    """
    gpu = getattr(js.navigator, "gpu", None)
    if not gpu:
        raise DeviceError("this browser offers no WebGPU; a current Chrome or Edge, Safari 26 or Firefox 145 does")
    adapter = await gpu.requestAdapter(_object({"powerPreference": "high-performance"}))
    if not adapter:
        raise DeviceError("the browser found no GPU that WebGPU may use; check that hardware acceleration is on")
    limits = Limits()
    features: list[str] = []
    if not default_limits:
        features = [name for name in WANTED_FEATURES if adapter.features.has(name)]
        granted = adapter.limits
        limits = Limits(
            max_buffer_size=granted.maxBufferSize,
            max_storage_buffer_binding_size=granted.maxStorageBufferBindingSize,
        )
    required = {
        "maxBufferSize": limits.max_buffer_size,
        "maxStorageBufferBindingSize": limits.max_storage_buffer_binding_size,
    }
    try:
        device = await adapter.requestDevice(_object({"requiredLimits": required, "requiredFeatures": features}))
    except JsException as error:
        raise DeviceError(f"the GPU gave no WebGPU device: {_line(error)}") from error
    return BrowserDevice(device, _adapter_info(adapter, features), limits, replay)


def _adapter_info(adapter: Any, features: Sequence[str]) -> AdapterInfo:
    info = adapter.info
    words = [info.vendor, info.architecture, info.device, info.description]
    full_name = " ".join(words).lower()
    is_software = bool(getattr(info, "isFallbackAdapter", False)) or any(name in full_name for name in SOFTWARE_NAMES)
    name = info.description or " ".join(word for word in words[:3] if word) or "WebGPU adapter"
    return AdapterInfo(name, "WebGPU", is_software, frozenset(features))


# -- the rest of the browser ------------------------------------------------------------------------
async def fetch_bytes(url: str) -> bytes:
    """The body of `url`, whole. Raises ModelFileError."""
    response = await _fetch(url, {})
    try:
        data: bytes = (await response.arrayBuffer()).to_bytes()
    except JsException as error:
        raise ModelFileError(f"{url} broke off ({_line(error)}); try again") from error
    return data


class HttpSource:
    """A file behind an address, as a `shards.ByteSource`: reads forwards through one response at a time.

    What goes to the device stays in JavaScript: a read fills one ArrayBuffer, which `piece_at` hands on.
    """

    def __init__(self, url: str, n_bytes: int) -> None:
        self.name = url
        self.n_bytes = n_bytes
        self._reader: Any = None
        self._position = 0  # of the reader

    @classmethod
    async def open(cls, url: str) -> "HttpSource":
        """Ask for the size. Raises ModelFileError."""
        response = await _fetch(url, {"method": "HEAD"})
        length = response.headers.get("content-length")
        if not length:
            raise ModelFileError(f"{url}: expected a server that tells the file's size, this one does not")
        return cls(url, int(length))

    async def read_at(self, offset: int, n_bytes: int) -> bytes:
        data: bytes = (await self._read(offset, n_bytes)).to_bytes()
        return data

    async def piece_at(self, offset: int, n_bytes: int) -> Piece:
        return Piece(n_bytes, await self._read(offset, n_bytes))

    async def _read(self, offset: int, n_bytes: int) -> Any:
        """A Uint8Array of exactly these bytes."""
        require_range(self.name, self.n_bytes, offset, n_bytes)
        if self._reader is None or offset != self._position:
            await self._seek(offset)
        return await self._next(n_bytes)

    async def _next(self, n_bytes: int) -> Any:
        buffer, n_filled = js.ArrayBuffer.new(n_bytes), 0
        while n_filled < n_bytes:  # once where the browser knows `min`
            n_left = n_bytes - n_filled
            try:
                step = await self._reader.read(js.Uint8Array.new(buffer, n_filled, n_left), _object({"min": n_left}))
            except JsException as error:
                self._reader = None
                sentence = f"{self.name} broke off at byte {self._position} ({_line(error)}); try again"
                raise ModelFileError(sentence) from error
            n_filled += step.value.byteLength if step.value else 0
            if step.done and n_filled < n_bytes:
                self._reader = None
                raise ModelFileError(
                    f"{self.name}: expected {n_bytes} bytes at byte {self._position}, the server sent fewer; try again"
                )
            buffer = step.value.buffer
        self._position += n_bytes
        return js.Uint8Array.new(buffer)

    async def _seek(self, offset: int) -> None:
        self.close()
        response = await _fetch(self.name, {"headers": {"Range": f"bytes={offset}-"}})
        self._reader = response.body.getReader(_object({"mode": "byob"}))
        self._position = offset if response.status == HTTP_PARTIAL_CONTENT else 0
        while self._position < offset:  # a server without ranges sends all of it
            await self._next(min(MAX_SKIP_BYTES, offset - self._position))

    def close(self) -> None:
        """Let the connection go."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None


async def _fetch(url: str, options: Mapping[str, Any]) -> Any:
    """A response with a good status. Raises ModelFileError."""
    try:
        response = await js.fetch(url, _object(options))
    except JsException as error:
        raise ModelFileError(f"{url} could not be fetched ({_line(error)}); is the server still running?") from error
    if not response.ok:
        raise ModelFileError(f"expected a file at {url}, the server answered {response.status} {response.statusText}")
    return response


class Port:
    """Anything with postMessage and onmessage: a worker's own scope, a MessagePort."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._handler: Any = None

    def post(self, message: Mapping[str, Any], transfer: Sequence[Any] = ()) -> None:
        """Send a dict of plain values (JS objects may be among them) as a plain object; None arrives as null."""
        self._target.postMessage(_object(_with_nulls(message)), to_js(list(transfer)))

    def listen(self, callback: Callable[[Any], None]) -> None:
        """Call back with each message: a dict of its fields if it is a plain object, else the JS value itself.

        Values other than numbers, strings, booleans and null stay JS objects.
        """
        self._handler = create_proxy(lambda event: callback(from_message(event.data)))
        self._target.onmessage = self._handler


def from_message(data: Any) -> Any:
    """A message's data for Python: plain objects become dicts (one level), null becomes None."""
    if isinstance(data, JsProxy) and data.constructor.name == "Object":
        return {name: None if value is jsnull else value for name, value in js.Object.entries(data)}
    return None if data is jsnull else data


def to_float32(array: Any) -> NDArray[np.float32]:
    """A copy of a Float32Array."""
    result = np.empty(array.length, np.float32)
    array.assign_to(result)
    return result


def to_bytes(buffer: Any) -> bytes:
    """A copy of an ArrayBuffer or typed array."""
    data: bytes = buffer.to_bytes()
    return data


def now_ms() -> float:
    """Milliseconds on a clock that never goes back."""
    return float(js.performance.now())


def _object(value: Mapping[str, Any]) -> Any:
    """A Python dict, with the dicts and lists inside, as a plain JS object."""
    return to_js(value, dict_converter=js.Object.fromEntries)


def _line(message: Any) -> str:
    """The first line of what the browser says; the rest is a trace of its own calls."""
    return str(message).split("\n", 1)[0]


def _with_nulls(value: Any) -> Any:
    """None becomes null here; to_js alone would make it undefined."""
    if isinstance(value, Mapping):
        return {name: _with_nulls(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(item) for item in value]
    return jsnull if value is None else value
