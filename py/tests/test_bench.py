"""The bench: what a report holds, that measuring spoils nothing, and how time is told. No test looks at a duration."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_cases import GoldenSet

from voxtral import cli
from voxtral.bench import timer
from voxtral.bench.effort import EFFORTS, effort_named
from voxtral.bench.rendering import render, render_against
from voxtral.bench.report import LoadTimes, Subject, engine_facts, measure
from voxtral.bench.speech import speech_like
from voxtral.bench.steps import StepBench
from voxtral.bench.timer import ActiveTime, Timed, Timer
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.errors import ConfigError, DeviceError
from voxtral.gpu.recording import RecordingDevice
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.tekken import Tekken
from voxtral.web import places

TINY = Path(__file__).parent / "golden" / "tiny"
MACHINE = {"system": "a machine", "cpu_threads": 2, "heap_bytes": 1000, "loader_peak_bytes": None}
KEYS = {
    "version", "date", "effort", "machine", "backend", "clock", "adapter", "model", "load", "memory", "copy_gb_per_s",
    "decoder", "encoder", "decode", "encode", "chunks", "shares", "file", "live",
}  # fmt: skip
LIVE = {
    "chunks": 12,
    "median_ms": 3,
    "p95_ms": 4,
    "max_ms": 5,
    "painted_median_ms": 6,
    "painted_p95_ms": 7,
    "how": "so",
}


@pytest.fixture(scope="module")
def golden():
    return GoldenSet({name: (TINY / name).read_bytes() for name in ("meta.json", "golden.npz", "model.gguf")})


@pytest.fixture
def quick(monkeypatch):
    """Whatever the device, measure as little as possible."""
    for name in EFFORTS:
        monkeypatch.setitem(EFFORTS, name, EFFORTS["quick"])


def run_bench(ops, golden, fails_at=None):
    """The report, what was told meanwhile, and the golden tokens as they come out afterwards, on the same stream."""
    told = []

    async def tell(what):
        told.append(what)
        if what == fails_at:
            raise DeviceError("the GPU went away")

    async def main():
        model = await golden.load_model(ops)
        streaming = StreamingConfig(golden.meta["delay_ms"], golden.meta["left_pad"])
        await model.warm_up(streaming)
        tekken = Tekken.from_json((TINY / "tekken.json").read_bytes(), "tekken.json")
        subject = Subject(model, tekken, streaming, LoadTimes(123_456, 0.5, 0.25))
        try:
            report = await measure(subject, MACHINE, "quick", tell)
        except DeviceError:
            report = None
        return report, told, await golden.tokens(model, 1280)

    return asyncio.run(main())


def numbers_in(value):
    """Every number of a report, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_a_report_is_complete_json_and_measuring_spoils_nothing(ops, golden):
    report, told, tokens = run_bench(ops, golden)
    assert set(report) == KEYS
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert tokens == golden.meta["tokens"]
    assert len(told) == len(set(told)) >= 7
    is_gpu = isinstance(ops, WebGpuOps)
    assert report["backend"] == ("webgpu" if is_gpu else "numpy")
    assert (report["adapter"] is None) == (not is_gpu)
    measured = {name: report[name] for name in KEYS - {"effort", "version", "date"}}
    assert all(number > 0 for number in numbers_in(measured))
    check_rows(report, ops.chunk_tokens)
    if is_gpu:
        assert report["adapter"]["limits"]["max_storage_buffer_binding_size"] >= 128 << 20
        assert report["memory"]["gpu_peak_bytes"] >= report["memory"]["gpu_bytes"]
        assert all(row["dispatches"] for row in report["decode"] + report["encode"])


def test_a_bench_that_fails_midway_spoils_nothing(golden):
    report, told, tokens = run_bench(ReferenceOps(), golden, fails_at="decoder steps")
    assert (report, told[-1]) == (None, "decoder steps")
    assert tokens == golden.meta["tokens"]


def test_fast_steps_are_repeated_only_while_there_is_audio(golden):
    """A longest chunk of numpy's has fewer tokens than a pass may have steps."""

    async def main():
        ops = ReferenceOps()
        model = await golden.load_model(ops)
        timer = Timer(ops, replace(EFFORTS["quick"], pass_ms=1000.0, n_passes=2))
        return await StepBench(model, await model.borrow(), StreamingConfig(), timer).decode()

    assert [row["steps_at_once"] for row in asyncio.run(main())] == [ReferenceOps().chunk_tokens[0]] * 3


