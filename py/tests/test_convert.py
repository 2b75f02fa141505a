"""Checkpoints of every form become the GGUF file that the gguf package would make of them, or one sentence."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from checkpoints import (
    EMBEDDINGS,
    ENCODER,
    TINY,
    TINY_CONFIG,
    Weights,
    in_halves,
    made_by_the_gguf_package,
    params_json,
    safetensors_bytes,
    save,
    save_in_parts,
    sparse_checkpoint,
    tensors_of,
    weights_of,
    write_safetensors,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.checkpoint import KNOWN
from voxtral.cli import main
from voxtral.config import ModelConfig
from voxtral.convert import MATRIX_TYPES, convert
from voxtral.errors import ModelFileError
from voxtral.gguf import read_index
from voxtral.mapped_file import FileSource
from voxtral.quant import GgmlType
from voxtral.random_model import PRESETS
from voxtral.safetensors import DTYPE_BYTES
from voxtral.weights import check, read_config, tensor_shapes

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "py"), "OPENBLAS_NUM_THREADS": "1"}  # a thread takes memory, too
DEMO = ROOT / "static" / "model" / "voxtral-demo-q4_0.gguf"
CLIP = ROOT / "static" / "samples" / "keywords_1.wav"
FORMS = ["mistral", "transformers", "transformers on the hub"]
LINE = "layers.1.attention.wk.weight"


def silent(_done: int, _total: int) -> None: ...


def config_of(path: Path) -> ModelConfig:
    return read_config(asyncio.run(read_index(FileSource(path))))


@pytest.fixture(scope="module")
def tiny() -> Weights:
    return weights_of(TINY)


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_any_form_becomes_the_file_for_this_engine(tmp_path: Path, tiny: Weights, form: str) -> None:
    heard: list[tuple[int, int]] = []
    out = tmp_path / "my model.gguf"
    source = save(tmp_path / "in", form, tiny, TINY_CONFIG)
    assert convert(source, out, GgmlType.Q4_0, lambda *progress: heard.append(progress)) == [out]
    assert tensors_of(out) == made_by_the_gguf_package(tiny)
    index = asyncio.run(read_index(FileSource(out)))
    check(index, read_config(index))
    about = {key: value for key, value in index.metadata.items() if key.startswith("voxtral.")}
    assert about == {k: v for k, v in asyncio.run(read_index(FileSource(TINY))).metadata.items() if k in about}
    assert len(about) == 9
    assert index.metadata == about | {"general.architecture": "voxtral", "general.name": "my model"}
    assert heard == sorted(heard)
    assert heard[-1] == (sum(values.nbytes for values in tiny.values()),) * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", out.name]


@pytest.mark.parametrize("form", ["mistral", "transformers"])
def test_the_converted_demo_hears_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    source = save(tmp_path / "in", form, weights_of(DEMO), config_of(DEMO))
    (tmp_path / "in" / "tekken.json").write_bytes((DEMO.parent / "tekken.json").read_bytes())
    out = tmp_path / "out" / "demo.gguf"
    out.parent.mkdir()
    assert main(["convert", str(source), str(out)]) == 0
    assert tensors_of(out) == tensors_of(DEMO)
    printed = capsys.readouterr()
    assert printed.out == f"{out}: {out.stat().st_size:,} bytes\n{out.parent / 'tekken.json'}: 86,005 bytes\n"
    assert printed.err.startswith("voxtral: convert: 81 MB in ")
    texts = []
    for model in (out, DEMO):
        assert main(["transcribe", "--backend", "numpy", "--model", str(model), str(CLIP)]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != "\n"
    source.unlink()  # 80 MB


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("kind", MATRIX_TYPES)
def test_every_type_of_every_dtype_is_what_the_gguf_package_makes(
    tmp_path: Path, tiny: Weights, dtype: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtral.convert.WEIGHTS_AT_ONCE", 5000)
    rng = np.random.default_rng(5)
    weights = {name: rng.normal(0, 0.02, values.shape).astype(np.float32) for name, values in tiny.items()}
    out = tmp_path / "out.gguf"
    source = save(tmp_path / "in", "transformers", weights, TINY_CONFIG, dtype)
    assert main(["convert", str(source), str(out), "--type", kind]) == 0
    for tensor in gguf.GGUFReader(out).tensors:
        values = weights[tensor.name]
        if dtype == "F16":
            values = values.astype(np.float16).astype(np.float32)
        if dtype == "BF16":
            values = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        expected = gguf.GGMLQuantizationType(MATRIX_TYPES[kind] if values.ndim == 2 else GgmlType.F32)
        assert tensor.tensor_type == expected, tensor.name
        assert tensor.data.tobytes() == gguf.quantize(values, expected).tobytes(), tensor.name


def test_every_type_is_written_and_inspect_says_what_the_engine_runs(
    tmp_path: Path, tiny: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(tmp_path / "in", "mistral", tiny, TINY_CONFIG)
    for kind in MATRIX_TYPES:
        assert main(["convert", str(source), str(tmp_path / f"{kind}.gguf"), "--type", kind]) == 0
        assert main(["inspect", str(tmp_path / f"{kind}.gguf")]) == 0
        verdict = "this engine does not run it: " if kind == "q8_0" else "this engine runs it\n"
        assert f"\n  {verdict}" in capsys.readouterr().out


# -- several files ------------------------------------------------------------------------------------
def test_an_index_or_a_folder_puts_files_together(tmp_path: Path, tiny: Weights) -> None:
    index = save_in_parts(tmp_path / "in", tiny, TINY_CONFIG)
    convert(index, tmp_path / "a.gguf", GgmlType.Q4_0, silent)
    convert(index.parent, tmp_path / "b.gguf", GgmlType.Q4_0, silent)
    index.unlink()
    convert(index.parent, tmp_path / "c.gguf", GgmlType.Q4_0, silent)
    assert tensors_of(tmp_path / "a.gguf") == tensors_of(tmp_path / "b.gguf") == tensors_of(tmp_path / "c.gguf")
    assert tensors_of(tmp_path / "a.gguf") == made_by_the_gguf_package(tiny)


def test_a_folder_of_both_forms_means_mistral_s(tmp_path: Path, tiny: Weights) -> None:
    save(tmp_path / "in", "mistral", tiny, TINY_CONFIG)
    (tmp_path / "in" / "model.safetensors").write_bytes(b"not even looked at")
    convert(tmp_path / "in", tmp_path / "a.gguf", GgmlType.Q4_0, silent)
    assert tensors_of(tmp_path / "a.gguf") == made_by_the_gguf_package(tiny)


# -- dimensions ---------------------------------------------------------------------------------------
def test_the_known_models_are_the_4b_model_the_demo_and_the_demo_before_it() -> None:
    before = replace(config_of(DEMO).decoder, window=75, vocab_size=1280)
    assert list(KNOWN) == [PRESETS["4b"], config_of(DEMO), replace(config_of(DEMO), decoder=before)]


def test_a_known_model_needs_nothing_beside_it(tmp_path: Path) -> None:
    weights = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(KNOWN[1])}
    source = write_safetensors(tmp_path / "consolidated.safetensors", weights, "F16")
    convert(source, tmp_path / "out.gguf", GgmlType.Q4_0, silent)
    assert config_of(tmp_path / "out.gguf") == KNOWN[1]
    source.unlink()  # 40 MB


@pytest.mark.parametrize("form", ["mistral", "transformers"])
def test_numbers_left_out_are_those_of_the_4b_model(tmp_path: Path, tiny: Weights, form: str) -> None:
    source = save(tmp_path / "in", form, tiny, TINY_CONFIG)
    path = source.parent / ("params.json" if form == "mistral" else "config.json")
    said = json.loads(path.read_text())
    decoder = said if form == "mistral" else said["text_config"]
    encoder = said["multimodal"]["whisper_model_args"]["encoder_args"] if form == "mistral" else said["audio_config"]
    decoder["sliding_window"] = None
    del encoder["sliding_window"]
    path.write_text(json.dumps(said))
    convert(source, tmp_path / "out.gguf", GgmlType.Q4_0, silent)
    found = config_of(tmp_path / "out.gguf")
    assert (found.encoder.window, found.decoder.window) == (750, 8192)


@pytest.mark.parametrize("form", ["mistral", "transformers"])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "{}", '{"multimodal": 3}', '{"audio_config": [], "text_config": {}}', "[" * 100_000,
     '{"multimodal": {"whisper_model_args": {"encoder_args": {"n_heads": "many"}}}}', "\xff",
     '{"audio_config": {"head_dim": {}}, "text_config": {}}', '{"audio_config": {}, "text_config": {"head_dim": -1}}',
     '{"audio_config": {}, "text_config": {"num_hidden_layers": 1e999}}'],
)  # fmt: skip
def test_nonsense_beside_it_is_one_sentence(tmp_path: Path, tiny: Weights, form: str, text: str) -> None:
    source = save(tmp_path / "in", form, tiny, TINY_CONFIG)
    path = source.parent / ("params.json" if form == "mistral" else "config.json")
    path.write_text(text, encoding="latin-1")
    refused(source, tmp_path / "out.gguf", "expected")


def test_without_the_file_that_tells_the_heads_it_is_asked_for(tmp_path: Path, tiny: Weights) -> None:
    for form, name in (("mistral", "params.json"), ("transformers", "config.json")):
        source = save(tmp_path / form, form, tiny, TINY_CONFIG)
        (source.parent / name).unlink()
        refused(source, tmp_path / "out.gguf", f"expected {name} beside it, which tells the number of heads")


# -- what is refused ----------------------------------------------------------------------------------
def refused(source: Path, out: Path, sentence: str) -> None:
    """One sentence, and nothing is written."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(ModelFileError) as error:
        convert(source, out, GgmlType.Q4_0, silent)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert sorted(out.parent.iterdir()) == before


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: change(weights[name])}


