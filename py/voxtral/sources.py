"""Where a model can be had, and what it consists of there.

    read_offer(transport, source)   the files behind a source, with sizes and SHA-256 as far as anybody says
    Offer, RemoteFile

A source is a string:
    hub                             the public 4B model, HUB_MODEL on the Hugging Face hub
    hub:OWNER/REPO[@REVISION]       another repository there; the address of its page, or of one of its files, will do
    http(s)://…/FOLDER/             with a manifest.json, or else plain shards (shard-aa, shard-ab, …)
    http(s)://…/NAME.gguf           one file
tekken.json lies beside the weights. Whatever else is listed is left where it is.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from voxtral.answers import (
    ExhaustedError,
    MissingError,
    PassingError,
    ask,
    ask_small,
    persist,
    told_bytes,
)
from voxtral.errors import ModelFileError
from voxtral.model_files import MANIFEST, TOKENIZER, Listed, parse_manifest, require_listed, shard_name
from voxtral.shards import shard_order, weight_names
from voxtral.transport import Transport

HUB_MODEL = "TrevorJS/voxtral-mini-realtime-gguf"
HUB_ADDRESS = "https://huggingface.co"
LISTING_BYTES = 1 << 20  # at most
LISTING_TRIES = 2  # of a list that can be done without, if there is no answer at all
MOST_SHARDS = 26 * 26

HUB_SOURCE = re.compile(r"hub:(?P<repo>\w[\w.-]{0,95}/\w[\w.-]{0,95})(?:@(?P<revision>\w[\w./-]{0,95}))?", re.ASCII)
HUB_PATH = re.compile(
    r"/(?P<repo>\w[\w.-]{0,95}/\w[\w.-]{0,95})"
    r"(?:/(?:tree|blob|resolve)/(?P<revision>\w[\w.-]{0,95})(?:/(?P<name>[^/]+\.gguf))?)?/?",
    re.ASCII,
)


class RemoteFile(NamedTuple):
    """A file of a model; None: nobody says before it comes."""

    name: str
    url: str
    n_bytes: int | None
    sha256: str | None  # lower-case hexadecimal


class Offer(NamedTuple):
    """A model that can be had: weights in the order of their bytes, then the tokenizer."""

    key: str  # of its folder: short, of letters, digits and hyphens, the same for the same source
    title: str
    source: str
    files: Sequence[RemoteFile]


async def read_offer(transport: Transport, source: str) -> Offer:
    """What a source offers. Raises ModelFileError."""
    if hub := _hub_place(source):
        return await _hub_offer(transport, *hub)
    source = quote(source.strip(), errors="replace", safe="%/:=&?~#+!$,;'@()*[]")
    parts = _split(source)
    if parts is None:
        raise ModelFileError(
            f"{source[:200]}: expected hub, hub:OWNER/REPO, or an http or https address of a folder or a .gguf file"
        )
    if parts.path.endswith(".gguf"):
        return _file_offer(source)
    return await _folder_offer(transport, urlunsplit((*parts[:2], parts.path.rstrip("/") + "/", "", "")))


# -- kinds of sources -------------------------------------------------------------------------------
async def _hub_offer(transport: Transport, repo: str, revision: str, name: str | None) -> Offer:
    source = f"hub:{repo}" + (f"@{revision}" if revision != "main" else "")
    base = f"{HUB_ADDRESS}/{repo}/resolve/{quote(revision, safe='')}/"
    if name:
        source = base + quote(name)
    title = f"{repo} {name}" if name else repo
    url = f"{HUB_ADDRESS}/api/models/{repo}/tree/{quote(revision, safe='')}"
    try:
        data = await persist(lambda: ask_small(transport, url, LISTING_BYTES), url, LISTING_TRIES)
    except MissingError:
        raise ModelFileError(f"expected a public model {repo} on the hub, there is none; check the name") from None
    except (PassingError, ExhaustedError):  # the files may come all the same
        files = await _plain_shards(transport, base) if not name else [await _probed(transport, base + quote(name))]
    else:
        listed = _parse_tree(data, url)
        files = _chosen(listed, base, url, name)
    return Offer(_key(title, source), title, source, _with_tokenizer(files, base))


async def _folder_offer(transport: Transport, base: str) -> Offer:
    url = urljoin(base, MANIFEST)
    try:
        data = await persist(lambda: ask_small(transport, url, LISTING_BYTES), url, LISTING_TRIES)
    except (MissingError, PassingError):  # a page of elsewhere may not see which of the two
        files = await _plain_shards(transport, base)
    else:
        files = _chosen(parse_manifest(data, url), base, url, None)
    title = unquote(urlsplit(base).path.strip("/").rpartition("/")[2]) or urlsplit(base).netloc
    return Offer(_key(title, base), title, base, _with_tokenizer(files, base))


def _file_offer(url: str) -> Offer:
    """Nobody is asked: the file's size comes with its bytes."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    require_listed([Listed(name, None, None)], url)
    file = RemoteFile(name, url, None, None)
    return Offer(_key(name, url), name.removesuffix(".gguf"), url, _with_tokenizer([file], urljoin(url, ".")))


