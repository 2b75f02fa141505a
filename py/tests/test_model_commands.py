"""The commands for model files: their options, what inspect shows, and progress that a person can read."""

import io
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_server import bad_hub, bad_server
from checkpoints import safetensors_bytes, weights_of, write_safetensors

from voxtral import model_commands, sources
from voxtral.cli import main
from voxtral.model_files import split
from voxtral.terminal import Progress

TESTS = Path(__file__).parent
TINY = TESTS / "golden" / "tiny" / "model.gguf"
DEMO = TESTS.parents[1] / "static" / "model"
FILES = {"shard-aa": bytes(300_000), "shard-ab": bytes(70_000), "tekken.json": b"{}"}


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# -- fetch --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ["folder first", "folder last"])
def test_fetch_brings_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path, order: str) -> None:
    with bad_server(FILES) as server:
        options = ["--from", server.address, "--connections", "2"]
        arguments = [tmp_path / "m", *options] if order == "folder first" else [*options, tmp_path / "m"]
        code, out, err = run(capsys, "fetch", *arguments)
    assert code == 0
    assert {name: (tmp_path / "m" / name).read_bytes() for name in FILES} == FILES
    assert f"{tmp_path / 'm' / 'shard-ab'}: 70,000 bytes\n" in out
    assert re.fullmatch(r"voxtral: download: 370 kB in \d+ s(, \d+ MB/s)?(; [^\n]+)?\n", err)


def test_fetch_takes_the_full_model_of_the_hub_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bad_hub(FILES) as hub:
        monkeypatch.setattr(sources, "HUB_ADDRESS", hub.address)
        assert run(capsys, "fetch", tmp_path)[0] == 0
    assert (tmp_path / "shard-aa").read_bytes() == FILES["shard-aa"]


def test_fetch_opens_three_connections_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    async def fetch_model(source: str, folder: Path, _tell: Any, n_connections: int) -> list[Path]:
        asked.append((source, folder, n_connections))
        return []

    monkeypatch.setattr(model_commands, "fetch_model", fetch_model)
    main(["fetch", str(tmp_path)])
    main(["fetch", "--from", "hub:A/B", str(tmp_path), "--connections", "4"])
    assert asked == [("hub", tmp_path, 3), ("hub:A/B", tmp_path, 4)]


# -- inspect ------------------------------------------------------------------------------------------
def test_inspect_shows_a_whole_file_and_its_shards_alike(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    split(TINY, tmp_path / "shards", 100_000, lambda *_: None)
    _, whole, _ = run(capsys, "inspect", TINY)
    _, shards, _ = run(capsys, "inspect", tmp_path / "shards")
    assert whole.splitlines()[1:] == shards.splitlines()[1:]
    assert whole.splitlines()[0].endswith(": GGUF version 3, 553,344 bytes, 68 tensors")
    assert "  voxtral.decoder.attention.head_count_kv = 2\n" in whole
    assert "  this engine runs it\n" in whole
    assert re.search(r"\n +\d+ +3456 +Q4_0 +64 x 96 +layers\.0\.attention\.wk\.weight\n", whole)


@pytest.mark.parametrize("as_folder", [False, True])
def test_inspect_shows_a_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path, as_folder: bool) -> None:
    path = write_safetensors(tmp_path / "consolidated.safetensors", {"a": np.ones((3, 4), np.float32)}, "BF16")
    code, out, _ = run(capsys, "inspect", tmp_path if as_folder else path)
    header, metadata, verdict, tensor = out.splitlines()
    assert code == 0
    assert header == f"{path}: safetensors, 24 bytes of weights, 1 tensors"
    assert metadata == "  format = pt"
    assert verdict.startswith("  this engine does not run it: ")
    assert tensor.split() == [str(path.stat().st_size - 24), "24", "BF16", "3", "x", "4", "a"]


def test_inspect_says_what_checkpoint_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    weights = {name: values.astype(np.float16) for name, values in weights_of(DEMO / "voxtral-demo-q4_0.gguf").items()}
    path = write_safetensors(tmp_path / "consolidated.safetensors", weights, "F16")
    _, out, _ = run(capsys, "inspect", path)
    assert "\n  this engine runs it\n" in out
    path.unlink()  # 40 MB


def test_what_a_file_says_of_itself_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    entry = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    path.write_bytes(safetensors_bytes({"__metadata__": {"k": "\x1b[2J\r" + 9999 * "x"}, "\x1b]0;a\n": entry}, b"1"))
    _, out, _ = run(capsys, "inspect", path)
    assert all(line.isprintable() for line in out.splitlines())
    assert r"\x1b[2J" in out
    assert len(out) < 1500


def nonsense(folder: Path) -> dict[str, Path]:
    """Files and folders that are no model."""
    (folder / "empty").mkdir()
    files = {
        "empty.gguf": b"",
        "zeros.gguf": bytes(1000),
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(99),
        "huge.gguf": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + bytes(99),
        "empty.safetensors": b"",
        "huge.safetensors": struct.pack("<Q", 2**60) + b"{}",
        "zeros.safetensors": bytes(1000),
        "model.safetensors.index.json": json.dumps({"weight_map": {"a": "../b.safetensors"}}).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in [*files, "empty", "absent.gguf", "absent.safetensors", "absent"]}


