"""A model's download survives networks, servers and people, trusts no damaged file, and loses nothing."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from itertools import count
from pathlib import Path
from time import time
from typing import Any

import pytest
from bad_server import BadServer, bad_hub, bad_server, manifest_of
from memory_storage import MemoryFolder

from voxtral import answers, download, native_network, sources, transport
from voxtral.cli import main
from voxtral.download import verify
from voxtral.errors import ModelFileError
from voxtral.model_files import RECORD
from voxtral.native_files import DirectoryFolder, fetch_model
from voxtral.native_network import NativeBody, NativeTransport
from voxtral.progress import Tell
from voxtral.records import parse_record
from voxtral.sources import read_offer
from voxtral.storage import StorageFullError

FILES = {
    "shard-aa": bytes(range(256)) * 40,
    "shard-ab": bytes(range(255, -1, -1)) * 13,
    "tekken.json": b'{"vocab": []}',
}
TOTAL = sum(map(len, FILES.values()))
LISTED = {**FILES, "manifest.json": manifest_of(FILES)}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(download, "READ_BYTES", 1000)
    monkeypatch.setattr(native_network, "READ_BYTES", 1000)


@pytest.fixture(params=["listed", "plain shards"])
def server(request: pytest.FixtureRequest) -> Iterator[BadServer]:
    with bad_server(LISTED if request.param == "listed" else FILES) as running:
        yield running


@pytest.fixture
def listed() -> Iterator[BadServer]:
    with bad_server(LISTED) as running:
        yield running


def silent(_stage: str, _done: int, _total: int) -> None: ...


def fetch(source: str, folder: Path, tell: Tell = silent, n_connections: int = 3) -> list[Path]:
    return asyncio.run(fetch_model(source, folder, tell, n_connections))


def wanted_after(begun: bytes | bytearray) -> str | None:
    """The Range header that goes on after these bytes."""
    return f"bytes={len(begun)}-" if begun else None


def check(folder: Path, files: dict[str, bytes] = FILES) -> None:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert parse_record(found.pop(RECORD), RECORD).files
    assert found == files


# -- what goes well ---------------------------------------------------------------------------------
def test_everything_comes_and_a_second_time_nothing(server: BadServer, tmp_path: Path) -> None:
    paths = fetch(f"{server.address}/", tmp_path)
    check(tmp_path)
    assert paths == [tmp_path / name for name in FILES]
    server.requests.clear()
    server.sent.clear()
    fetch(server.address, tmp_path)
    check(tmp_path)
    if "manifest.json" in server.files:
        assert server.requests == [("manifest.json", None)]
    assert server.n_requests("tekken.json") == 0


def test_the_hub_s_files_come_from_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_hub(FILES) as hub:
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        hub.cdn.moods["shard-aa"] = ["cut", 503, "wrong byte"]
        fetch("hub", tmp_path)
        check(tmp_path)
        record = parse_record((tmp_path / RECORD).read_bytes(), RECORD)
        assert record.source == "hub:TrevorJS/voxtral-mini-realtime-gguf"
        assert all(file.sha256 for file in record.files)
        assert hub.sent_bytes == len(hub.files["api/models/TrevorJS/voxtral-mini-realtime-gguf/tree/main"])


def test_a_whole_gguf_comes_with_the_tokenizer_beside_it(tmp_path: Path) -> None:
    files = {"models/Voxtral Q4.gguf": FILES["shard-aa"], "models/tekken.json": FILES["tekken.json"]}
    with bad_server(files) as server:
        fetch(f"{server.address}/models/Voxtral Q4.gguf", tmp_path)
    check(tmp_path, {"Voxtral Q4.gguf": FILES["shard-aa"], "tekken.json": FILES["tekken.json"]})


def test_progress_is_one_story(listed: BadServer, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    (tmp_path / "shard-aa.part").write_bytes(FILES["shard-aa"][:4000])
    fetch(listed.address, tmp_path, lambda *told: heard.append(told))
    assert heard[0] == ("listing", 0, 0)
    assert heard[1] == ("download", 4000, TOTAL)
    assert heard[-1] == ("verify", TOTAL, TOTAL)
    for stage in ("download", "verify"):
        story = [told[1] for told in heard if told[0] == stage]
        assert story == sorted(story)
        assert len(set(story)) > 3
    assert {total for stage, _, total in heard if stage != "listing"} == {TOTAL}


def test_so_many_connections_as_asked_for(listed: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_now, most = set(), []
    real_open = NativeTransport.open

    async def counting(self: NativeTransport, url: str, start: int = 0) -> Any:
        body = await real_open(self, url, start)
        open_now.add(body)
        most.append(len(open_now))
        close = body.close
        monkeypatch.setattr(body, "close", lambda: (open_now.discard(body), close()))
        return body

    monkeypatch.setattr(NativeTransport, "open", counting)
    listed.bytes_per_s = 50e3
    for n_connections in (1, 2):
        most.clear()
        fetch(listed.address, tmp_path / str(n_connections), n_connections=n_connections)
        check(tmp_path / str(n_connections))
        assert max(most) == n_connections
        assert not open_now


# -- what passes --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "moods",
    [
        ["cut"], ["cut", "cut", "cut"], ["cut", "no range"], ["hang up"], ["hang up", "cut", "hang up"], [500],
        [429, 503, "cut", 500], ["cut", 408], ["cut", 416], ["cut", "no range + cut", "cut"], ["stall", "no answer"],
        ["cut", "stall", "cut", 429, "no range"],
    ],
    ids=str,
)  # fmt: skip
def test_what_passes_is_tried_again(
    server: BadServer, tmp_path: Path, moods: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "STALL_S", 0.3)
    monkeypatch.setattr(transport, "CONNECT_S", 0.3)
    offer = asyncio.run(read_offer(NativeTransport(), server.address))
    server.moods["shard-aa"] = list(moods)
    asyncio.run(download.download(offer, DirectoryFolder(tmp_path), NativeTransport(), silent))
    check(tmp_path)
    assert not server.moods["shard-aa"]


def test_it_goes_on_where_it_broke_off(server: BadServer, tmp_path: Path) -> None:
    (tmp_path / "shard-aa.part").write_bytes(FILES["shard-aa"][:7000])
    fetch(server.address, tmp_path)
    check(tmp_path)
    assert ("shard-aa", "bytes=7000-") in server.requests


def test_a_server_without_ranges_costs_time_but_nothing_that_came(listed: BadServer, tmp_path: Path) -> None:
    (tmp_path / "shard-aa.part").write_bytes(FILES["shard-aa"][:7000])
    listed.moods["shard-aa"] = ["no range"]
    story: list[int] = []
    fetch(listed.address, tmp_path, lambda stage, done, _total: story.append(done) if stage == "download" else None)
    check(tmp_path)
    assert story == sorted(story)
    assert story[0] == 7000
    assert listed.sent["shard-aa"] == len(FILES["shard-aa"])


def test_what_a_server_packs_is_unpacked_if_the_size_is_known(listed: BadServer, tmp_path: Path) -> None:
    listed.moods["shard-aa"] = ["packed"]
    listed.moods["tekken.json"] = ["badly packed", "packed"]
    fetch(listed.address, tmp_path)
    check(tmp_path)


def test_a_tokenizer_of_unknown_size_may_be_packed(tmp_path: Path) -> None:
    with bad_server(FILES) as server:
        server.moods["tekken.json"] = ["cut", "packed"]
        fetch(server.address, tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("where", ["shard-ab", "tekken.json"])
def test_a_wrong_byte_is_found_and_fetched_again_alone(listed: BadServer, tmp_path: Path, where: str) -> None:
    listed.moods[where] = ["wrong byte"]
    fetch(listed.address, tmp_path)
    check(tmp_path)
    assert {name: listed.n_requests(name) for name in FILES} == {name: 1 + (name == where) for name in FILES}


def test_damage_in_what_is_there_is_healed(listed: BadServer, tmp_path: Path) -> None:
    (tmp_path / "shard-aa").write_bytes(bytes(len(FILES["shard-aa"])))
    (tmp_path / "shard-ab").write_bytes(FILES["shard-ab"][:500])
    (tmp_path / "tekken.json.part").write_bytes(b"[")
    (tmp_path / RECORD).write_bytes(b"{damaged")
    fetch(listed.address, tmp_path)
    check(tmp_path)
    assert ("shard-ab", "bytes=500-") in listed.requests


def test_verifying_finds_damage_and_fetching_heals_that_alone(listed: BadServer, tmp_path: Path) -> None:
    fetch(listed.address, tmp_path)
    files = parse_record((tmp_path / RECORD).read_bytes(), RECORD).files
    folder = DirectoryFolder(tmp_path)
    heard: list[tuple[str, int, int]] = []
    assert asyncio.run(verify(files, folder, lambda *told: heard.append(told))) == []
    assert heard[-1] == ("verify", TOTAL, TOTAL)
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    (tmp_path / "shard-aa").write_bytes(bytes(len(FILES["shard-aa"])))
    (tmp_path / "shard-ab").write_bytes(b"short")
    (tmp_path / "tekken.json").unlink()
    damaged, short, missing = asyncio.run(verify(files, folder, silent))
    assert damaged.startswith("shard-aa: expected SHA-256 ")
    assert short == "shard-ab: expected 3,328 bytes, found 5; fetch it again"
    assert missing == "tekken.json: expected 13 bytes, it is not here; fetch it"
    fetch(listed.address, tmp_path)
    check(tmp_path)


# -- what changes ---------------------------------------------------------------------------------------
def test_a_new_version_takes_over_what_is_the_same(listed: BadServer, tmp_path: Path) -> None:
    fetch(listed.address, tmp_path)
    (tmp_path / "shard-aa").rename(tmp_path / "shard-aa.part")  # as if it had not been finished
    newer = {**FILES, "shard-aa": b"new" * 500, "shard-ab": bytes(len(FILES["shard-ab"])), "shard-ac": b"more"}
    listed.files = {**newer, "manifest.json": manifest_of(newer)}
    listed.requests.clear()
    fetch(listed.address, tmp_path)
    check(tmp_path, newer)
    assert sorted(listed.requests) == [(name, None) for name in ("manifest.json", "shard-aa", "shard-ab", "shard-ac")]
    older = {name: newer[name] for name in ("shard-ab", "tekken.json")}
    listed.files = {**older, "manifest.json": manifest_of(older)}
    (tmp_path / "notes.txt").write_bytes(b"mine")
    fetch(listed.address, tmp_path)
    check(tmp_path, {**older, "notes.txt": b"mine"})


def test_plain_shards_of_another_size_are_begun_anew(tmp_path: Path) -> None:
    with bad_server(FILES) as server:
        server.moods["shard-aa"] = [None, "cut", *[404] * 9]
        with pytest.raises(ModelFileError, match="there is none"):
            fetch(server.address, tmp_path)
        assert 0 < (tmp_path / "shard-aa.part").stat().st_size < len(FILES["shard-aa"])
        newer = {**FILES, "shard-aa": bytes(20_000)}
        server.files, server.moods["shard-aa"] = dict(newer), []
        fetch(server.address, tmp_path)
    check(tmp_path, newer)


def test_a_file_that_changes_under_way_is_begun_anew(tmp_path: Path) -> None:
    """Of a .gguf nobody says the size before it comes; what is learned then holds for what comes later."""
    files = {"m.gguf": FILES["shard-aa"], "tekken.json": FILES["tekken.json"]}
    with bad_server(files) as server:
        server.moods["m.gguf"] = ["cut", *[403] * 9]
        with pytest.raises(ModelFileError, match="the server answered 403"):
            fetch(f"{server.address}/m.gguf", tmp_path)
        assert 0 < (tmp_path / "m.gguf.part").stat().st_size < len(FILES["shard-aa"])
        server.files["m.gguf"], server.moods["m.gguf"] = bytes(9000), []
        fetch(f"{server.address}/m.gguf", tmp_path)
    check(tmp_path, {**files, "m.gguf": bytes(9000)})


def test_another_model_in_the_same_folder_is_not_mixed_in(tmp_path: Path) -> None:
    others = {"shard-aa": bytes(len(FILES["shard-aa"])), "shard-ab": bytes(3328), "tekken.json": b"[]"}
    with bad_server(FILES) as server, bad_server(others) as other:
        fetch(server.address, tmp_path)
        fetch(other.address, tmp_path)
    check(tmp_path, others)


def test_hashes_of_an_earlier_list_hold_when_the_hub_s_list_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = "api/models/TrevorJS/voxtral-mini-realtime-gguf/tree/main"
    with bad_hub(FILES) as hub:
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        hub.cdn.moods["shard-ab"] = ["cut", *[403] * 9]
        with pytest.raises(ModelFileError, match="403"):
            fetch("hub", tmp_path)
        hub.cdn.moods["shard-ab"] = [None, "wrong byte"]
        hub.moods[listing] = ["hang up"] * 9
        fetch("hub", tmp_path)
        check(tmp_path)
        assert hub.cdn.n_requests("shard-ab") == 2 + 3  # one to look, one wrong, one right


# -- what stays wrong -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("moods", "sentence"),
    [
        ([403], r"shard-ab: the server answered 403; it is not public, or there is no such file"),
        ([404], r"expected a file at .*shard-ab, there is none; check the address"),
        ([418], r"shard-ab: the server answered 418; check the address"),
        (["page"], r"expected a file at .*shard-ab, the server sent a page; check the address, or log in"),
        (
            [500] * 9,
            r"shard-ab could not be fetched \(the server answered 500\); what has come is kept, try again later",
        ),
        (["hang up"] * 9, r"shard-ab could not be fetched \(.+\); what has come is kept"),
        (["cut"] + ["no range + cut"] * 9, r"shard-ab could not be fetched \(.+\); what has come is kept"),
        (["cut", 416, "cut", 416], r"shard-ab: expected bytes from 1,664 on, the server has none; try later"),
        (["badly packed"] * 9, r"shard-ab could not be fetched \(.+\); what has come is kept"),
        (["wrong length"], r"expected 3,328 bytes, the server has 3,335; it is another file"),
        (["cut", "wrong range"], r"expected the bytes from [\d,]+ on, the server sent those from [\d,]+ on"),
        (["wrong byte"] * 3, r"expected SHA-256 \w+, found \w+ twice; ask who offers it"),
    ],
    ids=str,
)
def test_what_stays_wrong_is_one_sentence(listed: BadServer, tmp_path: Path, moods: list[Any], sentence: str) -> None:
    listed.moods["shard-ab"] = list(moods)
    with pytest.raises(ModelFileError, match=sentence) as raised:
        fetch(listed.address, tmp_path, n_connections=1)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "shard-aa").read_bytes() == FILES["shard-aa"]  # what was whole stays
    assert not (tmp_path / "shard-ab").exists()
    begun = (tmp_path / "shard-ab.part").read_bytes()
    assert FILES["shard-ab"].startswith(begun)
    listed.moods["shard-ab"] = []
    listed.requests.clear()
    fetch(listed.address, tmp_path)
    check(tmp_path)
    assert [wanted for name, wanted in listed.requests if name == "shard-ab"] == [wanted_after(begun)]
    assert listed.n_requests("shard-aa") == 0


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (b"another", r"expected 10,240 bytes, the server has 7; it is another file"),
        (bytes(20_000), r"expected 10,240 bytes, the server has 20,000; it is another file"),
    ],
)
def test_another_file_than_listed_is_refused(listed: BadServer, tmp_path: Path, other: bytes, sentence: str) -> None:
    listed.files["shard-aa"] = other
    with pytest.raises(ModelFileError, match=sentence):
        fetch(listed.address, tmp_path)
    assert listed.n_requests("shard-aa") == 1
    (tmp_path / "shard-aa.part").write_bytes(FILES["shard-aa"][:5])
    with pytest.raises(ModelFileError, match=sentence):
        fetch(listed.address, tmp_path)


def test_weights_of_which_nobody_says_the_size_are_refused(tmp_path: Path) -> None:
    with bad_server({"m.gguf": b"GGUF", "tekken.json": b"{}"}) as server:
        server.moods["m.gguf"] = ["no length"]
        with pytest.raises(ModelFileError, match="expected a server that tells the file's size, this one does not"):
            fetch(f"{server.address}/m.gguf", tmp_path)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with bad_server({}) as gone:
        address = gone.address
    with pytest.raises(ModelFileError, match=r"shard-aa could not be fetched \(Connection refused\)"):
        fetch(address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_s_wish_to_wait_is_heeded(listed: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(answers, "sleep", lambda seconds: pauses.append(seconds) or asyncio.sleep(0))
    listed.moods["shard-aa"] = [429]
    listed.retry_after = "42"
    fetch(listed.address, tmp_path)
    assert pauses == [42.0]
    listed.moods["shard-aa"] = [429]
    listed.retry_after = formatdate(time() + 42, usegmt=True)
    (tmp_path / "shard-aa").unlink()
    fetch(listed.address, tmp_path)
    assert 1 < pauses[1] <= 43
    listed.moods["shard-aa"] = [503]
    listed.retry_after = "3600"
    (tmp_path / "shard-aa").unlink()
    with pytest.raises(ModelFileError, match="the server answered 503, and asks to wait 60 minutes"):
        fetch(listed.address, tmp_path)


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch, listed: BadServer, tmp_path: Path) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 1.0)
    monkeypatch.setattr(answers, "sleep", lambda seconds: pauses.append(seconds) or asyncio.sleep(0))
    listed.moods["shard-aa"] = [500, 500, "cut", 500, 500]
    fetch(listed.address, tmp_path)
    assert pauses == [1, 2, 1, 2, 4]  # new bytes renew the patience; the cut is a failure too


# -- a full disk --------------------------------------------------------------------------------------
def test_a_full_disk_says_what_is_needed_and_loses_nothing(listed: BadServer) -> None:
    folder = MemoryFolder(quota_bytes=TOTAL * 6 // 10)

    async def go() -> None:
        offer = await read_offer(NativeTransport(), listed.address)
        with pytest.raises(StorageFullError) as raised:
            await download.download(offer, folder, NativeTransport(), silent)
        assert "still to come and find no room" in str(raised.value)
        assert "of 14 kB" in str(raised.value)
        assert folder.n_open == 0
        here = {**folder.unfinished, **folder.whole}
        assert all(FILES[name].startswith(bytes(data)) for name, data in here.items() if name in FILES)
        assert sum(len(data) for name, data in here.items() if name in FILES) > TOTAL // 3
        folder.quota_bytes = None
        listed.requests.clear()
        unfinished = {name: bytes(folder.unfinished.get(name, b"")) for name in FILES if name not in folder.whole}
        expected = {(name, wanted_after(data)) for name, data in unfinished.items() if data != FILES[name]}
        await download.download(offer, folder, NativeTransport(), silent)
        assert {name: folder.whole[name] for name in FILES} == FILES
        assert set(listed.requests) == expected

    asyncio.run(go())


# -- interruptions --------------------------------------------------------------------------------------
async def interrupted(work: Any, after: Callable[[], bool]) -> None:
    """Cancel as soon as a condition holds."""
    task = asyncio.create_task(work)
    while not task.done() and not after():
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["listed", "hub", "plain"])
def test_five_interruptions_cost_less_than_two_percent(
    tmp_path: Path, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is received and lost is what a connection read last: of 2.5 GB it is less, as it is READ_BYTES at most."""
    monkeypatch.setattr(native_network, "READ_BYTES", 16 << 10)
    monkeypatch.setattr(download, "READ_BYTES", 1 << 20)
    received: list[int] = []
    read_raw = NativeBody._read_raw

    def counting(self: NativeBody, n_bytes: int) -> bytes:
        data = read_raw(self, n_bytes)
        received.append(len(data))
        return data

    monkeypatch.setattr(NativeBody, "_read_raw", counting)
    chance = random.Random(seed)
    files = {f"shard-a{letter}": chance.randbytes(5 << 20) for letter in "abcd"} | {"tekken.json": bytes(50_000)}
    n_bytes = sum(map(len, files.values()))
    with (
        bad_hub(files) as hub,
        bad_server({**files, "manifest.json": manifest_of(files)} if kind == "listed" else files) as server,
    ):
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        source = "hub" if kind == "hub" else server.address
        for stop_at in sorted(chance.randrange(n_bytes) for _ in range(5)):
            work = fetch_model(source, tmp_path, silent)
            asyncio.run(interrupted(work, lambda stop_at=stop_at: sum(received) >= stop_at))
            assert sum(received) >= stop_at
        fetch(source, tmp_path)
        check(tmp_path, files)
        n_listing = sum(len(data) for name, data in server.files.items() | hub.files.items() if name not in files)
        assert n_bytes <= sum(received) <= 1.02 * n_bytes + 6 * n_listing