async def _plain_shards(transport: Transport, base: str) -> list[RemoteFile]:
    """Shards are asked for until there is none."""
    files: list[RemoteFile] = []
    for i in range(MOST_SHARDS):
        try:
            files.append(await _probed(transport, urljoin(base, shard_name(i))))
        except MissingError:
            break
    if not files:
        raise ModelFileError(
            f"expected {MANIFEST} or {shard_name(0)} in {base}, found neither; check the address, "
            "or give the one of a .gguf file"
        )
    return files


async def _probed(transport: Transport, url: str) -> RemoteFile:
    """A file that is there, with its size where the server tells it. Raises MissingError."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])

    async def look() -> RemoteFile:
        body = await ask(transport, url)  # for its headers; an answer without bytes would be an error on the console
        body.close()
        return RemoteFile(name, url, told_bytes(body, 0), None)

    return await persist(look, url)


# -- lists --------------------------------------------------------------------------------------------
def _hub_place(source: str) -> tuple[str, str, str | None] | None:
    """(repository, revision, file or None) on the hub, if the source means it."""
    if source == "hub":
        return HUB_MODEL, "main", None
    if match := HUB_SOURCE.fullmatch(source):
        return match["repo"], match["revision"] or "main", None
    parts = _split(source)
    if (
        parts
        and f"{parts.scheme}://{parts.netloc}" == HUB_ADDRESS
        and (match := HUB_PATH.fullmatch(unquote(parts.path)))
    ):
        return match["repo"], match["revision"] or "main", match["name"]
    return None


def _split(source: str) -> SplitResult | None:
    """The parts of a web address."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return None
    return parts if parts.scheme in {"http", "https"} and parts.netloc else None


def _parse_tree(data: bytes, where: str) -> list[Listed]:
    """The hub's list of a repository's files."""
    try:
        entries = [entry for entry in json.loads(data) if entry["type"] == "file" and "/" not in entry["path"]]
        files = [Listed(entry["path"], entry["size"], (entry.get("lfs") or {}).get("oid")) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{where}: expected a list of files with sizes, found something else; try again"
        ) from error
    return require_listed(files, where)


def _chosen(listed: Iterable[Listed], base: str, where: str, name: str | None) -> list[RemoteFile]:
    """Of a list, the weights and the tokenizer."""
    by_name = {file.name: file for file in listed}
    if name and name not in by_name:
        raise ModelFileError(f"expected {name} in the list at {where}, it is not there; check the name")
    names = [name, TOKENIZER] if name else _model_names(by_name, where)
    return [
        RemoteFile(file.name, urljoin(base, quote(file.name)), file.n_bytes, file.sha256)
        for file in (by_name[chosen] for chosen in names if chosen in by_name)
    ]


def _model_names(names: Iterable[str], where: str) -> list[str]:
    """Shards before a whole .gguf: they come side by side, and one that is damaged is less to fetch again."""
    usable = [name for name in names if not name.endswith(".part")]
    shards = shard_order([name for name in usable if name.startswith("shard-")])
    return [*(shards or weight_names(usable, where)), *(name for name in usable if name == TOKENIZER)]


def _with_tokenizer(files: list[RemoteFile], base: str) -> tuple[RemoteFile, ...]:
    if any(file.name == TOKENIZER for file in files):
        return tuple(files)
    return (*files, RemoteFile(TOKENIZER, urljoin(base, TOKENIZER), None, None))


def _key(title: str, source: str) -> str:
    slug = re.sub("[^a-z0-9]+", "-", title.lower())[:40].strip("-")
    return f"{slug or 'model'}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
