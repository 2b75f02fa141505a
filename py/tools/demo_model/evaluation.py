"""How well a network hears what it has not learned from, in torch: a quick look after training.

The figures of the model card come from `voxtral wer`; these come first, and at every delay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import torch
from numpy.typing import NDArray

from tools.demo_model.augmentation import plain_mel
from tools.demo_model.network import Weights, band, encode, greedy, rope_table, rounded_q4_0
from tools.demo_model.recordings import Pack
from tools.demo_model.scenes import FIRST_WORD_TOKEN, kind_of
from tools.demo_model.vocabulary import words
from voxtral.config import GROUP, RIGHT_PAD_EXTRA_TOKENS, SAMPLE_RATE, SAMPLES_PER_TOKEN, ModelConfig

DELAYS = (1, 3, 6, 12, 15, 30)
BATCH_TOKENS = 24_000
LONG_S = 75.0  # almost five times an example of the training
SEED = 1


@dataclass(frozen=True)
class Test:
    """Something to hear, float32 at 16 kHz, and what should be written."""

    kind: str
    samples: NDArray[np.float32]
    transcript: str


def tests(dev: Pack, train: Pack, held_out: Sequence[str]) -> list[Test]:
    """Every clip of dev; digit strings of the speakers held out, also in noise and quiet; long streams; no speech."""
    random = np.random.default_rng(SEED)
    found = []
    for clip in dev.clips:
        kind = kind_of(clip)
        found.append(Test(kind, _float(dev.samples(clip)), "" if kind == "other_speech" else clip.transcript))
    digits = [(p, c) for p in (dev, train) for c in p.clips if c.source == "fsdd" and c.speaker in held_out]
    for _ in range(60 if digits else 0):
        chosen = [digits[i] for i in random.integers(len(digits), size=random.integers(3, 9))]
        parts: list[NDArray[np.float32]] = []
        for pack, clip in chosen:
            parts += [_float(pack.samples(clip)), np.zeros(int(random.uniform(0, 0.3) * SAMPLE_RATE), np.float32)]
        sound = np.concatenate(parts)
        text = " ".join(clip.transcript for _, clip in chosen)
        found.append(Test("strings", sound, text))
        power = float(np.mean(sound**2))
        noise = random.normal(0, np.sqrt(power / 10), len(sound)).astype(np.float32)
        found.append(Test("strings at 10 dB", sound + noise, text))
        found.append(Test("strings at -40 dB", sound * np.float32(0.01 / np.abs(sound).max()), text))
    spoken = [test for test in found if test.kind in ("digits", "keywords", "orders")]
    found += [_long(spoken, random) for _ in range(6 if spoken else 0)]
    for level in (0.0, 0.001, 0.01, 0.1):
        found.append(Test("nothing", random.normal(0, level, 15 * SAMPLE_RATE).astype(np.float32), ""))
    return found


def _long(spoken: Sequence[Test], random: np.random.Generator) -> Test:
    """Clips behind each other, with short and long pauses."""
    parts: list[NDArray[np.float32]] = []
    texts = []
    while sum(map(len, parts)) < LONG_S * SAMPLE_RATE:
        test = spoken[int(random.integers(len(spoken)))]
        pause_s = random.uniform(2, 8) if random.random() < 0.1 else random.exponential(0.4)
        parts += [test.samples, np.zeros(int(pause_s * SAMPLE_RATE), np.float32)]
        texts.append(test.transcript)
    sound = np.concatenate(parts)
    return Test("long", sound + random.normal(0, 3e-4, len(sound)).astype(np.float32), " ".join(texts))


def _float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)


def transcribe(
    weights: Weights, config: ModelConfig, sounds: Sequence[NDArray[np.float32]], delay: int, left_pad: int
) -> list[str]:
    """What the network writes for each sound."""
    device = next(iter(weights.values())).device
    texts = [""] * len(sounds)
    vocabulary = words()
    n_padding = left_pad + delay + 1 + RIGHT_PAD_EXTRA_TOKENS
    for chosen, n_tokens in _batches([n_padding + -(-len(sound) // SAMPLES_PER_TOKEN) for sound in sounds]):
        padded = torch.zeros(len(chosen), n_tokens * SAMPLES_PER_TOKEN)
        for row, i in enumerate(chosen):
            at = left_pad * SAMPLES_PER_TOKEN
            padded[row, at : at + len(sounds[i])] = torch.from_numpy(sounds[i])
        mel = plain_mel(padded.to(device))
        table = rope_table(n_tokens * GROUP, config.encoder.head_dim, device)
        mask = band(n_tokens * GROUP, config.encoder.window, device)
        audio = encode(weights, config, mel, table, mask)
        written = greedy(weights, config, audio, torch.full((len(chosen),), delay, device=device)).cpu()
        for row, i in enumerate(chosen):
            heard = [int(token) - FIRST_WORD_TOKEN for token in written[row] if token >= FIRST_WORD_TOKEN]
            texts[i] = " ".join(vocabulary[word] for word in heard if word < len(vocabulary))
    return texts


def _batches(n_tokens: Sequence[int]) -> list[tuple[list[int], int]]:
    """Numbers of sounds that are about as long, and the tokens of the longest."""
    batches: list[tuple[list[int], int]] = []
    for i in sorted(range(len(n_tokens)), key=lambda i: n_tokens[i]):
        if not batches or (len(batches[-1][0]) + 1) * n_tokens[i] > BATCH_TOKENS:
            batches.append(([], 0))
        batches[-1] = ([*batches[-1][0], i], n_tokens[i])
    return batches


def evaluate(weights: Weights, config: ModelConfig, found: Sequence[Test], left_pad: int = 32) -> dict[str, Any]:
    """Word error rate, or false words a minute, of each kind at each delay: as Q4_0, and as it is at 480 ms."""
    rounded = {name: rounded_q4_0(w) if w.ndim == 2 else w for name, w in weights.items()}
    report: dict[str, Any] = {"errors": []}
    with torch.no_grad():
        for name, used, delays in (("q4_0", rounded, DELAYS), ("f32", weights, (6,))):
            for delay in delays:
                texts = transcribe(used, config, [test.samples for test in found], delay, left_pad)
                report[f"{name} {delay * 80} ms"] = _figures(found, texts)
                if name == "q4_0" and delay == 6:
                    report["errors"] = [
                        [test.kind, test.transcript, text]
                        for test, text in zip(found, texts, strict=True)
                        if test.transcript != text
                    ]
    return report


def _figures(found: Sequence[Test], texts: Sequence[str]) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    for kind in dict.fromkeys(test.kind for test in found):
        pairs = [(test, text) for test, text in zip(found, texts, strict=True) if test.kind == kind]
        if any(test.transcript for test, _ in pairs):
            said = [test.transcript for test, _ in pairs]
            figures[kind] = round(100 * jiwer.wer(said, [text for _, text in pairs]), 2)
        else:
            minutes = sum(len(test.samples) for test, _ in pairs) / SAMPLE_RATE / 60
            figures[f"{kind}, words/min"] = round(sum(len(text.split()) for _, text in pairs) / minutes, 2)
    return figures