def check_rows(report, chunk_tokens):
    """Rows are there for every size, and agree with themselves."""
    assert [row["context"] for row in report["decode"]] == [64, 1024, 8192]
    assert [row["keys"] for row in report["decode"]] == [24, 24, 24]  # the window of this network
    assert [row["tokens"] for row in report["chunks"]] == list(chunk_tokens)
    assert [row["rows"] for row in report["encode"]] == [16 * chunk_tokens[0], *(4 * n for n in chunk_tokens)]
    assert [row["calls"] for row in report["encode"]] == [4, *(1 for _ in chunk_tokens)]
    assert {row["rows"] for row in report["encoder"]} == {4 * n for n in chunk_tokens} | set(chunk_tokens)
    names = [row["kernel"] for row in report["decoder"]]
    assert names == [
        "qkv 96 to 320", "out 192 to 96", "gate, up 96 to 512", "down 256 to 96", "attention over 24",
        "head 96 to 1536", "argmax", "embed",
    ]  # fmt: skip
    for row in report["decoder"] + report["encoder"]:
        if row["gb_per_s"]:
            assert row["percent_of_copy"] == pytest.approx(100 * row["gb_per_s"] / report["copy_gb_per_s"], rel=0.01)
    file = report["file"]
    assert file["audio_s"] == EFFORTS["quick"].audio_s
    assert file["rtf"] == pytest.approx(file["wall_s"] / file["audio_s"], rel=0.01)
    assert report["load"]["mb_per_s"] == pytest.approx(0.247, abs=0.001)


def test_a_report_renders_as_text_with_and_without_a_page(golden):
    report, _, _ = run_bench(ReferenceOps(), golden)
    text = render(report)
    for row in report["decoder"] + report["encoder"]:
        assert row["kernel"] in text
    assert "None" not in text
    assert "measured by the page only" in text
    assert "12 chunks" in render({**report, "live": LIVE})


def test_two_reports_stand_in_one_table_with_their_ratio(golden):
    mine, _, _ = run_bench(ReferenceOps(), golden)
    mine["decode"][0] |= {"device_ms": 3.0, "wall_ms": 0.5}
    mine["load"]["seconds"] = 1.0
    theirs = json.loads(json.dumps(mine))
    theirs["adapter"] = {"name": "a GPU", "backend": "vulkan"}
    theirs["decode"][0] |= {"device_ms": 2.0, "wall_ms": 1.0}
    theirs["load"]["seconds"] = 0  # an instant is no measure
    theirs["live"] = LIVE
    theirs["encoder"][0]["kernel"] = "another"
    lines = render_against(mine, theirs).splitlines()
    assert ", numpy, " in lines[0]
    assert "a GPU by vulkan" in lines[1]
    rows = {line.rpartition(",")[0].strip(): line.rpartition(",")[2].split() for line in lines}
    assert rows["decoder step at context 64, device"] == ["ms", "3", "2", "1.5"]
    assert rows["decoder step at context 64, wall"] == ["ms", "0.5", "1", "0.5"]
    assert rows["load"] == ["s", "1", "0"]
    assert all(f"decoder: {row['kernel']}, rows: {row['rows']}" in rows for row in mine["decoder"])
    assert lines[-1] == "in one of the two only, so not shown: 3"


def test_what_failed_its_check_is_in_report_and_text(golden):
    model = asyncio.run(golden.load_model(WebGpuOps(RecordingDevice())))
    sentence = "this GPU computes rms_norm wrongly"
    model.replaced.append(sentence)
    adapter = engine_facts(model, {"system": "a test", "cpu_threads": 1})["adapter"]
    assert adapter["replaced"] == [sentence]
    report, _, _ = run_bench(ReferenceOps(), golden)
    assert sentence in render({**report, "adapter": adapter}).splitlines()


def test_an_unknown_effort_is_one_sentence():
    assert effort_named(None, is_software=True) is EFFORTS["software"]
    assert effort_named(None, is_software=False) is EFFORTS["full"]
    with pytest.raises(ConfigError, match="'hasty'"):
        effort_named("hasty", is_software=False)


