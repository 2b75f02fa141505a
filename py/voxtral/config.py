"""Constants of the model family, each derived once, and the frozen configurations.

Widths of one particular network come from its file (`weights.read_config`); what the file does not
say falls back to the 4B constants here. "Token" is 80 ms of audio, "position" an encoder frame of
20 ms, "mel frame" 10 ms.
"""

from dataclasses import dataclass

from voxtral.errors import ConfigError

SAMPLE_RATE = 16_000
N_MEL_BINS = 128
N_FFT = 400  # 25 ms window
SAMPLES_PER_MEL_FRAME = 160  # 10 ms hop
CONV_STRIDE = 2  # conv0 has stride 1, conv1 stride 2
GROUP = 4  # encoder positions stacked into one decoder token
SAMPLES_PER_POSITION = SAMPLES_PER_MEL_FRAME * CONV_STRIDE  # 320 = 20 ms
SAMPLES_PER_TOKEN = SAMPLES_PER_POSITION * GROUP  # 1280 = 80 ms
MEL_FRAMES_PER_TOKEN = SAMPLES_PER_TOKEN // SAMPLES_PER_MEL_FRAME  # 8
MS_PER_TOKEN = 80

MAX_HEAD_DIM = 128  # what the attention kernel keeps in registers

RMS_NORM_EPS = 1e-5
ROPE_THETA = 1e6

BOS_TOKEN = 1
EOS_TOKEN = 2
STREAMING_PAD_TOKEN = 32
STREAMING_WORD_TOKEN = 33
N_SPECIAL_TOKENS = 1000

PROMPT_PAD_TOKENS = 32  # the prompt is <s>, then 32 + delay pads, whatever the left padding
REFERENCE_LEFT_PAD_TOKENS = 32
DEFAULT_LEFT_PAD_TOKENS = 76  # what this product promises for Q4 weights; MODEL.md section "Padding"
RIGHT_PAD_EXTRA_TOKENS = 10  # silence after the last delayed token
DEFAULT_DELAY_MS = 480
MAX_LEFT_PAD_TOKENS = 750


@dataclass(frozen=True)
class EncoderConfig:
    """Causal audio encoder; the defaults are the 4B model."""

    n_layers: int = 32
    dim: int = 1280
    n_heads: int = 32
    head_dim: int = 64
    ffn_dim: int = 5120
    window: int = 750  # positions, itself included


@dataclass(frozen=True)
class DecoderConfig:
    """Text decoder with grouped-query attention; the defaults are the 4B model."""

    n_layers: int = 26
    dim: int = 3072
    n_heads: int = 32
    n_kv_heads: int = 8
    head_dim: int = 128
    ffn_dim: int = 9216
    window: int = 8192  # tokens, itself included
    vocab_size: int = 131_072
    ada_dim: int = 32


@dataclass(frozen=True)
class ModelConfig:
    """Both halves of one network."""

    encoder: EncoderConfig
    decoder: DecoderConfig


@dataclass(frozen=True)
class StreamingConfig:
    """How one session listens.

    delay_ms: 80…1200 in steps of 80, or 2400. left_pad_tokens: silence before the audio, 80 ms each.
    stop_at_eos: end the session at `</s>`, as the reference implementation does; off by default, since
    audio that goes on deserves text that goes on. Raises ConfigError outside those ranges.
    """

    delay_ms: int = DEFAULT_DELAY_MS
    left_pad_tokens: int = DEFAULT_LEFT_PAD_TOKENS
    stop_at_eos: bool = False

    def __post_init__(self) -> None:
        allowed = self.delay_ms == 2400 or (80 <= self.delay_ms <= 1200 and self.delay_ms % MS_PER_TOKEN == 0)
        if not allowed:
            raise ConfigError(
                f"delay_ms must be a multiple of 80 from 80 to 1200, or 2400, got {self.delay_ms}; 480 is recommended"
            )
        if not REFERENCE_LEFT_PAD_TOKENS <= self.left_pad_tokens <= MAX_LEFT_PAD_TOKENS:
            raise ConfigError(
                f"left_pad_tokens must be from {REFERENCE_LEFT_PAD_TOKENS} to {MAX_LEFT_PAD_TOKENS}, "
                f"got {self.left_pad_tokens}; the default is {DEFAULT_LEFT_PAD_TOKENS}"
            )

    @property
    def delay_tokens(self) -> int:
        return self.delay_ms // MS_PER_TOKEN

    @property
    def n_prompt_tokens(self) -> int:
        return 1 + PROMPT_PAD_TOKENS + self.delay_tokens

    @property
    def right_pad_tokens(self) -> int:
        return self.delay_tokens + 1 + RIGHT_PAD_EXTRA_TOKENS

    @property
    def n_silent_tokens(self) -> int:
        """Positions that no real sample can touch: the last left-pad position already sees 40 samples."""
        return self.left_pad_tokens - 1
