"""The whole 4B network, with random weights, in Chromium without a real GPU: slow, but it loads and speaks."""

from typing import Any

import pytest
from harness import Harness

from voxtral.random_model import PRESETS, make_random

pytestmark = pytest.mark.alone  # a model of 4B parameters fills the memory

N_TOKENS = 3
LIMIT_S = 2 * 3600
MAX_HEAP_BYTES = 300_000_000
MAX_LOADER_BYTES = 100_000_000
MAX_GPU_BYTES = 3_700_000_000


@pytest.mark.slow
def test_the_4b_model_loads_and_makes_tokens(harness: Harness, server: Any) -> None:
    shards = make_random(PRESETS["4b"], server.made / "4b")
    assert len(shards) == 5
    addresses = [f"/made/4b/{shard.name}" for shard in shards]
    try:
        report = harness.run("in_chromium", "hear_silence", [addresses, N_TOKENS], limit_s=LIMIT_S)
    finally:
        for shard in shards:
            shard.unlink()
    print(report)
    assert report["n_parameters"] == 4_429_679_360
    assert len(report["tokens"]) == N_TOKENS
    assert all(0 <= token < PRESETS["4b"].decoder.vocab_size for token in report["tokens"])
    assert report["heap_bytes"] < MAX_HEAP_BYTES
    assert report["loader_peak_bytes"] < MAX_LOADER_BYTES
    assert report["gpu_peak_bytes"] < MAX_GPU_BYTES
