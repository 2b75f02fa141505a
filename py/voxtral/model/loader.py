"""From a GGUF byte source to weights on a device, one tensor at a time.

Matrices keep their GGML blocks; rows of q, k, v and of gate, up are stacked so that each block of the
network is four products. Order follows the file's layers, so that a source can be read forwards.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxtral import weights
from voxtral.config import ModelConfig
from voxtral.gguf import GgufIndex, read_index
from voxtral.model.layers import AnyOps, LayerWeights
from voxtral.shards import ByteSource
from voxtral.weights import ADAPTER, ENCODER, TOKEN_EMBEDDINGS, decoder_layer, encoder_layer

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


class _Reader:
    """Reads tensors by name, moves them to the device and counts the bytes."""

    def __init__(self, ops: AnyOps, source: ByteSource, index: GgufIndex, progress: Progress | None) -> None:
        self._ops, self._source, self._index, self._progress = ops, source, index, progress
        self._done_bytes = 0
        self._total_bytes = sum(info.n_bytes for info in index.tensors.values())

    async def _count(self, n_bytes: int) -> None:
        self._done_bytes += n_bytes
        if self._progress:
            await self._progress(self._done_bytes, self._total_bytes)

    async def matrix(self, *names: str) -> Any:
        infos = [self._index.tensors[name] for name in names]
        raw = [await weights.read_raw(self._source, info) for info in infos]
        matrix = self._ops.matrix(raw, [info.ggml_type for info in infos], infos[0].shape[1], label=names[0])
        await self._count(sum(info.n_bytes for info in infos))
        return matrix

    async def floats(self, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        info = self._index.tensors[name]
        array = await weights.read_float(self._source, info)
        await self._count(info.n_bytes)
        return array

    async def vector(self, name: str) -> Any:
        return self._ops.tensor(await self.floats(name), label=name)

    async def conv(self, index: int) -> tuple[Any, Any]:
        # As [out, 3, in], a window of rows is one dot product.
        taps = (await self.floats(weights.conv(index, "weight"))).transpose(0, 2, 1)
        weight = self._ops.tensor(taps.reshape(len(taps), -1), label=f"conv{index}")
        return weight, await self.vector(weights.conv(index, "bias"))

    async def layer(self, name: Callable[[str], str], biases: bool) -> LayerWeights:
        qkv = await self.matrix(*(name(f"attention.w{part}.weight") for part in "qkv"))
        return LayerWeights(
            attention_norm=await self.vector(name("attention_norm.weight")),
            qkv=qkv,
            qkv_bias=await self._qkv_bias(name) if biases else None,
            out=await self.matrix(name("attention.wo.weight")),
            out_bias=await self.vector(name("attention.wo.bias")) if biases else None,
            ffn_norm=await self.vector(name("ffn_norm.weight")),
            gate_up=await self.matrix(name("feed_forward.w1.weight"), name("feed_forward.w3.weight")),
            down=await self.matrix(name("feed_forward.w2.weight")),
            down_bias=await self.vector(name("feed_forward.w2.bias")) if biases else None,
        )

    async def _qkv_bias(self, name: Callable[[str], str]) -> Any:
        """q and v have a bias, k has none: one vector with zeros between."""
        q = await self.floats(name("attention.wq.bias"))
        v = await self.floats(name("attention.wv.bias"))
        k = np.zeros(self._index.tensors[name("attention.wk.weight")].shape[0], np.float32)
        return self._ops.tensor(np.concatenate([q, k, v]), label=name("attention.qkv.bias"))


async def load_weights(
    ops: AnyOps, source: ByteSource, progress: Progress | None = None
) -> tuple[ModelConfig, ModelWeights, GgufIndex]:
    """Read the header, check every tensor, then move all weights to the device.

    Raises ModelFileError before anything is allocated when the file does not hold this network.
    """
    index = await read_index(source)
    config = weights.read_config(index)
    weights.check(index, config)
    reader = _Reader(ops, source, index, progress)
    encoder_layers = [await reader.layer(_named(encoder_layer, i), biases=True) for i in range(config.encoder.n_layers)]
    decoder_layers = [await reader.layer(_named(decoder_layer, i), biases=False) for i in range(config.decoder.n_layers)]
    ada = [
        AdaWeights(
            await reader.matrix(decoder_layer(i, "ada_rms_norm_t_cond.0.weight")),
            await reader.matrix(decoder_layer(i, "ada_rms_norm_t_cond.2.weight")),
        )
        for i in range(config.decoder.n_layers)
    ]
    loaded = ModelWeights(
        conv0=await reader.conv(0),
        conv1=await reader.conv(1),
        encoder_layers=encoder_layers,
        encoder_norm=await reader.vector(ENCODER + "transformer.norm.weight"),
        adapter=(await reader.matrix(ADAPTER + "0.weight"), await reader.matrix(ADAPTER + "2.weight")),
        token_embeddings=await reader.matrix(TOKEN_EMBEDDINGS),
        decoder_layers=decoder_layers,
        ada=ada,
        decoder_norm=await reader.vector("norm.weight"),
    )
    return config, loaded, index


def _named(layer_name: Callable[[int, str], str], i: int) -> Callable[[str], str]:
    return lambda rest: layer_name(i, rest)
