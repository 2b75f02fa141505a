"""An ablation as Markdown, for MODEL.md: what was heard, a table of levels, one of effects, and what follows."""

from collections.abc import Callable, Iterable, Sequence

from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.effects import Estimate, Findings, Level, Verdict
from voxtral.accuracy.factors import Factor

MINUS = "−"


def render(ablation: Ablation) -> str:
    """Everything; ends without a newline. Raises AccuracyError."""
    findings = Findings(ablation)
    factors = findings.factors
    parts = [_head(ablation, findings), _levels(findings, factors)]
    if loudness := _loudness(findings, factors):
        parts.append(loudness)
    pairs = [factor for factor in factors if len(factor.levels) == 2]
    if pairs:
        parts.append(_effects(findings, pairs))
        parts.append("\n".join(f"- {sentence}" for factor in pairs if (sentence := _sentence(findings, factor))))
    return "\n\n".join(part for part in parts if part)


def _head(ablation: Ablation, findings: Findings) -> str:
    engine = ablation.engines[0]
    adapter = engine["adapter"]
    computes = "numpy" if adapter is None else f"{adapter['name']} by {adapter['backend']}"
    groups = _counted(clip.group for clip in ablation.clips)
    n_hearings = sum(len(run.clips) for run in ablation.runs)
    audio_s = sum(ablation.clips[i].audio_s for run in ablation.runs for i in run.clips)
    models = " and ".join(f"{model['name']} in {model['weight_type']}" for model in ablation.models)
    unfinished = "" if ablation.is_complete else f" It was stopped after {len(ablation.runs)} of {ablation.n_planned}."
    return (
        f"{models}, {computes}, Python {engine['machine']['python']}, {ablation.date}: "
        f"{len(ablation.runs)} combinations, {len(ablation.clips)} clips of the set {ablation.set_name} "
        f"({groups}), {n_hearings:,} hearings: "
        f"{audio_s / 60:.0f} minutes of sound, without padding, in {ablation.wall_s / 60:.1f} minutes.{unfinished} "
        f"Normaliser: {ablation.normalizer}. Word error rate of everything: {_interval(findings.overall(), _percent)}."
    )


def _levels(findings: Findings, factors: Sequence[Factor]) -> str:
    rows = [(factor, level) for factor in factors for level in findings.levels(factor)]
    columns = ["", "WER", "difference, points", "words missed"]
    has_false = any(level.false_words_per_min for _, level in rows)
    has_latency = any(level.latency_median_s is not None for _, level in rows)
    columns += ["false words a minute"] * has_false + ["word is there after, median (95 %)"] * has_latency
    lines = [_row(columns), _row(["---"] * len(columns))]
    for factor in factors:
        lines.append(_row([f"**{factor.title}**", *[""] * (len(columns) - 1)]))
        for level in (level for of, level in rows if of is factor):
            lines.append(_row(_level(level, has_false, has_latency)))
    return "\n".join(lines)


def _level(level: Level, has_false: bool, has_latency: bool) -> list[str]:
    difference = "" if level.difference is None else _marked(level.difference)
    cells = [level.label, _interval(level.wer, _percent), difference, _percent(level.deletions)]
    if has_false:
        cells.append("" if level.false_words_per_min is None else _interval(level.false_words_per_min, "{:.1f}".format))
    if has_latency:
        known = level.latency_median_s is not None
        cells.append(f"{level.latency_median_s:.2f} s ({level.latency_p95_s:.2f})" if known else "")
    return cells


def _loudness(findings: Findings, factors: Sequence[Factor]) -> str:
    """How loud a recording should be, and so to which level a quiet one should be raised."""
    named = {factor.name: factor for factor in factors}
    effects = findings.loudness()
    if not effects:
        return ""
    level, normalising = named["level_dbfs"], named["normalise_peak"]
    cells = {(level.label(i), j): wer for (i, j), wer in findings.cells(level, normalising).items()}
    columns = [normalising.label(j) for j in range(2)]
    columns = [level.title, columns[0], f"of it, points from {level.label(level.reference)}", columns[1]]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for effect in effects:
        as_it_is, normalised = (cells.get((effect.label, j)) for j in range(2))
        is_reference = effect.label == level.label(level.reference)
        lines.append(
            _row(
                [
                    effect.label,
                    _interval(as_it_is, _percent) if as_it_is else "",
                    "" if is_reference else _marked(effect.difference),
                    _interval(normalised, _percent) if normalised else "",
                ]
            )
        )
    return "\n".join(lines)


def _effects(findings: Findings, pairs: Sequence[Factor]) -> str:
    columns = [{(effect.at, effect.label): effect.difference for effect in findings.effects(f)} for f in pairs]
    known = {key for column in columns for key in column}
    rows = [("", "overall"), *(("Group", group) for group in findings.groups)]
    rows += [(factor.title, factor.label(level)) for factor in findings.factors for level in range(len(factor.levels))]
    lines = [_row(["points of WER", *map(_change, pairs)]), _row(["---"] * (len(pairs) + 1))]
    for at, label in (row for row in rows if row in known):
        cells = [_marked(column[at, label]) if (at, label) in column else "" for column in columns]
        lines.append(_row([f"{at}: {label}" if at else f"**{label}**", *cells]))
    return "\n".join(lines)


def _change(factor: Factor) -> str:
    return f"{factor.title}: {factor.label(1 - factor.reference)} instead of {factor.label(factor.reference)}"


def _sentence(findings: Findings, factor: Factor) -> str:
    """What follows for the product, or how alike the two levels are."""
    n_same, n_all = findings.agreement(factor)
    same = f"the same words in {100 * n_same / n_all:.1f} % of {n_all:,} pairs of hearings" if n_all else ""
    other, mine = factor.label(1 - factor.reference), factor.label(factor.reference)
    if not factor.is_choice:
        return f"{factor.title}, {mine} and {other}: {same}." if same else ""
    verdict = {
        Verdict.KEEP: f"{mine} stays: {other} makes clearly more errors",
        Verdict.CHANGE: f"{other} becomes the default: it makes clearly fewer errors and is clearly worse nowhere",
        Verdict.EQUAL: f"{mine} stays: whatever difference there is, is smaller than half a point",
        Verdict.OPEN: f"{mine} stays: these clips show no clear difference of half a point",
    }[findings.verdict(factor)]
    about = ""
    if factor.name == "normalise_peak" and (quiet := findings.quiet()):
        about = (
            " That is of recordings whose loudest sample is above −37 dBFS; quieter files are raised by the product, "
            f"and normalising those changes {_interval(quiet.difference, _points)} points."
        )
    return f"{factor.title}: {verdict}{'; ' + same if same else ''}.{about}"


def _marked(difference: Estimate) -> str:
    """Bold where the interval does not hold 0."""
    text = _interval(difference, _points)
    return f"**{text}**" if difference.is_better or difference.is_worse else text


def _interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    return f"{form(estimate.value)} ({form(estimate.low)} … {form(estimate.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    points = round(100 * share, 2)
    return "0" if points == 0 else f"{points:+.2f}".replace("-", MINUS)


def _counted(names: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")
