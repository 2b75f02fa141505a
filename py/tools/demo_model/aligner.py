"""The network that hears letters and word ends, in torch: convolutions over log-mel frames; bfloat16 on a GPU.

    trained    weights that have learned from chains of clips
    log_probs  sound put together from pieces -> log probabilities of labels

One of its labels is the end of a word. Where the time is known it learns to write it at that very frame; everywhere it
learns by connectionist temporal classification (CTC) to write all labels of what is said, in their order.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from numpy.typing import NDArray
from torch import Tensor

from tools.demo_model.augmentation import assembled, plain_mel
from tools.demo_model.chains import END, NOT_AN_END, SAMPLES_PER_FRAME, Chains, Examples
from tools.demo_model.configuration import AlignmentConfig
from tools.demo_model.forced_path import BLANK, N_LABELS, WORD_END
from voxtral.config import N_MEL_BINS, RMS_NORM_EPS

Weights = dict[str, Any]  # name -> float32 tensor

STEM_TAPS, TAPS = 3, 5
EQUALISER_KNOTS = 6
QUIET_DB = -75.0  # of the noise under clips that are aligned: digital silence is nothing that it has learned


def initial(config: AlignmentConfig, generator: Any) -> Weights:
    """Normal weights of variance 1 / n_in, outputs of the residual branches smaller with depth."""
    d, n_blocks = config.dim, len(config.dilations)
    shapes = {"stem.0": (d, N_MEL_BINS * STEM_TAPS), "stem.1": (d, d * STEM_TAPS), "head": (N_LABELS, d)}
    for i in range(n_blocks):
        shapes |= {f"in.{i}": (d, d * TAPS), f"out.{i}": (d, d)}
    weights = {}
    for name, (n_out, n_in) in shapes.items():
        scale = 1 / math.sqrt(n_in * (2 * n_blocks if name.startswith("out.") else 1))
        weights[f"{name}.weight"] = torch.randn(n_out, n_in, generator=generator, device=generator.device) * scale
        weights[f"{name}.bias"] = torch.zeros(n_out, device=generator.device)
    for name in (*(f"norm.{i}" for i in range(n_blocks)), "norm"):
        weights[name] = torch.ones(d, device=generator.device)
    return weights


def _labelled(weights: Weights, mel: Tensor, config: AlignmentConfig, dropout: float = 0.0) -> Tensor:
    """mel [batch, 2 n, 128] -> log probabilities [batch, n, N_LABELS], 50 a second."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.rms_norm(x, (config.dim,), weights[name], RMS_NORM_EPS)

    with torch.autocast(mel.device.type, torch.bfloat16, enabled=mel.device.type == "cuda"):
        x = F.gelu(linear("stem.0", _windows(mel, STEM_TAPS, 1)))
        x = F.gelu(linear("stem.1", _windows(x, STEM_TAPS, 1)[:, ::2])).float()  # frame t is centred on mel frame 2 t
        for i, dilation in enumerate(config.dilations):
            inner = F.gelu(linear(f"in.{i}", _windows(norm(f"norm.{i}", x), TAPS, dilation)))
            x = x + linear(f"out.{i}", F.dropout(inner, dropout))
        return F.log_softmax(linear("head", norm("norm", x)).float(), dim=-1)


def _windows(x: Tensor, n_taps: int, dilation: int) -> Tensor:
    """Each frame with its neighbours: [batch, n, dim] -> [batch, n, n_taps dim]."""
    n, half = x.shape[1], n_taps // 2 * dilation
    padded = F.pad(x, (0, 0, half, half))
    return torch.cat([padded[:, tap * dilation : tap * dilation + n] for tap in range(n_taps)], dim=-1)


def _on(device: Any, array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def trained(stream: Tensor, chains: Chains, config: AlignmentConfig, seed: int) -> tuple[Weights, list[float]]:
    """Learn from chains of the stream's clips. stream: int16 [n], on the device to use. Returns weights and losses."""
    device = stream.device
    generator = torch.Generator(device).manual_seed(seed)
    torch.manual_seed(seed)  # of dropout
    weights = initial(config, generator)
    for weight in weights.values():
        weight.requires_grad_()
    optimizer = torch.optim.AdamW(
        weights.values(), lr=config.rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    losses = []
    for _ in range(config.n_steps):
        examples = chains.draw()
        with torch.no_grad():
            mel = _heard(stream, examples, config, generator)
        log_probs = _labelled(weights, mel, config, config.dropout)
        loss = _label_loss(log_probs, examples) + config.end_weight * _end_loss(log_probs, examples)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), config.clip_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return {name: weight.detach() for name, weight in weights.items()}, torch.stack(losses).tolist()


def _rate(step: int, config: AlignmentConfig) -> float:
    """Of the highest: a ramp, then half a cosine."""
    n_warmup = max(1, int(config.warmup * config.n_steps))
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - n_warmup) / max(1, config.n_steps - n_warmup))


def _heard(stream: Tensor, examples: Examples, config: AlignmentConfig, generator: Any) -> Tensor:
    """Mel frames of examples under noise, at some level, through some microphone."""
    n, n_frames = examples.marks.shape
    sound, _ = assembled(stream, _on(stream.device, examples.pieces), n_frames * SAMPLES_PER_FRAME)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, generator=generator, device=stream.device) * (high - low) + low

    power = sound.square().mean(1, keepdim=True)
    snr_db, level_db = uniform(*config.snr_db), uniform(*config.level_db)
    noise = torch.randn(sound.shape, generator=generator, device=stream.device)
    sound = sound + noise * (power * 10 ** (-snr_db / 10) + 1e-10).sqrt()
    mel = plain_mel(sound * 10 ** (level_db / 20))
    knots = torch.randn(n, 1, EQUALISER_KNOTS, generator=generator, device=stream.device) * config.equaliser
    return mel + F.interpolate(knots, N_MEL_BINS, mode="linear", align_corners=True)


def _label_loss(log_probs: Tensor, examples: Examples) -> Tensor:
    """Nats a label."""
    n, n_frames = examples.marks.shape
    lengths = [len(labels) for labels in examples.labels]
    labels = _on(log_probs.device, np.concatenate(examples.labels))
    total = F.ctc_loss(
        log_probs.transpose(0, 1), labels, [n_frames] * n, lengths, BLANK, reduction="sum", zero_infinity=True
    )
    return total / max(1, sum(lengths))


def _end_loss(log_probs: Tensor, examples: Examples) -> Tensor:
    """Nats a known word end: missed where it is, or written where it is not."""
    marks = _on(log_probs.device, examples.marks)
    log_p = log_probs[:, :, WORD_END]
    missed = -(log_p * (marks == END)).sum()
    invented = -(torch.log1p(-log_p.exp().clamp(max=1 - 1e-6)) * (marks == NOT_AN_END)).sum()
    return (missed + invented) / (marks == END).sum().clamp(min=1)


def log_probs(
    weights: Weights,
    stream: Tensor,
    pieces: NDArray[np.float64],
    n_frames: int,
    config: AlignmentConfig,
    generator: Any,
) -> NDArray[np.float32]:
    """What is heard in sound of the stream. pieces [batch, n, 6] -> [batch, n_frames, N_LABELS]."""
    with torch.no_grad():
        sound, _ = assembled(stream, _on(stream.device, pieces), n_frames * SAMPLES_PER_FRAME)
        noise = torch.randn(sound.shape, generator=generator, device=stream.device)
        mel = plain_mel(sound + noise * 10 ** (QUIET_DB / 20))
        found: NDArray[np.float32] = _labelled(weights, mel, config).cpu().numpy()
    return found
