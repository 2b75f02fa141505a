"""Where this browser keeps models."""

from typing import Any

from voxtral.browser.cache_files import CacheDisk
from voxtral.browser.opfs import OpfsDisk
from voxtral.model_files import RECORD


async def open_disk() -> OpfsDisk | CacheDisk | None:
    """The origin private file system, where that is missing the Cache API, and None where there is neither."""
    return await OpfsDisk.open() or await CacheDisk.open()


async def export(key: str) -> list[dict[str, Any]]:
    """The whole files of a model as [{name, blob}], of which nothing is in memory. Raises ModelFileError."""
    disk = await open_disk()
    if disk is None:
        return []
    folder = await disk.folder(key)
    return [{"name": name, "blob": await folder.blob(name)} for name in sorted(await folder.sizes()) if name != RECORD]
