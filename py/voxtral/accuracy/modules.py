"""Packages that a page brings when they are needed: files of the pinned runtime, put where Python finds them.

The start of the page does without them; natively they are installed like any other.
"""

import asyncio
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

Fetch = Callable[[str], Awaitable[bytes]]
STAND_INS = {"regex": "re"}  # whisper-normalizer imports regex, but its English part never calls it

_installed: dict[str, str] = {}  # path of each file by its address
_folder: list[Path] = []  # where they lie, once there are any


async def install(modules: Mapping[str, str], fetch: Fetch) -> None:
    """Make modules importable: addresses by path, NAME-VERSION/PACKAGE/…; what is there already is not fetched again.

    Raises what fetch does; then another call goes on with what is missing.
    """
    wanted = {path: address for path, address in modules.items() if path not in _installed}
    if not wanted:
        return
    contents = await asyncio.gather(*map(fetch, wanted.values()))
    if not _folder:
        _folder.append(Path(tempfile.mkdtemp(prefix="voxtral-modules-")))
        sys.path.append(str(_folder[0]))
        warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)  # of what is compiled from there
    for (path, address), content in zip(wanted.items(), contents, strict=True):
        package, _, member = path.partition("/")
        _write(_folder[0] / member, content)
        _describe(package)
        _installed[path] = address
    importlib.invalidate_caches()
    for name, other in STAND_INS.items():
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = importlib.import_module(other)


def _describe(package: str) -> None:
    """What importlib.metadata tells of it."""
    name, _, version = package.rpartition("-")
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    _write(_folder[0] / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA", text.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
