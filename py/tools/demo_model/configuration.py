"""Every number of the demo model's recipe, pinned: the network, the scenes it hears, and how it learns."""

from dataclasses import dataclass, field

from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig

# The decoder's window: what a position depends on through all layers (6 * 31 positions) must fit in an example, so that
# nothing in a long stream is new. With 75 positions and examples of 192, a network noticed 99 % of the words of its own
# data up to position 192 and 2 to 27 % after it; with a window of 64 or less the same weights noticed 95 % or more.
# The encoder reaches further than an example, too, but forgets: its embeddings hardly differ (2e-4) for what came 11 s
# before.
NETWORK = ModelConfig(
    EncoderConfig(n_layers=8, dim=256, n_heads=4, head_dim=64, ffn_dim=1024, window=250),
    DecoderConfig(
        n_layers=6, dim=384, n_heads=6, n_kv_heads=2, head_dim=64, ffn_dim=1152, window=32, vocab_size=1344, ada_dim=32
    ),
)


@dataclass(frozen=True)
class Scenes:
    """What is heard in one example. Shares are probabilities; decibels are of the loudest sample or of power."""

    n_tokens: int = 192  # of 80 ms, left padding included
    left_pads: tuple[tuple[int, float], ...] = ((32, 0.7), (76, 0.3))
    # without left padding and prompt, as far inside an endless stream
    middle: float = 0.25
    # delays in tokens: every one that the page offers, 480 ms most often
    delays: tuple[tuple[int, float], ...] = (
        *((n, 0.045) for n in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15)),
        (6, 0.32),
        (30, 0.05),
    )
    # what an example mostly holds
    digits: float = 0.30
    keywords: float = 0.15
    orders: float = 0.22
    mixed: float = 0.10
    other_speech: float = 0.20
    nothing: float = 0.03
    synthetic: float = 0.35  # of clips, where there are real ones too
    synthetic_digits: float = 0.35  # only three people say the digits; more was worse in a small trial
    borrowed_digits: float = 0.03  # of them cut out of orders, which many people say
    reversed_speech: float = 0.1  # of other speech
    speed: tuple[float, float] = (0.78, 1.28)
    straight_start: float = 0.3  # speech from the very first sample
    ends_early: float = 0.35  # the stream ends right behind the speech
    clean: float = 0.15  # no noise at all
    recorded_noise: float = 0.3  # behind every clip and not between them
    recorded_snr_db: tuple[float, float] = (8.0, 55.0)
    babble: float = 0.15
    snr_db: tuple[float, float] = (3.0, 60.0)  # a quiet room is 50 dB below a voice, and no silence
    level_db: tuple[float, float] = (-50.0, 0.0)
    usual_level: float = 0.5  # the share that is as loud as recordings usually are
    usual_level_db: tuple[float, float] = (-28.0, 0.0)
    reverb: float = 0.35
    # voices before the noise, as recordings and telephones changed them; every recorded digit has a narrow band, so
    # that other voices need it, too: else the band would tell who speaks
    voice_db: float = 5.0
    voice_narrow: float = 0.45
    # everything, by the microphone
    microphone_db: float = 2.5
    microphone_narrow: float = 0.1
    masked: float = 0.5  # of examples have bands and moments missing
    mask_bins: int = 18
    mask_frames: int = 6
    warp: float = 0.2  # of the frequency axis, either way
    sixteen_bits: float = 0.5
    wrong_token: float = 0.04  # inputs of the decoder that were never said, so that it listens instead of guessing
    # marks that come late, and how many tokens at most; 0.5 and 8 (with missed_word 0.01) heard digits no better:
    # 13.1 % of words wrong instead of 10.0
    late_word: float = 0.2
    most_late: int = 3
    missed_word: float = 0.03  # and those that it should have said and did not
    missed_all: float = 0.03  # of examples: all words up to one of them


@dataclass(frozen=True)
class Learning:
    """AdamW with a cosine, straight-through Q4_0 rounding at the end, an average of the last weights."""

    batch: int = 224
    n_steps: int = 3300
    rate: float = 1.2e-3
    warmup_steps: int = 300
    final_rate: float = 0.02  # of the highest
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    dropout: float = 0.1
    pad_weight: float = 0.5  # of [STREAMING_PAD] in the loss
    ear_weight: float = 0.3  # of a loss on the audio embeddings alone: which word has just ended
    label_smoothing: float = 0.02
    rounded_from: float = 0.75  # of the steps: from here on with Q4_0 weights
    average: float = 0.998


@dataclass(frozen=True)
class AlignmentConfig:
    """The network that finds where words end, what it learns from, and what of it is believed."""

    dim: int = 256
    dilations: tuple[int, ...] = (1, 2, 4) * 4  # of the convolutions over 5 frames of 20 ms
    n_steps: int = 1200
    batch: int = 64
    example_s: int = 12
    rate: float = 2e-3
    warmup: float = 0.1  # of the steps
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    dropout: float = 0.15
    end_weight: float = 0.5  # of word ends whose time is known, beside the labels
    n_pieces: int = 24  # clips in an example, at most
    mean_gap_s: float = 0.25  # between clips
    no_gap: float = 0.3
    speed: tuple[float, float] = (0.85, 1.18)
    gain_db: float = 4.0
    snr_db: tuple[float, float] = (5.0, 50.0)
    level_db: tuple[float, float] = (-30.0, 0.0)
    equaliser: float = 0.15  # in units of the mel front end, 40 dB
    check: float = 0.05  # of the clips with known word ends: not learned from, but measured with
    n_check_strings: int = 200  # of digits behind each other
    # nats a letter of a clip's worst word: more than both, and its transcript is taken to be wrong
    most_doubt: float = 2.0
    most_doubt_of_median: float = 3.0  # times that of its source: a network that learned little doubts everything


@dataclass(frozen=True)
class Recipe:
    """All of it."""

    seed: int = 20261123
    held_out_speakers: tuple[str, ...] = ("theo",)  # test data
    scenes: Scenes = field(default_factory=Scenes)
    learning: Learning = field(default_factory=Learning)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
