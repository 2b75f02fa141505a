"""A checkpoint reads like the GGUF file that `convert` would write of it, in any order and any pieces."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import (
    TINY,
    TINY_CONFIG,
    Weights,
    made_by_the_gguf_package,
    safetensors_bytes,
    save,
    save_in_parts,
    sparse_checkpoint,
    stored,
    tensors_of,
    weights_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.cli import main
from voxtral.convert import convert
from voxtral.errors import ModelFileError
from voxtral.gguf import read_index
from voxtral.model.loader import read_header
from voxtral.model_path import open_model_files
from voxtral.quant import GgmlType
from voxtral.random_model import PRESETS
from voxtral.shards import ShardedCursor

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "py"), "OPENBLAS_NUM_THREADS": "1"}  # a thread takes memory, too
DEMO = ROOT / "static" / "model"
SAMPLES = ROOT / "static" / "samples"
FORMS = ("mistral", "transformers", "transformers on the hub", "parts")
DTYPES = ("F32", "F16", "BF16")
WQ, WK = "layers.1.attention.wq.weight", "layers.1.attention.wk.weight"


def silent(_done: int, _total: int) -> None: ...


def save_as(folder: Path, form: str, weights: Weights, dtype: str) -> Path:
    if form == "parts":
        return save_in_parts(folder, weights, TINY_CONFIG, dtype)
    return save(folder, form, weights, TINY_CONFIG, dtype)


def whole(source: ShardedCursor) -> bytes:
    return asyncio.run(source.read_at(0, source.n_bytes))


@pytest.fixture(scope="module")
def tiny() -> Weights:
    """A network whose weights every dtype can hold: few bits, none of them tiny."""
    found = {}
    for name, values in weights_of(TINY).items():
        halves = np.asarray(values).astype(np.float16).astype(np.float32)
        found[name] = (halves.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return found


@pytest.fixture(scope="module")
def sources(tiny: Weights, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], ShardedCursor]:
    """Of every form and dtype; each in a folder `model`, so that all have that name."""
    found = {}
    for form in FORMS:
        for dtype in DTYPES:
            folder = tmp_path_factory.mktemp("form") / "model"
            save_as(folder, form, tiny, dtype)
            found[form, dtype], _ = open_model_files(folder)
    return found


# -- the file -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_is_the_file_that_the_gguf_package_would_make(
    sources: dict[tuple[str, str], ShardedCursor], tiny: Weights, dtype: str, tmp_path: Path
) -> None:
    data = {form: whole(sources[form, dtype]) for form in FORMS}
    assert len(set(data.values())) == 1
    (tmp_path / "virtual.gguf").write_bytes(data["mistral"])
    assert tensors_of(tmp_path / "virtual.gguf") == made_by_the_gguf_package(tiny, dtype)
    index = asyncio.run(read_index(sources["parts", dtype]))
    assert index.metadata["general.name"] == "model"
    assert index.metadata["voxtral.decoder.attention.head_count_kv"] == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_convert_to_its_own_type_writes_that_very_file(
    sources: dict[tuple[str, str], ShardedCursor], tiny: Weights, dtype: str, tmp_path: Path
) -> None:
    convert(save_as(tmp_path / "in", "transformers", tiny, dtype), tmp_path / "model.gguf", GgmlType[dtype], silent)
    assert (tmp_path / "model.gguf").read_bytes() == whole(sources["transformers", dtype])


@pytest.fixture(scope="module")
def known(sources: dict[tuple[str, str], ShardedCursor]) -> dict[str, tuple[bytes, list[int]]]:
    """By dtype: the whole file, and where its tensors begin."""
    found = {}
    for dtype in DTYPES:
        source = sources["mistral", dtype]
        offsets = {tensor.offset for tensor in asyncio.run(read_index(source)).tensors.values()}
        found[dtype] = whole(source), sorted(offsets | {0, source.n_bytes})
    return found


@settings(max_examples=40)
@given(data=st.data())
def test_any_range_in_any_order_is_that_of_the_whole(
    sources: dict[tuple[str, str], ShardedCursor], known: dict[str, tuple[bytes, list[int]]], data: st.DataObject
) -> None:
    form, dtype = data.draw(st.sampled_from(FORMS)), data.draw(st.sampled_from(DTYPES))
    source, (expected, edges) = sources[form, dtype], known[dtype]
    position = st.integers(0, source.n_bytes) | st.builds(
        lambda edge, by: min(max(edge + by, 0), source.n_bytes), st.sampled_from(edges), st.integers(-70, 70)
    )
    for start, end in data.draw(st.lists(st.tuples(position, position).map(sorted), min_size=1, max_size=5)):
        assert asyncio.run(source.read_at(start, end - start)) == expected[start:end]
        pieces = asyncio.run(source.pieces_at(start, end - start))
        assert b"".join(piece.in_python() for piece in pieces) == expected[start:end]
        assert sum(piece.n_bytes for piece in pieces) == end - start


def test_beyond_the_end_is_one_sentence(sources: dict[tuple[str, str], ShardedCursor]) -> None:
    source = sources["parts", "BF16"]
    for offset, n_bytes in ((source.n_bytes, 1), (-1, 1), (0, source.n_bytes + 1), (5, -1)):
        with pytest.raises(ModelFileError, match="there are only"):
            asyncio.run(source.read_at(offset, n_bytes))


def test_a_name_tells_where_a_tensor_lies(sources: dict[tuple[str, str], ShardedCursor]) -> None:
    source = sources["parts", "F16"]
    names = {Path(source.part_at(offset)).name for offset in range(0, source.n_bytes, 999)}
    assert {"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"} < names
    assert Path(source.name).name == "model"


@pytest.mark.parametrize(
    ("name", "title"), [("my.safetensors", "my"), ("consolidated.safetensors", "in"), ("model.safetensors", "in")]
)
def test_a_file_that_has_a_name_gives_it_to_the_model(tmp_path: Path, tiny: Weights, name: str, title: str) -> None:
    path = save_as(tmp_path / "in", "mistral", tiny, "BF16")
    source, _ = open_model_files(path.rename(path.with_name(name)))
    assert asyncio.run(read_index(source)).metadata["general.name"] == title


# -- types --------------------------------------------------------------------------------------------
def save_mixed(folder: Path, weights: Weights, dtypes: dict[str, str]) -> Path:
    """In Mistral's form, BF16 but for some tensors."""
    path = save_as(folder, "mistral", weights, "BF16")
    header, parts, offset = {}, [], 0
    for name, values in weights.items():
        dtype = dtypes.get(name, "BF16")
        parts.append(stored(values, dtype))
        end = offset + len(parts[-1])
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    path.write_bytes(safetensors_bytes(header, b"".join(parts)))
    return path