def test_nonsense_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, path in nonsense(tmp_path).items():
        code, out, err = run(capsys, "inspect", path)
        assert (code, out) == (1, ""), name
        assert err.startswith("voxtral: ")
        assert str(tmp_path) in err
        assert err.count("\n") == 1, name
        code, out, err = run(capsys, "convert", path, tmp_path / "out.gguf")
        assert (code, out, err.count("\n")) == (1, "", 1), name
        assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("arguments", "expected_code", "sentence"),
    [
        (["fetch", "DIR", "--connections", "0"], 2, "--connections must be from 1 to 4, got 0"),
        (["fetch", "DIR", "--connections", "5"], 2, "--connections must be from 1 to 4, got 5"),
        (["fetch", "DIR", "--from", "ftp://host/model"], 1, "ftp://host/model: expected hub, hub:OWNER/REPO"),
        (["split", TINY, "--out", "DIR", "--shard-mb", "513"], 2, "--shard-mb must be from 1 to 512, got 513"),
        (["make-random", "--out", "DIR", "--shard-mb", "0"], 2, "--shard-mb must be from 1 to 512, got 0"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[object], expected_code: int, sentence: str
) -> None:
    code, out, err = run(capsys, *[tmp_path / "m" if argument == "DIR" else argument for argument in arguments])
    assert (code, out) == (expected_code, "")
    assert err.startswith(f"voxtral: {sentence}")
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


# -- progress -----------------------------------------------------------------------------------------
def shown_on(screen: Screen) -> list[str]:
    """Every state of every line."""
    return [line for line in re.split(r"[\r\n]|\x1b\[A", screen.getvalue()) if line.strip()]


def test_a_terminal_shows_bytes_total_speed_and_time_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    assert main(["split", str(TINY), "--out", str(tmp_path / "d")]) == 0
    last = shown_on(screen)[-1]
    assert re.fullmatch(r" +split 100 % \|.+\| 553kB of 553kB, +[\d.]+[kMG]?B/s, 00:00 left *", last)


@pytest.mark.parametrize("command", ["join", "manifest", "check", "convert"])
def test_every_long_command_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str) -> None:
    split(TINY, tmp_path / "d", 100_000, lambda *_: None)
    main(["manifest", str(tmp_path / "d")])
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    if command == "convert":
        shapes = {name: values.shape for name, values in weights_of(DEMO / "voxtral-demo-q4_0.gguf").items()}
        weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        source = write_safetensors(tmp_path / "consolidated.safetensors", weights, "F16")
        assert main(["convert", str(source), str(tmp_path / "out.gguf")]) == 0
        source.unlink()  # 40 MB
    elif command == "join":
        assert main(["join", str(tmp_path / "d"), "--out", str(tmp_path / "out.gguf")]) == 0
    else:
        assert main(["manifest", str(tmp_path / "d"), *(["--check"] if command == "check" else [])]) == 0
    assert shown_on(screen)[-1].startswith(f"{command:>9} 100 % |")


def test_stages_side_by_side_have_a_line_each_and_what_came_earlier_is_not_counted_as_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with Progress() as progress:
        progress.tell("listing", 0, 0)
        for done in range(500, 1001, 100):
            progress.tell("download", done * 1_000_000, 1_000_000_000)
            progress.tell("verify", (done - 500) * 1_000_000, 1_000_000_000)
        progress.tell("download", 900_000_000, 1_000_000_000)  # a file was damaged and is fetched again
    lines = shown_on(screen)
    assert not any("listing" in line for line in lines)
    assert any(re.search(r"download +50 % \|.*\| 500MB of 1.00GB, \?B/s, \? left", line) for line in lines)
    assert any(re.search(r"download +90 % \|.*\| 900MB of 1.00GB", line) for line in lines)
    assert any(re.search(r"verify +50 % \|.*\| 500MB of 1.00GB", line) for line in lines)


def test_what_was_done_before_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with Progress() as progress:
        progress.tell("download", 1000, 1000)
    assert screen.getvalue() == ""


def test_elsewhere_there_is_one_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.tell("download", 500_000_000, 1_000_000_000)
        progress.tell("verify", 1_000_000_000, 1_000_000_000)  # all of it was there
        progress.tell("download", 1_000_000_000, 1_000_000_000)
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "voxtral: download: 500 MB in 0 s\n"


def test_a_failure_is_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Progress() as progress:
            progress.tell("download", 0, 1000)
            progress.tell("download", 500, 1000)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().err == ""


def test_a_checkout_without_tqdm_does_without_bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    assert main(["split", str(TINY), "--out", str(tmp_path / "d")]) == 0
    assert screen.getvalue() == ""
