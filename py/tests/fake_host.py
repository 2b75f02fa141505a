"""Surroundings of a worker on CPython: its events are a list, files come from the checkout, models lie in a folder."""

import asyncio
import contextlib
from pathlib import Path

from voxtral.errors import DeviceError, ModelFileError
from voxtral.native_files import DirectoryDisk
from voxtral.protocol import EVENTS
from voxtral.shards import MemorySource, Piece

ROOT = Path(__file__).parents[2]
ORIGIN = "http://localhost/"
CHUNK_BYTES = 1 << 20


class FakeBody:
    """An answer from memory. held: stop before its end until the event is set."""

    def __init__(self, url, data, start, held):
        self.url, self.status, self._data, self._at, self._held = url, 206 if start else 200, data, start, held
        if data is None:
            self.status, self._data = 404, b""
        self.is_closed = False

    def header(self, name):
        return str(len(self._data) - self._at) if name.lower() == "content-length" else None

    async def read(self):
        part = self._data[self._at : self._at + CHUNK_BYTES]
        if self._held and self._at + len(part) >= len(self._data):
            await self._held.wait()
        self._at += len(part)
        return Piece(len(part), part) if part else None

    def close(self):
        self.is_closed = True


class FakeTransport:
    """files: bytes by address; what is not among them is looked up in the checkout."""

    def __init__(self, files=None):
        self.files = dict(files or {})
        self.held = {}  # address → event
        self.opened = []

    async def open(self, url, start=0):
        self.opened.append((url, start))
        data = self.files.get(url)
        path = ROOT / url.removeprefix(ORIGIN)
        if data is None and url.startswith(ORIGIN) and path.is_file():
            data = path.read_bytes()
        return FakeBody(url, data, start, self.held.get(url))


class FakeFiles:
    """`library.ChosenFiles` over bytes by name."""

    def __init__(self, files):
        self.sizes = {name: len(data) for name, data in files.items()}
        self.transport = FakeTransport({f"file:{name}": data for name, data in files.items()})
        self._files = files

    def source(self, name):
        return MemorySource(self._files[name], name)


class FakeHost:
    """Keeps what the worker posts; has no GPU. folder: where models are kept, None for nowhere."""

    def __init__(self, folder=None):
        self.messages = []
        self.ports = {}
        self.time_s = 0.0
        self.arrived = asyncio.Event()
        self.transport = FakeTransport()
        self.disk = DirectoryDisk(folder) if folder else None
        self.others = asyncio.Lock()  # held: another tab is at it

    def post(self, message):
        assert set(message) == {"type", *EVENTS[message["type"]]}
        self.messages.append(message)
        self.arrived.set()

    def listen(self, port, on_samples):
        self.ports[port] = on_samples
        return lambda: self.ports.pop(port)

    def content(self, buffer):
        return bytes(buffer)

    def network(self):
        return self.transport

    async def fetch(self, url):
        body = await self.transport.open(url)
        if body.status != 200:
            raise ModelFileError(f"expected a file at {url}, the server answered {body.status}")
        parts = []
        while piece := await body.read():
            parts.append(piece.data)
        return b"".join(parts)

    async def open_source(self, url, n_bytes):
        source = MemorySource(await self.fetch(url), url)
        assert n_bytes in (None, source.n_bytes)
        return source

    def chosen(self, files):
        return FakeFiles(files)

    async def open_disk(self):
        return self.disk

    @contextlib.asynccontextmanager
    async def lock(self, _key, on_wait):
        if self.others.locked():
            on_wait()
        async with self.others:
            yield

    async def export(self, key):
        return [{"name": "shard-aa", "blob": key}]

    async def open_gpu(self):
        raise DeviceError("this browser has no WebGPU")

    def plain(self, value):
        return value

    def memory(self):
        return {"heap_bytes": 0, "loader_bytes": 0}

    def machine(self):
        return {"system": "a test", "cpu_threads": 1, "heap_bytes": None, "loader_peak_bytes": None}

    def now_s(self):
        self.time_s += 0.5
        return self.time_s

    def of(self, kind, session=None):
        return [m for m in self.messages if m["type"] == kind and (session is None or m["session"] == session)]

    async def until(self, kind, session=None, n=1):
        while len(self.of(kind, session)) < n:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 60)
        return self.of(kind, session)[n - 1]
