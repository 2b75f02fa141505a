"""A model from where it is offered to a folder: resumed where it broke off, verified, mended one file at a time.

    download(offer, folder, transport, tell)    until every file is whole and as the offer says
    verify(files, folder, tell)                 the same question of what is stored, without a network

Cancelling keeps what has come; another download goes on from there. A file counts as whole only when its SHA-256,
read back from the folder, was right. record.json in the folder tells later what its bytes are the beginning of.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import time
from typing import Any, TypeVar

from voxtral.answers import BEYOND_THE_END, OK, PARTIAL, PassingError, Patience, ask, shown_start, told_bytes
from voxtral.errors import ModelFileError, in_words
from voxtral.model_files import RECORD, TOKENIZER
from voxtral.progress import Progress, Tell
from voxtral.records import Record, read_record
from voxtral.shards import Piece
from voxtral.sources import Offer, RemoteFile
from voxtral.storage import ModelFolder, OpenFile, StorageFullError
from voxtral.transport import Body, BrokenOffError, Transport

READ_BYTES = 1 << 20  # of a file that is verified, between turns of the event loop
FLUSH_BYTES = 64 << 20  # the most that a crash of the machine takes from a file
MOST_TOKENIZER_BYTES = 100 << 20  # where nobody says its size

T = TypeVar("T")


async def download(offer: Offer, folder: ModelFolder, transport: Transport, tell: Tell, n_connections: int = 3) -> None:
    """Bring every file of an offer into its folder, n_connections at a time.

    Raises ModelFileError, StorageFullError; what came stays, but for a file whose SHA-256 was wrong twice.
    """
    taken = await _take_over(offer, folder)
    run = _Run(offer, taken, folder, transport, tell)
    missing = deque(sorted(taken.missing, key=lambda name: name != TOKENIZER))  # small, and soon known to be missing

    async def connection() -> None:
        while missing:
            await run.bring(missing.popleft())

    try:
        await run.record()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(n_connections, len(missing))):
                tasks.create_task(connection())
        if taken.missing:
            await run.record(is_end=True)
    except StorageFullError as error:
        raise run.explained(error) from error
    except BaseExceptionGroup as group:
        raise run.explained(group.exceptions[0]) from None


async def verify(files: Sequence[RemoteFile], folder: ModelFolder, tell: Tell) -> list[str]:
    """Read whole files again: a sentence for each that is missing or damaged.

    A damaged one is deleted, so that `download` fetches it anew. Raises ModelFileError if the folder cannot be read.
    """
    sizes = await folder.sizes()
    done, total, problems = 0, sum(sizes.get(file.name, 0) for file in files), []
    for file in files:
        n_bytes = sizes.get(file.name)
        if n_bytes is None:
            problems.append(f"{file.name}: expected {_size(file)}, it is not here; fetch it")
            continue
        found = None
        try:
            if file.sha256 and file.n_bytes in (None, n_bytes):
                source = await folder.source(file.name)
                try:
                    found = await _sha256(source.read_at, n_bytes, _beside(tell, done, total))
                finally:
                    source.close()
        except ModelFileError as error:
            problems.append(str(error))
            continue
        done += n_bytes
        tell("verify", done, total)
        if sentence := _damage(file, n_bytes, found):
            problems.append(sentence)
            try:
                await folder.delete(file.name)
            except ModelFileError as error:
                problems.append(str(error))
    return problems


def _size(file: RemoteFile) -> str:
    return f"{file.n_bytes:,} bytes" if file.n_bytes is not None else "a file"


def _damage(file: RemoteFile, n_bytes: int, sha256: str | None) -> str:
    """What is wrong with a file, or nothing."""
    if file.n_bytes not in (None, n_bytes):
        return f"{file.name}: expected {file.n_bytes:,} bytes, found {n_bytes:,}; fetch it again"
    if file.sha256 != sha256:
        return f"{file.name}: expected SHA-256 {file.sha256}, found {sha256}; fetch it again"
    return ""


def _beside(tell: Tell, done: int, total: int) -> Callable[[int], None]:
    return lambda n_bytes: tell("verify", done + n_bytes, total)


async def _sha256(read: Callable[[int, int], Awaitable[bytes]], n_bytes: int, heard: Callable[[int], None]) -> str:
    """Of n_bytes that can be read; others have their turn meanwhile."""
    sums = hashlib.sha256()
    for offset in range(0, n_bytes, READ_BYTES):
        n_read = min(READ_BYTES, n_bytes - offset)
        sums.update(await read(offset, n_read))
        heard(offset + n_read)
        await asyncio.sleep(0)
    return sums.hexdigest()


# -- what is there already ------------------------------------------------------------------------------
class _Taken:
    """What a folder has of an offer."""

    def __init__(self, files: dict[str, RemoteFile], here: dict[str, int], whole: set[str], trusted: set[str]) -> None:
        self.files = files  # as offered, with what the folder's record knows besides
        self.here = here  # bytes by name, of whole and begun files
        self.whole = whole
        self.missing = [name for name in files if name not in trusted]  # or to be verified


async def _take_over(offer: Offer, folder: ModelFolder) -> _Taken:
    """Keep what may be of the offer, delete what is not, and what was of an earlier one."""
    record = await read_record(folder)
    known = {file.name: file for file in record.files} if record else {}
    is_same_source = record is not None and record.source == offer.source
    whole, begun = await folder.sizes(), await folder.begun()
    files, trusted = {}, set()
    for file in offer.files:
        before, size = known.get(file.name), whole.get(file.name)
        if before and _is_same(before, file, is_same_source):
            n_bytes = before.n_bytes if file.n_bytes is None else file.n_bytes
            file = file._replace(n_bytes=n_bytes, sha256=file.sha256 or before.sha256)
            is_ours, is_trusted = True, True
        else:
            # A file that came otherwise: as good as its SHA-256, or as its size where there is none to compare with.
            is_ours = before is None and (file.sha256 is not None or size is None or file.n_bytes in (None, size))
            is_trusted = is_ours and file.sha256 is None
        if not is_ours and (file.name in begun or size is not None):
            await folder.delete(file.name)
            begun.pop(file.name, None)
            whole.pop(file.name, None)
        elif is_trusted and size is not None and file.n_bytes in (None, size):
            trusted.add(file.name)
        files[file.name] = file
    for name in known.keys() - files.keys():
        await folder.delete(name)
    return _Taken(files, {**begun, **whole}, set(whole), trusted)


def _is_same(before: RemoteFile, now: RemoteFile, is_same_source: bool) -> bool:
    """Whether bytes of the one are bytes of the other."""
    if before.sha256 and now.sha256:
        return before.sha256 == now.sha256
    return is_same_source and (before.n_bytes is None or now.n_bytes in (None, before.n_bytes))


# -- what is to come ------------------------------------------------------------------------------------
class _Run:
    """A download at work."""

    def __init__(self, offer: Offer, taken: _Taken, folder: ModelFolder, transport: Transport, tell: Tell) -> None:
        self._offer, self._folder, self._transport = offer, folder, transport
        self._listed = {file.name: file.n_bytes for file in offer.files}
        self._files, self._whole = taken.files, taken.whole
        sizes = {name: file.n_bytes for name, file in taken.files.items()}
        self._progress = Progress(sizes, taken.here, taken.files.keys() - taken.missing, tell)
        self._recording = asyncio.Lock()  # a folder writes one file of a name at a time
        self._begun_anew: set[str] = set()

    async def record(self, is_end: bool = False) -> None:
        """Bring the folder's record up to date, if it is not."""
        async with self._recording:
            old = await read_record(self._folder)
            new = Record(self._offer.title, self._offer.source, tuple(self._files.values()), int(time() * 1000))
            if old is None or is_end or old._replace(saved_at=new.saved_at) != new:
                await _uncut(self._folder.write(RECORD, new.as_json()))

    async def bring(self, name: str) -> None:
        """Make a file whole."""
        opening = self._folder.reopen(name) if name in self._whole else self._folder.open(name)
        file = await _uncut(opening, lambda unused: unused.close())
        try:
            for is_last in (False, True):
                self._progress.report()
                await self._fill(name, file)
                if not (found := await self._wrong_sha256(name, file)):
                    break
                await self._begin_anew(name, file)  # going on with a damaged file would keep the damage
                if is_last:
                    raise ModelFileError(
                        f"{self._files[name].url}: expected SHA-256 {self._files[name].sha256}, found {found} twice; "
                        "ask who offers it"
                    )
            await file.flush()
        finally:
            file.close()
        await _uncut(self._folder.finish(name))

    def explained(self, error: BaseException) -> BaseException:
        """The error, with how much more room is needed if that is what it is about."""
        if not isinstance(error, StorageFullError):
            return error
        done, total = self._progress.totals()
        return StorageFullError(
            f"{self._offer.title}: {in_words(total - done)} of {in_words(total)} are still to come and find no room "
            f"({error}); what has come is kept, make room and go on"
        )

    async def _wrong_sha256(self, name: str, file: OpenFile) -> str:
        """The SHA-256 a file has, if it should have another one."""
        expected = self._files[name].sha256
        found = None
        if expected:
            found = await _sha256(file.read, file.n_bytes, lambda n: self._progress.verified(name, n))
        self._progress.verified(name, file.n_bytes)
        return found if found and found != expected else ""

    async def _fill(self, name: str, file: OpenFile) -> None:
        """Fetch what is missing of a file."""
        patience = Patience(self._files[name].url)
        while file.n_bytes != (n_bytes := self._files[name].n_bytes):
            if file.n_bytes > (n_bytes or 0):  # too much, or of who knows what size
                await self._clear(name, file)
            before = file.n_bytes
            try:
                await self._go_on(name, file)
            except PassingError as error:
                if file.n_bytes > before:
                    patience.renew()
                await patience.wait(error)

    async def _go_on(self, name: str, file: OpenFile) -> None:
        """Fetch on as far as one connection brings it, or find that it must begin anew. Raises PassingError."""
        start = file.n_bytes
        body = await ask(self._transport, self._files[name].url, start)
        try:
            if await self._agrees(name, file, body):
                await self._append(file, body, name, start if body.status == OK else 0)
        except BrokenOffError as error:
            raise PassingError(str(error)) from error
        finally:
            body.close()

    async def _agrees(self, name: str, file: OpenFile, body: Body) -> bool:
        """Whether an answer is about the file we know; its size is learned here. False: the file was cleared."""
        remote, start, total = self._files[name], file.n_bytes, told_bytes(body, file.n_bytes)
        shown = shown_start(body)
        if body.status == PARTIAL and shown not in (None, start):
            raise ModelFileError(
                f"{remote.url}: expected the bytes from {start:,} on, the server sent those from {shown:,} on; "
                "ask who offers it"
            )
        if body.status == BEYOND_THE_END or (remote.n_bytes is not None and _differs(body, total, remote.n_bytes)):
            if self._listed[name] is not None and total not in (None, self._listed[name]):
                raise _another(remote.url, self._listed[name], total)
            if name in self._begun_anew:
                raise ModelFileError(f"{remote.url}: expected bytes from {start:,} on, the server has none; try later")
            self._begun_anew.add(name)
            await self._begin_anew(name, file)
            return False
        if remote.n_bytes is None and name != TOKENIZER:
            if total is None:
                raise ModelFileError(
                    f"{remote.url}: expected a server that tells the file's size, this one does not; "
                    "let a manifest.json beside it tell"
                )
            await self._learn(name, total)
        return True

    async def _append(self, file: OpenFile, body: Body, name: str, n_skipped: int) -> None:
        """Write what a connection brings, after bytes that are here already."""
        remote, total, n_flushed = self._files[name], told_bytes(body, file.n_bytes), file.n_bytes
        most = MOST_TOKENIZER_BYTES if remote.n_bytes is None else remote.n_bytes
        while (piece := await body.read()) is not None:
            if n_skipped >= piece.n_bytes:
                n_skipped -= piece.n_bytes
                continue
            piece, n_skipped = _after(piece, n_skipped), 0
            if file.n_bytes + piece.n_bytes > most:
                raise ModelFileError(
                    f"{remote.url}: expected {most:,} bytes, the server sends more; it is another file, or one that "
                    "the server packs on the way: ask who offers it"
                )
            await file.write(piece)
            self._progress.here(name, file.n_bytes)
            if file.n_bytes - n_flushed >= FLUSH_BYTES:
                await file.flush()
                n_flushed = file.n_bytes
        if remote.n_bytes is None:
            if total is not None and file.n_bytes < total:
                raise PassingError(f"it broke off after {file.n_bytes:,} of {total:,} bytes")
            await self._learn(name, file.n_bytes)
        elif file.n_bytes < remote.n_bytes:
            if body.status == OK and total is not None and total < remote.n_bytes:
                raise _another(remote.url, remote.n_bytes, file.n_bytes)
            raise PassingError(f"it broke off after {file.n_bytes:,} of {remote.n_bytes:,} bytes")

    async def _learn(self, name: str, n_bytes: int | None) -> None:
        """Keep a file's size: whatever else comes under its name later is known to be another one."""
        self._files[name] = self._files[name]._replace(n_bytes=n_bytes)
        self._progress.size(name, n_bytes)
        await self.record()

    async def _begin_anew(self, name: str, file: OpenFile) -> None:
        """Forget what came, and what size it was to have."""
        await self._clear(name, file)
        await self._learn(name, self._listed[name])

    async def _clear(self, name: str, file: OpenFile) -> None:
        await file.clear()
        self._progress.here(name, 0)


async def _uncut(work: Coroutine[Any, Any, T], undo: Callable[[T], None] = lambda _: None) -> T:
    """What is done to its end even when it is cancelled meanwhile, and undone then: half-open files stay locked."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.exception():
            undo(task.result())
        raise


def _differs(body: Body, total: int | None, n_bytes: int) -> bool:
    """Whether the answer is of another file than one of n_bytes.

    Less may be the packed length, or that of a part: a page of elsewhere does not see that an answer is packed or ends
    before the file does.
    """
    return total is not None and (total > n_bytes or (total < n_bytes and shown_start(body) is not None))


def _another(url: str, expected: int | None, found: int | None) -> ModelFileError:
    return ModelFileError(f"{url}: expected {expected:,} bytes, the server has {found:,}; it is another file")


def _after(piece: Piece, n_bytes: int) -> Piece:
    """A piece without its first n_bytes."""
    if n_bytes == 0:
        return piece
    data = piece.data[n_bytes:] if isinstance(piece.data, bytes) else piece.data.subarray(n_bytes)
    return Piece(piece.n_bytes - n_bytes, data)
