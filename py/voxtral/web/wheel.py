"""The package `voxtral` as the wheel that Pyodide loads, built in memory.

The same sources give the same bytes: entries are sorted, dates fixed. The shaders travel inside the
package as voxtral/shaders/, just as in an installed one; what serves the page does not, because the page has it
already: voxtral/web/, with app/ and static/ in it, and voxtral/server/. Standard library only.
"""

import base64
import hashlib
import io
import threading
import zipfile
from pathlib import Path

from voxtral.web.places import HERE, Places

TAGS = b"Wheel-Version: 1.0\nGenerator: serve.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
FIXED_DATE = (1980, 1, 1, 0, 0, 0)
NOT_FOR_THE_PAGE = ("web", "server")  # folders of the package

Sources = dict[str, Path]  # name inside the wheel → file


class WheelBuilder:
    """Builds the wheel when asked, and again only when a source file changed."""

    def __init__(self, places: Places = HERE) -> None:
        self.places = places
        self.name = f"voxtral-{places.version}-py3-none-any.whl"
        self._lock = threading.Lock()
        self._stamp: object = None
        self._content = b""

    def content(self) -> bytes:
        """The wheel's bytes."""
        with self._lock:
            sources = self._sources()
            stamp = [(name, path.stat().st_mtime_ns, path.stat().st_size) for name, path in sources.items()]
            if stamp != self._stamp:
                self._content = self._build(sources)
                self._stamp = stamp
            return self._content

    def _sources(self) -> Sources:
        package, shaders = self.places.package, self.places.shaders
        found = {
            f"voxtral/{path.relative_to(package).as_posix()}": path
            for path in package.rglob("*")
            if path.is_file() and _is_for_the_page(path.relative_to(package))
        }
        found |= {f"voxtral/shaders/{path.relative_to(shaders).as_posix()}": path for path in shaders.rglob("*.wgsl")}
        return dict(sorted(found.items()))

    def _build(self, sources: Sources) -> bytes:
        info = f"voxtral-{self.places.version}.dist-info"
        entries = {name: path.read_bytes() for name, path in sources.items()}
        entries[f"{info}/METADATA"] = self._metadata().encode()
        entries[f"{info}/WHEEL"] = TAGS
        entries[f"{info}/RECORD"] = _record(entries, f"{info}/RECORD").encode()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name, FIXED_DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
        return out.getvalue()

    def _metadata(self) -> str:
        lines = ["Metadata-Version: 2.1", "Name: voxtral", f"Version: {self.places.version}", "License: Apache-2.0"]
        return "\n".join([*lines, *(f"Requires-Dist: {name}" for name in self.places.dependencies), ""])


def _is_for_the_page(path: Path) -> bool:
    """Whether a file of the package goes into the wheel; shaders come from their own place."""
    return "__pycache__" not in path.parts and path.parts[0] not in (*NOT_FOR_THE_PAGE, "shaders")


def _record(entries: dict[str, bytes], own_name: str) -> str:
    """RECORD as the wheel format wants it: name, urlsafe SHA-256 without padding, size."""
    rows = []
    for name, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*rows, f"{own_name},,", ""])