def with_value(value: float, at: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[at] = value
        return values

    return change


NORM = ENCODER + "transformer.norm.weight"
MISFITS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "missing": (lambda w: {n: v for n, v in w.items() if n != LINE}, f"tensor {LINE!r} is missing among the file's 67"),
    "shape": (changed(LINE, lambda v: v[:32]), "has shape [32, 96], expected [64, 96]"),
    "one more": (lambda w: w | {"layers.9.norm.weight": w[NORM]}, "'layers.9.norm.weight' too"),
    "NaN": (changed(LINE, with_value(math.nan, (40, 3))), f"tensor {LINE!r}, rows 0 to 63: expected numbers only"),
    "infinity": (changed(NORM, with_value(-math.inf, (7,))), f"tensor {NORM!r}, rows 0 to 63: expected numbers only"),
    "too large": (changed(EMBEDDINGS, with_value(-1e6, (1500, 0))), "numbers that Q4_0 can hold, found 1,000,000"),
    "another model": (lambda w: {"model.layers.0.mlp.experts.weight": w[NORM]}, "found 'model.layers.0.mlp.experts"),
    "nothing": (lambda _: {}, "is missing among the file's 0"),
    "no width": (
        lambda w: {n: v[:0] if ".w1." in n or ".w3." in n else v[:, :0] if ".w2.w" in n else v for n, v in w.items()},
        "expected no empty dimension",
    ),
    "five dimensions": (changed(NORM, lambda v: v.reshape(1, 1, 1, 1, 64)), "expected 1 dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISFITS)
def test_misfits_are_one_sentence(tmp_path: Path, tiny: Weights, kind: str) -> None:
    change, sentence = MISFITS[kind]
    refused(save(tmp_path / "in", "mistral", change(tiny), TINY_CONFIG), tmp_path / "out.gguf", sentence)


def test_integers_are_refused_before_anything_is_written(tmp_path: Path, tiny: Weights) -> None:
    source = save(tmp_path / "in", "mistral", tiny, TINY_CONFIG)
    source.write_bytes(source.read_bytes().replace(b'"dtype": "F32"', b'"dtype": "I32"', 1))
    refused(source, tmp_path / "out.gguf", "is I32, expected F32, F16, BF16; use the checkpoint as it was")


def test_a_name_in_two_forms_is_refused(tmp_path: Path, tiny: Weights) -> None:
    halves = in_halves(tiny, TINY_CONFIG)
    source = write_safetensors(
        tmp_path / "model.safetensors", halves | {"model.audio_tower.norm.weight": halves["audio_tower.norm.weight"]}
    )
    refused(source, tmp_path / "out.gguf", "found 'model.audio_tower.norm.weight'")


def test_nothing_is_overwritten(tmp_path: Path, tiny: Weights) -> None:
    source, out = save(tmp_path / "in", "mistral", tiny, TINY_CONFIG), tmp_path / "out.gguf"
    out.write_bytes(b"mine")
    refused(source, out, "out.gguf: expected a new file, one is there already")
    (tmp_path / "in" / "tekken.json").write_text("{}")
    (tmp_path / "tekken.json").write_text("{ }")
    refused(source, tmp_path / "new.gguf", "tekken.json: belongs to another model; choose another folder")
    (tmp_path / "tekken.json").write_text("{}")
    convert(source, tmp_path / "new.gguf", GgmlType.Q4_0, silent)
    assert out.read_bytes() == b"mine"


def test_odd_file_names_work(tmp_path: Path, tiny: Weights, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / 'in "$(x)" ü', "mistral", tiny, TINY_CONFIG)
    out = tmp_path / os.fsdecode(b"a \xff b.gguf")
    assert main(["convert", str(source.parent), str(out)]) == 0
    assert asyncio.run(read_index(FileSource(out))).metadata["general.name"] == "a ? b"
    assert "bytes" in capsys.readouterr().out


def test_a_full_disk_leaves_nothing(tmp_path: Path, tiny: Weights) -> None:
    def full(done: int, total: int) -> None:
        if done > total // 2:
            raise OSError(28, "No space left on device", "out.gguf")

    source = save(tmp_path / "in", "mistral", tiny, TINY_CONFIG)
    with pytest.raises(ModelFileError, match=r"out\.gguf: No space left on device; check the path and the room there"):
        convert(source, tmp_path / "out.gguf", GgmlType.Q4_0, full)
    with pytest.raises(ModelFileError, match=r"nowhere.*: No such file or directory"):
        convert(source, tmp_path / "nowhere" / "out.gguf", GgmlType.Q4_0, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_wrong_shape_dtype_or_number_is_one_sentence(data: st.DataObject) -> None:
    """Of a small network of zeros; what passes is written as it should be."""
    shapes = dict(tensor_shapes(TINY_CONFIG))
    dtypes = dict.fromkeys(shapes, "BF16")
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=2)):
        shapes[name] = tuple(data.draw(st.lists(st.sampled_from([0, 1, 32, 64, 96, 160]), max_size=3)))
        dtypes[name] = data.draw(st.sampled_from(["F32", "F16", "BF16", "U8", "F64"]))
    numbers = json.loads(params_json(TINY_CONFIG))
    encoder = numbers["multimodal"]["whisper_model_args"]["encoder_args"]
    for half in data.draw(st.lists(st.sampled_from([numbers, encoder]), max_size=2)):
        key = data.draw(st.sampled_from(["n_layers", "n_heads", "n_kv_heads", "head_dim", "sliding_window"]))
        odd = st.sampled_from([None, True, 0, -1, 1, 3, 32, 2**20, 2**80, 1.5, "7", "x", [], {}])
        half[key] = data.draw(odd)
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + DTYPE_BYTES[dtypes[name]] * math.prod(shape)
        header[name] = {"dtype": dtypes[name], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "consolidated.safetensors"), Path(folder, "out.gguf")
        source.write_bytes(safetensors_bytes(header, bytes(offset)))
        Path(folder, "params.json").write_text(json.dumps(numbers))
        try:
            convert(source, out, GgmlType.Q4_0, silent)
        except ModelFileError:
            assert not out.exists()
        else:
            index = asyncio.run(read_index(FileSource(out)))
            check(index, read_config(index))


def test_one_interrupt_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    sparse_checkpoint(tmp_path, PRESETS["4b"])
    command = [sys.executable, "-m", "voxtral", "convert", str(tmp_path), str(tmp_path / "out.gguf")]
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        while not (tmp_path / "out.gguf.part").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["consolidated.safetensors", "params.json"]


# -- memory -------------------------------------------------------------------------------------------
CONVERT_AND_TELL_PEAK = """
import sys
from pathlib import Path
from voxtral.cli import main
code = main(["convert", sys.argv[1], sys.argv[2]])
lines = Path("/proc/self/status").read_text().splitlines()
print(code, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")))
"""


def peak_of_converting(folder: Path, config: ModelConfig, at_least_bytes: int) -> int:
    """Memory of a process that converts a checkpoint of such a size."""
    if not Path("/proc/self/status").exists():
        pytest.skip("what a process took at most is read from /proc, which Linux has")
    source, n_bytes = sparse_checkpoint(folder, config)
    assert n_bytes > at_least_bytes
    out = folder / "out.gguf"
    command = [sys.executable, "-c", CONVERT_AND_TELL_PEAK, str(source), str(out)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert config_of(out) == config
    source.unlink()
    out.unlink()
    code, peak = done.stdout.splitlines()[-1].split()
    assert code == "0"
    return int(peak)


def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    assert peak_of_converting(tmp_path, PRESETS["4b-layer"], 280_000_000) < 140_000_000


@pytest.mark.slow
def test_the_4b_model_is_converted_in_a_fraction_of_a_gigabyte(tmp_path: Path) -> None:
    assert peak_of_converting(tmp_path, PRESETS["4b"], 8_800_000_000) < 400_000_000
