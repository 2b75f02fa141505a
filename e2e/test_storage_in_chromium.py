"""Where models are kept in a real browser: the private file system, the Cache API, and the locks beside them."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_server import BadServer, bad_server, manifest_of
from chromium import find_chromium
from harness import Harness
from playwright.sync_api import BrowserContext, Playwright, Route

from tools.chromium import QUIET_FLAGS

TESTS = Path(__file__).resolve().parents[1] / "py" / "tests"
MEGABYTE = 1 << 20
PATIENCE_S = 60
DATA = random.Random(4).randbytes(5_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def profile(playwright: Playwright, server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser whose storage lies on the disk, as a visitor's does; other tests' browsers keep it in memory."""
    context = playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"),
        executable_path=find_chromium(playwright),
        args=list(QUIET_FLAGS),
        base_url=server.url,
        bypass_csp=True,  # it names the origins that the page may ask, which the tests' servers are not
    )
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def tab(profile: BrowserContext) -> Harness:
    return Harness(profile.new_page(), TESTS)


@pytest.fixture(scope="module")
def other_tab(profile: BrowserContext) -> Harness:
    return Harness(profile.new_page(), TESTS)


@pytest.mark.parametrize("kind", ["opfs", "cache"])
def test_every_disk_of_the_browser_does_what_a_disk_must(tab: Harness, kind: str) -> None:
    assert tab.run("browser_storage", "run_disk_cases", [kind]) == {}


def test_the_private_file_system_is_chosen_where_there_is_one(tab: Harness) -> None:
    assert tab.run("browser_storage", "which_disk", []) == "OpfsDisk"
    assert tab.run("browser_storage", "which_disk_without", [["createSyncAccessHandle"]]) == "CacheDisk"
    assert tab.run("browser_storage", "which_disk_without", [["createSyncAccessHandle", "caches"]]) == "NoneType"
    assert tab.run("browser_storage", "which_disk", []) == "OpfsDisk"


@pytest.mark.parametrize("kind", ["opfs", "cache"])
def test_a_full_disk_keeps_what_was_whole_and_goes_on_when_there_is_room(tab: Harness, server: Any, kind: str) -> None:
    n_pieces = 40

    def write(quota_bytes: int | None) -> Any:
        session = tab.page.context.new_cdp_session(tab.page)
        options = {} if quota_bytes is None else {"quotaSize": quota_bytes}
        session.send("Storage.overrideQuotaForOrigin", {"origin": server.url, **options})
        report = tab.run("browser_storage", "write_until_full", [kind, n_pieces])
        session.detach()
        return report

    tab.run("browser_storage", "empty_all", [])
    full = write(int(0.6 * n_pieces * MEGABYTE))
    assert full["sentence"] == "the disk is full, or this site's share of it"
    assert 0.3 * n_pieces * MEGABYTE < full["n_bytes"] < 0.6 * n_pieces * MEGABYTE
    assert full["n_bytes"] % MEGABYTE == 0
    assert full["wrong"] == []
    whole = write(None)
    assert whole == {"n_bytes": n_pieces * MEGABYTE, "sentence": None, "wrong": [], "begun": {}}


def test_two_tabs_read_one_file_and_neither_changes_it_meanwhile(tab: Harness, other_tab: Harness) -> None:
    tab.run("browser_storage", "store", ["shard-aa", 5])
    assert tab.run("browser_storage", "hold_reader", ["shard-aa"]) == "handle"
    assert other_tab.run("browser_storage", "hold_reader", ["shard-aa"]) == "handle"
    other_tab.run("browser_storage", "let_go", [])
    sentences = other_tab.run("browser_storage", "try_to_write", ["shard-aa"])
    assert all(
        "it is in use, here or in another tab of this page; try again when that has ended" in each for each in sentences
    )
    assert other_tab.run("browser_storage", "hold_reader", ["shard-aa"]) == "handle"
    for each in (tab, other_tab):
        each.run("browser_storage", "let_go", [])


def test_where_handles_are_exclusive_the_second_tab_reads_a_file(tab: Harness, other_tab: Harness) -> None:
    tab.run("browser_storage", "store", ["shard-aa", 5])
    tab.run("browser_storage", "exclusive_handles_only", [])
    assert tab.run("browser_storage", "hold_reader", ["shard-aa"]) == "handle"
    assert other_tab.run("browser_storage", "hold_reader", ["shard-aa"]) == "file"
    for each in (tab, other_tab):
        each.run("browser_storage", "let_go", [])


