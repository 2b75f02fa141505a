"""`voxtral ablation`: what it hears, keeps and refuses."""

import asyncio
import hashlib
import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from retyped import retyped

from voxtral.accuracy.ablation import MAKE_ONE, Ablation
from voxtral.accuracy.factors import PLANS
from voxtral.cli import main
from voxtral.commands import ablation as command
from voxtral.model_path import weights_sha256
from voxtral.quant import GgmlType

GOLDEN = Path(__file__).parent / "golden"
TINY = GOLDEN / "tiny"
N_COMBINATIONS = 4


@pytest.fixture(autouse=True)
def _small_plan(monkeypatch):
    """Two paddings and two delays."""
    varied = ("left_pad_tokens", "delay_ms")
    factors = PLANS["quick"].factors
    small = [f if f.name in varied else replace(f, levels=f.levels[:1], reference=0) for f in factors]
    monkeypatch.setitem(PLANS, "quick", replace(PLANS["quick"], factors=tuple(small)))


@pytest.fixture
def recordings(tmp_path):
    """A set of three clips of noise, half a second each, of two groups."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b", "c"):
        samples = rng.normal(0, 0.1, 8_000).astype(np.float32)
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
    rows = ["path\tsentence\tgroup", "a.wav\tone two\tsaid", "b.wav\tthree\tsaid", "c.wav\t\tsilent"]
    (folder / "list.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def in_f16(tmp_path):
    """The tiny model again, in F16."""
    folder = tmp_path / "f16"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(asyncio.run(retyped((TINY / "model.gguf").read_bytes(), GgmlType.F16)))
    (folder / "tekken.json").write_bytes((TINY / "tekken.json").read_bytes())
    return folder


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main(["ablation", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def hear(capsys, recordings, *more):
    models = ("--model", TINY, "--backend", "numpy")
    return run(capsys, recordings, "--plan", "quick", *models, *more)


def test_a_set_is_heard_with_both_weights_under_every_combination(capsys, recordings, in_f16, tmp_path):
    report = tmp_path / "report.json"
    code, out, err = hear(capsys, recordings, "--model-f16", in_f16, "--limit", 1, "--json", report)
    found = Ablation.of_json(report.read_bytes(), "report.json")
    assert code == 0, err
    assert found.is_complete
    assert found.factors[0].levels == ("Q4_0", "F16")
    assert len(found.runs) == len({run.levels for run in found.runs}) == 2 * N_COMBINATIONS
    assert [(clip.id, clip.group, clip.n_words) for clip in found.clips] == [
        ("a.wav", "said", 2),
        ("c.wav", "silent", 0),
    ]
    assert all(clip.audio_s == pytest.approx(0.5, abs=0.02) for clip in found.clips)
    assert f"{2 * N_COMBINATIONS} combinations; each clip is heard under {2 * N_COMBINATIONS} of them" in err
    assert "| **Weights** |" in out
    assert run(capsys, "--render", report) == (0, out, "")


def test_it_goes_on_where_it_was_interrupted(capsys, recordings, tmp_path, monkeypatch):
    report, whole = tmp_path / "report.json", tmp_path / "whole.json"
    assert hear(capsys, recordings, "--json", whole)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(command, "write_new", stopping_after(3, command.write_new))
        assert hear(capsys, recordings, "--json", report)[0] == 130
    assert len(Ablation.of_json(report.read_bytes(), "report.json").runs) == 3
    code, _, err = hear(capsys, recordings, "--json", report)
    assert (code, err.count("\nvoxtral: heard ")) == (0, N_COMBINATIONS - 3)
    one, other = (Ablation.of_json(path.read_bytes(), path.name) for path in (report, whole))
    assert (one.runs, one.clips) == (other.runs, other.clips)


def stopping_after(n, act):
    calls = []

    def stop(*given):
        act(*given)
        calls.append(given)
        if len(calls) == n:
            raise KeyboardInterrupt

    return stop


def test_a_whole_report_is_not_heard_again(capsys, recordings, tmp_path, monkeypatch):
    report = tmp_path / "report.json"
    first = hear(capsys, recordings, "--json", report)
    monkeypatch.setattr(command, "load_native", None)
    assert hear(capsys, recordings, "--json", report)[1] == first[1]


def test_another_ablation_is_not_gone_on_with(capsys, recordings, tmp_path):
    report = tmp_path / "report.json"
    hear(capsys, recordings, "--json", report)
    before = report.read_bytes()
    code, _, err = hear(capsys, recordings, "--json", report, "--normalizer", "english")
    assert (code, report.read_bytes()) == (2, before)
    assert "it holds another ablation; name another file, or delete that one" in err


def other_weights(folder):
    """A copy of the tiny model with the same name, size and type of weights, one bit of which is another."""
    folder.mkdir()
    weights = bytearray((TINY / "model.gguf").read_bytes())
    weights[-1] ^= 1
    (folder / "model.gguf").write_bytes(weights)
    (folder / "tekken.json").write_bytes((TINY / "tekken.json").read_bytes())
    return folder


@pytest.mark.parametrize("n_heard", [1, N_COMBINATIONS])
def test_a_report_is_neither_shown_nor_gone_on_with_for_other_weights(
    capsys, recordings, tmp_path, monkeypatch, n_heard
):
    report, model = tmp_path / "report.json", other_weights(tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(command, "write_new", stopping_after(n_heard, command.write_new))
        assert hear(capsys, recordings, "--json", report)[0] == 130
    before = report.read_bytes()
    said, found = (hashlib.sha256((folder / "model.gguf").read_bytes()).hexdigest() for folder in (TINY, model))
    assert [model["sha256"] for model in Ablation.of_json(before, "r").models] == [said]
    code, out, err = hear(capsys, recordings, "--json", report, "--model", model)
    assert (code, out, report.read_bytes()) == (2, "", before)
    assert err == (
        f"voxtral: --json {report}: expected the weights that it heard, of SHA-256 {said[:12]}…, found "
        f"{found[:12]}… in {model}; name that model, or another file\n"
    )


def test_a_report_that_does_not_say_which_weights_it_heard_is_shown_alone(capsys, recordings, tmp_path):
    report = tmp_path / "report.json"
    _, out, _ = hear(capsys, recordings, "--json", report)
    sha256 = hashlib.sha256((TINY / "model.gguf").read_bytes()).hexdigest()
    report.write_text(report.read_text().replace(f'"{sha256}"', "null"))
    assert run(capsys, "--render", report) == (0, out, "")
    code, out, err = hear(capsys, recordings, "--json", report)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected the SHA-256 of the weights that it heard, found none, as in older reports; show it by" in err


def test_clips_come_from_all_over_a_group():
    entries = [entry(f"{group}-{i}", group) for group in ("digits", "orders") for i in range(40)]
    taken = chosen(entries, groups=("orders",), limit=4, set=Path("there"))
    assert [entry.id for entry in taken] == ["orders-0", "orders-10", "orders-20", "orders-30"]
    assert chosen(entries, groups=None, limit=None, set=Path("there")) == entries


def test_our_own_set_has_the_groups_that_are_heard_by_default():
    found, _ = command.open_set(command.HERE.accuracy_set)
    taken = chosen(found.entries, groups=None, limit=None, set=None)
    counts = {group: sum(entry.group == group for entry in taken) for group in command.OUR_CLIPS}
    assert counts == command.OUR_CLIPS
    assert len(taken) == sum(counts.values())


def entry(id, group):
    return command.ClipEntry(id, group, "", "one", "a.ogg")


def chosen(entries, **options):
    return command._chosen(entries, command.argparse.Namespace(**options))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--render", "none.json"],
            "--render none.json: cannot be read (No such file or directory); name a report's JSON",
        ),
        (["--render", "a.json", "--browser"], "--render hears nothing; leave --json and --browser out"),
        (["--chromium", "c"], "--chromium belongs to --browser; add it, or leave --chromium out"),
        (
            ["--browser", "--adapter", "0"],
            "--adapter names a GPU for this process, but --browser chooses its own; leave one of them out",
        ),
        (["--json", "none/a.json"], "--json none/a.json: its folder does not exist; make it, or name another"),
        (["list.tsv", "--browser"], "list.tsv: --browser takes a folder, found none there; name the one it lies in"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(capsys, arguments, sentence):
    assert run(capsys, *arguments) == (2, "", f"voxtral: {sentence}\n")


def test_what_is_no_report_is_refused(capsys, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"format": "voxtral-accuracy", "version": 1}))
    code, _, err = run(capsys, "--render", path)
    assert code == 2
    assert err == f"voxtral: --render {path}: expected the report of an ablation, found something else; {MAKE_ONE}\n"


def test_figures_are_drawn_of_a_report(capsys, recordings, tmp_path):
    report, folder = tmp_path / "report.json", tmp_path / "new" / "figures"
    hear(capsys, recordings, "--json", report)
    code, _, err = run(capsys, "--render", report, "--figures", folder)
    names = ["differences.svg", "rates.svg"]
    assert (code, err.splitlines()) == (0, [f"voxtral: {folder / name} is drawn" for name in names])
    assert sorted(path.name for path in folder.iterdir()) == names


def test_figures_without_what_draws_them_are_refused_before_anything_is_heard(capsys, tmp_path, monkeypatch):
    def none(_name):
        raise ImportError("No module named 'matplotlib'")

    monkeypatch.setattr(command, "tool", none)
    code, _, err = run(capsys, "--figures", tmp_path / "figures")
    assert code == 2
    cause = "(No module named 'matplotlib')"
    assert err == f"voxtral: --figures needs matplotlib, which does not load {cause}; run `pip install matplotlib`\n"


class Letters:
    """Stands for the page: hears nothing, and says of each clip that all of it was missed."""

    def __init__(self):
        self.calls = []

    def accuracy_in_browser(self, model, backend, chromium, on_line, conditions, set_folder, normalizer, on_report):
        self.calls.append((model, backend, chromium, set_folder, normalizer))
        engine = {
            "version": "1",
            "date": "today",
            "backend": "webgpu",
            "adapter": {"name": "a GPU", "backend": "vulkan"},
        }
        facts = {"name": "demo", "sha256": None, "weight_type": "F16" if model else "Q4_0", "parameters": 1}
        on_line("loading the model")
        for i, condition in enumerate(conditions):
            clips = [missed(id) for id in condition.ids]
            report = {"model": facts, "engine": engine | {"machine": {"system": "x", "python": "3"}}}
            on_report(i, report | {"set": {"name": "x", "is_complete": True}, "failures": [], "clips": clips})


def missed(id):
    counts = {"hits": 0, "substitutions": 0, "deletions": 1, "insertions": 0}
    named = {"id": id, "group": "g", "speaker": "", "reference": "one", "hypothesis": "", "false_words": 0}
    return named | {"audio_s": 1.0, "word_counts": counts, "latencies_s": [], "wall_s": 0.1}


def test_the_page_is_asked_once_for_each_model(capsys, recordings, in_f16, tmp_path, monkeypatch):
    page = Letters()
    monkeypatch.setattr(command, "tool", {"browser_accuracy": page}.get)
    report, folder = tmp_path / "report.json", recordings
    code, out, _ = run(
        capsys, folder, "--plan", "quick", "--browser", "--chromium", "c --x", "--model-f16", in_f16, "--json", report
    )
    assert code == 0
    assert page.calls == [(model, None, ["c", "--x"], folder, "basic") for model in (None, in_f16)]
    found = Ablation.of_json(report.read_bytes(), "r")
    assert len(found.runs) == 2 * N_COMBINATIONS
    weights = (command.HERE.demo_model, in_f16)
    assert [model["sha256"] for model in found.models] == [asyncio.run(weights_sha256(path)) for path in weights]
    assert "a GPU by vulkan" in out


class Troubled(Letters):
    """Cannot read clip c, and stops in its third combination, after one clip of it."""

    def accuracy_in_browser(self, *arguments, on_report, **named):
        def troubled(i, report):
            failures = [{"id": "c.wav", "group": "silent", "reason": "c.wav: no sound in it"}]
            clips = [clip for clip in report["clips"] if clip["id"] != "c.wav"][: 1 if i == 2 else None]
            on_report(i, report | {"set": {"name": "x", "is_complete": i != 2}, "failures": failures, "clips": clips})

        super().accuracy_in_browser(*arguments, on_report=troubled, **named)


def test_a_combination_that_the_page_did_not_finish_is_not_kept(capsys, recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(
        command, "tool", {"browser_accuracy": Troubled(), "chromium": importlib.import_module("tools.chromium")}.get
    )
    report = tmp_path / "report.json"
    code, _, err = run(capsys, recordings, "--plan", "quick", "--browser", "--json", report)
    assert code == 3
    assert err.count("c.wav: no sound in it") == 1
    assert "the page stopped within a combination, which is not kept; run the same command again" in err
    runs = Ablation.of_json(report.read_bytes(), "r").runs
    assert [len(run.clips) for run in runs] == [2, 2]


def test_a_clip_that_cannot_be_read_is_a_sentence_and_an_exit_code(capsys, recordings, tmp_path):
    (recordings / "b.wav").write_bytes(b"no sound")
    report = tmp_path / "report.json"
    for n_heard in (N_COMBINATIONS, 0):  # and again of a report that is whole
        code, out, err = hear(capsys, recordings, "--json", report)
        assert (code, err.count("voxtral: heard "), err.count("b.wav: ")) == (1, n_heard, 1 if n_heard else 0)
        assert "2 clips of the set recordings" in out