def test_matrices_of_a_network_may_be_of_several_types(tmp_path: Path, tiny: Weights) -> None:
    path = save_mixed(tmp_path / "in", tiny, {"layers.0.feed_forward.w2.weight": "F32", "norm.weight": "F16"})
    index, _ = asyncio.run(read_header(open_model_files(path)[0]))
    kinds = {name: GgmlType(tensor.ggml_type).name for name, tensor in index.tensors.items()}
    assert kinds["layers.0.feed_forward.w2.weight"] == kinds["norm.weight"] == "F32"
    assert kinds[WQ] == "BF16"


def test_rows_of_one_product_of_several_types_are_one_sentence_and_can_be_converted(
    tmp_path: Path, tiny: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_mixed(tmp_path / "in", tiny, {WK: "F16"})
    with pytest.raises(ModelFileError, match=f"tensor '{WK}' is F16, expected BF16 as '{WQ}' is") as error:
        asyncio.run(read_header(open_model_files(path)[0]))
    assert str(path) in str(error.value)
    assert main(["inspect", str(path)]) == 0
    assert f"\n  this engine does not run it: {error.value}\n" in capsys.readouterr().out
    convert(path, tmp_path / "out.gguf", GgmlType.F16, silent)
    asyncio.run(read_header(open_model_files(tmp_path / "out.gguf")[0]))
    assert tensors_of(tmp_path / "out.gguf") == made_by_the_gguf_package(tiny, "F16")


# -- files that change --------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["mistral", "transformers"])
def test_a_file_that_shrinks_while_it_is_read_is_one_sentence(tmp_path: Path, tiny: Weights, form: str) -> None:
    path = save_as(tmp_path / "in", form, tiny, "BF16")
    source, _ = open_model_files(path)
    before = whole(source)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ModelFileError, match="the file became shorter while it was read") as error:
        whole(source)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert asyncio.run(source.read_at(0, 1000)) == before[:1000]  # the header needs no file
    path.unlink()
    with pytest.raises(ModelFileError, match=r"cannot be read at byte \d+: No such file"):
        whole(source)


