"""Under which a set is heard: what is done to each clip first, how the model listens, and to which clips.

`prepared` is the only place where a condition touches sound, natively and in the page alike. A quiet recording is not a
loud one times a small number: it was rounded to 16 bits while it was quiet, so raising it raises the rounding, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.sets import ClipEntry, chosen
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, SAMPLE_RATE, StreamingConfig
from voxtral.errors import ConfigError
from voxtral.sound import audible

NORMAL_PEAK_DBFS = -1.0
LOWEST_DBFS = -90.0
LONGEST_SILENCE_S = 60.0
FULL_SCALE = 32767  # of 16 bits
FRAME = SAMPLE_RATE // 100
FIRST_SOUND_DB = 35.0  # below the clip's loudest 10 ms: what is quieter before the first sound is silence


@dataclass(frozen=True)
class Condition:
    """One condition; the default is how the product hears a file.

    level_dbfs: the peak to which each clip is brought and then rounded to 16 bits, None: as recorded; normalise_peak:
    then to NORMAL_PEAK_DBFS. With neither, a clip is raised where it is very quiet (sound.audible), as any file.
    leading_silence_s: the clip begins with its first sound behind so many seconds of zeros; None leaves its beginning.
    groups: None for all; limit: clips of each group, None for all; ids: of the clips, None for all. Raises ConfigError
    for what is out of range.
    """

    delay_ms: int = DEFAULT_DELAY_MS
    left_pad_tokens: int = DEFAULT_LEFT_PAD_TOKENS
    leading_silence_s: float | None = None
    level_dbfs: float | None = None
    normalise_peak: bool = False
    groups: tuple[str, ...] | None = None
    limit: int | None = None
    ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _ = self.streaming
        if self.leading_silence_s is not None and not 0 <= self.leading_silence_s <= LONGEST_SILENCE_S:
            raise ConfigError(
                f"leading_silence_s must be from 0 to {LONGEST_SILENCE_S:g}, got {self.leading_silence_s}"
            )
        if self.level_dbfs is not None and not LOWEST_DBFS <= self.level_dbfs <= 0:
            raise ConfigError(f"level_dbfs must be from {LOWEST_DBFS:g} to 0, got {self.level_dbfs}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}; leave it out to hear every clip")

    @classmethod
    def of(cls, value: Any) -> "Condition":
        """From JSON; what is left out has its default. Raises ConfigError."""
        if not isinstance(value, Mapping):
            raise ConfigError(f"expected a condition as an object of {', '.join(_KINDS)}, found {value!r}")
        for name, given in value.items():
            if name not in _KINDS:
                raise ConfigError(f"a condition knows no {name!r}; it has {', '.join(_KINDS)}")
            if not _is_of_kind(given, _KINDS[name]):
                raise ConfigError(f"the condition's {name} is {given!r}, expected {_KINDS[name]}")
        lists = {name: value.get(name) for name in ("groups", "ids")}
        return cls(**{**value, **{name: None if given is None else tuple(given) for name, given in lists.items()}})

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        lists = {name: getattr(self, name) for name in ("groups", "ids")}
        return asdict(self) | {name: None if given is None else list(given) for name, given in lists.items()}

    @property
    def streaming(self) -> StreamingConfig:
        """How the model listens: a session has its own, the loaded model serves any."""
        return StreamingConfig(self.delay_ms, self.left_pad_tokens)

    @property
    def sound(self) -> str:
        """What is done to each clip, for people; "" where nothing is."""
        parts = [
            "" if self.level_dbfs is None else f"peaks at {self.level_dbfs:g} dBFS",
            "peaks normalised" if self.normalise_peak else "",
            "" if self.leading_silence_s is None else f"{self.leading_silence_s:g} s of silence before each clip",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def choice(self) -> str:
        """Which clips of a set are heard, for people; "" for all."""
        parts = [
            "" if self.groups is None else f"{'group' if len(self.groups) == 1 else 'groups'} {', '.join(self.groups)}",
            "" if self.limit is None else f"the first {self.limit} of each group",
            "" if self.ids is None else "some clips",
        ]
        return ", ".join(part for part in parts if part)

    def chosen(self, entries: Sequence[ClipEntry]) -> list[ClipEntry]:
        """The clips that are heard, in the order of the set. Raises AccuracyError for a group that is not there."""
        taken = chosen(entries, self.groups, self.limit)
        return taken if self.ids is None else [entry for entry in taken if entry.id in self.ids]

    def prepared(self, samples: NDArray[np.float32], name: str) -> tuple[NDArray[np.float32], float]:
        """A clip, mono float32 [n] at 16 kHz, as the engine is to get it, and by how many seconds that delays it.

        The second is negative where more of its beginning was cut off than silence came before it.
        """
        if self.level_dbfs is None and not self.normalise_peak:
            samples, _ = audible(samples, name)
        lead = 0
        if self.leading_silence_s is not None:
            onset, n_zeros = first_sound(samples), round(self.leading_silence_s * SAMPLE_RATE)
            samples = np.concatenate([np.zeros(n_zeros, np.float32), samples[onset:]])
            lead = n_zeros - onset
        if self.level_dbfs is not None:
            samples = np.rint(_with_peak(samples, self.level_dbfs) * FULL_SCALE).astype(np.float32) / np.float32(
                FULL_SCALE
            )
        if self.normalise_peak:
            samples = _with_peak(samples, NORMAL_PEAK_DBFS)
        return samples, lead / SAMPLE_RATE


def first_sound(samples: NDArray[np.float32]) -> int:
    """Index of the first of the clip's 10 ms that are not silence; 0 where all is."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    power = np.mean(frames * frames, axis=1)
    if power.max(initial=0.0) == 0:
        return 0
    return int(np.argmax(power >= power.max() * 10 ** (-FIRST_SOUND_DB / 10))) * FRAME


_KINDS = {
    "delay_ms": "a whole number",
    "left_pad_tokens": "a whole number",
    "leading_silence_s": "a number or null",
    "level_dbfs": "a number or null",
    "normalise_peak": "true or false",
    "groups": "a list of names or null",
    "limit": "a whole number or null",
    "ids": "a list of names or null",
}
assert tuple(_KINDS) == tuple(field.name for field in fields(Condition))


def _is_of_kind(value: Any, kind: str) -> bool:
    if value is None:
        return kind.endswith("or null")
    if kind.startswith("a list"):
        return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if kind.startswith("true"):
        return isinstance(value, bool)
    return isinstance(value, int if kind.startswith("a whole") else int | float) and not isinstance(value, bool)


def _with_peak(samples: NDArray[np.float32], peak_dbfs: float) -> NDArray[np.float32]:
    """Digital silence stays what it is."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(10 ** (peak_dbfs / 20) / peak) if peak else samples
