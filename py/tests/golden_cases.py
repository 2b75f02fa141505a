"""Golden parity as plain functions, for CPython and for Python inside the browser.

Each set in `golden/` holds audio, a random network and what the reference implementation (transformers)
computed with it; `py/tools/oracle.py` makes them, and the sets' meta.json tell with what options.
"""

import json
from collections import defaultdict
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.model.layers import AnyOps
from voxtral.model.voxtral import Voxtral
from voxtral.session import StreamingSession
from voxtral.shards import ByteSource, MemorySource, ShardedCursor

SETS = ("tiny", "roll", "eos", "delay960_f16", "short")
TOLERANCES = {"mel": 1e-4, "conv2": 1e-3, "enc_out": 1e-3, "audio_embeds": 1e-3, "logits": 1e-3}
CHUNKS = (0, 37, 1280, -1)  # samples per feed; 0: all at once, -1: random sizes


class GoldenSet:
    """One set, from the bytes of its files: golden.npz, meta.json and, unless it is elsewhere, model.gguf."""

    def __init__(self, files: dict[str, bytes], weights: ByteSource | None = None) -> None:
        self.meta: dict[str, Any] = json.loads(files["meta.json"])
        self.arrays = dict(np.load(BytesIO(files["golden.npz"])))
        self._weights = weights or MemorySource(files["model.gguf"], "model.gguf")

    async def load_model(self, ops: AnyOps) -> Voxtral:
        return await Voxtral.load(ops, ShardedCursor([self._weights]))

    def chunks(self, chunk: int) -> list[NDArray[np.float32]]:
        """The audio cut as asked; random cuts are 1 … 4000 samples, from a fixed seed."""
        audio = self.arrays["audio"]
        if chunk >= 0:
            cuts = np.arange(0, len(audio), chunk or len(audio))[1:]
        else:
            cuts = np.cumsum(np.random.default_rng(7).integers(1, 4000, len(audio)))
            cuts = cuts[cuts < len(audio)]
        return np.split(audio, cuts)

    async def tokens(self, model: Voxtral, chunk: int, probe: Any = None) -> list[int]:
        session = StreamingSession(model, self.meta["delay_ms"], self.meta["left_pad"], True, probe)
        events = []
        for samples in self.chunks(chunk):
            events += await session.feed(samples)
        events += await session.finish()
        return [event.token for event in events]


async def token_report(golden: GoldenSet, ops: AnyOps) -> dict[str, Any]:
    """For every chunking: whether the tokens equal the reference's."""
    model = await golden.load_model(ops)
    return {str(chunk): await golden.tokens(model, chunk) == golden.meta["tokens"] for chunk in CHUNKS}


async def stage_report(golden: GoldenSet, ops: AnyOps) -> dict[str, Any]:
    """Every stage's shape agreement and largest absolute error, computed from position 0 on."""
    model = await golden.load_model(ops)
    stages: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    tokens = await golden.tokens(model, 1280, lambda name, rows: stages[name].append(rows))
    report: dict[str, Any] = {"tokens": tokens == golden.meta["tokens"]}
    for name in TOLERANCES:
        found, expected = np.concatenate(stages[name]), golden.arrays[name]
        same_shape = found.shape == expected.shape
        report[name] = float(np.abs(found - expected).max()) if same_shape else f"{found.shape} != {expected.shape}"
    return report
