"""A set through the worker: what it asks the page for, and what comes of it; the demo model on numpy."""

import asyncio
import importlib
import json
from importlib.metadata import version

import pytest
from test_worker import pcm, with_worker

from voxtral.accuracy import modules, run
from voxtral.accuracy.report import Report
from voxtral.held_model import HeldModel

TEXTS = {"digits_1.wav": "one four one seven", "gone.wav": "two", "silence_3s.wav": "", "digits_4.wav": "four seven"}
TABLE = "file,text,group\n" + "".join(f"{name},{text},{name[:3]}\n" for name, text in TEXTS.items())


def read_set(host, worker, table=TABLE, names=tuple(TEXTS)):
    files = [{"path": "clips.csv", "text": table}, *({"path": name, "text": None} for name in names)]
    worker.receive({"type": "read_set", "id": 7, "name": "mine", "files": files})
    [answer] = [message for message in host.messages if message["type"] == "set_read"]
    assert answer["id"] == 7
    return answer


def measure(worker, entries, condition=None, normalizer="basic"):
    fields = {"set_name": "mine", "entries": entries, "condition": condition or {}, "modules": {}}
    worker.receive({"type": "measure", "session": 3, "normalizer": normalizer, **fields})


def send(worker, id, reason=None):
    samples = None if reason else pcm(id).tobytes()
    worker.receive({"type": "clip", "session": 3, "id": id, "samples": samples, "reason": reason})


def of_run(host, *kinds):
    return [message for message in host.messages if message["type"] in kinds and message["session"] == 3]


def test_a_set_is_heard_clip_by_clip_and_what_cannot_be_heard_is_told():
    async def play(host, worker):
        entries = read_set(host, worker)["entries"]
        assert [(entry["id"], entry["transcript"]) for entry in entries] == list(TEXTS.items())
        measure(worker, entries, {"delay_ms": 560, "groups": ["gon", "dig"], "level_dbfs": -6})
        await host.until("clip_wanted", 3, n=2)
        wanted = [message["id"] for message in of_run(host, "clip_wanted")]
        assert wanted == ["digits_1.wav", "gone.wav"], "one is asked for ahead, and no more"
        send(worker, "digits_1.wav")
        send(worker, "gone.wav", "gone.wav: it is gone")
        await host.until("clip_wanted", 3, n=3)
        send(worker, "digits_4.wav")
        await host.until("done", 3)
        return of_run(host, "clip_heard", "done")

    first, second, third, done = with_worker(play)
    assert (first["clip"]["hypothesis"], first["n_heard"], first["n_clips"]) == ("one four one seven", 1, 3)
    assert (second["clip"], second["reason"]) == (None, "gone.wav: it is gone")
    assert third["clip"]["word_counts"]["insertions"] == 3
    report = Report.of(json.loads(json.dumps(done["result"])), "the report")
    assert (report.is_complete, report.model.delay_ms, report.set_name) == (True, 560, "mine")
    assert [failure.id for failure in report.failures] == ["gone.wav"]
    assert (report.condition.level_dbfs, report.condition.groups) == (-6, ("gon", "dig"))
    assert done["result"]["summary"]["overall"]["wer"]["value"] == pytest.approx(0.5)


def test_a_run_that_is_ended_reports_what_was_heard():
    async def play(host, worker):
        measure(worker, read_set(host, worker)["entries"])
        await host.until("clip_wanted", 3)
        send(worker, "digits_1.wav")
        await host.until("clip_heard", 3)
        worker.receive({"type": "end_measure", "session": 3})
        await host.until("done", 3)
        send(worker, "digits_4.wav")  # too late, and no harm
        return of_run(host, "done")

    [done] = with_worker(play)
    assert done["result"]["set"]["is_complete"] is False
    assert [clip["id"] for clip in done["result"]["clips"]] == ["digits_1.wav"]


@pytest.mark.parametrize("comes_back", [True, False])
def test_what_was_measured_is_kept_when_the_gpu_goes_away(monkeypatch, comes_back):
    async def play(host, worker):
        hear = run.hear
        n_heard = 0

        async def hear_and_lose(*args):
            nonlocal n_heard
            n_heard += 1
            if n_heard == 2:
                worker._held._lose(worker._held.loaded)
                raise RuntimeError("mapping failed")
            return await hear(*args)

        async def go_elsewhere(_held):
            return True

        monkeypatch.setattr(run, "hear", hear_and_lose)
        if not comes_back:
            monkeypatch.setattr(HeldModel, "load_again", go_elsewhere)
        measure(worker, read_set(host, worker)["entries"], {"groups": ["dig"]})
        await host.until("clip_wanted", 3, n=2)
        send(worker, "digits_1.wav")
        send(worker, "digits_4.wav")
        await host.until("done", 3)
        return of_run(host, "notice", "done")

    *notices, done = with_worker(play)
    heard = {clip["id"]: list(clip["notices"]) for clip in done["result"]["clips"]}
    assert done["result"]["set"]["is_complete"] is comes_back
    if comes_back:
        assert heard == {
            "digits_1.wav": [],
            "digits_4.wav": ["The GPU went away in it; it was heard again from its start."],
        }
        assert not notices
    else:
        assert heard == {"digits_1.wav": []}
        assert [notice["sentence"] for notice in notices] == [
            "The rest was not heard: the GPU went away in digits_4.wav, and the model computes elsewhere now; "
            "measure again."
        ]


def test_what_is_no_set_and_no_condition_is_one_sentence():
    async def play(host, worker):
        assert "expected" in read_set(host, worker, table="a,b\n1,2\n")["sentence"]
        host.messages.clear()
        entries = read_set(host, worker)["entries"]
        measure(worker, entries, {"delay_ms": 100})
        measure(worker, entries, {}, "klingon")
        await host.until("error", 3, n=2)
        worker.receive({"type": "read_reports", "id": 9, "names": ["x.json"], "texts": ["{}"]})
        return [*of_run(host, "error"), host.messages[-1]]

    delay, normalizer, report = with_worker(play)
    assert "delay_ms must be a multiple of 80" in delay["sentence"]
    assert "klingon" in normalizer["sentence"]
    assert (report["type"], report["reports"]) == ("reports_read", None)
    assert report["sentence"].startswith("x.json: ")


def test_what_a_page_brings_can_be_imported_and_is_fetched_once(monkeypatch, tmp_path):
    monkeypatch.setattr(modules, "_folder", [tmp_path])
    monkeypatch.setattr(modules, "_installed", {})
    monkeypatch.syspath_prepend(tmp_path)
    fetched = []

    async def fetch(address):
        fetched.append(address)
        return b"N = 5\n"

    wanted = {"some-thing-1.2/some_thing/__init__.py": "a", "some-thing-1.2/some_thing/inner/x.py": "b"}
    for _ in range(2):
        asyncio.run(modules.install(wanted, fetch))
    assert fetched == ["a", "b"]
    assert importlib.import_module("some_thing.inner.x").N == 5
    assert version("some-thing") == "1.2"
