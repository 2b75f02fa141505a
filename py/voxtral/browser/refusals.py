"""What the browser's storage refuses, as sentences for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException  # type: ignore[import-not-found]

from voxtral.browser.values import first_line, to_object
from voxtral.errors import ModelFileError
from voxtral.storage import Room, StorageFullError


@contextmanager
def explaining(name: str) -> Iterator[None]:
    """Make a sentence of what the browser refuses."""
    try:
        yield
    except JsException as error:
        raise ModelFileError(sentence(name, error)) from error


async def room() -> Room:
    """Of this site's storage."""
    with explaining("the browser's storage"):
        estimate = await js.navigator.storage.estimate()
    return Room(int(estimate.quota), int(estimate.usage))


def full() -> StorageFullError:
    """What to raise when something found no room; its words fit into the sentence of who knows how much is missing.

    There is no number in it: browsers tell quotas that say nothing of the disk, or of a limit just reached.
    """
    return StorageFullError("the disk is full, or this site's share of it")


async def remove(folder: Any, name: str) -> None:
    """Delete a file or folder with all in it; none is fine."""
    try:
        await folder.removeEntry(name, to_object({"recursive": True}))
    except JsException as error:
        if error.name != "NotFoundError":
            raise ModelFileError(sentence(name, error)) from error


def sentence(name: str, error: Any) -> str:
    if error.name == "NotFoundError":
        return f"{name}: expected among the stored files, it is not there; fetch the model again"
    if error.name == "NoModificationAllowedError":
        return f"{name}: it is in use, here or in another tab of this page; try again when that has ended"
    return f"{name}: the browser's storage failed ({first_line(error)}); reload the page and try again"


def require_all(name: str, offset: int, n_bytes: int, n_read: int) -> None:
    if n_read != n_bytes:
        raise ModelFileError(f"{name}: expected {n_bytes:,} bytes at byte {offset:,}, found {n_read:,}; fetch it again")
