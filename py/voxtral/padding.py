"""Silence and prompt around the audio of one session (MODEL.md, section "Padding").

    left_pad_tokens x 1280 zeros | real samples | zeros up to a whole token, then right_pad_tokens x 1280

The prompt does not depend on the left padding: it is 33 + delay tokens, whatever silence comes first.
"""

from voxtral.config import (
    BOS_TOKEN,
    SAMPLES_PER_TOKEN,
    STREAMING_PAD_TOKEN,
    StreamingConfig,
)


def prompt_tokens(config: StreamingConfig) -> list[int]:
    """Tokens forced at decoder positions 0 … n_prompt_tokens - 1: `<s>`, then [STREAMING_PAD]."""
    return [BOS_TOKEN] + [STREAMING_PAD_TOKEN] * (config.n_prompt_tokens - 1)


def n_right_pad_samples(n_samples: int, config: StreamingConfig) -> int:
    """Zeros after n_samples real samples: to the next whole token, then the delay and 11 tokens more."""
    return -n_samples % SAMPLES_PER_TOKEN + config.right_pad_tokens * SAMPLES_PER_TOKEN
