"""A path means a model, whatever its files are, or one sentence says why it does not."""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import TINY, TINY_CONFIG, Weights, config_json, save, save_in_parts, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.errors import ModelFileError
from voxtral.mapped_file import FileSource
from voxtral.model.loader import read_header
from voxtral.model_path import open_model_files, weights_sha256
from voxtral.safetensors import INDEX_SUFFIX

WHOLE = bytes(range(256)) * 4
INDEX = f"model{INDEX_SUFFIX}"
SECOND = "model-00002-of-00003.safetensors"


@pytest.fixture(scope="module")
def tiny() -> Weights:
    return weights_of(TINY)


def folder(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("__", ".").replace("_", "-")).write_bytes(data)
    return path


def test_a_file_or_a_folder_means_a_model(tmp_path: Path) -> None:
    single = folder(tmp_path / 'one "$(x)" ü', model__gguf=WHOLE, tekken__json=b"{}")
    shards = folder(tmp_path / "cut", shard_ab=WHOLE[500:], shard_aa=WHOLE[:500], README__md=b"")
    for path, parent in ((single, single), (single / "model.gguf", single), (shards, shards)):
        source, tekken = open_model_files(str(path))
        assert asyncio.run(source.read_at(0, source.n_bytes)) == WHOLE
        assert tekken == parent / "tekken.json"


def test_weights_have_the_sha256_of_their_files_in_a_row(tmp_path: Path, tiny: Weights) -> None:
    single = folder(tmp_path / "one", model__gguf=WHOLE, tekken__json=b"{}")
    shards = folder(tmp_path / "cut", shard_ab=WHOLE[500:], shard_aa=WHOLE[:500])
    consolidated = save(tmp_path / "mine", "mistral", tiny, TINY_CONFIG)
    index = save_in_parts(tmp_path / "parts", tiny, TINY_CONFIG)
    parts = b"".join(path.read_bytes() for path in sorted(index.parent.glob("*.safetensors")))
    paths = {
        WHOLE: (single, single / "model.gguf", shards),
        consolidated.read_bytes(): (consolidated, consolidated.parent),
        parts: (index, index.parent),
    }
    for content, same in paths.items():
        for path in same:
            assert asyncio.run(weights_sha256(path)) == hashlib.sha256(content).hexdigest()


def test_weights_that_cannot_be_read_to_their_end_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single, closed = folder(tmp_path / "one", model__gguf=WHOLE), []

    async def fail(*_: object) -> bytes:
        raise ModelFileError("gone")

    monkeypatch.setattr(FileSource, "read_at", fail)
    monkeypatch.setattr(FileSource, "close", lambda source: closed.append(source))
    with pytest.raises(ModelFileError, match="gone"):
        asyncio.run(weights_sha256(single))
    assert len(closed) == 1


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    empty = folder(tmp_path / "empty")
    two = folder(tmp_path / "two", a__gguf=b"", b__gguf=b"")
    with pytest.raises(ModelFileError, match=r"shard-ab, …\) or safetensors, found none"):
        open_model_files(empty)
    with pytest.raises(ModelFileError, match=r"found a\.gguf, b\.gguf"):
        open_model_files(two)
    with pytest.raises(ModelFileError, match="no such file"):
        open_model_files(tmp_path / "absent.gguf")


def opened(path: Path) -> str:
    """What a model is called that this engine runs."""
    source, _ = open_model_files(path)
    index, config = asyncio.run(read_header(source))
    assert config == TINY_CONFIG
    return str(index.metadata["general.name"])


def test_checkpoints_are_models_too(tmp_path: Path, tiny: Weights) -> None:
    consolidated = save(tmp_path / "mine", "mistral", tiny, TINY_CONFIG)
    index = save_in_parts(tmp_path / "parts", tiny, TINY_CONFIG)
    for path in (consolidated, consolidated.parent, index, index.parent):
        assert opened(path) == path.parent.name if path.is_file() else path.name
        assert open_model_files(path)[1] == (path if path.is_dir() else path.parent) / "tekken.json"


def test_a_gguf_file_stands_for_a_folder_that_has_both(tmp_path: Path, tiny: Weights) -> None:
    path = save(tmp_path / "both", "mistral", tiny, TINY_CONFIG)
    (path.parent / "m.gguf").write_bytes(TINY.read_bytes())
    assert open_model_files(path.parent)[0].name == str(path.parent / "m.gguf")
    assert open_model_files(path)[0].name == str(path)