def test_one_tab_at_a_time_has_a_models_lock(tab: Harness, other_tab: Harness) -> None:
    def do(which: Harness, what: str, key: str, *states: Any) -> None:
        which.run("browser_storage", what, [key])
        for each, expected in states:
            _wait(lambda: each.run("browser_storage", "lock_state", [key]) == expected)  # noqa: B023

    has, waits, is_over = [0, True], [1, False], [0, None]
    do(tab, "take_lock", "model", (tab, has))
    do(other_tab, "take_lock", "model", (other_tab, waits))
    do(other_tab, "take_lock", "another model", (other_tab, has))
    do(other_tab, "leave_lock", "another model", (other_tab, is_over))
    do(other_tab, "lock_state", "model", (other_tab, waits), (tab, has))
    do(tab, "leave_lock", "model", (tab, is_over), (other_tab, [1, True]))
    do(tab, "take_lock", "model", (tab, waits))
    do(tab, "give_up_lock", "model", (tab, [1, None]))
    do(other_tab, "lock_state", "model", (other_tab, [1, True]))
    do(other_tab, "give_up_lock", "model", (other_tab, [1, None]))
    do(tab, "take_lock", "model", (tab, has))
    do(tab, "leave_lock", "model", (tab, is_over))
    assert tab.run("browser_storage", "lock_again_and_again", ["model"]) == []


def test_a_tab_closed_at_60_percent_leaves_its_bytes_and_its_lock_to_the_next(
    profile: BrowserContext, tab: Harness
) -> None:
    files = {"shard-aa": DATA + DATA[:3_000_000], "shard-ab": DATA[1_000_000:3_000_000], "tekken.json": b"{}"}
    n_bytes, n_before = sum(map(len, files.values())), 6_000_002
    with bad_server({**files, "manifest.json": manifest_of(files)}) as weights:
        weights.moods["shard-aa"] = ["stall"]  # in its middle
        closing = Harness(profile.new_page(), TESTS)
        source = f"{weights.address}/"
        closing.run("browser_storage", "start_download", [source])
        _wait(lambda: closing.run("browser_storage", "download_state", []) == [0, 0, n_before])
        tab.run("browser_storage", "start_download", [source])
        _wait(lambda: tab.run("browser_storage", "download_state", []) == [1, None, n_before])
        closing.page.close()
        end = tab.run("browser_storage", "end_of_download", [])
        assert tab.run("browser_storage", "download_state", []) == [1, n_before, n_bytes]
        assert _sent(weights, files) == n_bytes
    assert end == {"is_whole": True, "problems": [], "sha256": hashlib.sha256(b"".join(files.values())).hexdigest()}


def test_a_damaged_file_is_found_and_fetched_again_alone(tab: Harness) -> None:
    files = {"shard-aa": DATA, "shard-ab": DATA[:3_000_000], "tekken.json": b"{}"}
    with bad_server({**files, "manifest.json": manifest_of(files)}) as weights:
        tab.run("browser_storage", "start_download", [f"{weights.address}/"])
        assert tab.run("browser_storage", "end_of_download", [])["is_whole"]
        problems = tab.run("browser_storage", "damage_and_verify", ["shard-ab", 2_000_000])
        assert len(problems) == 1
        assert "shard-ab: expected SHA-256 " in problems[0]
        weights.sent.clear()
        tab.run("browser_storage", "start_download", [f"{weights.address}/"])
        end = tab.run("browser_storage", "end_of_download", [])
        assert end["is_whole"]
        assert end["problems"] == []
        assert weights.sent["shard-ab"] == 3_000_000
        assert weights.sent["shard-aa"] == weights.sent["tekken.json"] == 0


def _sent(server: BadServer, names: Any) -> int:
    return sum(server.sent[name] for name in names)


