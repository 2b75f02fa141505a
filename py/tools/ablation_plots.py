"""Draws an ablation as SVG, with matplotlib, for MODEL.md; `voxtral ablation --figures DIR` calls it.

differences.svg    each level of each factor against its reference, in points of word error rate
rates.svg          word error rates: padding and leading silence, level and normalisation, delay

The same report always gives the same files, byte for byte, so that a change in one is a change of what was found.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.effects import Estimate, Findings
from voxtral.accuracy.factors import Factor

# Told apart by people who see few colours, and on paper by their markers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = ("o", "s", "^", "D")
LINEAR_POINTS = 1.0  # differences up to here are drawn to scale, larger ones by their logarithm
# Title, what is drawn along the axis, and what the lines are.
PANELS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("silence before the first sound, s", "leading_silence_s", ("left_pad_tokens", "weights")),
    ("loudest sample, dBFS", "level_dbfs", ("normalise_peak", "weights")),
    ("delay, ms", "delay_ms", ("weights",)),
)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "voxtral",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(ablation: Ablation, folder: Path) -> list[Path]:
    """Write the figures into an existing folder; returns their paths. Raises AccuracyError, OSError."""
    findings = Findings(ablation)
    figures = {"differences.svg": _differences, "rates.svg": _rates}
    paths = []
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever this machine's matplotlibrc says
        mpl.rcParams.update(STYLE)
        for name, make in figures.items():
            figure = make(findings)
            path = folder / name
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            paths.append(path)
    return paths


# -- differences ----------------------------------------------------------------------------------
def _differences(findings: Findings) -> Figure:
    rows: list[tuple[str, Estimate | None]] = []
    for factor in findings.factors:
        against = factor.label(factor.reference)
        rows.append((f"{factor.title}, against {against}", None))
        rows += [(f"{level.label}", level.difference) for level in findings.levels(factor) if level.difference]
    figure = Figure(figsize=(7, 0.5 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, difference) in enumerate(rows):
        if difference:
            is_clear = difference.is_better or difference.is_worse
            _range(axes, difference, place, COLOURS[1] if is_clear else COLOURS[0], MARKERS[0])
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=LINEAR_POINTS)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    for tick, (_, difference) in zip(axes.get_yticklabels(), rows, strict=True):
        if difference is None:
            tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.margins(x=0.06)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    axes.set_xticks([-10, -1, 0, 1, 10])
    axes.set_title(
        "points of word error rate with 95 % intervals;\nto the right more errors, orange: not 0", fontsize=9
    )
    return figure


def _range(axes: Axes, estimate: Estimate, place: float, colour: str, marker: str) -> None:
    low, value, high = (100 * share for share in (estimate.low, estimate.value, estimate.high))
    axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
    axes.plot([value], [place], color=colour, marker=marker, markersize=4)


# -- rates ----------------------------------------------------------------------------------------
def _rates(findings: Findings) -> Figure:
    """A panel for each of the questions that this ablation has factors for."""
    factors = {factor.name: factor for factor in findings.factors}
    panels = [
        (title, factors[name], [factors[other] for other in others if other in factors])
        for title, name, others in PANELS
        if name in factors
    ]
    figure = Figure(figsize=(3.1 * len(panels), 3.6), layout="constrained")
    for axes, (title, factor, others) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, findings, factor, others)
        axes.set_xlabel(title)
        axes.set_ylim(bottom=0)
    figure.supylabel("word error rate, %", fontsize=9)
    return figure


def _panel(axes: Axes, findings: Findings, factor: Factor, others: Sequence[Factor]) -> None:
    """A line for each combination of the others' levels."""
    cells = findings.cells(factor, *others)
    lines = list(dict.fromkeys(levels[1:] for levels in cells))
    width = 0.08
    for number, line in enumerate(lines):
        shift = width * (number - (len(lines) - 1) / 2)
        known = [level for level in range(len(factor.levels)) if (level, *line) in cells]
        found = [cells[level, *line] for level in known]
        label = ", ".join(other.label(level) for other, level in zip(others, line, strict=True))
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        _line(axes, [level + shift for level in known], found, {"color": colour, "marker": marker, "label": label})
    axes.set_xticks(range(len(factor.levels)), [f"{level:g}".replace("-", "−") for level in factor.levels])
    axes.set_xlim(-0.5, len(factor.levels) - 0.5)
    if others:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=7, frameon=False)


def _line(axes: Axes, places: Sequence[float], found: Sequence[Estimate], style: dict[str, Any]) -> None:
    values = [100 * estimate.value for estimate in found]
    below = [100 * (estimate.value - estimate.low) for estimate in found]
    above = [100 * (estimate.high - estimate.value) for estimate in found]
    axes.errorbar(places, values, yerr=[below, above], markersize=4, linewidth=1, elinewidth=1.2, **style)
