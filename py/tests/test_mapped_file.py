"""Windows into files: the bytes that are there, at any place, and one sentence when they are not."""

import asyncio
import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral import mapped_file
from voxtral.errors import ModelFileError
from voxtral.mapped_file import FileSource, window

PAGE = mmap.ALLOCATIONGRANULARITY
DATA = bytes(i * i % 251 for i in range(3 * PAGE + 77))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "a.gguf"
    path.write_bytes(DATA)
    return path


@given(st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))).map(sorted))
def test_any_window_has_the_bytes_that_are_there(path: Path, edges: list[int]) -> None:
    start, end = edges
    view = window(path, start, end - start)
    assert view == DATA[start:end]
    assert view.readonly
    source = FileSource(path)
    assert asyncio.run(source.read_at(start, end - start)) == DATA[start:end]
    assert asyncio.run(source.piece_at(start, end - start)).in_python() == DATA[start:end]


def test_a_window_outlives_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(DATA)
    view = window(path, 5, PAGE)
    path.unlink()
    assert view == DATA[5 : 5 + PAGE]


def test_a_file_that_shrinks_after_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(DATA)
    source = FileSource(path)
    assert asyncio.run(source.read_at(len(DATA) - 24, 24)) == DATA[-24:]
    path.write_bytes(b"short")
    with pytest.raises(ModelFileError, match=rf"expected 24 bytes at byte {len(DATA) - 24}, found 0"):
        asyncio.run(source.read_at(len(DATA) - 24, 24))


def test_a_file_that_shrinks_while_it_is_mapped_does_not_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(DATA)
    populate = mapped_file._populate

    def cut_before(mapped: mmap.mmap) -> None:
        path.write_bytes(DATA[:10])
        populate(mapped)

    monkeypatch.setattr(mapped_file, "_populate", cut_before)
    with pytest.raises(ModelFileError, match="the file became shorter while it was read, fetch it again"):
        window(path, 0, len(DATA))


def test_what_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(ModelFileError, match=f"{path}: cannot be opened: "):
            FileSource(path)
        with pytest.raises(ModelFileError, match=f"{path}: cannot be read at byte 0: "):
            window(path, 0, 1)
