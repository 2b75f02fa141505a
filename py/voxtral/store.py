"""The models kept on a disk: what there is, and one of them to load.

A model is a folder with its files and a record (`records`) of what they should be. A folder without a readable
record is listed too, so that it can be deleted, or fetched again, which keeps what is right of it.
"""

from typing import NamedTuple

from voxtral.download import verify
from voxtral.errors import ModelFileError
from voxtral.model_files import TOKENIZER
from voxtral.progress import Tell
from voxtral.records import Record, read_record
from voxtral.shards import ByteSource, weight_names
from voxtral.storage import Disk, ModelFolder


class StoredModel(NamedTuple):
    """What there is of a model."""

    key: str
    title: str
    source: str  # sources.py; empty where nobody knows any more
    n_bytes: int  # here
    total_bytes: int | None  # when it is whole; None: nobody has said
    is_whole: bool
    saved_at: int | None  # ms since 1970


class ModelStore:
    """Every method raises ModelFileError."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    async def models(self) -> list[StoredModel]:
        """The last saved first; a folder that cannot be read is one of unknown content."""
        found = [model for key in await self.disk.keys() if (model := await self._look(key))]
        return sorted(found, key=lambda model: (-(model.saved_at or 0), model.key))

    async def open(self, key: str) -> tuple[list[ByteSource], bytes]:
        """Weights, in the order of their bytes, and tekken.json."""
        folder = await self._folder(key)
        record = await _record(key, folder)
        if missing := _missing(record, await folder.sizes()):
            first = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            raise ModelFileError(f"{record.title}: expected {first} whole, it is not; fetch the model to go on")
        names = weight_names([file.name for file in record.files], record.title)
        return [await folder.source(name) for name in names], await folder.read(TOKENIZER)

    async def verify(self, key: str, tell: Tell) -> list[str]:
        """A sentence for each damaged file, which counts as begun from then on."""
        folder = await self._folder(key)
        return await verify((await _record(key, folder)).files, folder, tell)

    async def delete(self, key: str) -> None:
        """None is fine."""
        await self.disk.delete(key)

    async def _look(self, key: str) -> StoredModel | None:
        """What a folder holds; None if that is nothing."""
        try:
            folder = await self.disk.folder(key)
            whole, begun = await folder.sizes(), await folder.begun()
            record = await read_record(folder)
        except ModelFileError:
            return StoredModel(key, key, "", 0, None, False, None)
        if record is None:
            n_bytes = sum(whole.values()) + sum(begun.values())
            return StoredModel(key, key, "", n_bytes, None, False, None) if whole or begun else None
        here = {**begun, **whole}
        sizes = [file.n_bytes if file.n_bytes is not None else whole.get(file.name) for file in record.files]
        return StoredModel(
            key,
            record.title,
            record.source,
            sum(here.get(file.name, 0) for file in record.files),
            None if None in sizes else sum(size or 0 for size in sizes),
            not _missing(record, whole),
            record.saved_at,
        )

    async def _folder(self, key: str) -> ModelFolder:
        if key not in await self.disk.keys():
            raise ModelFileError(f"{key}: expected a stored model of this name, there is none; fetch it again")
        return await self.disk.folder(key)


async def _record(key: str, folder: ModelFolder) -> Record:
    record = await read_record(folder)
    if record is None:
        raise ModelFileError(f"{key}: the record of what was stored is damaged; fetch the model again, or delete it")
    return record


def _missing(record: Record, whole: dict[str, int]) -> list[str]:
    """Names of the files that are not here, or not as long as they should be."""
    return [
        file.name for file in record.files if (size := whole.get(file.name)) is None or file.n_bytes not in (None, size)
    ]
