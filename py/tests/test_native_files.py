"""An ordinary Python's network and disk keep what transport.py and storage.py promise; test_disks.py has the rest."""

import asyncio
import errno
import resource
import socket
import threading
import time
from pathlib import Path

import pytest
from bad_server import BadServer, bad_server

from voxtral import transport
from voxtral.errors import ModelFileError
from voxtral.native_files import BegunFile, DirectoryFolder
from voxtral.native_network import NativeTransport, _in_thread
from voxtral.shards import Piece
from voxtral.storage import StorageFullError
from voxtral.transport import BrokenOffError

HOURS = 9999.0
DATA = bytes(range(256)) * 5000


def test_a_full_disk_is_one_sentence_and_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fill() -> None:
        file = await DirectoryFolder(tmp_path).open("shard-aa")
        await file.write(Piece(5, b"12345"))
        write = file._file.write  # type: ignore[attr-defined]

        class Full:
            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def write(self, data: memoryview) -> int:
                if len(data) < 4:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return int(write(data[:3]))

        real = file._file
        monkeypatch.setattr(file, "_file", Full())
        with pytest.raises(StorageFullError, match=r"^\S+: \S+ \w+ are free$"):
            await file.write(Piece(6, b"678901"))
        assert file.n_bytes == 5
        assert await file.read(0, 5) == b"12345"
        file.close()

    asyncio.run(fill())
    assert (tmp_path / "shard-aa.part").read_bytes() == b"12345"


def test_what_the_system_refuses_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def refuse() -> None:
        with pytest.raises(ModelFileError, match=r"/file: File exists; check the path"):
            await DirectoryFolder(tmp_path / "file").open("x")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        file = BegunFile(tmp_path / "large.part")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            with pytest.raises(ModelFileError, match="File too large; check"):
                await file.write(Piece(20, b"x" * 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert file.n_bytes == 0
        file.close()

    asyncio.run(refuse())
    assert (tmp_path / "large.part").read_bytes() == b""


# -- network ------------------------------------------------------------------------------------------
async def body_of(url: str, start: int = 0) -> tuple[int, bytes]:
    body = await NativeTransport().open(url, start)
    parts = []
    try:
        while piece := await body.read():
            parts.append(piece.in_python())
    finally:
        body.close()
        body.close()
    return body.status, b"".join(parts)


@pytest.mark.parametrize(
    ("mood", "start", "status", "expected"),
    [
        (None, 0, 200, DATA), (None, 70_000, 206, DATA[70_000:]), ("no range", 70_000, 200, DATA),
        ("packed", 0, 200, DATA), ("packed", 70_000, 206, DATA[70_000:]), ("no length", 0, 200, DATA),
        (None, len(DATA), 416, b""), (404, 0, 404, b""), (500, 0, 500, b""),
    ],
)  # fmt: skip
def test_what_comes_is_the_file_from_a_byte_on(mood: object, start: int, status: int, expected: bytes) -> None:
    with bad_server({"a b": DATA}) as server:
        server.moods["a b"] = [mood]
        assert asyncio.run(body_of(f"{server.address}/a%20b", start)) == (status, expected)


@pytest.mark.parametrize("mood", ["cut", "hang up", "badly packed", "wrong length", "packed + no length + cut"])
def test_what_ends_too_early_breaks_off(mood: str) -> None:
    with bad_server({"x": DATA}) as server:
        server.moods["x"] = [mood]
        with pytest.raises(BrokenOffError):
            asyncio.run(body_of(f"{server.address}/x"))


def test_a_redirect_is_followed_to_another_origin() -> None:
    with bad_server({"x": DATA}) as other, bad_server({}) as server:
        server.redirects["x"] = f"{other.address}/x"
        assert asyncio.run(body_of(f"{server.address}/x", 9)) == (206, DATA[9:])
        assert other.requests == [("x", "bytes=9-")]


@pytest.mark.parametrize(("mood", "limit"), [("stall", "STALL_S"), ("no answer", "CONNECT_S")])
def test_a_stall_breaks_off(mood: str, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_S", HOURS)
    monkeypatch.setattr(transport, "STALL_S", HOURS)
    monkeypatch.setattr(transport, limit, 0.2)
    with bad_server({"x": DATA}) as server:
        server.moods["x"] = [mood]
        with pytest.raises(BrokenOffError, match="nothing came for 0 seconds"):
            asyncio.run(body_of(f"{server.address}/x"))


def test_nobody_there_breaks_off() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        with pytest.raises(BrokenOffError, match="Connection refused"):
            asyncio.run(body_of(f"http://localhost:{free.getsockname()[1]}/x"))


async def cancelled_while_waiting(server: BadServer) -> None:
    task = asyncio.create_task(body_of(f"{server.address}/x"))
    while not server.requests or server.sent["x"] < len(DATA) // 2 * (server.moods["expected"] == ["half"]):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("mood", ["stall", "no answer"])
def test_cancelling_ends_the_connection_at_once(mood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_S", HOURS)
    monkeypatch.setattr(transport, "STALL_S", HOURS)
    with bad_server({"x": DATA}) as server:
        server.moods["x"] = [mood]
        server.moods["expected"] = ["half"] if mood == "stall" else []
        before = threading.active_count()
        asyncio.run(cancelled_while_waiting(server))
        for _ in range(500):  # the thread that waited ends long before any time limit
            if threading.active_count() <= before + 1:  # the server's own thread, which still stalls
                break
            time.sleep(0.01)
        assert threading.active_count() <= before + 1


def test_what_a_thread_brings_too_late_is_let_go() -> None:
    late, undone = threading.Event(), []

    async def give_up() -> None:
        task = asyncio.create_task(_in_thread(lambda: late.wait(HOURS), undone.append))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        late.set()
        while not undone:
            await asyncio.sleep(0.001)

    asyncio.run(give_up())
    assert undone == [True]
