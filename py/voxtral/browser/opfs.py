"""Models in the origin private file system, through sync access handles; only a worker has those.

    models/KEY/NAME         a whole file
    models/KEY/NAME.part    a begun one, locked by who has it open

What is written comes as typed arrays and never enters Python. Several may read a file at the same time: where the
browser knows no shared access handles, or another tab holds the only one, it is read as a File.
"""

from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException, JsProxy, to_js  # type: ignore[import-not-found]

from voxtral.browser.buffers import BlobSource, BufferSource
from voxtral.browser.refusals import explaining, full, remove, require_all, room, sentence
from voxtral.browser.values import to_object
from voxtral.errors import ModelFileError
from voxtral.shards import Piece, require_range
from voxtral.storage import Room, require_name

MODELS = "models"
BEGUN = ".part"


class OpfsDisk:
    """`storage.Disk`: every folder is a model."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    @classmethod
    async def open(cls) -> "OpfsDisk | None":
        """None where this browser has no such thing, or does not grant it."""
        handle = getattr(js, "FileSystemFileHandle", None)
        if not handle or not getattr(handle.prototype, "createSyncAccessHandle", None):
            return None
        try:
            root = await js.navigator.storage.getDirectory()
            return cls(await root.getDirectoryHandle(MODELS, to_object({"create": True})))
        except JsException:
            return None

    async def keys(self) -> list[str]:
        with explaining("the stored models"):
            return sorted([entry.name async for entry in self._folder.values() if entry.kind == "directory"])

    async def folder(self, key: str) -> "OpfsFolder":
        require_name(key)
        with explaining(key):
            return OpfsFolder(await self._folder.getDirectoryHandle(key, to_object({"create": True})))

    async def delete(self, key: str) -> None:
        require_name(key)
        await remove(self._folder, key)

    async def room(self) -> Room:
        return await room()


class OpfsFolder:
    """`storage.ModelFolder`."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder

    async def sizes(self) -> dict[str, int]:
        return {name: n for name, n in (await self._files()).items() if not name.endswith(BEGUN)}

    async def begun(self) -> dict[str, int]:
        return {name.removesuffix(BEGUN): n for name, n in (await self._files()).items() if name.endswith(BEGUN)}

    async def open(self, name: str) -> "OpfsFile":
        require_name(name)
        with explaining(name):
            handle = await self._folder.getFileHandle(name + BEGUN, to_object({"create": True}))
            return OpfsFile(name, await handle.createSyncAccessHandle())

    async def finish(self, name: str) -> None:
        await self._rename(name + BEGUN, name)

    async def reopen(self, name: str) -> "OpfsFile":
        await self._rename(name, name + BEGUN)
        return await self.open(name)

    async def source(self, name: str) -> "OpfsSource":
        handle = await self._handle(name)
        with explaining(name):
            return OpfsSource(name, handle, (await handle.getFile()).size)

    async def read(self, name: str) -> bytes:
        with explaining(name):
            data: bytes = (await (await self.blob(name)).arrayBuffer()).to_bytes()
        return data

    async def blob(self, name: str) -> Any:
        """A whole file as a File that lies on the disk."""
        handle = await self._handle(name)
        with explaining(name):
            return await handle.getFile()

    async def write(self, name: str, data: bytes) -> None:
        file = await self.open(name)
        try:
            await file.clear()
            await file.write(Piece(len(data), data))
            await file.flush()
        finally:
            file.close()
        await self.finish(name)

    async def delete(self, name: str) -> None:
        require_name(name)
        for each in (name, name + BEGUN):
            await remove(self._folder, each)

    async def _files(self) -> dict[str, int]:
        """Every file's size."""
        sizes: dict[str, int] = {}
        with explaining("a stored model"):
            for file in [entry async for entry in self._folder.values() if entry.kind == "file"]:
                try:
                    sizes[file.name] = (await file.getFile()).size
                except JsException as error:
                    if error.name != "NotFoundError":  # another tab has just renamed or deleted it
                        raise
        return sizes

    async def _handle(self, name: str) -> Any:
        require_name(name)
        with explaining(name):
            return await self._folder.getFileHandle(name)

    async def _rename(self, old: str, new: str) -> None:
        require_name(old)
        with explaining(old):
            handle = await self._folder.getFileHandle(old)
            try:
                await handle.move(new)
            except JsException:  # a browser that moves nothing onto a file that is there
                await remove(self._folder, new)
                await handle.move(new)


class OpfsFile:
    """`storage.OpenFile`; it holds the browser's lock on the file until it is closed."""

    def __init__(self, name: str, access: Any) -> None:
        self.n_bytes = int(access.getSize())
        self._name = name
        self._access = access
        self._buffer: Any = None  # of `read`

    async def write(self, piece: Piece) -> None:
        data = piece.data if isinstance(piece.data, JsProxy) else to_js(piece.data)
        start, n_written = self.n_bytes, 0
        try:
            n_written = self._access.write(data, at=start)
        except JsException as error:
            if error.name != "QuotaExceededError":
                self._truncate(start)
                raise ModelFileError(sentence(self._name, error)) from error
        if n_written != piece.n_bytes:  # the disk is full: fewer, or in Chromium -8 without its sign
            self._truncate(start)
            raise full()
        self.n_bytes = start + n_written

    async def read(self, offset: int, n_bytes: int) -> bytes:
        require_range(self._name, self.n_bytes, offset, n_bytes)
        if self._buffer is None or self._buffer.length < n_bytes:
            self._buffer = js.Uint8Array.new(n_bytes)
        view = self._buffer.subarray(0, n_bytes)
        with explaining(self._name):
            require_all(self._name, offset, n_bytes, self._access.read(view, at=offset))
            data: bytes = view.to_bytes()
        return data

    async def clear(self) -> None:
        with explaining(self._name):
            self._access.truncate(0)
        self.n_bytes = 0

    async def flush(self) -> None:
        with explaining(self._name):
            self._access.flush()

    def close(self) -> None:
        self._access.close()
        self._buffer = None

    def _truncate(self, n_bytes: int) -> None:
        with explaining(self._name):
            self._access.truncate(n_bytes)


class OpfsSource(BufferSource):
    """A whole file to read, through an access handle that it holds between reads."""

    def __init__(self, name: str, handle: Any, n_bytes: int) -> None:
        super().__init__(name, n_bytes)
        self._handle = handle
        self._access: Any = None
        self._blob: BlobSource | None = None  # takes the handle's place where there is none to be had

    def close(self) -> None:
        if self._access is not None:
            self._access.close()
            self._access = None
        if self._blob is not None:
            self._blob.close()
            self._blob = None
        super().close()

    async def fill(self, offset: int, view: Any) -> None:
        if self._access is None and self._blob is None:
            await self._open()
        if self._blob is not None:
            await self._blob.fill(offset, view)
            return
        with explaining(self.name):
            require_all(self.name, offset, view.length, self._access.read(view, at=offset))

    async def _open(self) -> None:
        try:
            self._access = await self._handle.createSyncAccessHandle(to_object({"mode": "read-only"}))
        except JsException:
            with explaining(self.name):
                self._blob = BlobSource(await self._handle.getFile(), self.name)
