"""From a GGUF byte source to weights on a device.

Room for every matrix is made first; then the file is read once, forwards, in runs of a few megabytes, and each tensor
goes where it belongs. Matrices keep their GGML types; rows of q, k, v and of gate, up are stacked, so that each block
of the network is four products. Python sees the header and the vectors and convolutions only.
"""

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxtral import weights
from voxtral.config import ModelConfig
from voxtral.errors import ModelFileError
from voxtral.gguf import GgufIndex, TensorInfo, read_index
from voxtral.model.layers import AnyOps, LayerWeights
from voxtral.ops.base import FILL_BYTES, Fill
from voxtral.quant import GgmlType
from voxtral.shards import ShardedCursor, cut_out
from voxtral.weights import (
    ADA_DOWN,
    ADA_UP,
    ADAPTER_IN,
    ADAPTER_OUT,
    DECODER_NORM,
    ENCODER_NORM,
    GATE_UP,
    QKV,
    TOKEN_EMBEDDINGS,
    decoder_layer,
    encoder_layer,
)

MIN_RUNS = 32  # in which a file is read, however small, so that progress can be seen

Progress = Callable[[int, int], Awaitable[None]]  # done, in total


@dataclass(frozen=True)
class AdaWeights:
    """Delay conditioning of one decoder layer."""

    down: Any  # [ada_dim, dim]
    up: Any  # [dim, ada_dim]


@dataclass(frozen=True)
class ModelWeights:
    """Everything the network needs, on the device."""

    conv0: tuple[Any, Any]  # weight [enc dim, 3 * 128], bias
    conv1: tuple[Any, Any]  # weight [enc dim, 3 * enc dim], bias
    encoder_layers: list[LayerWeights]
    encoder_norm: Any
    adapter: tuple[Any, Any]  # [dec dim, 4 * enc dim], [dec dim, dec dim]
    token_embeddings: Any  # [vocab, dec dim], also the head
    decoder_layers: list[LayerWeights]
    ada: list[AdaWeights]
    decoder_norm: Any


@dataclass(frozen=True)
class _LayerMatrices:
    """The four products of a block."""

    qkv: Any
    out: Any
    gate_up: Any
    down: Any


class _Part(NamedTuple):
    """Bytes of a tensor that are read at once."""

    tensor: TensorInfo
    first: int  # counts from the tensor's first byte
    n_bytes: int

    @property
    def offset(self) -> int:
        """In the file."""
        return self.tensor.offset + self.first

    @property
    def end(self) -> int:
        """Offset of what follows in the file."""
        return self.offset + self.n_bytes


class _Place(NamedTuple):
    """Where the blocks of a tensor go."""

    matrix: Any
    kind: GgmlType
    first_block: int  # of the tensor, in the matrix

    def fill(self, part: _Part, offset: int) -> Fill[Any]:
        """For a part of the tensor that lies at `offset` of what is read."""
        first, n_blocks = part.first // self.kind.block_bytes, part.n_bytes // self.kind.block_bytes
        return Fill(self.matrix, self.kind, self.first_block + first, n_blocks, offset)


