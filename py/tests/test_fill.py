"""Blocks on their way into a matrix, however they are cut.

Those of Q4_0 are repacked on the GPU exactly as numpy does it; F16, BF16 and F32 arrive as they are.
"""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import filled, q4_0_bytes, weight_bytes
from retyped import retyped

from voxtral import weights
from voxtral.gguf import header_bytes
from voxtral.gpu.recording import RecordingDevice
from voxtral.model.loader import load_weights, read_header
from voxtral.ops import base
from voxtral.ops.base import Fill
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.quant import GgmlType, dequantise, repack_q4_0
from voxtral.shards import MemorySource, Piece, ShardedCursor, cut_out
from voxtral.weights import ADA_DOWN, ADA_UP, decoder_layer, encoder_layer

TINY = Path(__file__).parent / "golden" / "tiny" / "model.gguf"
BLOCK_BYTES = GgmlType.Q4_0.block_bytes
N_ROWS, N_COLS = 38, 96  # three blocks a row: rows begin in mid-pair, pairs and the last quad have gaps


@pytest.fixture(scope="module")
def raw():
    return q4_0_bytes(np.random.default_rng(5), N_ROWS, N_COLS)


async def contents(ops, matrix):
    """Weights and, in Q4_0, scales of all parts, joined."""
    weights = [await ops.read(part.weights) for part in matrix.parts]
    scales = [await ops.read(part.scales) for part in matrix.parts if part.scales]
    return np.concatenate(weights), *([np.concatenate(scales)] if scales else [])


