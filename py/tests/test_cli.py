"""The command line: what it prints, and one sentence for everything that is wrong."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import srt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from voxtral.audio_file import read_audio
from voxtral.cli import main
from voxtral.document import Document

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "static" / "samples"
GOLDEN = Path(__file__).parent / "golden"
DEMO = ROOT / "static" / "model" / "voxtral-demo-q4_0.gguf"
MEASURED = {"file", "wall_s", "rtf", "tokens"}  # beside what every document has


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(params=["numpy", "webgpu"])
def backend(request):
    return request.param


def test_transcribe_prints_text(capsys, backend):
    code, out, _ = run(capsys, "transcribe", "--backend", backend, SAMPLES / "digits_1.wav")
    assert (code, out) == (0, "one four one seven\n")


def test_transcribe_prints_json_lines(capsys):
    files = [SAMPLES / "digits_1.wav", SAMPLES / "silence_3s.wav"]
    code, out, _ = run(capsys, "transcribe", "--backend", "numpy", "--format", "json", *files)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert all(set(Document.of(line).more) == MEASURED for line in lines)
    assert lines[0]["settings"]["backend"] == "numpy"
    assert [line["text"] for line in lines] == ["one four one seven", ""]
    assert [word["text"] for word in lines[0]["words"]] == ["one", "four", "one", "seven"]
    assert lines[0]["words"][-1]["end"] <= lines[0]["audio_s"]


def test_transcribe_writes_a_file_for_each(capsys, tmp_path):
    files = [SAMPLES / "digits_1.wav", SAMPLES / "digits_4.wav"]
    options = ["--format", "srt", "--max-line-chars", 10, "--max-lines", 1, "--output-dir", tmp_path]
    code, out, _ = run(capsys, "transcribe", "--backend", "numpy", *options, *files)
    assert (code, out) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits_1.srt", "digits_4.srt"]
    cues = list(srt.parse((tmp_path / "digits_4.srt").read_text()))
    assert " ".join(cue.content for cue in cues) == "four seven nine three three"
    assert all(len(cue.content) <= 10 for cue in cues)


@pytest.mark.parametrize("peak_dbfs", [-40, -50, -60])
def test_very_quiet_speech_is_raised_and_said_to_be(capsys, tmp_path, peak_dbfs):
    samples, _ = read_audio(SAMPLES / "digits_1.wav")
    quiet = tmp_path / "quiet.wav"
    steps = np.round(samples * (32_768 * 10 ** (peak_dbfs / 20) / np.abs(samples).max()))  # 16 bits, as it would be
    write_float_wav(quiet, steps / 32_768)
    code, out, err = run(capsys, "transcribe", "--backend", "numpy", quiet)
    assert (code, out) == (0, "one four one seven\n")
    assert f"peak {peak_dbfs} dBFS" in err


def test_a_bad_file_does_not_stop_the_others(capsys, tmp_path):
    bad = tmp_path / "a 'bad' $(x) file ü.wav"
    bad.write_text("nothing to hear")
    code, out, err = run(capsys, "transcribe", "--backend", "numpy", bad, SAMPLES / "digits_1.wav")
    assert (code, out) == (1, "one four one seven\n")
    assert bad.name in err
    assert_one_sentence(err)


def test_odd_file_names_work(capsys, tmp_path):
    odd = tmp_path / 'a "quoted" name; $(x) ümläut.wav'
    odd.write_bytes((SAMPLES / "digits_1.wav").read_bytes())
    code, out, _ = run(capsys, "transcribe", "--backend", "numpy", "--format", "json", odd)
    assert code == 0
    assert json.loads(out)["file"] == str(odd)


def test_a_folder_of_shards_is_a_model(capsys, tmp_path):
    data = DEMO.read_bytes()
    for i, start in enumerate(range(0, len(data), 5_000_001)):
        (tmp_path / f"shard-a{'abcdefg'[i]}").write_bytes(data[start : start + 5_000_001])
    (tmp_path / "tekken.json").write_bytes((DEMO.parent / "tekken.json").read_bytes())
    code, out, _ = run(capsys, "transcribe", "--backend", "numpy", "--model", tmp_path, SAMPLES / "digits_4.wav")
    assert (code, out) == (0, "four seven nine three three\n")


@pytest.mark.parametrize("chunk", [0, 777])
def test_tokens_and_dump_agree_with_the_golden_set(capsys, tmp_path, backend, chunk):
    golden = np.load(GOLDEN / "delay960_f16" / "golden.npz")
    wav = tmp_path / "golden.wav"
    write_float_wav(wav, golden["audio"])
    options = ["--model", GOLDEN / "delay960_f16" / "model.gguf", "--delay-ms", 960, "--left-pad", 32]
    dump = tmp_path / "out.npz"
    code, out, _ = run(
        capsys, "tokens", wav, *options, "--chunk", chunk, "--backend", backend, *(["--dump", dump] if chunk else [])
    )
    assert code == 0
    assert json.loads(out) == golden["tokens"].tolist()
    if chunk:
        stages = np.load(dump)
        assert set(stages) == {"mel", "conv2", "enc_out", "audio_embeds", "logits", "tokens"}
        for name in stages:
            np.testing.assert_allclose(stages[name], golden[name], rtol=0, atol=1e-4 if name == "mel" else 1e-3)


def test_inspect_shows_the_network(capsys):
    code, out, _ = run(capsys, "inspect", DEMO.parent)
    assert code == 0
    assert "179 tensors" in out
    assert "n_layers=8" in out
    assert "Q4_0" in out


DIGITS = SAMPLES / "digits_1.wav"


@pytest.mark.parametrize(
    ("code", "arguments", "expected"),
    [
        (1, ["transcribe", "/nowhere/at all.wav"], "/nowhere/at all.wav"),
        (1, ["transcribe", SAMPLES], "name the files in it"),
        (1, ["transcribe", "/nowhere/*.wav"], "/nowhere/*.wav"),
        (2, ["transcribe", DIGITS, "--delay-ms", "90"], "90"),
        (2, ["transcribe", DIGITS, "--left-pad", "7"], "left_pad_tokens"),
        (2, ["transcribe", DIGITS, "--format", "srt", "--max-lines", "0"], "max_lines"),
        (2, ["transcribe", DIGITS, SAMPLES / "digits_2.wav", "--format", "vtt"], "--output-dir DIR"),
        (2, ["transcribe", DIGITS, "--output-dir", DIGITS / "folder"], "digits_1.wav/folder"),
        (2, ["transcribe", DIGITS, "a/digits_1.mp3", "--output-dir", SAMPLES], "digits_1.txt"),
        (2, ["transcribe", DIGITS, "--overwrite"], "--output-dir"),
        (2, ["transcribe", DIGITS, "--rate", "8000"], "standard input"),
        (2, ["transcribe", "-", "--channels", "0"], "--channels"),
        (2, ["transcribe", "-", "-"], "only once"),
        (2, ["transcribe", DIGITS, "--adapter", "x"], "--adapter"),
        (3, ["transcribe", DIGITS, "--model", "/nowhere.gguf"], "/nowhere.gguf"),
        (2, ["tokens", DIGITS, "--chunk", "-5"], "--chunk"),
        (2, ["listen", "--output", "/nowhere at all/a.srt"], "/nowhere at all"),
        (2, ["listen", "--output", "captions.doc"], ".srt"),
        (2, ["listen", "--overwrite"], "--output"),
        (1, ["inspect", DIGITS], "digits_1.wav"),
    ],
)
def test_mistakes_are_one_sentence(capsys, code, arguments, expected):
    computes = [] if arguments[0] == "inspect" else ["--backend", "numpy"]
    found, out, err = run(capsys, *arguments, *computes)
    assert (found, out) == (code, "")
    assert expected in err
    assert_one_sentence(err)


def filled(data, start, end):
    """The bytes, with NaN from one part of them to another."""
    first, last = (round(len(data) * part) for part in (start, end))
    return data[:first] + b"\xff" * (last - first) + data[last:]


def damaged_models():
    """Name, a function from the good file's bytes to bad ones, and words the sentence must hold."""
    return [
        ("truncated", lambda data: data[: len(data) // 2], ["bytes"]),
        ("header only", lambda data: data[:1000], ["bytes"]),
        ("empty", lambda _: b"", ["bytes"]),
        ("wrong magic", lambda data: b"GGML" + data[4:], ["GGUF"]),
        ("damaged in the middle", lambda data: filled(data, 0.4, 0.6), ["expected the weights of", "or damaged"]),
        ("damaged at the end", lambda data: filled(data, 0.75, 1), ["expected the weights of", "or damaged"]),
        ("version 9", lambda data: data[:4] + struct.pack("<I", 9) + data[8:], ["version", "9"]),
    ]


@pytest.mark.parametrize(("name", "damage", "expected"), damaged_models())
def test_damaged_models_are_one_sentence(capsys, tmp_path, name, damage, expected):
    model = tmp_path / f"{name}.gguf"
    model.write_bytes(damage((GOLDEN / "tiny" / "model.gguf").read_bytes()))
    assert_refused(capsys, model, [model.name, *expected])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("missing", ["layers.1.attention.wk.weight"]),
        ("type", ["layers.1.attention.wk.weight", "F32", "Q4_0"]),
        ("shape", ["layers.1.attention.wk.weight", "32"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(capsys, tmp_path, change, expected):
    model = tmp_path / "model.gguf"
    rewrite_model(GOLDEN / "tiny" / "model.gguf", model, "layers.1.attention.wk.weight", change)
    assert_refused(capsys, model, [model.name, *expected])


def assert_refused(capsys, model, expected):
    (model.parent / "tekken.json").write_bytes((GOLDEN / "tiny" / "tekken.json").read_bytes())
    code, out, err = run(capsys, "transcribe", SAMPLES / "digits_1.wav", "--model", model, "--backend", "numpy")
    assert (code, out) == (3, "")
    for words in expected:
        assert words in err
    assert_one_sentence(err)


def assert_one_sentence(err):
    assert err.count("\n") == 1
    assert "Traceback" not in err


def rewrite_model(source, target, tensor_name, change):
    """Copy a GGUF file with one tensor left out, stored as F32, or cut to half its rows."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "voxtral")
    for field in reader.fields.values():
        if field.name.startswith("voxtral."):
            writer.add_uint32(field.name, int(field.contents()))
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if tensor.name == tensor_name:
            if change == "missing":
                continue
            if change == "type":
                data, kind = np.zeros(tuple(reversed(tensor.shape.tolist())), np.float32), GGMLQuantizationType.F32
            if change == "shape":
                data = data[: len(data) // 2]
        writer.add_tensor(tensor.name, data, raw_dtype=kind if kind == GGMLQuantizationType.Q4_0 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_float_wav(path, samples):
    data = samples.astype("<f4").tobytes()
    fmt = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip
