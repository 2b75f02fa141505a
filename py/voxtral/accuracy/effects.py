"""What an ablation says: rates at each level of each factor, differences of levels, and what follows from them.

    Findings      of one ablation: levels, effects, agreement, verdict
    Estimate      a value with the 95 % interval that other clips of the same kinds would give it

A rate at a level is that of everything heard at this level, whatever the other levels were. Of a difference of levels
every clip has its share in both, so what makes a clip hard takes itself out: its interval is that of the paired
bootstrap over clips, drawn within each group, since which groups are heard was chosen. Intervals are of other clips,
not of other speakers or other models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.factors import Factor
from voxtral.accuracy.summary import INTERVAL_PERCENT, N_RESAMPLES, SEED
from voxtral.errors import AccuracyError
from voxtral.sound import QUIET_PEAK

CLEAR = 0.005  # word error rate: a smaller gain is none for people
ENOUGH_CLIPS = 20  # in which something is said: fewer decide nothing


@dataclass(frozen=True)
class Estimate:
    """As a share: 0.05 is 5 %."""

    value: float
    low: float
    high: float

    @property
    def is_worse(self) -> bool:
        """Of a difference."""
        return self.low > 0

    @property
    def is_better(self) -> bool:
        return self.high < 0


@dataclass(frozen=True)
class Level:
    """A factor at one level; differences are from its reference level, whose own are None."""

    label: str
    wer: Estimate
    difference: Estimate | None
    deletions: float  # of the words
    false_words_per_min: Estimate | None  # None: nothing was heard in which nothing should be understood
    false_difference: Estimate | None
    latency_median_s: float | None
    latency_p95_s: float | None


@dataclass(frozen=True)
class Effect:
    """What going from the reference level of a factor to another does at some level of something else."""

    of: str
    at: str
    label: str
    difference: Estimate


class Verdict(Enum):
    """Of the reference level of a choice, against another."""

    KEEP = "keep"
    CHANGE = "change"
    EQUAL = "equal"
    OPEN = "open"


class Findings:
    """Everything is computed from the ablation, so that the same report always says the same."""

    def __init__(self, ablation: Ablation) -> None:
        self._ablation = ablation
        self._levels = np.array([run.levels for run in ablation.runs], np.intp).reshape(-1, len(ablation.factors))
        shape = (len(ablation.clips), len(ablation.runs))
        self._is_heard = np.zeros(shape, bool)
        self._texts = np.zeros(shape, np.intp)
        self._errors, self._deletions = np.zeros(shape), np.zeros(shape)
        for number, run in enumerate(ablation.runs):
            for i, text in zip(run.clips, run.heard, strict=True):
                substitutions, deletions, insertions = ablation.clips[i].errors[text]
                self._is_heard[i, number], self._texts[i, number] = True, text
                self._errors[i, number] = substitutions + deletions + insertions
                self._deletions[i, number] = deletions
        self._words = np.array([clip.n_words for clip in ablation.clips], float)
        self._minutes = np.array([clip.audio_s / 60 for clip in ablation.clips]) * (self._words == 0)
        if not (self._is_heard.any(axis=1) & (self._words > 0)).any():
            raise AccuracyError("the ablation heard no clip in which something is said; add a group of such clips")

    @property
    def factors(self) -> list[Factor]:
        """Those of which more than one level was heard."""
        return [factor for i, factor in enumerate(self._ablation.factors) if len(np.unique(self._levels[:, i])) > 1]

    @property
    def groups(self) -> list[str]:
        """In which something is said."""
        return list(dict.fromkeys(clip.group for clip in self._ablation.clips if clip.n_words))

    def overall(self) -> Estimate:
        """The word error rate of everything that was heard."""
        return self._wer(self._all_runs())

    # -- tables ---------------------------------------------------------------------------------
    def levels(self, factor: Factor) -> list[Level]:
        """The factor at each of its levels that was heard."""
        runs = [self._at(factor, level) for level in range(len(factor.levels))]
        reference = runs[factor.reference]
        return [self._level(factor, level, here, reference) for level, here in enumerate(runs) if self._has_words(here)]

    def effects(self, factor: Factor, runs: NDArray[np.bool_] | None = None) -> list[Effect]:
        """Of a factor with two levels: overall, in each group, at each level of each other one; runs: which count."""
        runs = self._all_runs() if runs is None else runs
        rows: list[tuple[str, str, NDArray[np.bool_], str | None]] = [("", "overall", runs, None)]
        if len(self.groups) > 1:
            rows += [("Group", group, runs, group) for group in self.groups]
        for second in self.factors:
            if second.name != factor.name:
                levels = range(len(second.levels))
                rows += [(second.title, second.label(level), runs & self._at(second, level), None) for level in levels]
        return [effect for row in rows if (effect := self._effect(factor, *row))]

    def cells(self, *factors: Factor) -> dict[tuple[int, ...], Estimate]:
        """The word error rate at each combination of these factors' levels."""
        found = {}
        for levels in np.ndindex(*(len(factor.levels) for factor in factors)):
            runs = self._all_runs()
            for factor, level in zip(factors, levels, strict=True):
                runs = runs & self._at(factor, level)
            if self._has_words(runs):
                found[levels] = self._wer(runs)
        return found

    def loudness(self) -> list[Effect]:
        """Of recordings heard as they are: each level against the reference level, to which quiet files are raised."""
        level, normalising = self._named("level_dbfs"), self._named("normalise_peak")
        if level is None or normalising is None:
            return []
        as_it_is = self._at(normalising, normalising.reference)
        runs = [self._at(level, i) & as_it_is for i in range(len(level.levels))]
        reference = runs[level.reference]
        return [
            Effect(
                level.name, normalising.label(normalising.reference), level.label(i), self._difference(here, reference)
            )
            for i, here in enumerate(runs)
            if self._has_words(here) and self._has_words(reference)
        ]

    def agreement(self, factor: Factor) -> tuple[int, int]:
        """Of how many hearings that differ in this factor's two levels alone the words are the same, and how many."""
        column = self._column(factor)
        numbers = {tuple(levels): number for number, levels in enumerate(self._levels.tolist())}
        n_same = n_all = 0
        for levels, number in numbers.items():
            other = numbers.get((*levels[:column], 1, *levels[column + 1 :]))
            if levels[column] == 0 and other is not None:
                both = self._is_heard[:, number] & self._is_heard[:, other]
                n_same += int((both & (self._texts[:, number] == self._texts[:, other])).sum())
                n_all += int(both.sum())
        return n_same, n_all

    def quiet(self) -> Effect | None:
        """What peak normalisation does to recordings that the product raises already, as they are so quiet."""
        factor = self._named("normalise_peak")
        return self._effect(factor, "", "", ~self._left_alone()) if factor else None

    def verdict(self, factor: Factor) -> Verdict:
        """Whether the product's level of a choice with two levels should be the other one.

        CHANGE: the other makes clearly fewer errors, by half a point at least, is clearly worse nowhere, and does not
        clearly write more where nothing should be understood. KEEP: it makes clearly more. EQUAL: whatever difference
        there is, is smaller than half a point. OPEN: these clips do not
        tell, or are too few. Of peak normalisation only recordings
        count that the product does not raise anyway.
        """
        runs = self._left_alone() if factor.name == "normalise_peak" else self._all_runs()
        here, reference = (self._at(factor, level) & runs for level in (1 - factor.reference, factor.reference))
        effect = self._effect(factor, "", "", runs)
        if effect is None or (self._words > 0).sum() < ENOUGH_CLIPS:
            return Verdict.OPEN
        difference = effect.difference
        is_worse_somewhere = any(effect.difference.is_worse for effect in self.effects(factor, runs))
        writes_more = (false := self._false_difference(here, reference)) is not None and false.is_worse
        if difference.is_better and difference.value <= -CLEAR and not is_worse_somewhere and not writes_more:
            return Verdict.CHANGE
        if max(abs(difference.low), abs(difference.high)) < CLEAR and not writes_more:
            return Verdict.EQUAL
        return Verdict.KEEP if difference.is_worse else Verdict.OPEN

    # -- rates ----------------------------------------------------------------------------------
    def _level(self, factor: Factor, level: int, here: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Level:
        is_compared = level != factor.reference and self._has_words(reference)
        runs = (run for run, is_here in zip(self._ablation.runs, here, strict=True) if is_here)
        latencies = [ms / 1000 for run in runs for ms in run.latencies_ms]
        median, p95 = map(float, np.percentile(latencies, (50, 95))) if latencies else (None, None)
        missed = self._deletions[:, here].sum(axis=1) * (self._words > 0)
        return Level(
            factor.label(level),
            self._wer(here),
            self._difference(here, reference) if is_compared else None,
            float(missed.sum() / self._n_words(here).sum()),
            self._estimate(*self._false_words(here)) if self._has_silent(here) else None,
            self._false_difference(here, reference) if is_compared else None,
            median,
            p95,
        )

    def _effect(
        self, factor: Factor, at: str, label: str, runs: NDArray[np.bool_], group: str | None = None
    ) -> Effect | None:
        """None where nothing is said in what was heard at one of the levels."""
        here, reference = (self._at(factor, level) & runs for level in (1 - factor.reference, factor.reference))
        if not self._has_words(here, group) or not self._has_words(reference, group):
            return None
        return Effect(factor.name, at, label, self._difference(here, reference, group))

    def _has_words(self, runs: NDArray[np.bool_], group: str | None = None) -> bool:
        return bool((self._n_words(runs) * self._is_in(group)).sum())

    def _has_silent(self, runs: NDArray[np.bool_]) -> bool:
        """Whether something was heard in which nothing should be understood."""
        return bool((self._minutes @ self._is_heard)[runs].sum())

    def _is_in(self, group: str | None) -> NDArray[np.bool_]:
        return np.array([group is None or clip.group == group for clip in self._ablation.clips])

    def _false_difference(self, here: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Estimate | None:
        if not self._has_silent(here) or not self._has_silent(reference):
            return None
        return self._paired(self._false_words(here), self._false_words(reference))

    def _wer(self, runs: NDArray[np.bool_]) -> Estimate:
        return self._estimate(self._word_errors(runs), self._n_words(runs))

    def _difference(self, here: NDArray[np.bool_], reference: NDArray[np.bool_], group: str | None = None) -> Estimate:
        is_in = self._is_in(group)
        parts = [(self._word_errors(runs) * is_in, self._n_words(runs) * is_in) for runs in (here, reference)]
        return self._paired(*parts)

    def _word_errors(self, runs: NDArray[np.bool_]) -> NDArray[np.float64]:
        errors: NDArray[np.float64] = self._errors[:, runs].sum(axis=1) * (self._words > 0)
        return errors

    def _n_words(self, runs: NDArray[np.bool_]) -> NDArray[np.float64]:
        n_words: NDArray[np.float64] = self._is_heard[:, runs].sum(axis=1) * self._words
        return n_words

    def _false_words(self, runs: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        errors = self._errors[:, runs].sum(axis=1) * (self._words == 0)
        return errors, self._is_heard[:, runs].sum(axis=1) * self._minutes

    def _estimate(self, upper: NDArray[np.float64], lower: NDArray[np.float64]) -> Estimate:
        return Estimate(float(upper.sum() / lower.sum()), *_interval(self._ratios(upper, lower)))

    def _paired(
        self,
        here: tuple[NDArray[np.float64], NDArray[np.float64]],
        reference: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Estimate:
        value = float(here[0].sum() / here[1].sum() - reference[0].sum() / reference[1].sum())
        return Estimate(value, *_interval(self._ratios(*here) - self._ratios(*reference)))

    def _ratios(self, upper: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each draw."""
        n = self._draws @ lower
        ratios: NDArray[np.float64] = np.divide(self._draws @ upper, n, out=np.full(len(n), math.nan), where=n > 0)
        return ratios

    @cached_property
    def _draws(self) -> NDArray[np.float64]:
        """How often each clip is in each draw of as many clips of each group: [N_RESAMPLES, clips]."""
        rng = np.random.default_rng(SEED)
        draws = np.zeros((N_RESAMPLES, len(self._ablation.clips)))
        for group in dict.fromkeys(clip.group for clip in self._ablation.clips):
            of_group = [i for i, clip in enumerate(self._ablation.clips) if clip.group == group]
            draws[:, of_group] = rng.multinomial(len(of_group), [1 / len(of_group)] * len(of_group), N_RESAMPLES)
        return draws

    # -- runs -----------------------------------------------------------------------------------
    def _all_runs(self) -> NDArray[np.bool_]:
        return np.ones(len(self._levels), bool)

    def _at(self, factor: Factor, level: int) -> NDArray[np.bool_]:
        is_here: NDArray[np.bool_] = self._levels[:, self._column(factor)] == level
        return is_here

    def _left_alone(self) -> NDArray[np.bool_]:
        """Runs of recordings whose level the product does not change."""
        factor = self._named("level_dbfs")
        if factor is None:
            return self._all_runs()
        is_quiet = [level < 20 * math.log10(QUIET_PEAK) for level in factor.levels]
        is_left: NDArray[np.bool_] = ~np.array(is_quiet)[self._levels[:, self._column(factor)]]
        return is_left

    def _named(self, name: str) -> Factor | None:
        return next((factor for factor in self.factors if factor.name == name), None)

    def _column(self, factor: Factor) -> int:
        return next(i for i, known in enumerate(self._ablation.factors) if known.name == factor.name)


def _interval(values: NDArray[np.float64]) -> Sequence[float]:
    low, high = np.nanpercentile(values, INTERVAL_PERCENT)
    return float(low), float(high)
