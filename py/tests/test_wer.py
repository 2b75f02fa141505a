"""`voxtral wer`, through the demo model on numpy."""

import shutil
import signal
import sys

import pytest

from tools.accuracy_figures import sha256_of_model
from voxtral import cli
from voxtral.accuracy import run as accuracy_run
from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.report import Report
from voxtral.commands import wer
from voxtral.errors import DeviceError
from voxtral.web.places import HERE

SPOKEN = {"digits_1.wav": "One, four; one seven!", "digits_4.wav": "four seven nine three three", "silence_3s.wav": ""}


@pytest.fixture
def folder(tmp_path):
    """A set of three clips, the last of which is silent, as a CSV."""
    folder = tmp_path / "three"
    folder.mkdir()
    for name in SPOKEN:
        shutil.copy(HERE.static / "samples" / name, folder)
    rows = (f'{name},"{text}",{"speech" if text else "silence"}' for name, text in SPOKEN.items())
    (folder / "transcripts.csv").write_text("\n".join(["file,text,group", *rows]))
    return folder


def run(capsys, *arguments):
    code = cli.main(["wer", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_folder_is_measured_and_compared_with_an_earlier_run(capsys, folder, tmp_path):
    numpy, first, second = ("--backend", "numpy"), tmp_path / "first.json", tmp_path / "second.json"
    code, out, err = run(capsys, folder, *numpy, "--json", first)
    assert (code, err) == (0, "")
    assert "three: 3 clips; normaliser basic 2, jiwer 4.0.0" in out
    report = Report.of_json(first.read_bytes(), "first.json")
    assert report.is_complete
    assert report.model.sha256 == sha256_of_model()
    assert (report.model.weight_type, report.model.delay_ms, report.engine.backend) == ("Q4_0", 480, "numpy")
    assert report.condition == Condition()
    assert [(clip.id, clip.hypothesis, clip.word_counts.errors) for clip in report.clips] == [
        ("digits_1.wav", "one four one seven", 0),
        ("digits_4.wav", "four seven nine three three", 0),
        ("silence_3s.wav", "", 0),
    ]
    assert all(clip.wall_s > 0 and clip.audio_s > 2.5 for clip in report.clips)
    assert sum(line.startswith('  {"id": ') for line in first.read_text().splitlines()) == 3  # a line for each

    table = folder / "transcripts.csv"
    table.write_text(table.read_text().replace("one seven!", "one six"))
    options = ("--limit", 1, "--delay-ms", 960, "--left-pad", 32, "--normalizer", "english", "--groups", "speech")
    code, out, err = run(capsys, table, *numpy, *options, "--json", second, "--against", first)
    assert (code, err) == (0, "")
    assert "errors: in 1 of 1 clip; the most in\n  digits_1.wav: 1 error\n" in out
    assert "normalised differently: english (whisper-normalizer 0.1.12), basic 2" in out
    assert "delay 960 ms, left padding 32" in out
    condition = Report.of_json(second.read_bytes(), "second.json").condition
    assert condition == Condition(960, 32, groups=("speech",), limit=1)

    code, out, err = run(capsys, "--compare", first, first)
    assert (code, err) == (0, "")
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("overall")] == ["same"] * 3


def test_reports_without_a_clip_in_common_are_a_sentence_and_an_exit_code(capsys, folder, tmp_path):
    reports = tmp_path / "speech.json", tmp_path / "silence.json"
    for report in reports:
        assert run(capsys, folder, "--backend", "numpy", "--groups", report.stem, "--json", report)[0] == 0
    code, out, err = run(capsys, "--compare", *reports)
    assert (code, err) == (1, "")
    assert out.endswith("the two have no clip in common; compare runs over the same set with the same normaliser\n")


def test_the_set_that_comes_with_the_app_times_words(capsys, tmp_path):
    out = tmp_path / "report.json"
    code, shown, _ = run(capsys, "--groups", "digits", "--limit", 2, "--backend", "numpy", "--json", out)
    assert code == 0
    report = Report.of_json(out.read_bytes(), "report.json")
    assert report.set_name == "built in"
    overall = report.summary()["overall"]
    assert overall["latency"]["n"] >= 8
    assert 0.48 < overall["latency"]["median_s"] < 0.48 + 3 * 0.08  # the delay, and a token or two
    assert overall["end_error"]["median_s"] < 0.08
    assert "words heard right whose true end is known" in shown


def test_a_clip_that_cannot_be_read_is_one_sentence_and_the_others_are_measured(capsys, folder, tmp_path):
    (folder / "digits_4.wav").write_bytes(b"no sound")
    out = tmp_path / "report.json"
    code, shown, err = run(capsys, folder, "--backend", "numpy", "--json", out)
    assert code == 1
    assert err.count("\n") == 1
    assert "digits_4.wav: expected" in err
    assert str(tmp_path) not in out.read_text()  # reports are for others, too
    assert "could not be heard and in no figure: 1 clip" in shown
    report = Report.of_json(out.read_bytes(), "report.json")
    assert [clip.id for clip in report.clips] == ["digits_1.wav", "silence_3s.wav"]
    assert [failure.id for failure in report.failures] == ["digits_4.wav"]
    assert report.is_complete


@pytest.mark.parametrize(
    ("end", "exit_code", "sentence"),
    [
        (lambda: signal.raise_signal(signal.SIGINT), 130, "interrupted; the figures are those of 1 of 3 clips"),
        (DeviceError("the GPU went away"), 3, "the GPU went away; the figures are those of 1 of 3 clips"),
    ],
)
def test_what_ends_a_run_leaves_what_was_measured(capsys, folder, tmp_path, monkeypatch, end, exit_code, sentence):
    hear, n_heard = accuracy_run.hear, []

    async def hear_one(loaded, streaming, pieces, tell):
        n_heard.append(1)
        if len(n_heard) == 2:
            if isinstance(end, DeviceError):
                raise end
            end()
        return await hear(loaded, streaming, pieces, tell)

    monkeypatch.setattr(accuracy_run, "hear", hear_one)
    out = tmp_path / "report.json"
    code, shown, err = run(capsys, folder, "--backend", "numpy", "--json", out)
    assert (code, err) == (exit_code, f"voxtral: {sentence}\n")
    assert "1 clip, then interrupted" in shown
    report = Report.of_json(out.read_bytes(), "report.json")
    assert (report.is_complete, [clip.id for clip in report.clips]) == (False, ["digits_1.wav"])


def test_without_jiwer_it_is_one_sentence(capsys, monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    code, out, err = run(capsys, folder, "--backend", "numpy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "counting errors needs the package jiwer, which does not load" in err


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "²", ""])
@pytest.mark.parametrize("command", ["wer", "ablation"])
def test_a_limit_is_a_number_of_clips(capsys, command, limit):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, f"--limit={limit}"])
    assert ended.value.code == 2
    assert f"argument --limit: expected a number, 1 or more, got {limit!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none"], "no such file or folder"),
        (["--groups", "digits,songs"], "expected groups among digits, noisy_digits"),
        (["--json", "none/report.json"], "its folder does not exist"),
        (["--against", "none.json"], "--against none.json: cannot be read"),
        (["--compare", "none.json", "none.json"], "--compare none.json: cannot be read"),
        (["three", "--compare", "a", "b"], "--compare measures nothing; leave SET, --groups"),
        (["--limit", "2", "--compare", "a", "b"], "--compare measures nothing; leave SET, --groups"),
        *(
            (
                [*measuring, "--compare", "a", "b"],
                "--compare measures nothing; leave SET, --groups and all other options",
            )
            for measuring in (
                *(["--model", "m.gguf"], ["--backend", "numpy"], ["--adapter", "0"], ["--chromium", "c"]),
                *(["--delay-ms", "960"], ["--left-pad", "32"], ["--normalizer", "english"]),
            )
        ),
        (["--compare", __file__, __file__], "expected a report, JSON, found what is none"),
        (["--delay-ms", "100"], "delay"),
        (["--json", "."], "expected a file, found another thing of this name"),
        (["--browser", "--chromium", "'a"], "--chromium 'a: expected a command, found No closing quotation"),
    ],
)
def test_wrong_use_is_one_sentence_before_anything_is_loaded(capsys, monkeypatch, tmp_path, arguments, sentence):
    async def load(*_arguments, **_options):
        raise AssertionError("nothing is to be loaded")

    monkeypatch.setattr(wer, "load_native", load)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err