class _Plan:
    """Where each tensor of the file goes."""

    def __init__(self, ops: AnyOps, index: GgufIndex) -> None:
        self._ops, self._index = ops, index
        self.places: dict[str, _Place] = {}  # by name of the tensor

    def matrix(self, *names: str) -> Any:
        """One matrix of the rows of these tensors, which are of one type."""
        shapes = [self._index.tensors[name].shape for name in names]
        n_cols, kind = shapes[0][1], GgmlType(self._index.tensors[names[0]].ggml_type)
        matrix = self._ops.matrix(sum(shape[0] for shape in shapes), n_cols, kind, names[0])
        first_row = 0
        for name, shape in zip(names, shapes, strict=True):
            self.places[name] = _Place(matrix, kind, first_row * n_cols // kind.block_weights)
            first_row += shape[0]
        return matrix

    def layer(self, name: Callable[[str], str]) -> _LayerMatrices:
        return _LayerMatrices(
            qkv=self.matrix(*map(name, QKV)),
            out=self.matrix(name("attention.wo.weight")),
            gate_up=self.matrix(*map(name, GATE_UP)),
            down=self.matrix(name("feed_forward.w2.weight")),
        )


async def read_header(source: ShardedCursor) -> tuple[GgufIndex, ModelConfig]:
    """What the file says it holds. Raises ModelFileError if that is not this network, whole."""
    index = await read_index(source)
    config = weights.read_config(index)
    weights.check(index, config)
    return index, config


async def load_weights(
    ops: AnyOps, source: ShardedCursor, index: GgufIndex, config: ModelConfig, progress: Progress | None = None
) -> ModelWeights:
    """Make room for all matrices, fill them from the source and close it; then upload the other weights.

    Raises ModelFileError, DeviceError; what is on the device by then goes with the device.
    """
    try:
        plan = _Plan(ops, index)
        adapter = (plan.matrix(ADAPTER_IN), plan.matrix(ADAPTER_OUT))
        token_embeddings = plan.matrix(TOKEN_EMBEDDINGS)
        encoder = [plan.layer(_named(encoder_layer, i)) for i in range(config.encoder.n_layers)]
        decoder = [plan.layer(_named(decoder_layer, i)) for i in range(config.decoder.n_layers)]
        ada = [
            AdaWeights(plan.matrix(decoder_layer(i, ADA_DOWN)), plan.matrix(decoder_layer(i, ADA_UP)))
            for i in range(config.decoder.n_layers)
        ]
        await ops.settle()
        tensors = [index.tensors[name] for name, _ in weights.tensor_shapes(config)]  # a file may hold others, too
        tensors.sort(key=lambda tensor: tensor.offset)
        floats = await _read_all(ops, source, tensors, plan, progress)
    finally:
        source.close()

    def vector(name: str) -> Any:
        return ops.tensor(floats[name], label=name)

    def conv(i: int) -> tuple[Any, Any]:
        taps = floats[weights.conv(i, "weight")].transpose(0, 2, 1)  # [out, 3, in]: a window of rows is one dot product
        return ops.tensor(taps.reshape(len(taps), -1), label=f"conv{i}"), vector(weights.conv(i, "bias"))

    def layer(matrices: _LayerMatrices, name: Callable[[str], str], biases: bool) -> LayerWeights:
        return LayerWeights(
            attention_norm=vector(name("attention_norm.weight")),
            qkv=matrices.qkv,
            qkv_bias=ops.tensor(_qkv_bias(floats, name), label=name("attention.qkv.bias")) if biases else None,
            out=matrices.out,
            out_bias=vector(name("attention.wo.bias")) if biases else None,
            ffn_norm=vector(name("ffn_norm.weight")),
            gate_up=matrices.gate_up,
            down=matrices.down,
            down_bias=vector(name("feed_forward.w2.bias")) if biases else None,
        )

    loaded = ModelWeights(
        conv0=conv(0),
        conv1=conv(1),
        encoder_layers=[layer(part, _named(encoder_layer, i), biases=True) for i, part in enumerate(encoder)],
        encoder_norm=vector(ENCODER_NORM),
        adapter=adapter,
        token_embeddings=token_embeddings,
        decoder_layers=[layer(part, _named(decoder_layer, i), biases=False) for i, part in enumerate(decoder)],
        ada=ada,
        decoder_norm=vector(DECODER_NORM),
    )
    await ops.settle()
    return loaded


async def _read_all(
    ops: AnyOps, source: ShardedCursor, tensors: Sequence[TensorInfo], plan: _Plan, progress: Progress | None
) -> dict[str, NDArray[np.float32]]:
    """Read every tensor once, in file order: blocks go to their matrices, vectors and convolutions are returned."""
    total_bytes = sum(tensor.n_bytes for tensor in tensors)
    done_bytes = 0
    raw: defaultdict[str, bytes] = defaultdict(bytes)  # what there is of a vector or a convolution
    floats: dict[str, NDArray[np.float32]] = {}
    if progress:
        await progress(0, total_bytes)
    for run in _runs(tensors, min(FILL_BYTES, total_bytes // MIN_RUNS)):
        with _naming(run):
            pieces = await source.pieces_at(run[0].offset, run[-1].end - run[0].offset)
        fills = []
        for part in run:
            name, offset = part.tensor.name, part.offset - run[0].offset
            if name in plan.places:
                fills.append(plan.places[name].fill(part, offset))
                continue
            raw[name] += cut_out(pieces, offset, part.n_bytes)
            if len(raw[name]) == part.tensor.n_bytes:
                floats[name] = weights.values(part.tensor, raw.pop(name))
        if fills:
            await ops.fill(fills, pieces)
        done_bytes += sum(part.n_bytes for part in run)
        if progress:
            await progress(done_bytes, total_bytes)
    return floats


def _runs(tensors: Iterable[TensorInfo], run_bytes: int) -> Iterator[list[_Part]]:
    """What is read at once: as much as begins and ends within run_bytes, cut between blocks or pairs of them.

    So that all parts begin at multiples of 4 bytes, as tensors do, and none ends within a number.
    """
    run: list[_Part] = []
    for tensor in tensors:
        first, unit = 0, math.lcm(GgmlType(tensor.ggml_type).block_bytes, 4)
        while first < tensor.n_bytes:
            room = run_bytes - (tensor.offset + first - run[0].offset if run else 0)
            rest = tensor.n_bytes - first
            n_bytes = rest if rest <= room else room // unit * unit
            if n_bytes > 0:
                run.append(_Part(tensor, first, n_bytes))
                first += n_bytes
            else:
                yield run
                run = []
    yield run


@contextmanager
def _naming(run: Sequence[_Part]) -> Iterator[None]:
    """Let an error of the source say which tensors it hit."""
    try:
        yield
    except ModelFileError as error:
        names = [repr(part.tensor.name) for part in run]
        what = f"tensor {names[0]}" if len(run) == 1 else f"tensors {names[0]} to {names[-1]}"
        raise ModelFileError(f"{what} could not be read: {error}") from error


def _qkv_bias(floats: dict[str, NDArray[np.float32]], name: Callable[[str], str]) -> NDArray[np.float32]:
    """q and v have a bias, k has none: one vector with zeros between."""
    q, v = floats[name("attention.wq.bias")], floats[name("attention.wv.bias")]
    return np.concatenate([q, np.zeros_like(q), v])  # the encoder has as many key heads as query heads


def _named(layer_name: Callable[[int, str], str], i: int) -> Callable[[str], str]:
    return lambda rest: layer_name(i, rest)
