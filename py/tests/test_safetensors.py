"""The safetensors reader against the gguf package's, and against damage."""

import contextlib
import json
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import safetensors_bytes, stored, write_safetensors
from gguf.utility import SafetensorsLocal
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtral.checkpoint import OWN_TYPES
from voxtral.errors import ModelFileError
from voxtral.quant import dequantise
from voxtral.safetensors import MAX_HEADER_BYTES, Checkpoint, is_checkpoint, open_checkpoint, read_rows

RNG = np.random.default_rng(7)
WEIGHTS = {
    "a": RNG.normal(size=(7, 5)).astype(np.float32),
    "b.c": RNG.normal(size=3).astype(np.float32),
    'ünïcode "name"\n': RNG.normal(size=(2, 3, 4)).astype(np.float32),
}
F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def opened(path: Path, data: bytes) -> Checkpoint:
    path.write_bytes(data)
    return open_checkpoint(path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_tensors_are_what_the_gguf_package_finds(tmp_path: Path, dtype: str) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", WEIGHTS, dtype)
    checkpoint = open_checkpoint(path)
    judge = SafetensorsLocal(path)
    assert checkpoint.metadata == {"format": "pt"}
    assert set(checkpoint.tensors) == set(judge.tensors) == set(WEIGHTS)
    for name, tensor in checkpoint.tensors.items():
        expected = judge.tensors[name]
        assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
        assert (tensor.offset, tensor.n_bytes) == (expected.data_range.offset, expected.data_range.size)
        rows = read_rows(tensor, 0, tensor.shape[0])
        assert rows.tobytes() == stored(WEIGHTS[name], dtype)
        np.testing.assert_array_equal(read_rows(tensor, 1, 1), rows[1:2])
    assert checkpoint.n_bytes == sum(values.size for values in WEIGHTS.values()) * (4 if dtype == "F32" else 2)


def test_bf16_by_hand(tmp_path: Path) -> None:
    header = {"w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}
    tensors = opened(
        tmp_path / "m.safetensors", safetensors_bytes(header, struct.pack("<4H", 0x3F80, 0xC040, 1, 0x7F80))
    )
    rows = read_rows(tensors.tensors["w"], 0, 4)
    values = dequantise(rows.tobytes(), OWN_TYPES["BF16"], 4).tolist()
    assert values == [1.0, -3.0, np.uint32(0x10000).view(np.float32), np.inf]


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": F32 | changes}


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "found one of 0 in a file of 0"),
    "seven bytes": (bytes(7), "in a file of 7"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is it the right file, and whole?"),
    "header of 2^60": (struct.pack("<Q", 2**60) + b"{}", "found one of 1,152,921,504,606,846,976"),
    "header too long": (
        safetensors_bytes(b"{}".ljust(MAX_HEADER_BYTES + 1)),
        "at most 1,048,576 bytes, found one of 1,048,577",
    ),
    "cut header": (safetensors_bytes(entry(), bytes(16))[:40], "and whole?"),
    "no JSON": (safetensors_bytes(b"{..."), "found something else"),
    "no UTF-8": (safetensors_bytes(b'{"\xff": 1}'), "found something else"),
    "a list": (safetensors_bytes(b"[]"), "found another value"),
    "deep": (safetensors_bytes(b"[" * 500_000), "found something else"),
    "deep shape": (
        safetensors_bytes(b'{"a": {"dtype": "F32", "shape": ' + 900 * b"[" + 900 * b"]" + b"}}"),
        "that fit",
    ),
    "huge number": (safetensors_bytes(b'{"a": ' + b"9" * 9999 + b"}"), "found something else"),
    "same name": (safetensors_bytes(b'{"a": 1, "b": 2, "a": 3}'), "found 'a' twice"),
    "same field": (safetensors_bytes(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "found 'dtype' twice"),
    "long name": (safetensors_bytes({"n" * 900_000: F32}, bytes(16)), "expected a known dtype"),
    "metadata of numbers": (safetensors_bytes({"__metadata__": {"a": 1}}), "to hold texts"),
    "metadata of nothing": (safetensors_bytes({"__metadata__": None}), "to hold texts"),
    "no entry": (safetensors_bytes({"a": None}), "found none"),
    "no dtype": (safetensors_bytes({"a": {}}), "found none"),
    "unknown dtype": (
        safetensors_bytes(entry(dtype="F12"), bytes(16)),
        "expected a known dtype, found 'F12'",
    ),
    "dtype a list": (safetensors_bytes(entry(dtype=["F32"]), bytes(16)), "found none"),
    "no shape": (safetensors_bytes({"a": {"dtype": "F32"}}), "that fit its shape"),
    "shape of 2^60": (safetensors_bytes(entry(shape=[2**60, 2**60]), bytes(16)), "that fit its shape"),
    "shape of halves": (safetensors_bytes(entry(shape=[2.0, 2])), "that fit its shape"),
    "shape of truths": (safetensors_bytes(entry(shape=[True, 4])), "that fit its shape"),
    "negative": (safetensors_bytes(entry(shape=[-2, -2]), bytes(16)), "that fit its shape"),
    "many dimensions": (safetensors_bytes(entry(shape=[1] * 7 + [2, 2]), bytes(16)), "that fit its shape"),
    "offsets backwards": (safetensors_bytes(entry(data_offsets=[16, 0]), bytes(16)), "that fit its shape"),
    "three offsets": (safetensors_bytes(entry(data_offsets=[0, 8, 16]), bytes(16)), "that fit its shape"),
    "wrong size": (safetensors_bytes(entry(data_offsets=[0, 15]), bytes(16)), "that fit its shape"),
    "offset of 2^60": (safetensors_bytes(entry(data_offsets=[2**60, 2**60 + 16]), bytes(16)), "ends within tensor 'a'"),
    "data missing": (safetensors_bytes(entry(), bytes(15)), "ends within tensor 'a', at byte 88"),
    "overlap": (
        safetensors_bytes({"a": F32, "b": F32 | {"data_offsets": [12, 28]}}, bytes(28)),
        "tensor 'b' lies in another's place",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_sentence(tmp_path: Path, kind: str) -> None:
    data, sentence = DAMAGED[kind]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ModelFileError) as error:
        open_checkpoint(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(error.value).startswith(f"{path}: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert peak < 4 * len(data) + 100_000


def test_a_header_full_of_objects_takes_a_few_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_bytes(b'{"a":[' + b"[],".ljust(3) * (MAX_HEADER_BYTES // 3 - 10) + b"[]]}"))
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        open_checkpoint(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}',
     '{"weight_map": {"a": []}}',
     '{"weight_map": {"a": "../m.safetensors"}}', '{"weight_map": {"a": "/etc/m.safetensors"}}',
     '{"weight_map": {"a": "passwd"}}', '{"weight_map": {"a": "a\\u0000.safetensors"}}',
     '{"weight_map": {"a": "absent.safetensors"}}', "[" * 200_000, " " * 2_000_000],
)  # fmt: skip
def test_a_bad_index_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(ModelFileError) as error:
        open_checkpoint(path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("x.safetensors", "y.safetensors"):
        write_safetensors(tmp_path / name, WEIGHTS)
    with pytest.raises(ModelFileError, match=r"y\.safetensors: tensor 'a' is also in x\.safetensors"):
        open_checkpoint(tmp_path)


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        open_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(ModelFileError, match="found none"):
        open_checkpoint(tmp_path)


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", WEIGHTS)
    tensor = open_checkpoint(path).tensors["a"]
    path.write_bytes(path.read_bytes()[: tensor.offset + 3])
    with pytest.raises(ModelFileError, match="became shorter while it was read"):
        read_rows(tensor, 0, 7)


def test_names_tell_what_is_a_checkpoint(tmp_path: Path) -> None:
    assert is_checkpoint(tmp_path / "a.safetensors")
    assert is_checkpoint(tmp_path / "model.safetensors.index.json")
    assert not is_checkpoint(tmp_path / "a.gguf")
    assert not is_checkpoint(tmp_path)
    (tmp_path / "a.safetensors").touch()
    assert is_checkpoint(tmp_path)
    (tmp_path / "a.gguf").touch()
    assert not is_checkpoint(tmp_path)


# -- fuzzing ------------------------------------------------------------------------------------------
def open_or_refuse(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ModelFileError):
        path = Path(folder, "m.safetensors")
        checkpoint = opened(path, data)
        for tensor in checkpoint.tensors.values():  # whatever passes can be read
            assert 8 <= tensor.offset <= tensor.offset + tensor.n_bytes <= len(data)
            if tensor.dtype in ("F32", "F16", "BF16") and tensor.shape and 0 not in tensor.shape:
                assert len(read_rows(tensor, 0, tensor.shape[0])) == tensor.shape[0]


SMALL = safetensors_bytes(entry() | {"b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]}}, bytes(22))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-4, 40)
    | st.integers()
    | st.floats()
    | st.sampled_from(["F32", "BF16", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(VALUES, st.integers(0, 40))
def test_any_json_is_read_or_refused(header: Any, n_bytes: int) -> None:
    open_or_refuse(safetensors_bytes(json.dumps(header).encode(), bytes(n_bytes)))


@settings(deadline=None, max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "BF16", "U8", "F64", "?"]),
            "shape": st.lists(st.integers(0, 5), max_size=3) | VALUES,
            "data_offsets": st.lists(st.integers(0, 40), min_size=2, max_size=2).map(sorted) | VALUES,
        },
    ),
    st.integers(0, 40),
)
def test_any_entry_is_read_or_refused(line: dict[str, Any], n_bytes: int) -> None:
    open_or_refuse(safetensors_bytes({"a": line, "b": F32 | {"data_offsets": [0, 16]}}, bytes(n_bytes)))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 23), st.integers(0, 255)), max_size=4), st.integers(0, 60))
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], n_cut: int) -> None:
    data = bytearray(SMALL)
    for position, value in changes:
        data[position] = value
    open_or_refuse(bytes(data[: len(data) - n_cut]))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    open_or_refuse(data)
