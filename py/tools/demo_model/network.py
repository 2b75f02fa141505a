"""The network in torch, for training: whole sequences at once, the arithmetic of voxtral's numpy ops.

initial       random weights under Mistral's names, as `weights.tensor_shapes` lists them
encode        mel frames -> audio embeddings
decode        audio embeddings and tokens -> logits
greedy        what the network writes, token by token, fed with its own words
rounded_q4_0  weights as a Q4_0 file holds them
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from voxtral.config import (
    BOS_TOKEN,
    GROUP,
    PROMPT_PAD_TOKENS,
    RMS_NORM_EPS,
    ROPE_THETA,
    STREAMING_PAD_TOKEN,
    ModelConfig,
)
from voxtral.quant import WEIGHTS_PER_BLOCK
from voxtral.weights import (
    ADA_DOWN,
    ADA_UP,
    ADAPTER_IN,
    ADAPTER_OUT,
    DECODER_NORM,
    ENCODER_NORM,
    TOKEN_EMBEDDINGS,
    conv,
    decoder_layer,
    encoder_layer,
    tensor_shapes,
)

Weights = dict[str, Any]  # name -> float32 tensor
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # turned queries and keys, and values -> what heads attended to


def initial(config: ModelConfig, generator: Any, device: Any) -> Weights:
    """Normal weights of variance 1 / n_in, less at the ends of residual branches; norms one, biases zero."""
    weights = {}
    depth = {"encoder": math.sqrt(2 * config.encoder.n_layers), "decoder": math.sqrt(2 * config.decoder.n_layers)}
    for name, shape in tensor_shapes(config):
        if name.endswith("bias"):
            tensor = torch.zeros(shape)
        elif len(shape) == 1:
            tensor = torch.ones(shape)
        else:
            scale = 1 / math.sqrt(math.prod(shape[1:]))
            if name == TOKEN_EMBEDDINGS:
                scale = 1 / math.sqrt(config.decoder.dim)
            elif name.endswith(("wo.weight", "w2.weight")):
                scale /= depth["encoder" if "whisper_encoder" in name else "decoder"]
            elif name.endswith(ADA_UP):
                scale *= 0.1
            tensor = torch.randn(shape, generator=generator) * scale
        weights[name] = tensor.to(device)
    return weights


def rounded_q4_0(weights: Tensor) -> Tensor:
    """A matrix [n_out, n_in] as `quant.quantise` and `dequantise` leave it."""
    blocks = weights.reshape(-1, WEIGHTS_PER_BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scales = largest / -8
    inverse = torch.where(scales == 0, 0, 1 / scales)
    levels = (blocks * inverse + 8.5).floor().clamp(max=15) - 8
    return (levels * scales.half().float()).reshape(weights.shape)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_NORM_EPS) * weight


def rope_table(n_positions: int, head_dim: int, device: Any) -> Tensor:
    """Cosines and sines of every position: float32 [2, n_positions, head_dim / 2]."""
    frequencies = ROPE_THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(n_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()]).float().to(device)


def _rope(x: Tensor, table: Tensor) -> Tensor:
    """x [batch, heads, n, head_dim] turned; pairs are neighbours."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


