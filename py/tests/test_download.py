"""Fetching a model survives what networks and servers do, never trusts a damaged file, and loses nothing that came."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_server import BadServer, bad_server

from voxtral import download
from voxtral.cli import main
from voxtral.download import fetch
from voxtral.errors import ModelFileError

FILES = {
    "shard-aa": bytes(range(256)) * 40,
    "shard-ab": bytes(range(255, -1, -1)) * 13,
    "tekken.json": b"{}",
}
MANIFEST = json.dumps(
    {
        "files": [
            {"name": name, "n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in FILES.items()
        ]
    }
).encode()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    monkeypatch.setattr(download, "READ_BYTES", 1000)
    return pauses


@pytest.fixture(params=["listed", "plain shards"])
def server(request: pytest.FixtureRequest) -> Iterator[BadServer]:
    with bad_server(FILES | ({"manifest.json": MANIFEST} if request.param == "listed" else {})) as running:
        yield running


def silent(_name: str, _done: int, _total: int) -> None: ...


def check(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_everything_comes_and_a_second_time_nothing(server: BadServer, tmp_path: Path) -> None:
    heard: list[Any] = []
    fetch(f"{server.address}/", tmp_path, lambda *progress: heard.append(progress))
    check(tmp_path)
    assert ("shard-aa", len(FILES["shard-aa"]), len(FILES["shard-aa"])) in heard
    server.requests.clear()
    fetch(server.address, tmp_path, silent)
    check(tmp_path)
    asked = {name for name, _ in server.requests}
    assert asked == {"manifest.json"} if "manifest.json" in server.files else "shard-aa" not in asked


@pytest.mark.parametrize(
    "moods",
    [
        ["cut"], ["cut", "cut", "cut"], ["cut", "no range"], ["hang up"], ["hang up", "cut", "hang up"], [500],
        [429, 503, "cut", 500], ["cut", 408],
    ],
    ids=str,
)  # fmt: skip
def test_what_passes_is_tried_again(
    server: BadServer, tmp_path: Path, moods: list[Any], no_pauses: list[float]
) -> None:
    server.moods["shard-aa"] = list(moods)
    fetch(server.address, tmp_path, silent)
    check(tmp_path)
    assert len(no_pauses) >= len([mood for mood in moods if mood not in ("no range",)])


def test_it_goes_on_where_it_broke_off(server: BadServer, tmp_path: Path) -> None:
    whole = FILES["shard-aa"]
    (tmp_path / "shard-aa.part").write_bytes(whole[:7000])
    fetch(server.address, tmp_path, silent)
    check(tmp_path)
    assert ("shard-aa", "bytes=7000-") in server.requests
    assert server.sent_bytes < sum(map(len, FILES.values())) - 7000 + 3 * len(MANIFEST) + len(FILES["shard-ab"]) + 1


def test_five_interruptions_cost_nothing_twice(tmp_path: Path) -> None:
    with bad_server(FILES | {"manifest.json": MANIFEST}) as server:
        server.moods["shard-aa"] = ["cut"] * 5
        fetch(server.address, tmp_path, silent)
        check(tmp_path)
        assert server.sent_bytes == sum(map(len, server.files.values()))


def test_a_wrong_byte_is_found_and_fetched_again_alone(tmp_path: Path) -> None:
    with bad_server(FILES | {"manifest.json": MANIFEST}) as server:
        server.moods["shard-ab"] = ["wrong byte"]
        fetch(server.address, tmp_path, silent)
        check(tmp_path)
        assert [name for name, _ in server.requests].count("shard-ab") == 2
        assert [name for name, _ in server.requests].count("shard-aa") == 1


def test_damage_in_what_is_there_is_healed(tmp_path: Path) -> None:
    (tmp_path / "shard-aa").write_bytes(bytes(len(FILES["shard-aa"])))
    (tmp_path / "shard-ab").write_bytes(b"short")
    (tmp_path / "tekken.json.part").write_bytes(b"[")
    with bad_server(FILES | {"manifest.json": MANIFEST}) as server:
        fetch(server.address, tmp_path, silent)
    check(tmp_path)


@pytest.mark.parametrize(
    ("moods", "sentence"),
    [
        ([403], r"shard-ab: the server answered 403 .*; check the address"),
        ([404], r"expected a file at .*shard-ab, there is none; check the address"),
        (
            [500] * 9,
            r"shard-ab could not be fetched \(the server answered 500\); what has come is kept, try again later",
        ),
        (["hang up"] * 9, r"shard-ab could not be fetched \(.+\); what has come is kept"),
        (["packed"], r"expected the file's own bytes, the server packs them"),
        (["wrong length"], r"expected 3,328 bytes, the server has 3,335; it is another file"),
        (["no length"], r"expected a server that tells the file's size"),
        (["cut", "wrong range"], r"expected the bytes from [\d,]+ on, the server sent 'bytes"),
        (["wrong byte"] * 3, r"expected SHA-256 \w+, found \w+ twice; ask who offers it"),
    ],
    ids=str,
)
def test_what_stays_wrong_is_one_sentence(tmp_path: Path, moods: list[Any], sentence: str) -> None:
    with bad_server(FILES | {"manifest.json": MANIFEST}) as server:
        server.moods["shard-ab"] = list(moods)
        with pytest.raises(ModelFileError, match=sentence) as raised:
            fetch(server.address, tmp_path, silent)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "shard-aa").read_bytes() == FILES["shard-aa"]  # what was whole stays
    assert not (tmp_path / "shard-ab").exists()


def test_another_file_than_listed_is_refused(tmp_path: Path) -> None:
    with (
        bad_server(FILES | {"manifest.json": MANIFEST, "shard-aa": b"another"}) as server,
        pytest.raises(ModelFileError, match=r"expected 10,240 bytes, the server has 7; it is another file"),
    ):
        fetch(server.address, tmp_path, silent)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"could not be fetched \(.+\)"):
        fetch("http://localhost:9", tmp_path, silent)
    with pytest.raises(ModelFileError, match="expected an http or https address"):
        fetch("file:///etc", tmp_path, silent)


def test_the_command_line(server: BadServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(tmp_path / "m"), "--from", server.address]) == 0
    check(tmp_path / "m")
    server.files.pop("shard-aa")
    assert main(["fetch", str(tmp_path / "n"), "--from", server.address]) == 1
    assert "voxtral: expected a file at" in capsys.readouterr().err
