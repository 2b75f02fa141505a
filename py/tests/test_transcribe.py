"""`voxtral transcribe` with what comes out of pipes, patterns of files, and transcripts that are there already."""

import asyncio
import io
import signal
import sys

import numpy as np
import pytest
from damaged_audio import RAW, SPEECH, SPOKEN, wav16
from test_bad_audio import encoded

from voxtral import cli, placement
from voxtral.audio_file import open_file, open_pipe
from voxtral.commands import transcribe
from voxtral.errors import DeviceError
from voxtral.gpu import native
from voxtral.sound_blocks import RawFormat
from voxtral.typed_files import expanded

GOOD = wav16(SPEECH)


class Trickle(io.RawIOBase):
    """A pipe that gives little at a time, and cannot go back."""

    def __init__(self, data, at_end=lambda: b""):
        self._data, self._at_end = data, at_end

    def read1(self, n_bytes):
        taken, self._data = self._data[: min(n_bytes, 3001)], self._data[min(n_bytes, 3001) :]
        return taken or self._at_end()


def run(capsys, *arguments, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": stdin}))
    code = cli.main(["transcribe", "--backend", "numpy", "--left-pad", "32", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def heard(stream, raw=None):
    notices = []
    samples = np.concatenate([*open_pipe(stream, "standard input", notices.append, raw)])
    assert notices == []
    return samples


@pytest.mark.parametrize(
    ("data", "raw"),
    [
        (GOOD, None),
        (GOOD[:4] + b"\xff\xff\xff\xff" + GOOD[8:40] + b"\xff\xff\xff\xff" + GOOD[44:], None),  # as ffmpeg writes it
        (GOOD[:40] + bytes(4) + GOOD[44:], None),
        (RAW, None),
        (RAW, RawFormat(16_000, 1)),
        (np.repeat(np.frombuffer(RAW, "<i2"), 2).tobytes(), RawFormat(16_000, 2)),
    ],
    ids=["WAV", "endless WAV", "WAV of no length", "PCM", "PCM as told", "stereo"],
)
def test_what_comes_out_of_a_pipe_is_the_same_sound(data, raw):
    np.testing.assert_allclose(heard(Trickle(data), raw), SPEECH, rtol=0, atol=1e-6)


def test_other_formats_and_rates_come_out_of_a_pipe_too():
    decoded = heard(Trickle(encoded("flac", "flac")))
    assert abs(len(decoded) - len(SPEECH)) < 160
    slow = heard(Trickle(RAW), RawFormat(8000, 1))
    assert abs(len(slow) - 2 * len(SPEECH)) <= 2


def test_a_long_file_is_never_held_whole(tmp_path):
    long = tmp_path / "long.wav"
    long.write_bytes(wav16(np.tile(SPEECH, 60)))
    with open_file(long, print) as audio:
        longest = max(map(len, audio))
    assert longest < 40 * 16_000 < 60 * len(SPEECH)


def test_a_pipe_is_printed_as_it_is_heard(capsys, monkeypatch):
    code, out, err = run(capsys, "-", stdin=Trickle(RAW), monkeypatch=monkeypatch)
    assert (code, out.split(), err) == (0, SPOKEN.split(), "")


def test_ctrl_c_ends_a_pipe_and_what_was_said_is_written(capsys, monkeypatch):
    def interrupt():
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it was to end")

    stdin = Trickle(RAW, at_end=interrupt)
    code, out, err = run(capsys, "-", stdin=stdin, monkeypatch=monkeypatch)
    assert (code, out.split(), err) == (130, SPOKEN.split(), "")


def test_an_empty_pipe_is_one_sentence(capsys, monkeypatch):
    code, out, err = run(capsys, "-", stdin=Trickle(b""), monkeypatch=monkeypatch)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "standard input: expected sound" in err


def test_patterns_are_expanded_in_order_and_each_file_is_named_once(tmp_path):
    for name in ("b.wav", "a.wav", "c [1].wav"):
        (tmp_path / name).touch()
    (tmp_path / "d.wav").mkdir()
    typed = [str(tmp_path / name) for name in ("b.wav", "*.wav", "c [1].wav", "none*")]
    assert [path.name for path in expanded(typed)] == ["b.wav", "a.wav", "c [1].wav", "none*"]


def test_transcripts_that_are_there_stay_unless_they_are_to_be_overwritten(capsys, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(GOOD)
    out = tmp_path / "deep" / "folder"
    out.mkdir(parents=True)
    (out / "a.txt").write_text("mine")
    code, printed, err = run(capsys, tmp_path / "*.wav", "--output-dir", out)
    assert (code, printed, err.count("\n")) == (0, "", 1)
    assert "--overwrite" in err
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "b.txt"]
    assert [(out / name).read_text() for name in ("a.txt", "b.txt")] == ["mine", f"{SPOKEN}\n"]
    assert run(capsys, tmp_path / "a.wav", "--output-dir", out, "--overwrite") == (0, "", "")
    assert (out / "a.txt").read_text() == f"{SPOKEN}\n"


def test_a_gpu_that_goes_away_ends_the_command_with_one_sentence(capsys, monkeypatch, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(GOOD)
    opened = []

    async def open_native(adapter):
        opened.append(await native_open(adapter))
        return opened[0]

    def lose(*arguments):
        opened[0]._device.destroy()
        return open_file(*arguments)

    native_open = native.open_native
    monkeypatch.setattr(native, "open_native", open_native)
    monkeypatch.setattr(transcribe, "open_file", lose)
    code = cli.main(["transcribe", "--backend", "webgpu", "--left-pad", "32", str(tmp_path / "*.wav")])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (3, "", 1)
    assert f"{opened[0].info.name} went away" in captured.err


def test_without_a_gpu_numpy_computes_and_says_so_once(capsys, monkeypatch, tmp_path):
    async def open_native(_adapter):
        raise DeviceError("no GPU adapter found")

    monkeypatch.setattr(native, "open_native", open_native)
    clip = tmp_path / "a.wav"
    clip.write_bytes(GOOD)
    assert cli.main(["transcribe", str(clip)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{SPOKEN}\n"
    assert captured.err == "voxtral: computing on the CPU with numpy, because no GPU adapter found\n"
    assert cli.main(["transcribe", str(clip), "--adapter", "any"]) == 3
    monkeypatch.setattr(placement, "MAX_CPU_PARAMETERS", 1_000_000)
    assert cli.main(["transcribe", str(clip)]) == 3
    assert "needs a GPU: no GPU adapter found" in capsys.readouterr().err


def test_adapters_lists_what_adapter_takes(capsys):
    assert cli.main(["adapters"]) == 0
    head, *rows, legend = capsys.readouterr().out.splitlines()
    adapters = native.list_adapters()
    assert "kind" in head
    assert len(rows) == len(adapters)
    assert [row[0] for row in rows].count("*") == 1
    assert all(one.name in row and one.backend in row for one, row in zip(adapters, rows, strict=True))
    assert "--adapter" in legend
    last = asyncio.run(native.open_native(str(adapters[-1].number)))
    assert (last.info.name, last.info.backend) == (adapters[-1].name, adapters[-1].backend)
    last.destroy()


def test_the_command_alone_prints_its_help(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "exit codes:" in out
    for name in ("transcribe", "listen", "serve", "adapters", "bench", "fetch"):
        assert f"  {name}" in out
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("voxtral ")
