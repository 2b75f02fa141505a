"""A model's files on disk, whole: cut into shards, joined, listed with their SHA-256 and compared with such a list.

    split, join                  a .gguf file and its shards, a few megabytes at a time
    Listed, parse_manifest       manifest.json: {"files": [{"name", "n_bytes", "sha256"}, …]}; only the name must be
    write_manifest, check_files  made of a folder, and held against it

What is written appears under its name only when it is complete.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from voxtral.errors import ModelFileError
from voxtral.shards import weight_names

TOKENIZER = "tekken.json"  # beside the weights
MANIFEST = "manifest.json"
RECORD = "record.json"  # of a folder that was fetched: records.py
BEGUN = ".part"  # what is not whole yet is called NAME.part
READ_BYTES = 4 << 20
SHA256 = re.compile("[0-9a-f]{64}")
MOST_NAME_BYTES = 200  # file systems take 255, a begun file's name is longer
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Tell = Callable[[int, int], None]  # bytes done, and in total


class Listed(NamedTuple):
    """A file of a manifest; None: the manifest does not say."""

    name: str
    n_bytes: int | None
    sha256: str | None  # lower-case hexadecimal


def split(whole: Path, folder: Path, shard_bytes: int, tell: Tell) -> list[Path]:
    """Cut a .gguf file into shard-aa, shard-ab, … in a folder that is empty or new; returns them in order.

    Raises ModelFileError.
    """
    with explaining(whole):
        total = whole.stat().st_size
    _require_empty(folder)
    n_shards = -(-total // shard_bytes)
    if n_shards > len(LETTERS) ** 2:
        raise ModelFileError(f"{whole}: {n_shards} shards are more than {len(LETTERS) ** 2}; make them larger")
    shards = [folder / shard_name(i) for i in range(n_shards)]
    done = 0
    with explaining(whole), whole.open("rb") as source:
        for shard in shards:
            n_bytes = min(shard_bytes, total - done)
            with complete_file(shard) as target:
                for part in _parts(source, n_bytes, whole):
                    target.write(part)
                    done += len(part)
                    tell(done, total)
    return shards


def shard_name(i: int) -> str:
    """shard-aa, shard-ab, …, as `split -b` names them."""
    return f"shard-{LETTERS[i // len(LETTERS)]}{LETTERS[i % len(LETTERS)]}"


def join(folder: Path, whole: Path, tell: Tell) -> list[Path]:
    """Put a folder's shards together into one file, which must be new; returns the shards. Raises ModelFileError."""
    with explaining(folder):
        names = [path.name for path in folder.iterdir() if path.is_file()]
    shards = [folder / name for name in weight_names(names, str(folder))]
    if whole.exists():
        raise ModelFileError(f"{whole}: expected a new file, one is there already; delete it, or choose another name")
    with explaining(folder):
        total, done = sum(shard.stat().st_size for shard in shards), 0
        with complete_file(whole) as target:
            for shard in shards:
                with shard.open("rb") as source:
                    for part in _parts(source, shard.stat().st_size, shard):
                        target.write(part)
                        done += len(part)
                        tell(done, total)
    return shards


def write_manifest(folder: Path, tell: Tell) -> list[Listed]:
    """List every file of a folder, but hidden and begun ones, in its manifest.json. Raises ModelFileError."""
    with explaining(folder):
        visible = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        paths = sorted(path for path in visible if path.name not in (MANIFEST, RECORD) and path.suffix != BEGUN)
        weight_names([path.name for path in paths], str(folder))  # or it is no model's folder
        total, done = sum(path.stat().st_size for path in paths), 0
        files = []
        for path in paths:
            found, n_bytes = digest(path, lambda n, before=done: tell(before + n, total))  # type: ignore[misc]
            files.append(Listed(path.name, n_bytes, found))
            done += n_bytes
        entries = [file._asdict() for file in files]
        with complete_file(folder / MANIFEST) as target:
            target.write((json.dumps({"files": entries}, indent=1) + "\n").encode())
    return files


