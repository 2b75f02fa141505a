"""Splitting, joining and listing lose no byte, leave nothing half-written, and say in a sentence what is wrong."""

import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral import model_files
from voxtral.cli import main
from voxtral.errors import ModelFileError
from voxtral.model_files import MANIFEST, Listed, check_files, join, parse_manifest, split, write_manifest


def silent(_done: int, _total: int) -> None: ...


@settings(deadline=None, max_examples=40)
@given(st.binary(min_size=1, max_size=300), st.integers(1, 90))
def test_joining_undoes_splitting(data: bytes, shard_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, shards = Path(folder, "m.gguf"), Path(folder, "shards")
        whole.write_bytes(data)
        heard: list[tuple[int, int]] = []
        cut = split(whole, shards, shard_bytes, lambda *progress: heard.append(progress))
        assert [path.name for path in cut] == sorted(path.name for path in shards.iterdir())
        assert all(path.stat().st_size == shard_bytes for path in cut[:-1])
        assert heard[-1] == (len(data), len(data))
        join(shards, Path(folder, "again.gguf"), silent)
        assert Path(folder, "again.gguf").read_bytes() == data


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three shards and a tokenizer, with their manifest."""
    monkeypatch.setattr(model_files, "READ_BYTES", 7)
    (tmp_path / "m.gguf").write_bytes(bytes(range(100)))
    split(tmp_path / "m.gguf", tmp_path / "model", 40, silent)
    (tmp_path / "model" / "tekken.json").write_text("{}")
    write_manifest(tmp_path / "model", silent)
    return tmp_path / "model"


def test_a_manifest_holds_what_is_there(folder: Path) -> None:
    files = parse_manifest((folder / MANIFEST).read_bytes(), MANIFEST)
    assert [file[:2] for file in files] == [("shard-aa", 40), ("shard-ab", 40), ("shard-ac", 20), ("tekken.json", 2)]
    assert files[3].sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert check_files(folder, silent) == []


def test_every_damage_is_found_and_named(folder: Path) -> None:
    (folder / "shard-aa").write_bytes(bytes(40))
    (folder / "shard-ab").write_bytes(bytes(39))
    (folder / "shard-ac").unlink()
    digest, size, missing = check_files(folder, silent)
    assert f"{folder / 'shard-aa'}: expected SHA-256 " in digest
    assert size == f"{folder / 'shard-ab'}: expected 40 bytes, found 39; fetch it again"
    assert f"{folder / 'shard-ac'}: cannot be read" in missing


def test_a_list_without_sums_is_held_against_sizes_only(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"files": [{"name": "shard-aa"}, {"name": "shard-ab", "n_bytes": 41}]}))
    (sentence,) = check_files(folder, silent)
    assert "expected 41 bytes, found 40" in sentence


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "../evil"}, {"name": "a/b"}, {"name": "a\\b"}, {"name": ""}, {"name": ".."}, {"name": "a\0"},
        {"name": 3},
        {"name": "a\n"}, {"name": "a", "n_bytes": -1}, {"name": "a", "n_bytes": 1.5}, {"name": "a", "n_bytes": True},
        {"name": "a", "n_bytes": 2**60}, {"name": "a", "sha256": "ff"}, {"name": "a", "sha256": 64 * "G"},
        {"name": "a", "sha256": ["f"] * 64}, {}, [], "a", None,
    ],
)  # fmt: skip
def test_a_bad_entry_is_one_sentence(entry: object) -> None:
    with pytest.raises(ModelFileError, match=r"^here: expected [^\n]+$"):
        parse_manifest(json.dumps({"files": [entry]}).encode(), "here")


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_nothing_else_comes_out_of_a_manifest_s_bytes(data: bytes) -> None:
    with contextlib.suppress(ModelFileError):
        assert all(isinstance(file, Listed) for file in parse_manifest(data, "here"))


def test_one_name_twice_is_refused() -> None:
    with pytest.raises(ModelFileError, match="found one twice"):
        parse_manifest(json.dumps({"files": [{"name": "a"}, {"name": "a"}]}).encode(), "here")


def test_a_failure_leaves_nothing_half_written(folder: Path) -> None:
    def full(_done: int, _total: int) -> None:
        raise OSError(28, "No space left on device", str(folder / "x.gguf"))

    with pytest.raises(ModelFileError, match=r"x\.gguf: No space left on device; check the path and the room there"):
        join(folder, folder.parent / "x.gguf", full)
    with pytest.raises(ModelFileError, match="No space left"):
        split(folder.parent / "m.gguf", folder.parent / "other", 40, full)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["m.gguf", "model", "other"]
    assert list((folder.parent / "other").iterdir()) == []


def test_nothing_is_overwritten(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="expected a new file, one is there already"):
        join(folder, folder.parent / "m.gguf", silent)
    with pytest.raises(ModelFileError, match="expected an empty folder or a new one"):
        split(folder.parent / "m.gguf", folder, 40, silent)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "m.gguf"
    whole.write_bytes(bytes(3 << 20) + b"end")
    assert main(["split", str(whole), "--out", str(tmp_path / "d"), "--shard-mb", "1"]) == 0
    assert main(["manifest", str(tmp_path / "d")]) == 0
    assert main(["manifest", str(tmp_path / "d"), "--check"]) == 0
    assert main(["join", str(tmp_path / "d"), "--out", str(tmp_path / "again.gguf")]) == 0
    assert (tmp_path / "again.gguf").read_bytes() == whole.read_bytes()
    (tmp_path / "d" / "shard-ab").write_bytes(b"x")
    capsys.readouterr()
    assert main(["manifest", str(tmp_path / "d"), "--check"]) == 1
    assert "voxtral: " in capsys.readouterr().err
    assert main(["manifest", str(tmp_path / "none")]) == 1
    assert main(["split", str(tmp_path / "none"), "--out", str(tmp_path / "e")]) == 1
    assert main(["split", str(whole), "--out", str(tmp_path / "e"), "--shard-mb", "0"]) == 2
