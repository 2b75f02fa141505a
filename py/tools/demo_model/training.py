"""Learning: many scenes a step, AdamW, the last quarter with the weights that a Q4_0 file can hold.

The optimiser owns float32 weights; what is computed with is a copy of them, in the last quarter a rounded one whose
gradients go to the weights as they are (straight through). The result is the average of the last weights.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tools.demo_model.augmentation import Batch, Renderer, collate
from tools.demo_model.configuration import NETWORK, Learning, Recipe, Scenes
from tools.demo_model.network import Weights, band, decode, encode, initial, rope_table, rounded_q4_0
from tools.demo_model.scenes import Library, draw
from tools.demo_model.vocabulary import words
from voxtral.config import GROUP, STREAMING_PAD_TOKEN
from voxtral.weights import TOKEN_EMBEDDINGS

STEPS_A_LINE = 100
EAR = "ear"  # weights that only the training has: from an audio embedding to the word that has just ended


class _Steps(Dataset):  # type: ignore[misc, type-arg, unused-ignore]
    """The batch of every step, the same whoever draws it."""

    def __init__(self, library: Library, scenes: Scenes, batch: int, n_steps: int, seed: int) -> None:
        self.library, self.scenes, self.batch, self.n_steps, self.seed = library, scenes, batch, n_steps, seed

    def __len__(self) -> int:
        return self.n_steps

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng([self.seed, step])
        return collate([draw(self.library, self.scenes, random) for _ in range(self.batch)])


def _as_drawn(batch: Batch) -> Batch:
    return batch


def batches(library: Library, recipe: Recipe, n_steps: int, n_processes: int) -> Iterator[Batch]:
    """The scenes of every step, drawn by other processes ahead of time."""
    steps = _Steps(library, recipe.scenes, recipe.learning.batch, n_steps, recipe.seed)
    more: dict[str, Any] = {"prefetch_factor": 8} if n_processes else {}
    return iter(DataLoader(steps, batch_size=None, collate_fn=_as_drawn, num_workers=n_processes, **more))


def _rate(learning: Learning, step: int, n_steps: int) -> float:
    if step < learning.warmup_steps:
        return learning.rate * (step + 1) / learning.warmup_steps
    progress = (step - learning.warmup_steps) / max(1, n_steps - learning.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return learning.rate * (learning.final_rate + (1 - learning.final_rate) * cosine)


def _is_rounded(name: str, weight: Any) -> bool:
    return weight.ndim == 2 and name != EAR


class Trainer:
    """The weights and how they change."""

    def __init__(self, recipe: Recipe, device: Any) -> None:
        self.recipe, self.device = recipe, device
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        self.weights: Weights = initial(NETWORK, generator, device)
        ear = torch.randn(1 + len(words()), NETWORK.decoder.dim, generator=generator) / NETWORK.decoder.dim**0.5
        self.weights[EAR] = ear.to(device)
        self.average: Weights = {name: value.clone() for name, value in self.weights.items()}
        self.working: Weights = {name: value.clone().requires_grad_() for name, value in self.weights.items()}
        learning, n = recipe.learning, recipe.scenes.n_tokens
        decayed = [w for name, w in self.weights.items() if w.ndim > 1 and name != TOKEN_EMBEDDINGS]
        free = [w for name, w in self.weights.items() if w.ndim == 1 or name == TOKEN_EMBEDDINGS]
        groups = [{"params": decayed, "weight_decay": learning.weight_decay}, {"params": free, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=learning.rate, betas=learning.betas, fused=device.type == "cuda")
        self.tables = tuple(
            rope_table(length, half.head_dim, device)
            for length, half in ((n * GROUP, NETWORK.encoder), (n, NETWORK.decoder))
        )
        self.masks = (band(n * GROUP, NETWORK.encoder.window, device), band(n, NETWORK.decoder.window, device))
        self.loss: Callable[..., Any] = torch.compile(self._loss) if device.type == "cuda" else self._loss

    def _loss(self, weights: Weights, mel: Any, inputs: Any, targets: Any, delays: Any, endings: Any) -> Any:
        learning = self.recipe.learning
        with torch.autocast(self.device.type, torch.bfloat16):
            audio = encode(weights, NETWORK, mel, self.tables[0], self.masks[0], learning.dropout)
            logits = decode(weights, NETWORK, audio, inputs, delays, self.tables[1], self.masks[1], learning.dropout)
            noticed = torch.nn.functional.linear(audio, weights[EAR])
        logits = logits.float().flatten(0, 1)
        wanted = targets.flatten()
        losses = torch.nn.functional.cross_entropy(
            logits, wanted.clamp(min=0), reduction="none", label_smoothing=learning.label_smoothing
        )
        shares = torch.where(wanted == STREAMING_PAD_TOKEN, learning.pad_weight, 1.0) * (wanted >= 0)
        ear = torch.nn.functional.cross_entropy(noticed.float().flatten(0, 1), endings.flatten(), reduction="none")
        ear_shares = torch.where(endings.flatten() == 0, learning.pad_weight, 1.0)
        return (losses * shares).sum() / shares.sum() + learning.ear_weight * (
            ear * ear_shares
        ).sum() / ear_shares.sum()

    def step(self, mel: Any, batch: Batch, step: int, n_steps: int) -> Any:
        """One step; its loss, still on the device."""
        learning = self.recipe.learning
        is_rounded = step >= learning.rounded_from * n_steps
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.working[name].copy_(rounded_q4_0(weight) if is_rounded and _is_rounded(name, weight) else weight)
        loss = self.loss(self.working, mel, batch.inputs, batch.targets, batch.delays, batch.endings)
        loss.backward()
        for name, weight in self.weights.items():
            weight.grad, self.working[name].grad = self.working[name].grad, None
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), learning.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(learning, step, n_steps)
        self.optimiser.step()
        keep = min(learning.average, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - keep)
        return loss.detach()


def train(
    library: Library,
    recipe: Recipe,
    device: Any,
    n_processes: int,
    tell: Callable[[str], None],
    n_steps: int | None = None,
) -> tuple[Weights, list[dict[str, float]]]:
    """The averaged weights after all steps, and the losses along the way."""
    n_steps = n_steps or recipe.learning.n_steps
    trainer = Trainer(recipe, device)
    renderer = Renderer(library, recipe.scenes, device, recipe.seed)
    tell(f"learning {n_steps} steps: {asdict(recipe.learning)}")
    losses: list[Any] = []
    history: list[dict[str, float]] = []
    begin = time.monotonic()
    for step, drawn in enumerate(batches(library, recipe, n_steps, n_processes)):
        batch = drawn.to(device)
        with torch.no_grad():
            mel = renderer.mel(batch)
        losses.append(trainer.step(mel, batch, step, n_steps))
        if (step + 1) % STEPS_A_LINE == 0 or step + 1 == n_steps:
            mean = float(torch.stack(losses).mean())
            losses = []
            history.append({"step": step + 1, "loss": mean, "seconds": time.monotonic() - begin})
            tell(f"step {step + 1}: loss {mean:.4f}, {time.monotonic() - begin:.0f} s")
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss is {mean} at step {step + 1}")
    del trainer.average[EAR]
    return trainer.average, history
