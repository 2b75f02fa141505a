"""headless.py and the command line as people start them: the same words, the same tokens, the same sentences."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "static" / "samples"
HEADLESS = [sys.executable, str(ROOT / "e2e" / "headless.py")]
COMMAND_LINE = [sys.executable, "-m", "voxtral", "transcribe"]
LIMIT_S = 900
MAX_WORD_ERRORS = 0.05


def run(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "py")}
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False
    )


@pytest.fixture(scope="module")
def transcripts() -> dict[str, dict[str, str]]:
    """Rows of transcripts.tsv by file name."""
    with (SAMPLES / "transcripts.tsv").open(encoding="utf-8") as table:
        return {row["file"]: row for row in csv.DictReader(table, delimiter="\t")}


@pytest.fixture(scope="module")
def in_browser(transcripts) -> dict[str, dict[str, Any]]:
    """Every clip through the page, by file name."""
    return transcribe_all([*HEADLESS, "--backend", "webgpu"], list(transcripts))


@pytest.fixture(scope="module")
def on_command_line(transcripts) -> dict[str, dict[str, Any]]:
    return transcribe_all(COMMAND_LINE, list(transcripts))


def transcribe_all(command: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    files = [SAMPLES / name for name in names]
    finished = run(command, "--format", "json", *files)
    assert finished.returncode == 0, finished.stderr
    results = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [result["file"] for result in results] == [str(file) for file in files]
    return dict(zip(names, results, strict=True))


def test_the_demo_vocabulary_is_understood(in_browser, transcripts):
    spoken = {name: row["transcript"] for name, row in transcripts.items() if row["demo_vocabulary"] == "yes"}
    silent = [name for name, text in spoken.items() if not text]
    assert silent
    assert [in_browser[name]["text"] for name in silent] == [""] * len(silent)
    names = [name for name, text in spoken.items() if text]
    assert len(names) == 9
    errors = jiwer.wer([spoken[name] for name in names], [in_browser[name]["text"] for name in names])
    assert errors <= MAX_WORD_ERRORS, {name: in_browser[name]["text"] for name in names}


def test_browser_and_command_line_give_the_same_tokens(in_browser, on_command_line):
    assert {name: result["tokens"] for name, result in in_browser.items()} == {
        name: result["tokens"] for name, result in on_command_line.items()
    }


def test_browser_and_command_line_give_the_same_lines(in_browser, on_command_line):
    own = {"wall_s", "rtf", "id", "created_at", "settings"}  # each machine and moment has its own
    for name, result in on_command_line.items():
        assert list(in_browser[name]) == list(result)
        for field in result:
            assert type(in_browser[name][field]) is type(result[field])
            if field == "words":
                assert in_browser[name][field] == [approximate(word) for word in result[field]]
            elif field not in own:
                assert in_browser[name][field] == result[field]


def approximate(word: dict[str, Any]) -> dict[str, Any]:
    """A word whose probabilities may differ as far as another GPU's arithmetic does."""
    alternatives = [
        {**other, "probability": pytest.approx(other["probability"], abs=0.01)} for other in word["alternatives"]
    ]
    return {**word, "probability": pytest.approx(word["probability"], abs=0.01), "alternatives": alternatives}


def test_odd_names_and_bad_files_beside_good_ones(tmp_path):
    good = tmp_path / "a \"quoted\" 'name' ümlaut $(x).wav"
    shutil.copy(SAMPLES / "digits_1.wav", good)
    text = tmp_path / "text.wav"
    text.write_text("hello\n")
    finished = run(HEADLESS, "--model", ROOT / "static" / "model", tmp_path / "none.wav", text, good)
    assert (finished.returncode, finished.stdout) == (1, "one four one seven\n")
    complaints = finished.stderr.splitlines()
    assert len(complaints) == 2
    assert "none.wav" in complaints[0]
    assert "text.wav" in complaints[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--delay-ms", "481"], "delay_ms must be"), (["--model", "/nowhere"], "found nothing there")],
)
def test_a_wrong_option_is_one_sentence(options, words):
    finished = run(HEADLESS, *options, SAMPLES / "digits_1.wav")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert len(finished.stderr.splitlines()) == 1
    assert words in finished.stderr
