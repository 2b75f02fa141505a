"""What the server has to offer: from an address to content, without any HTTP.

Folders below fixed first segments (app, static, models, …), and what exists in memory only: the wheel, the service
worker with its list of files, and the modules that other pages import.
Nothing outside those folders is found, whatever the address looks like. Standard library only.
"""

import hashlib
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from voxtral.web.headers import COMMON_HEADERS
from voxtral.web.places import HERE
from voxtral.web.precache import AT_THE_ROOT, ENTRANCES, PAGE, SERVICE_WORKER, Precache, assets
from voxtral.web.wheel import WheelBuilder

IMMUTABLE = "public, max-age=31536000, immutable"  # runtime addresses carry the version, so they never change
REVALIDATE = "no-cache"
RUNTIME = "static/runtime"  # its address; it need not lie in static/

NO_MODELS: dict[str, list[Any]] = {"files": [], "folders": []}
ABOUT = "v1/voxtral"  # asks for a server that hears; null is no error, which every browser would complain of
NO_SERVER = b"null"

MIME_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gguf": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".ogg": "audio/ogg",
    ".npz": "application/octet-stream",
    ".png": "image/png",
    ".py": "text/x-python; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".webm": "video/webm",
    ".wgsl": "text/wgsl; charset=utf-8",
    ".whl": "application/zip",
    ".zip": "application/zip",
}


class RefusedError(Exception):
    """This request gets no content; carries the status to answer with."""

    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class Content(NamedTuple):
    """What a request is answered with: bytes in memory, or a file."""

    source: bytes | Path
    size: int
    mime: str
    etag: str
    cache_control: str


class Site:
    """Finds the content behind an address; knows folders, not HTTP."""

    def __init__(self, models: Path | None = None, mounts: dict[str, Path] | None = None) -> None:
        folders = {"app": HERE.app, "static": HERE.static, RUNTIME: HERE.runtime, **(mounts or {})}
        self.folders = {name: folder.resolve() for name, folder in folders.items()}
        self.models = models.resolve() if models else None
        self.wheel = WheelBuilder()
        self._precache = Precache()

    def find(self, address: str) -> Content:
        """The content behind a decoded path such as '/app/main.js'. Raises RefusedError."""
        try:
            return self._find(address)
        except PermissionError as error:
            raise RefusedError(HTTPStatus.FORBIDDEN) from error
        except (OSError, RuntimeError) as error:  # a name too long for the system, a link to itself
            raise RefusedError(HTTPStatus.NOT_FOUND) from error

    def _find(self, address: str) -> Content:
        if address == "/":
            address = f"/{PAGE}"
        if address[1:] in AT_THE_ROOT:  # their links are relative to the root, as on a static host
            return _from_file(self.folders["app"] / address[1:], REVALIDATE)
        if address[1:] in ENTRANCES:
            return _in_memory(ENTRANCES[address[1:]], MIME_TYPES[Path(address).suffix])
        if address == f"/{SERVICE_WORKER}":
            script = self._precache.service_worker(assets(self.wheel), COMMON_HEADERS)
            return _in_memory(script, MIME_TYPES[".js"])
        top, slash, rest = address[1:].partition("/")
        if top == "dist" and rest == self.wheel.name:
            return _in_memory(self.wheel.content(), MIME_TYPES[".whl"])
        if address[1:] == ABOUT:
            return _in_memory(NO_SERVER, MIME_TYPES[".json"])
        if top == "models" and slash:
            return self._find_model(rest)
        is_pinned = address.startswith(f"/{RUNTIME}/")
        if is_pinned:
            top, rest = RUNTIME, address.removeprefix(f"/{RUNTIME}/")
        if top not in self.folders:
            raise RefusedError(HTTPStatus.NOT_FOUND)
        return _from_file(_inside(self.folders[top], rest), IMMUTABLE if is_pinned else REVALIDATE)

    def _find_model(self, rest: str) -> Content:
        if rest and not rest.endswith("/"):
            if self.models is None and rest != "manifest.json":
                raise RefusedError(HTTPStatus.NOT_FOUND)
            if self.models is not None:
                path = _inside(self.models, rest)
                if path.name != "manifest.json" or path.is_file():
                    return _from_file(path, REVALIDATE)
            rest = rest.removesuffix("manifest.json")  # none written: what lies there is the manifest
        listing: dict[str, Any] = {**NO_MODELS}
        if self.models is not None:
            folder = _inside(self.models, rest)
            if not folder.is_dir():
                raise RefusedError(HTTPStatus.NOT_FOUND)
            visible = [path for path in sorted(folder.iterdir()) if self._is_offered(path)]
            listing["folders"] = [path.name for path in visible if path.is_dir()]
            listing["files"] = [{"name": p.name, "n_bytes": p.stat().st_size} for p in visible if p.is_file()]
        return _in_memory(json.dumps(listing).encode(), MIME_TYPES[".json"])

    def _is_offered(self, path: Path) -> bool:
        """Not hidden, and not a link that leaves the folder."""
        assert self.models is not None
        return not path.name.startswith(".") and path.resolve().is_relative_to(self.models)


def served_model(model: Path) -> tuple[Path, str] | None:
    """Folder to serve under /models/ and the address there of a model folder or .gguf file; None if there is none."""
    if model.is_dir():
        return model, "models/"
    return (model.parent, f"models/{quote(model.name)}") if model.is_file() else None


def _inside(folder: Path, rest: str) -> Path:
    """The path below the folder, symbolic links followed. Raises RefusedError when it leaves the folder."""
    path = (folder / rest).resolve()
    if not path.is_relative_to(folder):
        raise RefusedError(HTTPStatus.NOT_FOUND)
    return path


def _from_file(path: Path, cache_control: str) -> Content:
    if not path.is_file():
        raise RefusedError(HTTPStatus.NOT_FOUND)
    status = path.stat()
    mime = MIME_TYPES.get(path.suffix.lower(), "application/octet-stream")
    etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    return Content(path, status.st_size, mime, etag, cache_control)


def _in_memory(content: bytes, mime: str) -> Content:
    return Content(content, len(content), mime, f'"{hashlib.sha256(content).hexdigest()[:32]}"', REVALIDATE)


def decode_address(target: str) -> str:
    """The path of a request target, percent-decoded once. Raises RefusedError for anything that tries to climb."""
    if not target.startswith("/"):
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    try:
        address = unquote(urlsplit(target).path, errors="strict")
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST) from error
    if "\\" in address or any(ord(character) < 32 or ord(character) == 127 for character in address):
        raise RefusedError(HTTPStatus.BAD_REQUEST)
    parts = address[1:].removesuffix("/").split("/")
    if address != "/" and any(part == "" or part.startswith(".") for part in parts):
        raise RefusedError(HTTPStatus.NOT_FOUND)
    return address