def test_the_sound_to_measure_with_is_always_the_same():
    samples = speech_like(1.5)
    assert len(samples) == 1.5 * SAMPLE_RATE
    assert samples.dtype == np.float32
    assert 0.05 < np.abs(samples).max() <= 1
    assert np.array_equal(samples, speech_like(1.5))


class Clock:
    """Stands still until told."""

    def __init__(self, monkeypatch):
        self.now_s = 0.0
        monkeypatch.setattr(timer.time, "perf_counter", lambda: self.now_s)


def test_active_time_counts_work_and_leaves_out_waits(monkeypatch):
    clock = Clock(monkeypatch)

    async def work():
        clock.now_s += 1
        with pytest.raises(RuntimeError):
            await waits_in_vain()
        clock.now_s += 2
        await asyncio.sleep(0)
        return "done"

    async def waits_in_vain():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(time_passes, future)
        await future

    def time_passes(future):
        clock.now_s += 100
        future.set_exception(RuntimeError("broken"))

    async def main():
        active = ActiveTime(work())
        return await active, active.ms, active.n_waits

    assert asyncio.run(main()) == ("done", 3000.0, 2)


def test_the_best_pass_counts_and_no_pass_before_the_device_is_warm(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setitem(EFFORTS, "quick", timer.Effort(0.0055, 0.0, 3, 1, 0, 0.0, 0.0))
    ops, took_ms = ReferenceOps(), iter([1, 5, 4, 3, 9])  # the first two are the warm-up

    def run():
        clock.now_s += next(took_ms) / 1000

    async def main():
        program = await ops.program(run, "program")
        return await Timer(ops, EFFORTS["quick"]).best_ms([Timed([program], n=2)])

    assert asyncio.run(main()) == [pytest.approx(1.5)]


@pytest.mark.parametrize("kind", ["native", "recording"])
def test_a_device_counts_its_memory(kind, request):
    device = request.getfixturevalue("device") if kind == "native" else RecordingDevice()
    before = device.memory.now
    buffers = [device.create_buffer(n_bytes, "counted") for n_bytes in (1024, 4096)]
    assert device.memory.now == before + 5120
    for buffer in buffers:
        device.destroy_buffer(buffer)
    assert device.memory.now == before
    assert device.memory.peak >= before + 5120


# -- the command line -------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_command_prints_text_and_writes_json(capsys, tmp_path):
    out = tmp_path / "report.json"
    assert cli.main(["bench", "--model", str(TINY / "model.gguf"), "--backend", "numpy", "--json", str(out)]) == 0
    captured = capsys.readouterr()
    report = json.loads(out.read_text())
    assert set(report) == KEYS
    assert captured.out == render(report) + "\n"
    assert "measuring decoder steps" in captured.err
    again = ["bench", "--model", str(TINY / "model.gguf"), "--backend", "numpy", "--against", str(out)]
    assert cli.main(again) == 0
    table = capsys.readouterr().out.partition("\nthis run: ")[2]
    assert report["date"] in table
    assert "not shown" not in table  # the same model by the same backend


@pytest.mark.parametrize("content", [None, "RIFF", "[]", "{}", '{"decode": [7]}'])
def test_a_file_that_is_no_report_is_one_sentence_before_anything_is_measured(capsys, tmp_path, content):
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    assert cli.main(["bench", "--backend", "numpy", "--against", str(path)]) == 2
    captured = capsys.readouterr()
    assert str(path) in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ["--chromium", "chromium"], "belongs to --browser"),
        (2, ["--adapter", "x", "--browser"], "leave one of them out"),
        (2, ["--json", "/nowhere/report.json"], "folder does not exist"),
        (3, ["--model", "/nowhere"], "/nowhere"),
        (3, ["--browser", "--model", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_sentence(capsys, code, arguments, words):
    assert cli.main(["bench", "--backend", "numpy", *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_an_installed_package_says_that_the_page_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "CHECKOUT", tmp_path / "site-packages")
    assert cli.main(["bench", "--browser"]) == 2
    assert "needs a checkout" in capsys.readouterr().err
