"""MODEL.md states the numbers the code has."""

from pathlib import Path

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
