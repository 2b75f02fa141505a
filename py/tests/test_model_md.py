"""MODEL.md states the numbers the code has."""

from pathlib import Path

import matplotlib as mpl

from tools.ablation_chapter import REPORT, chapter
from tools.ablation_plots import draw
from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.conditions import NORMAL_PEAK_DBFS
from voxtral.accuracy.factors import PLANS
from voxtral.config import (
    DEFAULT_LEFT_PAD_TOKENS,
    PROMPT_PAD_TOKENS,
    REFERENCE_LEFT_PAD_TOKENS,
    DecoderConfig,
    EncoderConfig,
    StreamingConfig,
)

TEXT = (Path(__file__).parents[2] / "MODEL.md").read_text()


def row(name):
    """The cells of the table row that begins with `name`."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_table_of_numbers_is_the_default_configuration():
    encoder, decoder = EncoderConfig(), DecoderConfig()
    assert row("layers") == [str(encoder.n_layers), str(decoder.n_layers)]
    assert row("width") == [str(encoder.dim), str(decoder.dim)]
    assert row("heads") == [
        f"{encoder.n_heads} / {encoder.n_heads} / {encoder.head_dim}",
        f"{decoder.n_heads} / {decoder.n_kv_heads} / {decoder.head_dim}",
    ]
    assert row("feed-forward") == [str(encoder.ffn_dim), str(decoder.ffn_dim)]
    assert row("window") == [str(encoder.window), str(decoder.window)]
    assert f"vocabulary {decoder.vocab_size}, delay conditioning width {decoder.ada_dim}" in TEXT


def test_the_padding_section_states_both_values():
    assert f"**{DEFAULT_LEFT_PAD_TOKENS} tokens by default, {REFERENCE_LEFT_PAD_TOKENS} by option**" in TEXT
    assert StreamingConfig().n_prompt_tokens == 1 + PROMPT_PAD_TOKENS + StreamingConfig().delay_tokens == 39
    assert "33 + delay tokens" in TEXT


def test_the_chapter_of_the_ablation_is_that_of_its_report():
    report = Ablation.of_json(REPORT.read_bytes(), REPORT.name)
    assert chapter(TEXT, report) == TEXT
    assert report.is_complete


def test_the_figures_of_the_ablation_are_those_of_its_report(tmp_path):
    with mpl.rc_context({"axes.grid": True, "savefig.bbox": "tight"}):  # as somebody's matplotlibrc may have it
        drawn = draw(Ablation.of_json(REPORT.read_bytes(), REPORT.name), tmp_path)
    for path in drawn:
        assert path.read_text() == (REPORT.parent / path.name).read_text()
        assert f"](py/tools/figures/{path.name})" in TEXT


def test_the_plan_of_the_ablation_is_the_one_described():
    levels = {factor.name: factor.levels for factor in PLANS["full"].factors}
    assert "| left padding | {}, {} tokens |".format(*levels["left_pad_tokens"]) in TEXT
    assert "| delay | " + ", ".join(map(str, levels["delay_ms"])) + " ms |" in TEXT
    assert "| loudest sample | " + ", ".join(f"{level:g}" for level in levels["level_dbfs"]) + " dBFS" in TEXT
    n_combinations = 2 * len(PLANS["full"].combinations())
    assert f"These are {n_combinations}." in TEXT
    assert f"{n_combinations // PLANS['full'].n_parts} times" in TEXT
    assert f"to {NORMAL_PEAK_DBFS:g} dBFS" in TEXT