# -- the command line -------------------------------------------------------------------------------------
def test_the_command_line(server: BadServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--from", server.address, str(tmp_path / "m")]) == 0
    check(tmp_path / "m")
    server.files.pop("tekken.json")
    assert main(["fetch", "--from", server.address, str(tmp_path / "n")]) == 1
    assert "voxtral: expected a file at" in capsys.readouterr().err


def test_a_missing_tokenizer_is_told_before_gigabytes_have_come(listed: BadServer, tmp_path: Path) -> None:
    listed.moods["tekken.json"] = [404]
    with pytest.raises(ModelFileError, match=r"expected a file at .*tekken"):
        fetch(listed.address, tmp_path, n_connections=1)
    assert listed.requests == [("manifest.json", None), ("tekken.json", None)]


def test_the_record_tells_what_is_kept(listed: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(1)
    monkeypatch.setattr(download, "time", lambda: next(clock))
    fetch(listed.address, tmp_path)
    assert json.loads((tmp_path / RECORD).read_bytes())["saved_at"] == (next(clock) - 1) * 1000
    written = (tmp_path / RECORD).read_bytes()
    fetch(listed.address, tmp_path)
    assert (tmp_path / RECORD).read_bytes() == written
    record = json.loads((tmp_path / RECORD).read_bytes())
    assert record["source"] == f"{listed.address}/"
    assert [(file["name"], file["n_bytes"], file["url"]) for file in record["files"]] == [
        (name, len(data), f"{listed.address}/{name}") for name, data in FILES.items()
    ]
