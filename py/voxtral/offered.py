"""What the page's own server has to load: the folder given to `serve.py --models`, one level deep."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

from voxtral.answers import PassingError, ask_small
from voxtral.errors import ModelFileError
from voxtral.model_files import MANIFEST, TOKENIZER
from voxtral.shards import shard_order
from voxtral.sources import LISTING_BYTES
from voxtral.transport import Transport

MOST_FOLDERS = 50


async def read_offered(transport: Transport, server: str) -> list[dict[str, Any]]:
    """Models below an address, as [{title, source, n_bytes}]; none where the server offers none.

    A folder's manifest.json lists its files, as {name, n_bytes}, and on our server its folders.
    """
    top = await _listing(transport, server)
    folders = [name for name in top.get("folders", []) if isinstance(name, str)][:MOST_FOLDERS]
    below = await asyncio.gather(*(_listing(transport, f"{server}{quote(name)}/") for name in folders))
    found = _models(top, server, "shards")
    for name, listing in zip(folders, below, strict=True):
        found += _models(listing, f"{server}{quote(name)}/", name)
    return found


async def _listing(transport: Transport, folder: str) -> dict[str, Any]:
    try:
        listing = json.loads(await ask_small(transport, f"{folder}{MANIFEST}", LISTING_BYTES))
    except (PassingError, ModelFileError, ValueError, RecursionError):
        return {}
    return listing if isinstance(listing, dict) else {}


def _models(listing: dict[str, Any], folder: str, title: str) -> list[dict[str, Any]]:
    """Every .gguf of a folder, and all shards together, if there is a tokenizer beside them."""
    entries = [entry for entry in listing.get("files", []) if isinstance(entry, dict)]
    sizes = {str(entry.get("name")): entry.get("n_bytes") for entry in entries}
    if TOKENIZER not in sizes:
        return []
    whole = [name for name in sizes if name.endswith(".gguf")]
    found = [{"title": name, "source": folder + quote(name), "n_bytes": sizes[name]} for name in whole]
    try:
        shards = [] if whole else shard_order(list(sizes))
    except ModelFileError:  # of several models
        shards = []
    if shards:
        known = [n for name in shards if isinstance(n := sizes[name], int)]
        found.append({"title": title, "source": folder, "n_bytes": sum(known) if len(known) == len(shards) else None})
    return found
