"""What an ablation varies, and which clip is heard under which combination.

    Factor      one thing that is varied, and its levels
    Plan        all factors; conditions(clips): what is heard, in an order that computes each silent prefix once

A combination takes one level of each factor. In the full plan a clip is heard under a quarter of the combinations of
what is done to the sound and the delay, and under both paddings of each; the clips of a group take the four quarters in
turn. Within a quarter every level of a factor meets every level of every other one equally often, so each clip by
itself is a fair comparison of any factor's levels, and four times as many clips can be heard in the same time: what is
unknown after an ablation is mostly what other clips would have shown.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.sets import ClipEntry
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, REFERENCE_LEFT_PAD_TOKENS


@dataclass(frozen=True)
class Factor:
    """One field of `Condition`, or the model's weights.

    reference: the number of the level that the others are compared with, which is the product's where it has one.
    is_choice: whether accuracy alone decides which level is the product's.
    """

    name: str
    title: str
    levels: tuple[Any, ...]
    reference: int = 0
    is_choice: bool = False

    def label(self, level: int) -> str:
        """A level for people, by its number."""
        value = self.levels[level]
        match self.name:
            case "left_pad_tokens":
                return f"{value} tokens"
            case "leading_silence_s":
                return f"{value:g} s of silence" if value else "none: speech at once"
            case "level_dbfs":
                return f"{value:g} dBFS".replace("-", "−")
            case "normalise_peak":
                return "normalised" if value else "as it is"
            case "delay_ms":
                return f"{value} ms"
        return str(value)


WEIGHTS = Factor("weights", "Weights", ())


@dataclass(frozen=True)
class Plan:
    """name: for the command line; factors: besides the weights, in the order of `Combination.levels`."""

    name: str
    factors: tuple[Factor, ...]
    n_parts: int

    def combinations(self) -> list[tuple[int, ...]]:
        """Indices of levels, one for each factor; those of one padding and delay together."""
        listed = itertools.product(*(range(len(factor.levels)) for factor in self.factors))
        streaming = [i for i, factor in enumerate(self.factors) if factor.name in ("left_pad_tokens", "delay_ms")]
        return sorted(listed, key=lambda levels: tuple(levels[i] for i in streaming))

    def part(self, levels: tuple[int, ...]) -> int:
        """Which part of the clips hears this combination: two sums, whose evenness makes four quarters."""
        if self.n_parts == 1:
            return 0
        at = {factor.name: level for factor, level in zip(self.factors, levels, strict=True)}
        delay, level = at["delay_ms"], at["level_dbfs"]
        first = at["leading_silence_s"] + level + delay
        second = at["normalise_peak"] + level + delay // 2
        return 2 * (first % 2) + second % 2

    def condition(self, levels: tuple[int, ...], ids: Sequence[str]) -> Condition:
        """What these levels mean."""
        fields = {factor.name: factor.levels[level] for factor, level in zip(self.factors, levels, strict=True)}
        return Condition(**fields, ids=tuple(ids))

    def conditions(self, clips: Sequence[ClipEntry]) -> list[tuple[tuple[int, ...], Condition]]:
        """Everything that one model has to hear; a combination whose part has no clip is left out."""
        parts: list[list[str]] = [[] for _ in range(self.n_parts)]
        n_of_group: dict[str, int] = {}
        for clip in clips:
            n_of_group[clip.group] = n_of_group.get(clip.group, -1) + 1
            parts[n_of_group[clip.group] % self.n_parts].append(clip.id)
        wanted = [(levels, parts[self.part(levels)]) for levels in self.combinations()]
        return [(levels, self.condition(levels, ids)) for levels, ids in wanted if ids]


def _factors(levels_dbfs: tuple[float, ...], delays_ms: tuple[int, ...]) -> tuple[Factor, ...]:
    paddings = (REFERENCE_LEFT_PAD_TOKENS, DEFAULT_LEFT_PAD_TOKENS)
    return (
        Factor("left_pad_tokens", "Left padding", paddings, paddings.index(DEFAULT_LEFT_PAD_TOKENS), is_choice=True),
        Factor("leading_silence_s", "Before the first sound", (0.0, 1.0)),
        Factor("level_dbfs", "Loudest sample", levels_dbfs, levels_dbfs.index(-20.0)),
        Factor("normalise_peak", "Peak normalisation", (False, True), is_choice=True),
        Factor("delay_ms", "Delay", delays_ms, delays_ms.index(DEFAULT_DELAY_MS)),
    )


PLANS = {
    "quick": Plan("quick", _factors((-40.0, -20.0), (240, 480)), n_parts=1),
    "full": Plan("full", _factors((-50.0, -40.0, -30.0, -20.0, -10.0, 0.0), (80, 240, 480, 960)), n_parts=4),
}