def _wait(is_done: Callable[[], bool]) -> None:
    """Until it is. Raises AssertionError when that takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


# -- the network --------------------------------------------------------------------------------------


@pytest.fixture
def weights() -> Iterator[BadServer]:
    with bad_server({"x": DATA, "empty": b""}) as server:
        yield server


@pytest.mark.parametrize("byob", [True, False])
def test_fetch_brings_any_part_of_a_file_from_another_origin(tab: Harness, weights: BadServer, byob: bool) -> None:
    url = f"{weights.address}/x"
    whole = tab.run("browser_fetch", "get", [url, 0, byob])
    expected = {"n_bytes": len(DATA), "reason": None, "status": 200, "url": url, "length": str(len(DATA))}
    assert whole == {**expected, "range": None, "sha256": SHA256, "held": 0}
    part = tab.run("browser_fetch", "get", [url, 3_000_000, byob])
    assert (part["status"], part["sha256"]) == (206, hashlib.sha256(DATA[3_000_000:]).hexdigest())
    assert weights.requests == [("x", None), ("x", "bytes=3000000-")]
    assert tab.run("browser_fetch", "get", [f"{weights.address}/empty"])["n_bytes"] == 0
    weights.redirects["old"] = url
    moved = tab.run("browser_fetch", "get", [f"{weights.address}/old", 3_000_000, byob])
    assert (moved["status"], moved["sha256"], moved["url"]) == (206, part["sha256"], url)


def test_fetch_tells_how_it_went_wrong(tab: Harness, weights: BadServer) -> None:
    def get(mood: Any, *arguments: Any) -> Any:
        weights.moods["x"] = [mood]
        return tab.run("browser_fetch", "get", [f"{weights.address}/x", *arguments])

    for status in (403, 404, 416, 429, 500):
        assert get(status)["status"] == status
    for mood in ("cut", "wrong length", "hang up", "badly packed"):
        report = get(mood)
        assert report["reason"], mood
        assert report["n_bytes"] <= (len(DATA) // 2 if mood == "cut" else len(DATA))
    assert get("packed")["sha256"] == SHA256  # the browser has unpacked it
    assert get("no range", 1000)["status"] == 200
    started = time.monotonic()
    assert get("stall", 0, True, 30, 1)["reason"] == "nothing came for 1 seconds"
    assert get("no answer", 0, True, 1, 60)["reason"] == "nothing came for 1 seconds"
    assert time.monotonic() - started < PATIENCE_S
    nobody = tab.run("browser_fetch", "get", ["http://localhost:1/x"])
    assert "Failed to fetch" in nobody["reason"]
    weights.moods["x"] = ["stall", "no answer"]
    given_up = tab.run("browser_fetch", "close_while_it_waits", [f"{weights.address}/x"])
    assert given_up == {"n_read": True, "closed": "broken off", "cancelled": True}


@pytest.mark.parametrize("byob", [True, False])
def test_a_source_survives_broken_connections(tab: Harness, weights: BadServer, byob: bool) -> None:
    weights.moods["x"] = ["cut", 503, "hang up", "cut", 429, "wrong length", "cut", "no range"]
    url = f"{weights.address}/x"
    end = tab.run("browser_fetch", "read_source", [url, len(DATA), 300_000, byob, 20])
    assert end == {"sha256": SHA256, "sentence": None, "held": [True, 0]}


def test_a_source_goes_on_at_the_byte_where_it_was(tab: Harness, server: Any) -> None:
    starts = []

    def send_a_million(route: Route) -> None:
        starts.append(int(route.request.headers["range"].removeprefix("bytes=").removesuffix("-")))
        headers = {"Cross-Origin-Resource-Policy": "same-origin"}
        route.fulfill(status=206, body=DATA[starts[-1] : starts[-1] + 1_000_000], headers=headers)

    tab.page.route("**/made/x", send_a_million)
    end = tab.run("browser_fetch", "read_source", [f"{server.url}/made/x", len(DATA), 300_000])
    tab.page.unroute("**/made/x")
    assert end["sha256"] == SHA256
    assert starts == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]


@pytest.mark.parametrize(
    ("moods", "expected"),
    [
        (["cut"] + ["hang up"] * 20, "expected 300,000 bytes from byte "),
        ([503] * 4, "expected 300,000 bytes from byte 0 on, found 0 (the server answered 503); try again"),
        (["cut", 404], "expected a file at {url}, the server answered 404; check the address"),
        (["cut", 416], "expected 5,000,000 bytes, the server has at most "),
    ],
)
def test_a_source_gives_up_with_a_sentence(tab: Harness, weights: BadServer, moods: list[Any], expected: str) -> None:
    weights.moods["x"] = moods
    url = f"{weights.address}/x"
    end = tab.run("browser_fetch", "read_source", [url, len(DATA), 300_000])
    assert expected.format(url=url) in end["sentence"]
    assert end["held"] == [False, 0]
    assert "hang up" in moods or weights.moods["x"] == []


def test_64_megabytes_pass_without_entering_pythons_memory(tab: Harness, weights: BadServer) -> None:
    weights.files["large"] = large = random.Random(5).randbytes(64 << 20)
    end = tab.run("browser_fetch", "through_the_disk", [f"{weights.address}/large", len(large)])
    assert end["sha256"] == hashlib.sha256(large).hexdigest()
    assert end["grown"] < 8 << 20
    assert end["held"] == [4 << 20, 0]


def test_files_a_person_chose_are_read_as_they_are(tab: Harness) -> None:
    assert tab.run("browser_fetch", "chosen_files", []) == []


def test_exported_files_are_the_models_own(tab: Harness) -> None:
    expected = [["shard-aa", "weights", "File"], ["tekken.json", "tokens", "File"]]
    assert tab.run("browser_fetch", "exported", []) == expected
