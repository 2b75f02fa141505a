"""Whatever interrupts a download, how often and where: in the end every byte is right, and none verified was lost."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_storage import MemoryFolder

from voxtral import answers, download
from voxtral.errors import ModelFileError
from voxtral.model_files import RECORD
from voxtral.shards import Piece
from voxtral.sources import Offer, RemoteFile
from voxtral.transport import BrokenOffError

MOODS = [
    "good",
    "refused",
    "broken",
    "no range",
    "503",
    "429",
    "404",
    "416",
    "page",
    "part",
    "packed",
    "short",
    "long",
    "wrong byte",
]


class ScriptedBody:
    """Bytes in parts, in one of the moods."""

    def __init__(self, url: str, data: bytes, start: int, mood: str, n_part: int, step: Callable[[], None]) -> None:
        self.url, self._n_part, self._step = url, n_part, step
        self._breaks = mood == "broken"
        is_whole = mood == "no range" or not start
        self.status = int(mood) if mood.isdecimal() else 200 if is_whole else 206
        if start >= len(data) and not is_whole:
            self.status = 416
        self.headers = {"content-type": "text/html" if mood == "page" else ""}
        self._data = data if is_whole else data[start:]
        if mood == "part" and self.status == 206:  # as servers may, which hand out large files in parts
            self._data = self._data[: -(-len(self._data) // 2)]
        if self.status in (200, 206):
            self.headers["content-length"] = str(len(self._data))
        if mood == "packed" and self.status == 200:  # and the page does not see that it is
            self.headers["content-length"] = str(len(self._data) // 2)
        if mood == "short":
            self._data = self._data[: len(self._data) // 2]
        if mood == "long":
            self._data += b"more"
        if mood == "wrong byte" and self._data:
            self._data = bytes([self._data[0] ^ 1]) + self._data[1:]
        self.n_read = 0
        self.is_open = True

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())

    async def read(self) -> Piece | None:
        assert self.is_open
        self._step()
        await asyncio.sleep(0)
        if self._breaks and self.n_read * 2 >= len(self._data):
            raise BrokenOffError("it broke")
        part = self._data[self.n_read : self.n_read + self._n_part]
        self.n_read += len(part)
        return Piece(len(part), part) if part else None

    def close(self) -> None:
        self.is_open = False


class ScriptedTransport:
    """files: by address. Each answer takes the next mood; `interrupt` is called at the so-many-th step."""

    def __init__(self, files: dict[str, bytes], moods: list[str], n_part: int) -> None:
        self.files, self.moods, self.n_part = files, moods, n_part
        self.bodies: list[ScriptedBody] = []
        self.n_steps = 0
        self.interrupt_at: int | None = None
        self.interrupt: Callable[[], None] = lambda: None

    def step(self) -> None:
        self.n_steps += 1
        if self.n_steps == self.interrupt_at:
            self.interrupt()

    async def open(self, url: str, start: int = 0) -> ScriptedBody:
        self.step()
        await asyncio.sleep(0)
        mood = self.moods.pop(0) if self.moods else "good"
        if mood == "refused":
            raise BrokenOffError("refused")
        body = ScriptedBody(url, self.files[url], start, mood, self.n_part, self.step)
        self.bodies.append(body)
        return body


@st.composite
def models(draw: st.DrawFn) -> dict[str, bytes]:
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    chance = draw(st.randoms(use_true_random=False))
    files = {f"shard-a{chr(97 + i)}": chance.randbytes(n_bytes) for i, n_bytes in enumerate(sizes)}
    return {**files, "tekken.json": chance.randbytes(draw(st.integers(1, 30)))}


def offer_of(files: dict[str, bytes], knows_size: bool, knows_sha256: bool) -> Offer:
    return Offer("key", "title", "source", [
        RemoteFile(
            name, name, len(data) if knows_size else None, hashlib.sha256(data).hexdigest() if knows_sha256 else None
        )
        for name, data in files.items()
    ])  # fmt: skip


async def run_once(offer: Offer, folder: MemoryFolder, network: ScriptedTransport, is_crash: bool) -> MemoryFolder:
    """A download, perhaps interrupted: by cancelling, or by a crash as if nothing ever ran after that moment."""
    found = folder
    told: list[tuple[str, int, int]] = []
    work = asyncio.create_task(download.download(offer, folder, network, lambda *heard: told.append(heard)))

    def interrupt() -> None:
        nonlocal found
        if is_crash:
            found = folder.after_crash()
        work.cancel()

    network.interrupt = interrupt
    with suppress(asyncio.CancelledError, ModelFileError):
        await work
        assert told == [] or told[-1][1] == told[-1][2]  # it went well, and said so
    assert folder.n_open == 0
    assert not any(body.is_open for body in network.bodies)
    assert all(0 <= done <= total for _, done, total in told)
    return found


def require_only_right(folder: MemoryFolder, files: dict[str, bytes], may_lie: bool) -> None:
    assert folder.whole.keys() <= files.keys() | {RECORD}
    for name, data in folder.whole.items():
        assert name == RECORD or data == files[name]
    for name, begun in folder.unfinished.items():
        assert may_lie or files[name].startswith(begun)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(download, "READ_BYTES", 7)
    monkeypatch.setattr(download, "FLUSH_BYTES", 20)


@settings(deadline=None, max_examples=300)
@given(
    models(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 25),
    st.integers(1, 4),
    st.lists(st.tuples(st.lists(st.sampled_from(MOODS), max_size=8), st.integers(1, 40), st.booleans()), max_size=5),
)
def test_any_interruptions_and_moods_end_in_the_right_bytes(
    files: dict[str, bytes],
    knows_size: bool,
    knows_sha256: bool,
    n_part: int,
    n_connections: int,
    runs: list[tuple[list[str], int, bool]],
) -> None:
    offer = offer_of(files, knows_size, knows_sha256)
    # Without a SHA-256 nobody finds a wrong byte, and more bytes than promised only who knows the size.
    usable = set(MOODS) - (set() if knows_sha256 else {"wrong byte"}) - (set() if knows_size else {"long", "packed"})

    async def go() -> None:
        folder, whole = MemoryFolder(), set[str]()
        for moods, interrupt_at, is_crash in runs:
            network = ScriptedTransport(files, [mood for mood in moods if mood in usable], n_part)
            network.interrupt_at = interrupt_at
            folder = await run_once(offer, folder, network, is_crash)
            require_only_right(folder, files, may_lie=knows_sha256)
            assert whole <= folder.whole.keys()  # nothing lost of what was verified
            whole = set(folder.whole)
        network = ScriptedTransport(files, [], n_part)
        await download.download(offer, folder, network, lambda *_: None, n_connections)
        assert {name: folder.whole[name] for name in files} == files
        assert folder.unfinished == {}
        again = ScriptedTransport(files, [], n_part)
        await download.download(offer, folder, again, lambda *_: None, n_connections)
        assert again.n_steps == 0

    asyncio.run(go())


@settings(deadline=None, max_examples=200)
@given(models(), st.booleans(), st.integers(1, 9), st.lists(st.integers(1, 60), min_size=5, max_size=5))
def test_what_interruptions_cost_is_what_was_in_flight(
    files: dict[str, bytes], knows_sha256: bool, n_part: int, stops: list[int]
) -> None:
    """Five times at most one part for each of three connections; nothing else comes twice."""
    offer = offer_of(files, True, knows_sha256)

    async def go() -> None:
        folder, received = MemoryFolder(), 0
        for stop in [*stops, None]:
            network = ScriptedTransport(files, [], n_part)
            network.interrupt_at = stop
            folder = await run_once(offer, folder, network, is_crash=False)
            received += sum(body.n_read for body in network.bodies)
        total = sum(map(len, files.values()))
        assert {name: folder.whole[name] for name in files} == files
        assert total <= received <= total + 5 * 3 * n_part

    asyncio.run(go())


MODEL = {"shard-aa": bytes(range(100)), "tekken.json": b"{}"}


@pytest.mark.parametrize(
    "moods",
    [["packed"], ["broken", "part", "part", "part"], ["broken", "no range", "good"], ["short", "part", "refused"]],
    ids=str,
)
def test_what_a_page_of_elsewhere_does_not_see_it_does_not_need(moods: list[str]) -> None:
    """No header here but Content-Length: not what an answer is a part of, nor that its length is the packed one."""
    folder, network = MemoryFolder(), ScriptedTransport(MODEL, ["good", *moods], 9)
    asyncio.run(download.download(offer_of(MODEL, True, False), folder, network, lambda *_: None, 1))
    assert {name: folder.whole[name] for name in MODEL} == MODEL
    assert folder.n_flushed >= 5  # every FLUSH_BYTES, not only at the end


@pytest.mark.parametrize("n_begun", [0, 40])
@pytest.mark.parametrize("n_there", [50, 150])
def test_a_file_of_another_size_is_refused_without_reading_more_of_it_than_fits(n_begun: int, n_there: int) -> None:
    folder, network = MemoryFolder(), ScriptedTransport({**MODEL, "shard-aa": bytes(n_there)}, [], 9)
    folder.unfinished["shard-aa"] = bytearray(n_begun)
    with pytest.raises(ModelFileError, match=f"expected 100 bytes, the server has {n_there}|the server has none"):
        asyncio.run(download.download(offer_of(MODEL, True, False), folder, network, lambda *_: None, 1))
    n_read = sum(body.n_read for body in network.bodies)
    assert n_read <= (2 if n_there > 100 else 2 + 2 * n_there)
