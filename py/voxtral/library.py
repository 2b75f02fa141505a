"""The models a page can load: those kept on this machine, and how they get there; the worker's other half.

Each request of `protocol` from `list_models` on is a method. A download is a task of its own, beside the loading
and running of models: pausing cancels it, fetching again goes on. One tab at a time works on a model.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from voxtral.chosen import ChosenFiles, read_chosen
from voxtral.download import download
from voxtral.errors import ModelFileError, VoxtralError
from voxtral.model.loader import read_header
from voxtral.model_files import TOKENIZER
from voxtral.offered import read_offered
from voxtral.plausibility import ImplausibleError, require_plausible
from voxtral.shards import ByteSource, ShardedCursor, weight_names
from voxtral.sources import Offer, read_offer
from voxtral.storage import Disk, ModelFolder, Room, StorageFullError
from voxtral.store import ModelStore
from voxtral.tekken import Tekken
from voxtral.transport import Transport

STORED = "stored:"
REPORT_S = 0.2  # between two events of a download
PACE_WINDOW_S = 15.0  # over which a speed is taken
SPARE_BYTES = 16 << 20  # of storage that stays free: records, and what a file system adds
NO_STORAGE = "this browser lets the page store nothing, as in a private window; use the model without storing it"

Post = Callable[..., None]


class LibraryHost(Protocol):
    """What the library needs from its surroundings."""

    async def open_disk(self) -> Disk | None:
        """Where models are kept; None where nothing can be."""

    def network(self) -> Transport:
        """The way to addresses."""

    async def open_source(self, url: str, n_bytes: int | None) -> ByteSource:
        """A file behind an address, to read in pieces that a device takes without a detour; None: ask for its size.

        Raises ModelFileError.
        """

    async def fetch(self, url: str) -> bytes:
        """A file behind an address, whole. Raises ModelFileError."""

    def chosen(self, files: Any) -> ChosenFiles:
        """An array of File objects that came with a message."""

    def lock(self, key: str, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Only one tab is inside at a time; on_wait: called if that has to be waited for."""

    async def export(self, key: str) -> list[dict[str, Any]]:
        """The files of a kept model as [{name, blob}]. Raises ModelFileError."""

    def now_s(self) -> float:
        """A clock that never goes back."""


class Library:
    """Answers by `post(kind, **fields)`; what goes wrong becomes a `fetch_failed` or an `error` event."""

    def __init__(self, host: LibraryHost, post: Post) -> None:
        self._host = host
        self._post = post
        self._disk: Disk | None = None
        self._is_disk_known = False
        self._server: str | None = None  # address of what the page's own server offers
        self._active: dict[str, asyncio.Task[Any]] = {}  # what works on a model, by its key
        self._tasks: set[asyncio.Task[Any]] = set()  # a task nobody holds may be collected before it ends

    # -- requests -------------------------------------------------------------------------------
    def list_models(self, server: str | None) -> None:
        """server: address of the listing of what the page's own server has, or None."""
        self._server = server
        self._start(self._list())

    def fetch(self, source: str | None, files: Any) -> None:
        """Keep a model, or go on with that."""
        self._start(self._fetch(source, files))

    def pause(self, key: str) -> None:
        """Stop working on a model; what has come stays."""
        if task := self._active.get(key):
            task.cancel()

    def discard(self, key: str) -> None:
        """Stop, and delete what has come."""
        self.pause(key)
        self.delete(key)

    def verify(self, key: str) -> None:
        """Read a kept model again; damaged files count as begun from then on."""
        self._start(self._verify(key))

    def delete(self, key: str) -> None:
        """Delete a kept model."""
        self._start(self._delete(key))

    def export(self, key: str) -> None:
        """Hand out the files of a kept model."""
        self._start(self._export(key))

    async def open(self, model_url: str | None, files: Any) -> tuple[list[ByteSource], Tekken]:
        """Weights, in order, and tokenizer of a model: "stored:KEY", a source, or chosen files.

        Raises ModelFileError.
        """
        if model_url is None:
            given = self._host.chosen(files)
            return await _open_chosen(given, await read_chosen(given))
        if model_url.startswith(STORED):
            return await _open_stored(await self._store(), model_url.removeprefix(STORED))
        offer = await read_offer(self._host.network(), model_url)
        files_of = {file.name: file for file in offer.files}
        tekken_url = files_of[TOKENIZER].url
        tekken = Tekken.from_json(await self._host.fetch(tekken_url), tekken_url)
        weights = [files_of[name] for name in weight_names(list(files_of), offer.source)]
        return [await self._host.open_source(file.url, file.n_bytes) for file in weights], tekken

    # -- tasks ----------------------------------------------------------------------------------
    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        async def explained() -> None:
            try:
                await work
            except VoxtralError as error:
                self._post("error", session=None, sentence=str(error), fatal=False)

        task = asyncio.ensure_future(explained())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self) -> ModelStore:
        if not self._is_disk_known:
            self._disk, self._is_disk_known = await self._host.open_disk(), True
        if self._disk is None:
            raise StorageFullError(NO_STORAGE)
        return ModelStore(self._disk)

    async def _list(self) -> None:
        stored: list[dict[str, Any]] = []
        room = Room(None, None)
        with contextlib.suppress(ModelFileError):  # nothing is stored where nothing can be
            store = await self._store()
            stored = [{**model._asdict(), "is_active": model.key in self._active} for model in await store.models()]
            room = await store.disk.room()
        offered = await read_offered(self._host.network(), self._server) if self._server else []
        self._post("models", stored=stored, offered=offered, **room._asdict())

    async def _fetch(self, source: str | None, files: Any) -> None:
        key = None
        try:
            store = await self._store()
            if source is None:
                given = self._host.chosen(files)
                offer, transport = await read_chosen(given), given.transport
                await _require_loadable(*await _open_chosen(given, offer))  # told now, not after it was copied
            else:
                transport = self._host.network()
                offer = await read_offer(transport, source)
            key = offer.key
            while (task := self._active.get(key)) and task.cancelling():
                await asyncio.wait([task])  # it was paused just now
            if task is None:
                await self._keep(store, offer, transport)
        except asyncio.CancelledError:
            self._start(self._list())
            raise
        except VoxtralError as error:
            can_stream = isinstance(error, StorageFullError)
            self._post("fetch_failed", key=key, source=source, sentence=str(error), can_stream=can_stream)
            await self._list()

    async def _keep(self, store: ModelStore, offer: Offer, transport: Transport) -> None:
        """Download a model, unless another tab is at it, then see what that has left to do."""
        report = _Report(self._post, offer.key, offer.title, self._host.now_s)
        with self._working_on(offer.key):
            report.tell("listing", 0, 0)
            async with self._host.lock(offer.key, lambda: report.tell("waiting", 0, 0)):
                folder = await store.disk.folder(offer.key)
                await _require_room(await store.disk.room(), folder, offer)
                await download(offer, folder, transport, report.tell)
                try:
                    await _require_loadable(*await _open_stored(store, offer.key))
                except ImplausibleError as error:
                    await folder.delete(error.file)
                    raise
        self._post("fetched", key=offer.key)
        await self._list()

    async def _verify(self, key: str) -> None:
        store = await self._store()
        report = _Report(self._post, key, key, self._host.now_s)
        with self._working_on(key):
            async with self._host.lock(key, lambda: report.tell("waiting", 0, 0)):
                problems = await store.verify(key, report.tell)
        self._post("verified", key=key, problems=problems)
        await self._list()

    async def _delete(self, key: str) -> None:
        store = await self._store()
        async with self._host.lock(key, lambda: None):
            await store.delete(key)
        await self._list()

    async def _export(self, key: str) -> None:
        self._post("exported", key=key, files=await self._host.export(key))

    @contextlib.contextmanager
    def _working_on(self, key: str) -> Iterator[None]:
        """Let `pause` find this task."""
        task = asyncio.current_task()
        assert task is not None
        self._active[key] = task
        try:
            yield
        finally:
            del self._active[key]