# -- memory -------------------------------------------------------------------------------------------
LOAD_AND_TELL_PEAK = """
import asyncio, sys
from pathlib import Path
import numpy as np
from voxtral.model.loader import load_weights, read_header
from voxtral.model_path import open_model_files
from voxtral.ops.reference import ReferenceOps

class Nowhere(ReferenceOps):
    def matrix(self, n_rows, n_cols, kind, label=""):
        return None

    async def fill(self, fills, pieces):
        self.n_bytes += sum(np.frombuffer(piece.data, np.uint8).size for piece in pieces)
        assert not any(np.frombuffer(piece.data, np.uint8)[::997].any() for piece in pieces)

async def main():
    ops = Nowhere()
    ops.n_bytes = 0
    source, _ = open_model_files(sys.argv[1])
    index, config = await read_header(source)
    await load_weights(ops, source, index, config)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(ops.n_bytes, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")))

asyncio.run(main())
"""


def peak_of_loading(path: Path, at_least_bytes: int) -> int:
    """All the memory of a process that loads a model onto a device which keeps nothing, mapped pages included."""
    if not Path("/proc/self/status").exists():
        pytest.skip("what a process took at most is read from /proc, which Linux has")
    command = [sys.executable, "-c", LOAD_AND_TELL_PEAK, str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    n_bytes, peak = map(int, done.stdout.split())
    assert n_bytes > at_least_bytes
    return peak


def in_transformers_form(folder: Path) -> None:
    """Make of a checkpoint of zeros one whose q and k rows are to be put in order."""
    from checkpoints import as_saved, config_json, in_halves

    path = folder / "consolidated.safetensors"
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_header))
    shapes = {name: np.broadcast_to(np.float32(0), entry["shape"]) for name, entry in header.items()}
    names = as_saved(in_halves(shapes, PRESETS["4b-layer"]))
    renamed = dict(zip(names, header.values(), strict=True))
    raw = safetensors_bytes(renamed)
    n_bytes = max(entry["data_offsets"][1] for entry in renamed.values())
    with (folder / "model.safetensors").open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + n_bytes)
    (folder / "config.json").write_text(config_json(PRESETS["4b-layer"]))
    path.unlink()


@pytest.mark.parametrize("form", ["mistral", "transformers", "gguf"])
def test_memory_does_not_grow_with_the_model(tmp_path: Path, form: str) -> None:
    sparse_checkpoint(tmp_path, PRESETS["4b-layer"])
    if form == "transformers":
        in_transformers_form(tmp_path)
    if form == "gguf":
        convert(tmp_path, tmp_path / "out.gguf", GgmlType.BF16, silent)
    assert peak_of_loading(tmp_path, 250_000_000) < 180_000_000


@pytest.mark.slow
def test_the_4b_model_in_bf16_is_loaded_in_a_fraction_of_a_gigabyte(tmp_path: Path) -> None:
    sparse_checkpoint(tmp_path, PRESETS["4b"])
    assert peak_of_loading(tmp_path, 8_800_000_000) < 400_000_000


# -- the demo -----------------------------------------------------------------------------------------
def test_the_demo_s_words_are_the_same_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (gguf_file,) = DEMO.glob("*.gguf")
    _, config = asyncio.run(read_header(open_model_files(DEMO)[0]))
    path = save(tmp_path / "in", "transformers", weights_of(gguf_file), config)  # exact: 11 bits of scale times 4 bits
    (path.parent / "tekken.json").write_bytes((DEMO / "tekken.json").read_bytes())
    clips = [str(SAMPLES / f"{name}.wav") for name in ("digits_2", "digits_noisy", "keywords_2")]
    texts = []
    for model in (path.parent, DEMO):
        assert main(["transcribe", "--backend", "numpy", "--model", str(model), *clips]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert len(texts[0].split()) > 12
    path.unlink()  # 80 MB
