"""Writes the app into a folder that any static host serves as it is: `serve.py --export DIR`.

    index.html, app.webmanifest     the page; all addresses are relative, so that it works below any path
    voxtral.js, voxtral_captions.js what other pages import, with their types beside
    v-VERSION/                      everything else, below an address that changes with the content
    service_worker.js               keeps one version on a visitor's machine
    models/manifest.json            an empty list; put models beside it and name them there to offer them
    v1/voxtral                      says that this host has files only
    README.md, _headers, …          for the hosts (hosting.py)

An earlier export in the folder is replaced; its version stays for visitors who still have its page. Standard library
only.
"""

import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from voxtral.web.headers import COMMON_HEADERS
from voxtral.web.hosting import files_for_hosts
from voxtral.web.places import HERE, Places
from voxtral.web.precache import AT_THE_ROOT, ENTRANCES, PAGE, SERVICE_WORKER, Asset, Precache, assets
from voxtral.web.site import ABOUT, NO_MODELS, NO_SERVER
from voxtral.web.wheel import WheelBuilder

LEADING = (*ENTRANCES, PAGE, SERVICE_WORKER)  # to files of a version


class ExportError(Exception):
    """Nothing was exported; `str()` is one sentence."""


class Exported(NamedTuple):
    """What was written. version: changes with the content."""

    version: str
    n_files: int
    n_bytes: int


def export(folder: Path, places: Places = HERE) -> Exported:
    """Write the app that lies there. Raises ExportError, OSError."""
    previous = _previous(folder)
    precache, parts = Precache(places.app), list(assets(WheelBuilder(places), places))
    version = precache.version(parts)
    version_folder = f"v-{version}"
    site = [_moved(asset, version_folder) for asset in parts]
    site += [Asset(name, text.encode()) for name, text in files_for_hosts(version_folder).items()]
    site.append(Asset("models/manifest.json", json.dumps(NO_MODELS).encode()))
    site.append(Asset(ABOUT, NO_SERVER))
    listed = site[: len(parts)]
    site.append(Asset(SERVICE_WORKER, precache.service_worker(listed, COMMON_HEADERS)))
    for asset in sorted(site, key=lambda asset: asset.path in LEADING):  # last, what leads to the others
        _write(folder / asset.path, asset)
    for old in folder.glob("v-*"):
        if old.name not in (version_folder, previous):
            shutil.rmtree(old)
    return Exported(version, len(site), sum(asset.n_bytes for asset in site))


def _previous(folder: Path) -> str | None:
    """The version folder that the page there uses, None if nothing is there. Raises ExportError for other files."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    page = folder / PAGE
    if (folder / SERVICE_WORKER).is_file() and page.is_file():
        found = re.search(r'"(v-[0-9a-f]+)/', page.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[1]
    raise ExportError(f"{folder} holds other files; name a new or empty folder, or one with an earlier export")


def _moved(asset: Asset, version_folder: str) -> Asset:
    """Into the version's folder, unless its place is the root; its own addresses follow the others then."""
    if asset.path not in (*AT_THE_ROOT, *ENTRANCES):
        return Asset(f"{version_folder}/{asset.path}", asset.content)
    text = re.sub(r'"(\./)?((?:app|static)/)', rf'"\1{version_folder}/\2', asset.read().decode())
    return Asset(asset.path, text.encode())


def _write(path: Path, asset: Asset) -> None:
    """Beside the target first: the final name never holds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(asset.read())
    part.replace(path)
