"""Many clips in a few numbers, each with the interval that other clips of the same kind would give it.

    summaries           overall, and of each group
    differences         of two runs over the same clips, of each group

An interval holds 95 % of what N_RESAMPLES draws of as many clips, with repetition, come to (the percentile bootstrap;
clips, and not words, are drawn, because the words of one clip stand and fall together). Draws are seeded, so the same
clips always give the same interval. That of a single clip has no width, and means nothing. Who speaks is
not looked at: with few speakers, an interval is too narrow for speakers who were not heard.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.results import ClipResult

N_RESAMPLES: Final = 1000
SEED: Final = 20_260_101
BLOCK_ROWS: Final = 1 << 17  # bounds the memory that drawing takes
INTERVAL_PERCENT: Final = (2.5, 97.5)

Summary = dict[str, Any]
Part = Callable[[ClipResult], float]


def summaries(clips: Sequence[ClipResult]) -> dict[str, Any]:
    """overall, groups: {name: summary}; a summary is described in report.py."""
    return {
        "overall": summarize(clips),
        "groups": {group: summarize(of_group) for group, of_group in _by_group(clips).items()},
    }


def summarize(clips: Sequence[ClipResult]) -> Summary:
    """Of these clips together. Clips in which nothing should be understood count in false_words_per_min alone."""
    spoken = [clip for clip in clips if not clip.should_be_silent]
    silent = [clip for clip in clips if clip.should_be_silent]
    audio_s = sum(clip.audio_s for clip in clips)
    return {
        "n_clips": len(clips),
        "audio_s": round(audio_s, 3),
        "n_words": sum(clip.word_counts.n_reference for clip in clips),
        "wer": _rate(spoken, _word_errors, _n_words),
        "cer": _rate(spoken, _character_errors, _n_characters),
        "false_words": sum(clip.false_words for clip in silent),
        "false_words_per_min": _rate(silent, _false_words, _minutes),
        "latency": _spread([s for clip in clips for s in clip.latencies_s]),
        "end_error": _spread([abs(s) for clip in clips for s in clip.end_errors_s]),
        "rtf": round(sum(clip.wall_s for clip in clips) / audio_s, 4) if audio_s else None,
    }


def differences(mine: Sequence[ClipResult], theirs: Sequence[ClipResult]) -> dict[str, Any]:
    """Mine minus theirs, over the clips that both have with the same reference; less is better.

    n_clips of these, n_others in one of the two only, groups: {name: {n_clips, and wer, cer, false_words_per_min:
    {mine, theirs, value, low, high} or None}}, "overall" first, which is all of them even where the set has a group of
    this name. Both runs are drawn together, clip by clip, which takes
    out what makes a clip hard for either. A difference is clear where its interval does not hold 0.
    """
    known = {(clip.id, clip.reference): clip for clip in theirs}
    pairs = [(clip, known[clip.id, clip.reference]) for clip in mine if (clip.id, clip.reference) in known]
    names = [name for name in dict.fromkeys(a.group for a, _ in pairs) if name != "overall"]
    groups = {"overall": pairs} | {name: [pair for pair in pairs if pair[0].group == name] for name in names}
    return {
        "n_clips": len(pairs),
        "n_others": len(mine) + len(theirs) - 2 * len(pairs),
        "groups": {name: _difference(of_group) for name, of_group in groups.items()},
    }


def _difference(pairs: Sequence[tuple[ClipResult, ClipResult]]) -> dict[str, Any]:
    spoken = [pair for pair in pairs if not pair[0].should_be_silent and not pair[1].should_be_silent]
    silent = [pair for pair in pairs if pair[0].should_be_silent and pair[1].should_be_silent]
    return {
        "n_clips": len(pairs),
        "wer": _rate_difference(spoken, _word_errors, _n_words),
        "cer": _rate_difference(spoken, _character_errors, _n_characters),
        "false_words_per_min": _rate_difference(silent, _false_words, _minutes),
    }


# -- parts of rates ---------------------------------------------------------------------------------
def _word_errors(clip: ClipResult) -> float:
    return clip.word_counts.errors


def _n_words(clip: ClipResult) -> float:
    return clip.word_counts.n_reference


def _character_errors(clip: ClipResult) -> float:
    return clip.character_counts.errors


def _n_characters(clip: ClipResult) -> float:
    return clip.character_counts.n_reference


def _false_words(clip: ClipResult) -> float:
    return clip.false_words


def _minutes(clip: ClipResult) -> float:
    return clip.audio_s / 60


# -- rates and their intervals ------------------------------------------------------------------------
def _rate(clips: Sequence[ClipResult], upper: Part, lower: Part) -> Summary | None:
    table = _table(clips, upper, lower)
    if not table[:, 1].sum():
        return None
    return {"value": _ratio(table.sum(axis=0)), **_interval(_ratios(_drawn(table)))}


def _rate_difference(pairs: Sequence[tuple[ClipResult, ClipResult]], upper: Part, lower: Part) -> Summary | None:
    mine, theirs = (_table([pair[i] for pair in pairs], upper, lower) for i in (0, 1))
    if not mine[:, 1].sum() or not theirs[:, 1].sum():
        return None
    values = [_ratio(table.sum(axis=0)) for table in (mine, theirs)]
    drawn = _drawn(np.hstack([mine, theirs]))
    interval = _interval(_ratios(drawn[:, :2]) - _ratios(drawn[:, 2:]))
    return {"mine": values[0], "theirs": values[1], "value": round(values[0] - values[1], 6), **interval}


def _table(clips: Sequence[ClipResult], upper: Part, lower: Part) -> NDArray[np.float64]:
    return np.array([(upper(clip), lower(clip)) for clip in clips], np.float64).reshape(-1, 2)


def _drawn(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the rows [n, k] of each draw: [N_RESAMPLES, k]."""
    rng = np.random.default_rng(SEED)
    n = len(table)
    n_at_once = max(1, BLOCK_ROWS // n)
    starts = range(0, N_RESAMPLES, n_at_once)
    sizes = [min(n_at_once, N_RESAMPLES - start) for start in starts]
    return np.concatenate([table[rng.integers(n, size=(size, n))].sum(axis=1) for size in sizes])


def _ratios(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """A draw of nothing but clips without words has no rate, and is left out of the interval."""
    ratios: NDArray[np.float64] = np.divide(
        sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0
    )
    return ratios


def _ratio(sums: NDArray[np.float64]) -> float:
    return round(float(sums[0] / sums[1]), 6)


def _interval(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.nanpercentile(values, INTERVAL_PERCENT)
    return {"low": round(float(low), 6), "high": round(float(high), 6)}


def _spread(seconds: Sequence[float]) -> Summary | None:
    if not seconds:
        return None
    median, p95 = np.percentile(seconds, (50, 95))
    return {"n": len(seconds), "median_s": round(float(median), 4), "p95_s": round(float(p95), 4)}


def _by_group(clips: Sequence[ClipResult]) -> dict[str, list[ClipResult]]:
    groups: dict[str, list[ClipResult]] = {}
    for clip in clips:
        groups.setdefault(clip.group, []).append(clip)
    return groups