# -- what is refused ----------------------------------------------------------------------------------
def without(name: str) -> Callable[[Path], Path]:
    def change(index: Path) -> Path:
        (index.parent / name).unlink()
        return index.parent

    return change


def truncated(index: Path) -> Path:
    path = index.parent / SECOND
    path.write_bytes(path.read_bytes()[:-100])
    return index


def emptied(index: Path) -> Path:
    (index.parent / SECOND).write_bytes(b"")
    return index.parent


def without_index(index: Path) -> Path:
    index.unlink()
    return without(SECOND)(index)


def renamed_in_index(index: Path) -> Path:
    index.write_text(index.read_text().replace(SECOND, "other.safetensors"))
    return index


def with_config(change: Callable[[dict[str, dict[str, int]]], None]) -> Callable[[Path], Path]:
    def rewrite(index: Path) -> Path:
        said = json.loads(config_json(TINY_CONFIG))
        change(said)
        (index.parent / "config.json").write_text(json.dumps(said))
        return index

    return rewrite


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file of three is missing": (without(SECOND), f"{SECOND}: is missing, and so are 0 more of the 3 files that"),
    "and there is no index": (without_index, f"{SECOND}: is missing, and so are 0 more of the 3 files that"),
    "the index names another": (renamed_in_index, "other.safetensors: is missing, and so are 0 more of the 3 files"),
    "one file of three": (lambda index: index.parent / SECOND, f"{SECOND}: is one of 3 files of a checkpoint; name"),
    "half a download": (truncated, f"{SECOND}: ends within tensor "),
    "an empty file": (emptied, f"{SECOND}: expected a safetensors file, with a header"),
    "no numbers": (without("config.json"), "expected config.json beside it, which tells the number of heads"),
    "other heads": (
        with_config(lambda said: said["text_config"].update(num_attention_heads=8)),
        "config.json",
    ),
    "other layers": (
        with_config(lambda said: said["audio_config"].update(num_hidden_layers=3)),
        "the numbers of its layers and heads are from ",
    ),
    "fewer layers": (with_config(lambda said: said["text_config"].update(num_hidden_layers=2)), "found 'layers.2."),
    "another width": (
        with_config(lambda said: said["text_config"].update(hidden_size=3072)),
        "config.json: says 3072 where the tensors beside it have 96 (dim of DecoderConfig); put the file there",
    ),
    "another feed-forward": (
        with_config(lambda said: said["audio_config"].update(intermediate_size=True)),
        "config.json: says True where the tensors beside it have 160 (ffn_dim of EncoderConfig)",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_is_one_sentence(tmp_path: Path, tiny: Weights, kind: str) -> None:
    change, sentence = BROKEN[kind]
    path = change(save_in_parts(tmp_path / "in", tiny, TINY_CONFIG, "BF16"))
    with pytest.raises(ModelFileError) as error:
        open_model_files(path)
    assert sentence in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_a_model_or_one_sentence(tiny_in_parts: dict[str, bytes], data: st.DataObject) -> None:
    """Bytes changed in headers, index and config, files cut or left out; what still opens can be read to its end."""
    files = dict(tiny_in_parts)
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        raw = bytearray(files.pop(name))
        for position, value in data.draw(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=3)):
            raw[position % len(raw)] = value
        if not data.draw(st.sampled_from([False, False, False, True])):
            files[name] = bytes(raw[: len(raw) - data.draw(st.sampled_from([0, 0, 0, 1, 5000, len(raw)]))])
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in files.items():
            Path(folder, name).write_bytes(raw)
        refusal = ""
        try:
            source, _ = open_model_files(folder)
            assert len(asyncio.run(source.read_at(0, source.n_bytes))) == source.n_bytes
        except ModelFileError as error:
            refusal = str(error)
        assert "\n" not in refusal


@pytest.fixture(scope="module")
def tiny_in_parts(tiny: Weights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    index = save_in_parts(tmp_path_factory.mktemp("parts") / "in", tiny, TINY_CONFIG, "BF16")
    return {path.name: path.read_bytes() for path in index.parent.iterdir()}
