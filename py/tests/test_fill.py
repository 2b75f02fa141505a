"""Blocks on their way into a matrix: repacked on the GPU exactly as numpy does it, however they are cut."""

import asyncio

import numpy as np
import pytest
from op_cases import filled, q4_0_bytes

from voxtral.ops import base
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.quant import repack_q4_0
from voxtral.shards import MemorySource, Piece, ShardedCursor

N_ROWS, N_COLS = 38, 96  # three blocks a row: rows begin in mid-pair, pairs and the last quad have gaps


@pytest.fixture(scope="module")
def raw():
    return q4_0_bytes(np.random.default_rng(5), N_ROWS, N_COLS)


async def contents(ops, matrix):
    """Nibbles and scales of all parts, joined."""
    nibbles = [await ops.read(part.nibbles) for part in matrix.parts]
    scales = [await ops.read(part.scales) for part in matrix.parts]
    return np.concatenate(nibbles), np.concatenate(scales)


@pytest.mark.parametrize("max_binding_bytes", [None, 14 * 3 * 16, 4 * 3 * 16])
@pytest.mark.parametrize("fill_bytes", [base.FILL_BYTES, 36 * 7, 36])
def test_the_gpu_repacks_as_numpy_does(device, raw, monkeypatch, max_binding_bytes, fill_bytes):
    monkeypatch.setattr("op_cases.FILL_BYTES", fill_bytes)
    ops = WebGpuOps(device, max_binding_bytes=max_binding_bytes)

    async def fill():
        return await contents(ops, await filled(ops, raw, N_ROWS, N_COLS))

    for found, expected in zip(asyncio.run(fill()), repack_q4_0(raw, N_COLS), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cut", [4, 360, 720, 357, 721])
def test_a_tensor_that_straddles_shards_is_whole(device, raw, cut):
    cursor = ShardedCursor([MemorySource(raw[:cut], "shard-aa"), MemorySource(raw[cut:], "shard-ab")])
    gpu, cpu = WebGpuOps(device), ReferenceOps()

    async def fill():
        pieces = await cursor.pieces_at(0, len(raw))
        assert sum(piece.n_bytes for piece in pieces) == len(raw)
        assert len(pieces) == (1 if cut % 4 else 2)
        matrix, array = gpu.matrix(N_ROWS, N_COLS), cpu.matrix(N_ROWS, N_COLS)
        await gpu.fill(matrix, 0, pieces)
        await cpu.fill(array, 0, pieces)
        return await contents(gpu, matrix), array

    (nibbles, scales), array = asyncio.run(fill())
    for found, expected in zip((nibbles, scales), repack_q4_0(raw, N_COLS), strict=True):
        np.testing.assert_array_equal(found, expected)
    whole = ReferenceOps().matrix(N_ROWS, N_COLS)
    asyncio.run(ReferenceOps().fill(whole, 0, [Piece(len(raw), raw)]))
    np.testing.assert_array_equal(array, whole)


def test_the_loader_s_memory_is_given_back(device, raw):
    ops = WebGpuOps(device)
    asyncio.run(filled(ops, raw, N_ROWS, N_COLS))
    assert ops._staging is not None
    ops.end_of_filling()
    assert ops._staging is None
    asyncio.run(filled(ops, raw, N_ROWS, N_COLS))  # and filling can begin again
