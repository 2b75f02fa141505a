"""Files that a person chose or dropped, as what sources and downloads read."""

from typing import Any

from pyodide.ffi import JsException  # type: ignore[import-not-found]

from voxtral.answers import BEYOND_THE_END, OK, PARTIAL
from voxtral.browser.buffers import BlobSource, Chunks
from voxtral.browser.values import first_line
from voxtral.errors import ModelFileError
from voxtral.shards import Piece
from voxtral.transport import BrokenOffError

SCHEME = "file:"
HTTP_NOT_FOUND = 404


class ChosenFiles:
    """A JS array of File objects, by their names."""

    def __init__(self, files: Any) -> None:
        """Raises ModelFileError if two have one name."""
        self._files: dict[str, Any] = {}
        for file in files:
            if file.name in self._files:
                raise ModelFileError(f"{file.name}: found twice among the chosen files; choose the files of one folder")
            self._files[file.name] = file

    @property
    def sizes(self) -> dict[str, int]:
        """In bytes, by name."""
        return {name: int(file.size) for name, file in self._files.items()}

    @property
    def transport(self) -> "FilesTransport":
        """To the addresses "file:NAME"."""
        return FilesTransport(self._files)

    def source(self, name: str) -> BlobSource:
        """One of them to read. Raises ModelFileError."""
        if name not in self._files:
            raise ModelFileError(f"{name}: expected among the chosen files, it is not; choose it with the others")
        return BlobSource(self._files[name], name)


class FilesTransport:
    """`transport.Transport` to File objects, which answer as a server with ranges would."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files

    async def open(self, url: str, start: int = 0) -> "FileBody":
        return FileBody(url, self._files.get(url.removeprefix(SCHEME)), start)


class FileBody:
    """`transport.Body` of a File, or of none."""

    def __init__(self, url: str, file: Any | None, start: int) -> None:
        self.url = url
        self._chunks: Chunks | None = None
        self._headers: dict[str, str] = {}
        if file is None:
            self.status = HTTP_NOT_FOUND
            return
        n_bytes = int(file.size)
        if start >= n_bytes and start:
            self.status = BEYOND_THE_END
            return
        self.status = PARTIAL if start else OK
        self._headers["content-length"] = str(n_bytes - start)
        if start:
            self._headers["content-range"] = f"bytes {start}-{n_bytes - 1}/{n_bytes}"
        self._chunks = Chunks(file.slice(start).stream())

    def header(self, name: str) -> str | None:
        return self._headers.get(name.lower())

    async def read(self) -> Piece | None:
        if self._chunks is None:
            return None
        try:
            chunk = await self._chunks.next()
        except JsException as error:
            raise BrokenOffError(f"{first_line(error)}; choose the file again") from error
        return None if chunk is None else Piece(chunk.length, chunk)

    def close(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None