def band(n: int, window: int, device: Any) -> Tensor:
    """Which keys a query sees: bool [n, n], the last `window` with itself."""
    distance = torch.arange(n, device=device)[:, None] - torch.arange(n, device=device)
    return (distance >= 0) & (distance < window)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[batch, heads, n, head_dim] and fewer heads of keys -> [batch, n, heads * head_dim]."""
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def _feed_forward(w: Weights, name: Any, h: Tensor) -> Tensor:
    gate = F.linear(h, w[name("feed_forward.w1.weight")])
    up = F.linear(h, w[name("feed_forward.w3.weight")])
    return F.linear(F.silu(gate) * up, w[name("feed_forward.w2.weight")], w.get(name("feed_forward.w2.bias")))


def encode(w: Weights, config: ModelConfig, mel: Tensor, table: Tensor, mask: Tensor, dropout: float = 0.0) -> Tensor:
    """mel float32 [batch, 8 n, 128] -> audio embeddings [batch, n, dim of the decoder]."""
    encoder = config.encoder
    x = mel.transpose(1, 2)
    x = F.gelu(F.conv1d(F.pad(x, (2, 0)), w[conv(0, "weight")], w[conv(0, "bias")]))
    x = F.gelu(F.conv1d(F.pad(x, (1, 0)), w[conv(1, "weight")], w[conv(1, "bias")], stride=2))
    x = x.transpose(1, 2).float()
    for i in range(encoder.n_layers):

        def name(rest: str, i: int = i) -> str:
            return encoder_layer(i, rest)

        h = _norm(x, w[name("attention_norm.weight")])
        q = F.linear(h, w[name("attention.wq.weight")], w[name("attention.wq.bias")])
        k = F.linear(h, w[name("attention.wk.weight")])
        v = F.linear(h, w[name("attention.wv.weight")], w[name("attention.wv.bias")])
        q, k, v = (_heads(part, encoder.n_heads) for part in (q, k, v))
        attended = _attend(_rope(q, table), _rope(k, table), v, mask)
        out = F.linear(attended, w[name("attention.wo.weight")], w[name("attention.wo.bias")])
        x = x + F.dropout(out, dropout, dropout > 0)
        out = _feed_forward(w, name, _norm(x, w[name("ffn_norm.weight")]))
        x = x + F.dropout(out, dropout, dropout > 0)
    x = _norm(x, w[ENCODER_NORM])
    stacked = x.unflatten(1, (-1, GROUP)).flatten(2)
    return F.linear(F.gelu(F.linear(stacked, w[ADAPTER_IN])), w[ADAPTER_OUT]).float()


def time_conditions(config: ModelConfig, delays: Tensor) -> Tensor:
    """delays in tokens [batch] -> float32 [batch, dim]."""
    half = config.decoder.dim // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=delays.device) / half)
    angles = delays.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def _ada(w: Weights, i: int, conditions: Tensor) -> Tensor:
    """1 + the scale of layer i: [batch, 1, dim]."""
    hidden = F.gelu(F.linear(conditions, w[decoder_layer(i, ADA_DOWN)]))
    return 1 + F.linear(hidden, w[decoder_layer(i, ADA_UP)]).float()[:, None]


def _decoder_layer(
    w: Weights, config: ModelConfig, i: int, x: Tensor, table: Tensor, ada: Tensor, attend: Attend, dropout: float
) -> Tensor:
    """Layer i of x [batch, n, dim], whose places `table` tells; ada: its `_ada`."""
    decoder = config.decoder

    def name(rest: str) -> str:
        return decoder_layer(i, rest)

    h = _norm(x, w[name("attention_norm.weight")])
    q = _heads(F.linear(h, w[name("attention.wq.weight")]), decoder.n_heads)
    k = _heads(F.linear(h, w[name("attention.wk.weight")]), decoder.n_kv_heads)
    v = _heads(F.linear(h, w[name("attention.wv.weight")]), decoder.n_kv_heads)
    attended = attend(_rope(q, table), _rope(k, table), v)
    x = x + F.dropout(F.linear(attended, w[name("attention.wo.weight")]), dropout, dropout > 0)
    h = _norm(x, w[name("ffn_norm.weight")]) * ada
    return x + F.dropout(_feed_forward(w, name, h), dropout, dropout > 0)


def decode(
    w: Weights,
    config: ModelConfig,
    audio: Tensor,
    tokens: Tensor,
    delays: Tensor,
    table: Tensor,
    mask: Tensor,
    dropout: float = 0.0,
) -> Tensor:
    """audio [batch, n, dim], tokens int64 [batch, n], delays [batch] -> logits [batch, n, vocab_size]."""
    conditions = time_conditions(config, delays)
    x = audio + F.embedding(tokens, w[TOKEN_EMBEDDINGS])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _attend(q, k, v, mask)

    for i in range(config.decoder.n_layers):
        x = _decoder_layer(w, config, i, x, table, _ada(w, i, conditions), attend, dropout)
    return F.linear(_norm(x, w[DECODER_NORM]), w[TOKEN_EMBEDDINGS])


def greedy(w: Weights, config: ModelConfig, audio: Tensor, delays: Tensor) -> Tensor:
    """The tokens that follow from audio [batch, n, dim] with these delays: int64 [batch, n], the prompt's not counted.

    Position p holds what was written there; positions inside the prompt hold [STREAMING_PAD].
    """
    batch, n, _ = audio.shape
    decoder, device = config.decoder, audio.device
    cache = torch.zeros(
        decoder.n_layers, 2, batch, decoder.n_kv_heads, n, decoder.head_dim, device=device, dtype=audio.dtype
    )
    table = rope_table(n, decoder.head_dim, device)
    ada = [_ada(w, i, time_conditions(config, delays)) for i in range(decoder.n_layers)]
    written = torch.full((batch, n), STREAMING_PAD_TOKEN, device=device)
    token = torch.full((batch,), BOS_TOKEN, device=device)
    for p in range(n):
        x = (audio[:, p] + w[TOKEN_EMBEDDINGS][token])[:, None]
        first = max(0, p + 1 - decoder.window)
        for i in range(decoder.n_layers):

            def attend(q: Tensor, k: Tensor, v: Tensor, i: int = i, p: int = p, first: int = first) -> Tensor:
                cache[i, 0, :, :, p], cache[i, 1, :, :, p] = k[:, :, 0], v[:, :, 0]
                keys, values = cache[i, :, :, :, first : p + 1]
                return _attend(q, keys, values, None)

            x = _decoder_layer(w, config, i, x, table[:, p : p + 1], ada[i], attend, 0.0)
        best = F.linear(_norm(x, w[DECODER_NORM]), w[TOKEN_EMBEDDINGS])[:, 0].argmax(-1)
        inside = p < PROMPT_PAD_TOKENS + delays  # the prompt goes on
        token = torch.where(inside, STREAMING_PAD_TOKEN, best)
        written[:, p] = token
    return written