async def _open_chosen(given: ChosenFiles, offer: Offer) -> tuple[list[ByteSource], Tekken]:
    sources = {file.name: given.source(file.name) for file in offer.files}
    tekken = sources.pop(TOKENIZER)
    return list(sources.values()), Tekken.from_json(await tekken.read_at(0, tekken.n_bytes), TOKENIZER)


async def _open_stored(store: ModelStore, key: str) -> tuple[list[ByteSource], Tekken]:
    weights, tekken = await store.open(key)
    return weights, Tekken.from_json(tekken, f"{key}/{TOKENIZER}")


async def _require_loadable(weights: list[ByteSource], tekken: Tekken) -> None:
    """Raise ModelFileError unless these files are one whole model, as far as a look at them tells."""
    source = ShardedCursor(weights)
    try:
        index, config = await read_header(source)
        await require_plausible(source, index)
    finally:
        source.close()
    tekken.require(config.decoder.vocab_size)


async def _require_room(room: Room, folder: ModelFolder, offer: Offer) -> None:
    """Raise StorageFullError when a download cannot end well."""
    if room.quota_bytes is None or room.used_bytes is None:
        return
    here = {**await folder.begun(), **await folder.sizes()}
    missing = sum(max(0, (file.n_bytes or 0) - here.get(file.name, 0)) for file in offer.files)
    free = room.quota_bytes - room.used_bytes
    if missing + SPARE_BYTES > free:
        raise StorageFullError(
            f"{offer.title}: {missing / 1e9:.2f} GB are still to come, and the browser has {max(0, free) / 1e9:.2f} GB "
            "free for this site; make room on the disk, delete another model, or use it without storing it"
        )


class _Report:
    """Turns what a download tells into `fetching` events: not too many, with a speed and the time left."""

    def __init__(self, post: Post, key: str, title: str, now_s: Callable[[], float]) -> None:
        self._post, self._key, self._title, self._now_s = post, key, title, now_s
        self._stage = ""
        self._told_s = 0.0
        self._seen: deque[tuple[float, int]] = deque()  # (when, bytes done), over the last PACE_WINDOW_S

    def tell(self, stage: str, done: int, total: int) -> None:
        now_s = self._now_s()
        if stage != self._stage:
            self._seen.clear()
        elif now_s - self._told_s < REPORT_S and done < total:
            return
        self._stage, self._told_s = stage, now_s
        self._seen.append((now_s, done))
        while now_s - self._seen[0][0] > PACE_WINDOW_S:
            self._seen.popleft()
        first_s, first = self._seen[0]
        is_known = now_s - first_s >= 1.0 and done > first
        pace = (done - first) / (now_s - first_s) if is_known else None
        self._post(
            "fetching",
            key=self._key,
            title=self._title,
            stage=stage,
            done=done,
            total=total,
            bytes_per_s=pace,
            seconds_left=(total - done) / pace if pace else None,
        )
