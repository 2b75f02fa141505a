"""What the app consists of, and the service worker that keeps it on a visitor's machine.

    assets           every file of the app by its path below the root: page, runtime, wheel, demo model, samples
    ENTRANCES        modules that other pages import; their addresses stay, what they lead to moves with the version
    service_worker   app/service_worker.js with the list of those files in front, so that each version is another text

Standard library only.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from voxtral.web import runtime
from voxtral.web.places import HERE, Places
from voxtral.web.wheel import WheelBuilder

PAGE = "index.html"
AT_THE_ROOT = (PAGE, "app.webmanifest")  # they lie in app/, but what they say is relative to the root
ENTRANCES = {
    name: f'export * from "./app/{name.removesuffix(".d.ts").removesuffix(".js")}.js";\n'.encode()
    for name in ("voxtral.js", "voxtral.d.ts", "voxtral_captions.js", "voxtral_captions.d.ts")
}
SERVICE_WORKER = "service_worker.js"
VERSION_DIGITS = 12
NOT_KEPT = {".md", ".ts"}  # notices and types: part of the app, but nothing reads them at work


class Asset(NamedTuple):
    """One file of the app. path: below the root; content: where it lies, or its bytes."""

    path: str
    content: Path | bytes

    @property
    def n_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def assets(wheel: WheelBuilder, places: Places = HERE) -> Iterator[Asset]:
    """Everything a visitor may ask for but the service worker; of the runtime what is listed and there."""
    for name in AT_THE_ROOT:
        yield Asset(name, places.app / name)
    for name, content in ENTRANCES.items():
        yield Asset(name, content)
    for folder in (places.app, places.static):
        for path in sorted(folder.rglob("*")):
            is_hidden = any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
            is_elsewhere = path.name in (*AT_THE_ROOT, SERVICE_WORKER) or path.is_relative_to(places.runtime)
            if path.is_file() and not is_hidden and not is_elsewhere:
                yield Asset(f"{folder.name}/{path.relative_to(folder).as_posix()}", path)
    for file in runtime.read_list(places.runtime_list)[1]:
        if (path := places.runtime / file.path).is_file():
            yield Asset(f"static/runtime/{file.path}", path)
    yield Asset(f"dist/{wheel.name}", wheel.content())


class Precache:
    """Makes the service worker, and names versions; reads a file again only when it changed."""

    def __init__(self, app: Path = HERE.app) -> None:
        self.app = app
        self._digests: dict[Path, tuple[object, str]] = {}

    def service_worker(self, listed: Iterable[Asset], headers: Mapping[str, str]) -> bytes:
        """The script that keeps these files. headers: those the page is sent with, for they are kept with it."""
        files = {
            "" if asset.path == PAGE else asset.path: {"sha256": self._digest(asset), "size": asset.n_bytes}
            for asset in listed
            if Path(asset.path).suffix not in NOT_KEPT
        }
        identity = json.dumps([files, dict(headers)], sort_keys=True).encode()
        listing = {"version": hashlib.sha256(identity).hexdigest()[:VERSION_DIGITS], "files": files}
        source = (self.app / SERVICE_WORKER).read_bytes()
        return b"const PRECACHE = " + json.dumps(listing).encode() + b";\n\n" + source

    def version(self, listed: Iterable[Asset]) -> str:
        """A name for exactly these files."""
        identity = json.dumps([[asset.path, self._digest(asset)] for asset in listed]).encode()
        return hashlib.sha256(identity).hexdigest()[:VERSION_DIGITS]

    def _digest(self, asset: Asset) -> str:
        content = asset.content
        if isinstance(content, bytes):
            return hashlib.sha256(content).hexdigest()
        status = content.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._digests.get(content)
        if known is None or known[0] != stamp:
            known = self._digests[content] = (stamp, hashlib.sha256(content.read_bytes()).hexdigest())
        return known[1]