def as_on_the_gpu(raw, n_cols, kind):
    """What `contents` should find of these bytes."""
    if kind is GgmlType.Q4_0:
        return repack_q4_0(raw, n_cols)
    return (np.frombuffer(raw, "<u4").reshape(-1, kind.n_bytes(n_cols) // 4),)


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
        matrix, array = (ops.matrix(N_ROWS, N_COLS, GgmlType.Q4_0) for ops in (gpu, cpu))
        await gpu.fill([Fill(matrix, GgmlType.Q4_0, 0, len(raw) // BLOCK_BYTES, 0)], pieces)
        await cpu.fill([Fill(array, GgmlType.Q4_0, 0, len(raw) // BLOCK_BYTES, 0)], pieces)
        return await contents(gpu, matrix), array

    (nibbles, scales), array = asyncio.run(fill())
    for found, expected in zip((nibbles, scales), repack_q4_0(raw, N_COLS), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(array.reshape(-1), dequantise(raw, GgmlType.Q4_0, array.size))


@pytest.mark.parametrize(("n_rows", "offset"), [(1, 0), (3, 6), (5, 2)])
def test_blocks_may_be_odd_in_number_and_begin_at_any_even_byte(device, n_rows, offset):
    """The last block ends with the last word, or in its middle."""
    raw = q4_0_bytes(np.random.default_rng(n_rows), n_rows, 32)
    data = bytes(offset) + raw + bytes(-(offset + len(raw)) % 4)
    ops = WebGpuOps(device)
    matrix = ops.matrix(n_rows, 32, GgmlType.Q4_0)
    asyncio.run(ops.fill([Fill(matrix, GgmlType.Q4_0, 0, n_rows, offset)], [Piece(len(data), data)]))
    for found, expected in zip(asyncio.run(contents(ops, matrix)), repack_q4_0(raw, 32), strict=True):
        np.testing.assert_array_equal(found, expected)


@st.composite
def scattered(draw):
    """Shapes and types of matrices, and runs in which blocks lie: [(matrix, first block, n_blocks, bytes before)].

    Matrices of floats are cut behind any even number of weights.
    """
    some = st.tuples(st.integers(1, 11), st.integers(1, 5), st.sampled_from(weights.MATRIX_TYPES))
    shapes = draw(st.lists(some, min_size=1, max_size=4))
    parts = []
    for i, (n_rows, n, kind) in enumerate(shapes):
        cuts = draw(st.sets(st.integers(1, n_rows * n)).map(sorted))
        ends = [*(cut for cut in cuts if cut < n_rows * n), n_rows * n]
        if kind is not GgmlType.Q4_0:
            ends = [*(32 * cut - 2 * (cut % 7) for cut in ends[:-1]), 32 * ends[-1]]
        parts += [(i, start, end - start) for start, end in zip([0, *ends], ends, strict=False)]
    gaps = st.integers(0, 20).map(lambda half: 2 * half)
    runs = [[]]
    for part in draw(st.permutations(parts)):
        if draw(st.booleans()):
            runs.append([])
        runs[-1].append((*part, draw(gaps)))
    return shapes, [run for run in runs if run]


@settings(max_examples=60)
@given(scattered(), st.integers(0, 2**32), st.integers(0, 40), st.sampled_from([None, 4 * 5 * 128]))
def test_blocks_of_several_matrices_go_where_they_belong(device, layout, seed, n_words, max_binding_bytes):
    """At odd blocks, in any order, at any even byte, with other bytes between, cut into pieces and runs anywhere.

    Floats at any fourth byte.
    """
    shapes, runs = layout
    rng = np.random.default_rng(seed)
    kinds = [kind for _, _, kind in shapes]
    raws = [weight_bytes(rng, n_rows, 32 * n, kind.name.lower()) for n_rows, n, kind in shapes]
    gpu, cpu = WebGpuOps(device, max_binding_bytes=max_binding_bytes), ReferenceOps()
    on_gpu, on_cpu = ([ops.matrix(rows, 32 * n, kind) for rows, n, kind in shapes] for ops in (gpu, cpu))

    async def fill():
        for run in runs:
            data, places = b"", []
            for i, first, n, gap in run:
                block_bytes = kinds[i].block_bytes
                data += rng.bytes(gap)
                if kinds[i] is not GgmlType.Q4_0:
                    data += rng.bytes(-len(data) % 4)
                places.append((i, first, n, len(data)))
                data += raws[i][first * block_bytes : (first + n) * block_bytes]
            data += rng.bytes(-len(data) % 4)
            halves = [half for half in (data[: 4 * n_words], data[4 * n_words :]) if half]
            pieces = [Piece(len(half), half) for half in halves]
            await gpu.fill([Fill(on_gpu[i], kinds[i], *place) for i, *place in places], pieces)
            await cpu.fill([Fill(on_cpu[i], kinds[i], *place) for i, *place in places], pieces)
        return [await contents(gpu, matrix) for matrix in on_gpu]

    for found, array, raw, kind in zip(asyncio.run(fill()), on_cpu, raws, kinds, strict=True):
        for words, expected in zip(found, as_on_the_gpu(raw, array.shape[1], kind), strict=True):
            np.testing.assert_array_equal(words, expected)
        np.testing.assert_array_equal(array.reshape(-1), dequantise(raw, kind, array.size))


@given(st.binary(max_size=50), st.lists(st.integers(0, 50)), st.integers(0, 50), st.integers(0, 50))
def test_what_is_cut_out_of_pieces_is_whole(data, cuts, offset, n_bytes):
    ends = sorted(min(cut, len(data)) for cut in cuts)
    parts = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert cut_out([Piece(len(part), part) for part in parts], offset, n_bytes) == data[offset : offset + n_bytes]


class WatchedCursor(ShardedCursor):
    """Knows what was read of it for a device: (offset, n_bytes)."""

    def __init__(self, sources):
        super().__init__(sources)
        self.reads = []

    async def pieces_at(self, offset, n_bytes):
        self.reads.append((offset, n_bytes))
        return await super().pieces_at(offset, n_bytes)


def tensors_of(data):
    """Metadata, shapes, types and bytes by name of a model."""
    source = MemorySource(data, "tiny")
    index, config = asyncio.run(read_header(ShardedCursor([source])))
    raw = {t.name: asyncio.run(source.read_at(t.offset, t.n_bytes)) for t in index.tensors.values()}
    return config, {t.name: (t.shape, GgmlType(t.ggml_type)) for t in index.tensors.values()}, raw


@pytest.fixture(scope="module")
def tiny():
    """Of two and three layers."""
    return tensors_of(TINY.read_bytes())


@pytest.fixture(scope="module")
def mixed(tiny):
    """The same with matrices of every type."""
    config, tensors, raw = tiny
    tensors, raw = dict(tensors), dict(raw)
    for kind, names in {
        GgmlType.BF16: [weights.TOKEN_EMBEDDINGS, *(encoder_layer(0, rest) for rest in weights.QKV)],
        GgmlType.F16: [decoder_layer(1, rest) for rest in weights.GATE_UP],
        GgmlType.F32: [weights.ADAPTER_IN, encoder_layer(1, "attention.wo.weight")],
    }.items():
        _, others, contents = tensors_of(asyncio.run(retyped(TINY.read_bytes(), kind)))
        tensors |= {name: others[name] for name in names}
        raw |= {name: contents[name] for name in names}
    return config, tensors, raw


def stored(config, tensors, raw, order):
    """A file with the tensors in this order, and with strangers between, after which there are gaps."""
    strangers = {"stranger.a": ((7,), GgmlType.F16), "stranger.b": ((3, 32), GgmlType.F32)}
    contents = {name: np.full(math.prod(shape), 7, "f2").tobytes() for name, (shape, _) in strangers.items()}
    contents["stranger.b"] *= 2
    names = [*order[:9], "stranger.a", *order[9:30], "stranger.b", *order[30:]]
    head = header_bytes(
        {"general.architecture": "voxtral", **weights.metadata(config)},
        [(name, *{**tensors, **strangers}[name]) for name in names],
    )
    data = [{**raw, **contents}[name] for name in names]
    return head + b"".join(part + b"\xee" * (-len(part) % 32) for part in data[:-1]) + data[-1]


def matrices_of(model, config):
    """(matrix, the tensors whose rows it has)."""
    for layers, named in ((model.encoder_layers, encoder_layer), (model.decoder_layers, decoder_layer)):
        for i, layer in enumerate(layers):
            yield layer.qkv, [named(i, f"attention.w{part}.weight") for part in "qkv"]
            yield layer.out, [named(i, "attention.wo.weight")]
            yield layer.gate_up, [named(i, f"feed_forward.w{part}.weight") for part in (1, 3)]
            yield layer.down, [named(i, "feed_forward.w2.weight")]
    for i in range(config.decoder.n_layers):
        yield model.ada[i].down, [decoder_layer(i, ADA_DOWN)]
        yield model.ada[i].up, [decoder_layer(i, ADA_UP)]
    yield model.token_embeddings, [weights.TOKEN_EMBEDDINGS]
    yield from zip(model.adapter, ([weights.ADAPTER_IN], [weights.ADAPTER_OUT]), strict=True)


def vectors_of(model):
    """(tensor, its name), of those that are stored as they are used."""
    yield model.encoder_norm, weights.ENCODER_NORM
    yield model.decoder_norm, weights.DECODER_NORM
    yield from ((conv[1], weights.conv(i, "bias")) for i, conv in enumerate((model.conv0, model.conv1)))
    for i, layer in enumerate(model.encoder_layers):
        yield layer.out_bias, encoder_layer(i, "attention.wo.bias")
        yield layer.down_bias, encoder_layer(i, "feed_forward.w2.bias")
        yield layer.ffn_norm, encoder_layer(i, "ffn_norm.weight")
    for i, layer in enumerate(model.decoder_layers):
        yield layer.attention_norm, decoder_layer(i, "attention_norm.weight")


@settings(max_examples=12)
@given(
    st.randoms(use_true_random=False), st.sampled_from([1000, 9_996, 100_001, 1 << 20]), st.booleans(), st.booleans()
)
def test_a_file_in_any_order_is_loaded_exactly(device, tiny, mixed, rng, fill_bytes, is_split, is_mixed):
    """Runs are shorter than tensors or hold several, with vectors and gaps between; each byte is read once."""
    config, tensors, raw = mixed if is_mixed else tiny
    order = rng.sample(list(tensors), len(tensors))
    data = stored(config, tensors, raw, order)
    cuts = sorted(rng.randrange(len(data)) & (-4 if rng.random() < 0.5 else -1) for _ in range(2))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    source = WatchedCursor([MemorySource(part, f"shard-a{i}") for i, part in enumerate(parts)])
    ops = WebGpuOps(device, max_binding_bytes=5 * 4 * 256 if is_split else None)
    told = []

    async def progress(done, total):
        told.append((done, total))

    async def load():
        index, _ = await read_header(source)
        model = await load_weights(ops, source, index, config, progress)
        matrices = [(await contents(ops, matrix), names) for matrix, names in matrices_of(model, config)]
        vectors = [(await ops.read(tensor), name) for tensor, name in vectors_of(model)]
        conv = await ops.read(model.conv1[0])
        return matrices, vectors, conv

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxtral.model.loader.FILL_BYTES", fill_bytes)
        patch.setattr("voxtral.model.loader.MIN_RUNS", 1)
        matrices, vectors, conv = asyncio.run(load())

    for found, names in matrices:
        shape, kind = tensors[names[0]]
        expected = as_on_the_gpu(b"".join(raw[name] for name in names), shape[1], kind)
        for words, expected_words in zip(found, expected, strict=True):
            np.testing.assert_array_equal(words, expected_words)
    for found, name in vectors:
        np.testing.assert_array_equal(found, np.frombuffer(raw[name], "<f4"))
    shape, _ = tensors[name := weights.conv(1, "weight")]
    np.testing.assert_array_equal(
        conv.reshape(shape[0], 3, -1), np.frombuffer(raw[name], "<f4").reshape(shape).transpose(0, 2, 1)
    )
    assert max(n_bytes for _, n_bytes in source.reads) <= fill_bytes
    assert all(start + n <= after for (start, n), (after, _) in zip(source.reads, source.reads[1:], strict=False))
    total = sum(len(part) for part in raw.values())
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_loading_submits_once_for_each_read(tiny):
    """However many tensors a run holds; and a small file is read in many runs, so that progress can be told."""
    config, tensors, raw = tiny
    device = RecordingDevice()
    source = WatchedCursor([MemorySource(stored(config, tensors, raw, list(tensors)), "tiny")])

    async def load():
        index, _ = await read_header(source)
        await load_weights(WebGpuOps(device), source, index, config)

    asyncio.run(load())
    assert 32 <= len(source.reads) <= 36
    assert len(device.submits) <= len(source.reads)
    assert max(len(submit) for submit in device.submits) > 3
    assert sum(n_bytes for _, n_bytes in source.reads) <= source.n_bytes


def test_the_loader_s_memory_is_given_back(device, raw):
    ops = WebGpuOps(device)
    asyncio.run(filled(ops, raw, N_ROWS, N_COLS))
    assert ops._matrices._staging is not None
    ops.end_of_filling()
    assert ops._matrices._staging is None
    asyncio.run(filled(ops, raw, N_ROWS, N_COLS))  # and filling can begin again
