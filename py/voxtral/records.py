"""What a folder of a model says about itself: record.json, written before the first byte of the model.

By it a download goes on, a model is listed and verified, all without a network.
"""

import json
from typing import NamedTuple

from voxtral.errors import ModelFileError
from voxtral.model_files import RECORD, parse_manifest
from voxtral.sources import Offer, RemoteFile
from voxtral.storage import ModelFolder


class Record(NamedTuple):
    """An offer that was taken, with what was learned since: sizes."""

    title: str
    source: str
    files: tuple[RemoteFile, ...]  # weights in the order of their bytes, then the tokenizer
    saved_at: int  # ms since 1970: when the download last began or ended

    @classmethod
    def of(cls, offer: Offer, saved_at: int) -> "Record":
        return cls(offer.title, offer.source, tuple(offer.files), saved_at)

    def as_json(self) -> bytes:
        """What `parse_record` reads."""
        fields = {**self._asdict(), "files": [file._asdict() for file in self.files]}
        return (json.dumps(fields, indent=1) + "\n").encode()


def parse_record(data: bytes, where: str) -> Record:
    """Raises ModelFileError, naming `where`, unless it is one."""
    listed = parse_manifest(data, where)
    try:
        record = json.loads(data)
        texts = [str(record[field]) for field in ("title", "source")]
        urls = [str(entry["url"]) for entry in record["files"]]
        saved_at = int(record["saved_at"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelFileError(f"{where}: expected what was fetched from where, found something else") from error
    files = (RemoteFile(file.name, url, file.n_bytes, file.sha256) for file, url in zip(listed, urls, strict=True))
    return Record(texts[0], texts[1], tuple(files), saved_at)


async def read_record(folder: ModelFolder) -> Record | None:
    """A folder's record; None if it has none, or a damaged one. Raises ModelFileError if the folder cannot be read."""
    if RECORD not in await folder.sizes():
        return None
    data = await folder.read(RECORD)
    try:
        return parse_record(data, RECORD)
    except ModelFileError:
        return None