def check_files(folder: Path, tell: Tell) -> list[str]:
    """What is not as the folder's manifest.json says, a sentence each. Raises ModelFileError if there is none."""
    path = folder / MANIFEST
    with explaining(path):
        files = parse_manifest(path.read_bytes(), str(path))
    total, done, wrong = sum(file.n_bytes or 0 for file in files), 0, []
    for file in files:
        try:
            found, n_bytes = digest(folder / file.name, lambda n, before=done: tell(before + n, total))  # type: ignore[misc]
        except OSError as error:
            wrong.append(f"{folder / file.name}: cannot be read ({error.strerror}); fetch it again")
            continue
        done += n_bytes
        if file.n_bytes is not None and n_bytes != file.n_bytes:
            wrong.append(f"{folder / file.name}: expected {file.n_bytes:,} bytes, found {n_bytes:,}; fetch it again")
        elif file.sha256 is not None and found != file.sha256:
            wrong.append(f"{folder / file.name}: expected SHA-256 {file.sha256}, found {found}; fetch it again")
    return wrong


def parse_manifest(data: bytes, where: str) -> list[Listed]:
    """The files of a manifest.json. Raises ModelFileError, naming `where`, unless it is one."""
    try:
        entries = json.loads(data)["files"]
        files = [Listed(entry["name"], entry.get("n_bytes"), entry.get("sha256")) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{where}: expected JSON with a list of files by name; write it anew, or name the .gguf file"
        ) from error
    return require_listed(files, where)


def require_listed(files: list[Listed], where: str) -> list[Listed]:
    """The same list, if names, sizes and sums are what they should be. Raises ModelFileError, naming `where`."""
    for file in files:
        if problem := _problem(file):
            raise ModelFileError(f"{where}: expected {problem}, found {str(file.name)[:80]!r} with {file[1:]!r:.120}")
    if len({file.name for file in files}) < len(files):
        raise ModelFileError(f"{where}: expected every file once, found one twice; write it anew")
    return files


def _problem(file: Listed) -> str:
    """What a file of a manifest should be and is not, or nothing: names come from outside and become paths."""
    if not isinstance(file.name, str) or not is_file_name(file.name):
        return "the plain name of a file"
    if file.n_bytes is not None and (type(file.n_bytes) is not int or not 0 <= file.n_bytes < 1 << 53):
        return "a size in bytes"
    if file.sha256 is not None and not (isinstance(file.sha256, str) and SHA256.fullmatch(file.sha256)):
        return "a SHA-256 in 64 hexadecimal digits"
    return ""


def is_file_name(name: str) -> bool:
    """Whether it names a file in a folder, and nothing else anywhere."""
    is_short = 0 < len(name.encode(errors="replace")) <= MOST_NAME_BYTES
    return is_short and name not in (".", "..") and all(c not in "/\\" and c.isprintable() for c in name)


def digest(path: Path, tell: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    """(SHA-256, bytes) of a file; tell: gets the bytes read so far. Raises OSError."""
    sums, n_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            sums.update(part)
            n_bytes += len(part)
            tell(n_bytes)
    return sums.hexdigest(), n_bytes


# -- files --------------------------------------------------------------------------------------------
def _parts(source: IO[bytes], n_bytes: int, path: Path) -> Iterator[bytes]:
    """The next n_bytes of a file, in parts."""
    n_left = n_bytes
    while n_left:
        part = source.read(min(READ_BYTES, n_left))
        if not part:
            raise ModelFileError(
                f"{path}: expected {n_left:,} more bytes, the file became shorter meanwhile; try again"
            )
        n_left -= len(part)
        yield part


def _require_empty(folder: Path) -> None:
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ModelFileError(f"{folder}: expected an empty folder or a new one, found files in it; choose another")


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Make a sentence of what the system refuses."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise ModelFileError(f"{where}: {error.strerror or error}; check the path and the room there") from error


@contextlib.contextmanager
def complete_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block has ended well, and leaves nothing behind when not."""
    part = path.with_name(path.name + BEGUN)
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
