"""Models kept on this machine, through the worker's messages: fetched, paused, verified, loaded, deleted."""

import asyncio
import hashlib
import json

import pytest
from fake_host import ORIGIN, ROOT, FakeHost

from voxtral.library import NO_STORAGE
from voxtral.storage import Room
from voxtral.worker import Worker

DEMO = ROOT / "static" / "model"
WEIGHTS = (DEMO / "voxtral-demo-q4_0.gguf").read_bytes()
TEKKEN = (DEMO / "tekken.json").read_bytes()
SHARD_BYTES = 4_000_000
FOLDER = f"{ORIGIN}models/demo/"
N_BYTES = len(WEIGHTS) + len(TEKKEN)


def shards(data=WEIGHTS):
    cuts = [data[start : start + SHARD_BYTES] for start in range(0, len(data), SHARD_BYTES)]
    return {f"shard-a{chr(97 + i)}": cut for i, cut in enumerate(cuts)}


FILES = {**shards(), "tekken.json": TEKKEN}


def manifest(files):
    entries = [{"name": n, "n_bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()]
    return json.dumps({"files": entries}).encode()


def offering(files, listed=True):
    """The answers of a server with these files, listed with their hashes or not."""
    every = {**files, "manifest.json": manifest(files)} if listed else files
    return {FOLDER + name: data for name, data in every.items()}


def run(scenario, folder=None, answers=None):
    """scenario(host, send) with a worker that has loaded nothing."""

    async def main():
        host = FakeHost(folder)
        host.transport.files = answers if answers is not None else offering(FILES)
        worker = Worker(host)
        try:
            return await scenario(host, lambda kind, **fields: worker.receive({"type": kind, **fields}))
        finally:
            if worker._runner:
                worker._runner.cancel()

    return asyncio.run(main())


def load(**options):
    return {"model_url": None, "files": None, "backend": "numpy", "delay_ms": None, "left_pad_tokens": 32, **options}


async def fetch(host, send, source=FOLDER, files=None):
    """Keep a model; its key."""
    n = len(host.of("fetched"))
    send("fetch", source=source, files=files)
    return (await host.until("fetched", n=n + 1))["key"]


async def until_asked_for(host, name):
    while not any(url.endswith(name) for url, _ in host.transport.opened):
        await asyncio.sleep(0.01)


async def stored(host, send):
    n = len(host.of("models"))
    send("list_models", server=None)
    return (await host.until("models", n=n + 1))["stored"]


def test_a_fetched_model_is_listed_loaded_without_the_network_and_deleted(tmp_path):
    async def scenario(host, send):
        key = await fetch(host, send)
        (model,) = await stored(host, send)
        host.transport.files.clear()
        host.transport.opened.clear()
        send("load", **load(model_url=f"stored:{key}"))
        ready = await host.until("ready")
        assert host.transport.opened == []
        send("export", key=key)
        assert (await host.until("exported"))["files"]
        send("delete", key=key)
        while await stored(host, send):
            await asyncio.sleep(0)
        return model, ready, host

    model, ready, host = run(scenario, tmp_path)
    assert (model["n_bytes"], model["total_bytes"], model["is_whole"], model["is_active"]) == (
        N_BYTES,
        N_BYTES,
        True,
        False,
    )
    assert model["source"] == FOLDER
    assert ready["weights_bytes"] == len(WEIGHTS)
    assert list(dict.fromkeys(m["stage"] for m in host.of("fetching")))[:2] == ["listing", "download"]
    told = [m["done"] for m in host.of("fetching") if m["stage"] == "download"]
    assert told == sorted(told)
    assert {m["total"] for m in host.of("fetching") if m["stage"] == "download"} == {N_BYTES}


def test_a_paused_download_goes_on_with_nothing_twice(tmp_path):
    async def scenario(host, send):
        host.transport.held[f"{FOLDER}shard-ab"] = asyncio.Event()
        send("fetch", source=FOLDER, files=None)
        await host.until("fetching", n=3)
        await until_asked_for(host, "shard-ab")
        await asyncio.sleep(0.05)
        (model,) = await stored(host, send)
        assert model["is_active"]
        send("pause", key=model["key"])
        while (model := (await stored(host, send))[0])["is_active"]:
            await asyncio.sleep(0.01)
        assert not model["is_whole"]
        assert not host.of("fetch_failed")
        host.transport.held.clear()
        host.transport.opened.clear()
        await fetch(host, send)
        return host.transport.opened

    opened = run(scenario, tmp_path)
    starts = dict(opened)
    assert starts[f"{FOLDER}shard-ab"] > 0
    assert f"{FOLDER}shard-aa" not in starts


def test_a_pause_is_listed_and_may_be_over_at_once(tmp_path):
    async def scenario(host, send):
        host.transport.held[f"{FOLDER}shard-ab"] = asyncio.Event()
        send("fetch", source=FOLDER, files=None)
        await until_asked_for(host, "shard-ab")
        (model,) = await stored(host, send)
        n = len(host.of("models"))
        send("pause", key=model["key"])
        send("fetch", source=FOLDER, files=None)
        listed = await host.until("models", n=n + 1)
        host.transport.held[f"{FOLDER}shard-ab"].set()
        await host.until("fetched")
        return listed["stored"]

    (model,) = run(scenario, tmp_path)
    assert not model["is_whole"]


def test_discarding_stops_a_download_and_leaves_nothing(tmp_path):
    async def scenario(host, send):
        host.transport.held[f"{FOLDER}shard-ab"] = asyncio.Event()
        send("fetch", source=FOLDER, files=None)
        await until_asked_for(host, "shard-ab")
        send("discard", key=(await stored(host, send))[0]["key"])
        while await stored(host, send):
            await asyncio.sleep(0.01)
        return host

    host = run(scenario, tmp_path)
    assert not host.of("fetch_failed") + host.of("error")


def test_what_another_tab_downloads_is_waited_for_and_not_fetched_again(tmp_path):
    async def scenario(host, send):
        await host.others.acquire()
        send("fetch", source=FOLDER, files=None)
        while [m["stage"] for m in host.of("fetching")][-1:] != ["waiting"]:
            await asyncio.sleep(0.01)
        other = FakeHost(tmp_path)
        other.transport.files = offering(FILES)
        Worker(other).receive({"type": "fetch", "source": FOLDER, "files": None})
        await other.until("fetched")
        host.transport.opened.clear()
        host.others.release()
        await host.until("fetched")
        return host.transport.opened

    assert run(scenario, tmp_path) == []


def test_what_does_not_fit_is_said_before_it_is_fetched_and_can_be_streamed(tmp_path):
    async def scenario(host, send):
        async def room():
            return Room(20_000_000, 4_000_000)

        host.disk.room = room
        send("fetch", source=FOLDER, files=None)
        failed = await host.until("fetch_failed")
        asked = [url for url, _ in host.transport.opened]
        send("load", **load(model_url=FOLDER))
        await host.until("ready")
        return failed, asked

    failed, asked = run(scenario, tmp_path)
    assert "0.01 GB are still to come, and the browser has 0.02 GB free" in failed["sentence"]
    assert failed["can_stream"]
    assert not [url for url in asked if "shard" in url]


def test_where_nothing_can_be_stored_chosen_files_still_load():
    async def scenario(host, send):
        send("fetch", source=None, files=FILES)
        failed = await host.until("fetch_failed")
        send("load", **load(files=FILES))
        await host.until("ready")
        return failed

    failed = run(scenario)
    assert (failed["sentence"], failed["can_stream"]) == (NO_STORAGE, True)


def test_chosen_files_in_any_order_are_kept(tmp_path):
    async def scenario(host, send):
        key = await fetch(host, send, None, dict(reversed(FILES.items())))
        whole = await fetch(host, send, None, {"m.gguf": WEIGHTS, "tekken.json": TEKKEN})
        send("load", **load(model_url=f"stored:{key}"))
        await host.until("ready")
        models = {model["key"]: model for model in await stored(host, send)}
        return models[key], models[whole]

    cut, whole = run(scenario, tmp_path)
    assert cut["is_whole"]
    assert whole["is_whole"]
    assert (cut["title"], whole["title"]) == ("shard-aa … shard-ad", "m.gguf")


LETTERS = {name: bytes(reversed(data)) for name, data in FILES.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({n: d for n, d in FILES.items() if n != "shard-ab"}, "expected shard-ab before shard-ac, it is not among"),
        ({n: d for n, d in FILES.items() if n != "shard-aa"}, "expected shard-aa before shard-ab, it is not among"),
        ({n: d for n, d in FILES.items() if n != "shard-ad"}, "shard-ac: ends within tensor"),
        (shards(), "expected tekken.json beside shard-aa, it is not among the files; choose all together"),
        ({"tekken.json": TEKKEN}, "the chosen files: expected a .gguf file or shards"),
        ({**FILES, "shard-ab": FILES["shard-ab"][:-5]}, "shard-ab: expected 4,000,000 bytes like the other shards"),
        ({**FILES, "shard-ab": LETTERS["shard-ab"]}, "this file is of another model, or damaged"),
        ({**FILES, "shard-aa": LETTERS["shard-aa"]}, "shard-aa"),
        ({**FILES, "tekken.json": b"{}"}, "tekken.json"),
        (
            {"m.gguf": WEIGHTS, "n.gguf": WEIGHTS, "tekken.json": TEKKEN},
            "expected one .gguf file, found m.gguf, n.gguf",
        ),
    ],
    ids=range(10),
)
def test_files_that_are_no_model_are_one_sentence_and_nothing_is_kept(tmp_path, files, expected):
    async def scenario(host, send):
        send("fetch", source=None, files=files)
        failed = await host.until("fetch_failed")
        return failed["sentence"], await stored(host, send)

    sentence, models = run(scenario, tmp_path)
    assert expected in sentence
    assert "\n" not in sentence
    assert models == []


def test_a_damaged_byte_is_found_and_that_file_alone_fetched_again(tmp_path):
    async def scenario(host, send):
        key = await fetch(host, send)
        (path,) = tmp_path.rglob("shard-ac")
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
        send("verify", key=key)
        verified = await host.until("verified")
        (model,) = await stored(host, send)
        host.transport.opened.clear()
        await fetch(host, send)
        send("verify", key=key)
        again = await host.until("verified", n=2)
        return verified, model, [url for url, _ in host.transport.opened if "shard" in url], again, path.read_bytes()

    verified, model, opened, again, data = run(scenario, tmp_path)
    (problem,) = verified["problems"]
    assert "shard-ac" in problem
    assert not model["is_whole"]
    assert opened == [f"{FOLDER}shard-ac"]
    assert again["problems"] == []
    assert data == FILES["shard-ac"]


def test_a_shard_of_another_model_is_named_where_no_hash_tells(tmp_path):
    answers = offering({**FILES, "shard-ab": LETTERS["shard-ab"]}, listed=False)

    async def scenario(host, send):
        send("fetch", source=FOLDER, files=None)
        failed = await host.until("fetch_failed")
        host.transport.files.update(offering(FILES, listed=False))
        host.transport.opened.clear()
        await fetch(host, send)
        return failed, [url.removeprefix(FOLDER) for url, _ in host.transport.opened]

    failed, opened = run(scenario, tmp_path, answers)
    assert "shard-ab: expected the weights of" in failed["sentence"]
    assert not failed["can_stream"]
    assert opened.count("shard-ab") == 2  # looked for, and fetched
    assert opened.count("shard-ac") == 1


def test_what_the_server_offers_is_listed():
    answers = {
        f"{ORIGIN}offers/manifest.json": json.dumps(
            {"files": [{"name": "a.gguf", "n_bytes": 5}, {"name": "tekken.json"}], "folders": ["b", "odd", 7]}
        ).encode(),
        f"{ORIGIN}offers/b/manifest.json": manifest(FILES),
        f"{ORIGIN}offers/odd/manifest.json": b"[[[",
    }

    async def scenario(host, send):
        send("list_models", server=f"{ORIGIN}offers/")
        return (await host.until("models"))["offered"]

    assert run(scenario, None, answers) == [
        {"title": "a.gguf", "source": f"{ORIGIN}offers/a.gguf", "n_bytes": 5},
        {"title": "b", "source": f"{ORIGIN}offers/b/", "n_bytes": len(WEIGHTS)},
    ]


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    async def scenario(host, send):
        send("load", **load(model_url="stored:nothing"))
        refused = await host.until("refused")
        send("fetch", source=f"{ORIGIN}nowhere/", files=None)
        failed = await host.until("fetch_failed")
        return refused["sentence"], failed["sentence"], await stored(host, send)

    refused, failed, models = run(scenario, tmp_path, {})
    assert "nothing" in refused
    assert "nowhere" in failed
    assert models == []
