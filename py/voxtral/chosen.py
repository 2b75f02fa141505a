"""Model files that a person chose or dropped: which weights they are, in what order, and whether one is missing.

Names and sizes tell most of it; `plausibility` looks at the bytes.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

from voxtral.errors import ModelFileError
from voxtral.model_files import LETTERS, MANIFEST, TOKENIZER, parse_manifest, shard_name
from voxtral.shards import SHARD_NAME, ByteSource, weight_names
from voxtral.sources import LISTING_BYTES, MOST_SHARDS, Offer, RemoteFile
from voxtral.transport import Transport

SAMPLE_BYTES = 1 << 16  # at the beginning, middle and end of a file
SOURCE = "files"  # of an offer of chosen files: only who has them can go on with it


class ChosenFiles(Protocol):
    """File objects that the person chose or dropped."""

    @property
    def sizes(self) -> dict[str, int]:
        """In bytes, by name."""

    @property
    def transport(self) -> Transport:
        """The way to them by `address`."""

    def source(self, name: str) -> ByteSource:
        """One of them to read."""


def address(name: str) -> str:
    """What a Transport over chosen files calls one of them."""
    return f"file:{name}"


async def read_chosen(given: ChosenFiles) -> Offer:
    """The model in chosen files; a manifest.json among them says their SHA-256.

    Raises ModelFileError when that is not one whole model.
    """
    sizes = given.sizes
    weights = weight_names(sorted(sizes), "the chosen files")
    _require_no_gap(weights)
    _require_equal(weights, sizes)
    if TOKENIZER not in sizes:
        raise ModelFileError(
            f"expected {TOKENIZER} beside {weights[0]}, it is not among the files; choose all together"
        )
    hashes = {}
    if MANIFEST in sizes:
        listed = parse_manifest(await given.source(MANIFEST).read_at(0, min(sizes[MANIFEST], LISTING_BYTES)), MANIFEST)
        hashes = {file.name: file.sha256 for file in listed}
    files = [RemoteFile(name, address(name), sizes[name], hashes.get(name)) for name in [*weights, TOKENIZER]]
    title = weights[0] if len(weights) == 1 else f"{weights[0]} … {weights[-1]}"
    return Offer(f"files-{await _fingerprint(given, files)}", title, SOURCE, tuple(files))


async def _fingerprint(given: ChosenFiles, files: list[RemoteFile]) -> str:
    """Of names, sizes and samples of the bytes, so that another model of the same shape is not taken for this one."""
    sums = hashlib.sha256()
    for file in files:
        sums.update(f"{file.name}/{file.n_bytes}/".encode())
        source, n_bytes = given.source(file.name), given.sizes[file.name]
        n_sample = min(SAMPLE_BYTES, n_bytes)
        for offset in (0, (n_bytes - n_sample) // 2, n_bytes - n_sample):
            sums.update(await source.read_at(offset, n_sample))
        source.close()
    return sums.hexdigest()[:12]


def _require_no_gap(shards: list[str]) -> None:
    """Shards count on from the first one, aa, 0 or 1; whether the last is missing only the header knows."""
    matches = [match for name in shards if (match := SHARD_NAME.fullmatch(name)) and not name.endswith(".gguf")]
    for i, match in enumerate(matches):
        index, first = match["index"], matches[0]["index"]
        if index.isdecimal():
            expected = str(min(int(first), 1) + i).zfill(len(index))
        else:
            expected = shard_name(i % MOST_SHARDS).removeprefix("shard-").rjust(len(index), LETTERS[0])
        if index != expected:
            missing = match["stem"] + expected
            raise ModelFileError(
                f"expected {missing} before {match.string}, it is not among the files; choose all shards"
            )


def _require_equal(shards: list[str], sizes: Mapping[str, int]) -> None:
    """All shards but the last, which is at most that long, have one size."""
    common = max(sizes[name] for name in shards)
    for name in shards[:-1]:
        if sizes[name] != common:
            raise ModelFileError(
                f"{name}: expected {common:,} bytes like the other shards, found {sizes[name]:,}; "
                "it is of another model, or was not copied whole"
            )
