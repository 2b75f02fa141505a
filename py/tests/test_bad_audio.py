"""Bad sound through the command line and through the worker: one sentence, and the next good file works."""

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest
import soundfile
from damaged_audio import ODD, ODD_NAME, RATE, REFUSED, REFUSED_BY_DECODERS, SPEECH, SPOKEN, wav16
from hypothesis import given, settings
from hypothesis import strategies as st
from test_worker import transcribe, with_worker

from voxtral.audio_file import open_stream
from voxtral.cli import main
from voxtral.errors import AudioError
from voxtral.mel import LOG_FLOOR, log_mel

GOOD = wav16(SPEECH)


def check_sentence(sentence, path):
    """One line for a person that begins with the file's name."""
    name = str(path)
    assert sentence.startswith(f"{name}: "), sentence
    assert "\n" not in sentence
    assert "Error" not in sentence
    assert len(sentence) < len(name) + 250


def assert_hears(text, odd):
    if odd.n_word_errors == 0:
        assert text == odd.text
    else:
        assert jiwer.process_words(odd.text, text or " ").hits >= len(odd.text.split()) - odd.n_word_errors, text


# -- the command line ---------------------------------------------------------------------------------
def transcribe_files(folder, cases, capsys):
    """Every case and, last, a good file in one command: (exit code, lines of stdout, lines of stderr, paths)."""
    paths = {}
    for kind, case in cases.items():
        paths[kind] = folder / f"{kind}, {ODD_NAME}{getattr(case, 'suffix', '.wav')}"
        paths[kind].write_bytes(case.data)
    good = folder / "good.wav"
    good.write_bytes(GOOD)
    code = main(["transcribe", "--backend", "numpy", *map(str, paths.values()), str(good)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines(), paths


def test_each_bad_file_is_one_sentence_on_the_command_line(capsys, tmp_path):
    cases = REFUSED | REFUSED_BY_DECODERS
    code, out, err, paths = transcribe_files(tmp_path, cases, capsys)
    assert (code, out) == (1, [SPOKEN])
    assert len(err) == len(cases)
    for line, (kind, case) in zip(err, cases.items(), strict=True):
        sentence = line.removeprefix("voxtral: ")
        check_sentence(sentence, paths[kind])
        assert case.expected in sentence
        assert case.found in sentence
    assert list(tmp_path.glob("owned*")) == []


def test_what_is_odd_is_transcribed_on_the_command_line(capsys, tmp_path):
    code, out, err, paths = transcribe_files(tmp_path, ODD, capsys)
    assert code == 0
    for text, odd in zip(out, [*ODD.values(), ODD["RIFF size 0"]], strict=True):
        assert_hears(text, odd)
    noticed = {kind: odd.notice for kind, odd in ODD.items() if odd.notice}
    assert len(err) == len(noticed)
    for line, (kind, notice) in zip(err, noticed.items(), strict=True):
        sentence = line.removeprefix("voxtral: ")
        check_sentence(sentence, paths[kind])
        assert notice in sentence


def test_a_bad_file_alone_as_a_person_runs_it(tmp_path):
    """A process of its own: exit code 1, nothing on stdout, no traceback."""
    bad = tmp_path / f"{ODD_NAME}.wav"
    bad.write_text("Dear diary")
    command = [sys.executable, "-m", "voxtral", "transcribe", "--backend", "numpy", str(bad)]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=Path(__file__).parents[1]
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    check_sentence(line.removeprefix("voxtral: "), bad)


def test_a_name_that_is_no_text_is_still_valid_json(tmp_path):
    file = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    Path(file).write_bytes(GOOD)
    command = [sys.executable, "-m", "voxtral", "transcribe", "--backend", "numpy", "--format", "json", file]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    folder = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    result = json.loads(done.stdout)
    assert (result["file"], result["text"]) == (file, SPOKEN)


@pytest.mark.parametrize("suffix", ["", ".wav", ".mp3"])
def test_a_folder_is_no_sound(capsys, tmp_path, suffix):
    folder = tmp_path / f"a folder{suffix}"
    folder.mkdir()
    assert main(["transcribe", "--backend", "numpy", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    check_sentence(line.removeprefix("voxtral: "), folder)


# -- other formats ------------------------------------------------------------------------------------
def samples_from_bytes(data, name):
    """All of a file's sound, and notices."""
    notices = []
    with open_stream(io.BytesIO(data), name, notices.append) as audio:
        return np.concatenate([np.zeros(0, np.float32), *audio]), notices


def encoded(container, codec):
    """digits_1 at 48 kHz in another format."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        samples = (np.repeat(SPEECH, 3) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "notice"),
    [
        ("flac", "flac", "claims 2.69 s of sound; the 1."),
        ("webm", "libopus", "claims 2.71 s of sound; the 1."),
        ("adts", "aac", "parts of it are damaged and were left out; 1."),
        ("mp3", "mp3", None),  # its frames stand alone: half a file is a whole one
    ],
)
def test_half_a_file_gives_half_its_sound(container, codec, notice):
    data = encoded(container, codec)
    samples, notices = samples_from_bytes(data[: len(data) // 2], f"a.{container}")
    assert 0.9 < len(samples) / RATE < 1.7
    if notice is None:
        assert notices == []
    else:
        (sentence,) = notices
        check_sentence(sentence, f"a.{container}")
        assert notice in sentence
    assert samples_from_bytes(data, f"a.{container}")[1] == []


@pytest.mark.parametrize("n_channels", [2, 7, 8])
def test_every_channel_of_other_formats_is_read(n_channels):
    out = io.BytesIO()
    channels = SPEECH[:16_000, None] * np.linspace(0.2, 1, n_channels, dtype=np.float32)
    soundfile.write(out, channels, RATE, format="FLAC")
    samples, notices = samples_from_bytes(out.getvalue(), "a.flac")
    np.testing.assert_allclose(samples, channels.mean(axis=1), rtol=0, atol=1e-4)
    assert notices == []


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["FLAC", "OGG", "MP3"]), st.data())
def test_flipped_bytes_are_read_or_refused(container, draw):
    out = io.BytesIO()
    soundfile.write(out, SPEECH[:8000], RATE, format=container)
    data = bytearray(out.getvalue())
    for position in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=20)):
        data[position] ^= draw.draw(st.integers(1, 255))
    name = f"a.{container.lower()}"
    try:
        samples, _ = samples_from_bytes(bytes(data), name)
    except AudioError as error:
        check_sentence(str(error), name)
        return
    assert np.isfinite(samples).all()


# -- the worker ---------------------------------------------------------------------------------------
def outcomes(cases):
    """Each case, then a good file, through one worker: {kind: (text or None, error sentence or None, notices)}."""

    async def one(host, worker, session, name, data):
        worker.receive(transcribe(session, name, data))
        while not (done := host.of("done", session)) and not (error := host.of("error", session)):
            host.arrived.clear()
            await asyncio.wait_for(host.arrived.wait(), 60)
        notices = [message["sentence"] for message in host.of("notice", session)]
        if done:
            return done[0]["result"]["text"], None, notices
        assert not error[0]["fatal"]
        return None, error[0]["sentence"], notices

    async def scenario(host, worker):
        found = {}
        for session, (kind, case) in enumerate(cases.items()):
            found[kind] = await one(host, worker, session, f"{kind}, {ODD_NAME}.wav", case.data)
        assert (await one(host, worker, len(cases), "good.wav", GOOD))[0] == SPOKEN
        return found

    return with_worker(scenario)


def test_each_bad_file_is_one_sentence_from_the_worker():
    for kind, (text, sentence, notices) in outcomes(REFUSED).items():
        assert text is None
        check_sentence(sentence, f"{kind}, {ODD_NAME}.wav")
        assert REFUSED[kind].expected in sentence
        assert REFUSED[kind].found in sentence
        assert notices == []


def test_what_is_odd_is_transcribed_by_the_worker():
    for kind, (text, _, notices) in outcomes(ODD).items():
        assert_hears(text, ODD[kind])
        assert len(notices) == (ODD[kind].notice is not None)
        for sentence in notices:
            check_sentence(sentence, f"{kind}, {ODD_NAME}.wav")
            assert ODD[kind].notice in sentence


def test_speech_of_minus_50_dbfs_reaches_the_network():
    """The demo network takes it for silence; its mel frames are none."""
    quiet = log_mel(SPEECH * np.float32(10 ** (-50 / 20) / np.abs(SPEECH).max()))
    decades_above_floor = 4 * quiet.max() - 4 - LOG_FLOOR
    assert decades_above_floor > 3
