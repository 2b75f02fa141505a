"""Padding and prompt against the recorded sessions and the formulas."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.config import StreamingConfig
from voxtral.padding import n_right_pad_samples, prompt_tokens

GOLDEN = Path(__file__).parent / "golden"
SETS = ["tiny", "roll", "eos", "delay960_f16", "short"]
DELAYS_MS = [*range(80, 1280, 80), 2400]


@pytest.mark.parametrize("name", SETS)
def test_prompt_and_length_are_the_recorded_ones(name: str) -> None:
    meta = json.loads((GOLDEN / name / "meta.json").read_text())
    config = StreamingConfig(meta["delay_ms"], meta["left_pad"])
    recorded = np.load(GOLDEN / name / "golden.npz")
    assert prompt_tokens(config) == recorded["prefix_ids"].tolist()
    n_samples = meta["left_pad"] * 1280 + meta["samples"] + n_right_pad_samples(meta["samples"], config)
    assert n_samples == meta["positions"] * 1280 == meta["mel_frames"] * 160


@given(st.integers(0, 10**9), st.sampled_from(DELAYS_MS))
def test_right_padding_fills_a_token_and_then_the_delay_and_eleven_more(n_samples: int, delay_ms: int) -> None:
    n_right = n_right_pad_samples(n_samples, StreamingConfig(delay_ms))
    assert (n_samples + n_right) % 1280 == 0
    assert n_right // 1280 == delay_ms // 80 + 11
    assert n_right % 1280 < 1280


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_prompt_does_not_depend_on_left_padding(delay_ms: int) -> None:
    prompt = prompt_tokens(StreamingConfig(delay_ms, 76))
    assert prompt == prompt_tokens(StreamingConfig(delay_ms, 32)) == [1] + [32] * (32 + delay_ms // 80)
