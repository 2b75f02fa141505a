"""Reports as text for a terminal: one, with its worst clips word by word, or two side by side.

A difference is written as in `they [said→set] it`, with {+more+} for words that nobody said and [-less-] for words that
were not heard.
"""

from collections.abc import Sequence
from typing import Any, Final

from voxtral.accuracy.report import Report
from voxtral.accuracy.results import ClipResult, Step
from voxtral.accuracy.summary import Summary, differences, summarize
from voxtral.transcription import clock

N_WORST: Final = 10
CONTEXT_WORDS: Final = 4  # of the same on either side of a difference

INTERVALS: Final = "95 %: bootstrap over clips; who speaks is not looked at, so with few speakers they are too narrow"
PAIRS: Final = "95 % interval: bootstrap over clips, each drawn with both of its results"


def render(report: Report) -> str:
    """The whole report; ends without a newline."""
    found = report.summary()
    parts = [_head(report), f"{_groups(found)}\n{INTERVALS}", _timing(found["overall"])]
    return "\n\n".join(part for part in (*parts, _worst(report.clips), _failures(report)) if part)


def render_against(report: Report, earlier: Report) -> str:
    """This run beside an earlier one, over the clips that both have."""
    found = differences(report.clips, earlier.clips)
    lines = [f"this run: {_where(report)}", f"earlier:  {_where(earlier)}"]
    if _sound(report) != _sound(earlier):
        lines.append(f"their clips were played differently: {_sound(report)}; earlier: {_sound(earlier)}")
    if report.set_name != earlier.set_name:
        lines.append(f"their sets have different names: {report.set_name}; earlier: {earlier.set_name}")
    if report.normalizer != earlier.normalizer:
        lines.append(f"their texts were normalised differently: {report.normalizer}, {earlier.normalizer}")
    if not found["n_clips"]:
        return "\n".join(
            [*lines, "the two have no clip in common; compare runs over the same set with the same normaliser"]
        )
    others = f"; left out, as only one has them: {_clips(found['n_others'])}" if found["n_others"] else ""
    lines.append(f"over what both have, {_clips(found['n_clips'])}{others}; a difference below 0 is better")
    groups = found["groups"]
    shown = groups if len(groups) > 2 else {"overall": groups["overall"]}
    rows = [
        [name, *_difference(label, rate, name_of_rate)]
        for name, group in shown.items()
        for name_of_rate, label in (("wer", "WER %"), ("cer", "CER %"), ("false_words_per_min", "false words/min"))
        if (rate := group[name_of_rate]) is not None
    ]
    columns = ["", "", "this run", "earlier", "difference", "95 % interval", ""]
    table = f"{_table([columns, *rows], n_left=2)}\n{PAIRS}"
    return "\n".join(lines) + "\n\n" + table + _speeds(report, earlier)


def also_in(other: Report, report: Report) -> list[ClipResult]:
    """The clips of a report that the other one has, too."""
    known = {(clip.id, clip.reference) for clip in other.clips}
    return [clip for clip in report.clips if (clip.id, clip.reference) in known]


# -- one report ---------------------------------------------------------------------------------------
def _head(report: Report) -> str:
    engine, model = report.engine, report.model
    sound = report.condition.sound if report.condition else ""
    end = "" if report.is_complete else ", then interrupted"
    lines = [
        f"voxtral {engine.version}, {engine.date}; {engine.machine['system']}, Python {engine.machine['python']}",
        f"{model.name}, {model.parameters / 1e6:.1f} M parameters, {model.weight_type}, {_computes(report)}; "
        f"delay {model.delay_ms} ms, left padding {model.left_pad_tokens}"
        f"{f'; {sound}' if sound else ''}",
        f"{report.set_name}{_choice(report)}: {_clips(len(report.clips))}{end}; "
        f"normaliser {report.normalizer}, {report.scorer}",
    ]
    return "\n".join(lines)


def _choice(report: Report) -> str:
    choice = report.condition.choice if report.condition else ""
    return f", {choice}" if choice else ""


def _groups(found: dict[str, Any]) -> str:
    groups = found["groups"]
    rows = [(name, summary) for name, summary in groups.items()]
    if len(rows) != 1:
        rows.append(("all", found["overall"]))
    columns = ["group", "clips", "sound", "words", "WER %", "95 %", "CER %", "95 %", "false words/min", "95 %", "RTF"]
    cells = [
        [
            name,
            f"{summary['n_clips']:,}",
            clock(summary["audio_s"]),
            f"{summary['n_words']:,}",
            *_rate(summary["wer"], 100),
            *_rate(summary["cer"], 100),
            *_rate(summary["false_words_per_min"], 1),
            "" if summary["rtf"] is None else f"{summary['rtf']:.3f}",
        ]
        for name, summary in rows
    ]
    return _table([columns, *cells], n_left=1)


def _timing(overall: Summary) -> str:
    latency, end_error = overall["latency"], overall["end_error"]
    if not latency or not end_error:
        return ""
    return (
        f"words, from their true end to being there, in the sound's own time: median {_ms(latency['median_s'])}, "
        f"95 % within {_ms(latency['p95_s'])}\n"
        f"their printed end, off by: median {_ms(end_error['median_s'])}, 95 % within {_ms(end_error['p95_s'])} "
        f"({end_error['n']:,} words heard right whose true end is known)"
    )


def _worst(clips: Sequence[ClipResult]) -> str:
    wrong = [clip for clip in clips if _n_wrong(clip)]
    if not wrong:
        return ""
    worst = sorted(wrong, key=lambda clip: (-_n_wrong(clip), clip.id))[:N_WORST]
    lines = [f"errors: in {len(wrong):,} of {_clips(len(clips))}; the most in"]
    for clip in worst:
        n_wrong = _n_wrong(clip)
        speaker = f", {clip.speaker}" if clip.speaker else ""
        lines.append(f"  {clip.id}{speaker}: {n_wrong} error{'s' * (n_wrong != 1)}")
        lines.append(f"    {aligned(clip.alignment)}")
    return "\n".join(lines)


def _n_wrong(clip: ClipResult) -> int:
    return clip.false_words if clip.should_be_silent else clip.word_counts.errors


def aligned(alignment: Sequence[Step]) -> str:
    """The differences in their places; long stretches of the same words are shortened."""
    parts = []
    for i, step in enumerate(alignment):
        spoken, heard = " ".join(step.reference), " ".join(step.hypothesis)
        if step.kind == "equal":
            parts.append(_shortened(step.reference, i == 0, i == len(alignment) - 1))
        elif step.kind == "substitute":
            parts.append(f"[{spoken}→{heard}]")
        else:
            parts.append(f"[-{spoken}-]" if step.kind == "delete" else f"{{+{heard}+}}")
    return " ".join(parts)


def _shortened(words: Sequence[str], is_first: bool, is_last: bool) -> str:
    if is_first and is_last:
        return " ".join(words)
    head = [] if is_first else words[:CONTEXT_WORDS]
    tail = [] if is_last else words[max(len(head), len(words) - CONTEXT_WORDS) :]
    gap = ["…"] if len(head) + len(tail) < len(words) else []
    return " ".join([*head, *gap, *tail])


def _failures(report: Report) -> str:
    noticed = [
        f"  {clip.id}: {' '.join(notice.removeprefix(f'{clip.id}: ') for notice in clip.notices)}"
        for clip in report.clips
        if clip.notices
    ]
    failed = [f"  {failure.sentence}" for failure in report.failures]
    parts = []
    if failed:
        parts.append("\n".join([f"could not be heard and in no figure: {_clips(len(failed))}", *failed[:N_WORST]]))
    if noticed:
        parts.append("\n".join([f"something odd: {_clips(len(noticed))}", *noticed[:N_WORST]]))
    return "\n\n".join(parts)


# -- two reports --------------------------------------------------------------------------------------
def _difference(label: str, rate: Summary, name: str) -> list[str]:
    factor = 1 if name == "false_words_per_min" else 100
    is_clear = rate["low"] > 0 or rate["high"] < 0
    verdict = ("better" if rate["value"] < 0 else "worse") if is_clear else "not clear"
    interval = f"{factor * rate['low']:+.2f} … {factor * rate['high']:+.2f}"
    values = [f"{factor * rate[whose]:.2f}" for whose in ("mine", "theirs")]
    return [label, *values, f"{factor * rate['value']:+.2f}", interval, "same" if rate["value"] == 0 else verdict]


def _speeds(report: Report, earlier: Report) -> str:
    """Over the clips that both have, too: others may be longer, noisier, or of another speaker."""
    mine, theirs = (summarize(also_in(other, one)) for one, other in ((report, earlier), (earlier, report)))
    lines = [f"RTF {mine['rtf']} against {theirs['rtf']}"]
    if mine["latency"] and theirs["latency"]:
        both = (f"{_ms(one['latency']['median_s'])} / {_ms(one['latency']['p95_s'])}" for one in (mine, theirs))
        lines.append("delay of words, median / 95 %: " + " against ".join(both))
    return "\n\n" + "; ".join(lines)


def _where(report: Report) -> str:
    engine, model = report.engine, report.model
    what = f"{model.name}, {model.weight_type}, delay {model.delay_ms} ms, left padding {model.left_pad_tokens}"
    return f"{what}; {_computes(report)}, {engine.machine['system']}, Python {engine.machine['python']}, {engine.date}"


def _sound(report: Report) -> str:
    if report.condition is None:
        return "not known"
    return report.condition.sound or "as recorded"


# -- pieces -------------------------------------------------------------------------------------------
def _computes(report: Report) -> str:
    return "numpy" if report.engine.adapter is None else str(report.engine.adapter["name"])


def _rate(rate: Summary | None, factor: int) -> list[str]:
    if rate is None:
        return ["", ""]
    return [f"{factor * rate['value']:.2f}", f"{factor * rate['low']:.2f}…{factor * rate['high']:.2f}"]


def _clips(n: int) -> str:
    return f"{n:,} clip{'s' * (n != 1)}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _table(rows: Sequence[Sequence[str]], n_left: int) -> str:
    """Cells in columns, the first n_left to the left; a column without values is left out."""
    shown = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in shown}
    lines = (
        "  ".join(row[i].ljust(widths[i]) if i < n_left else row[i].rjust(widths[i]) for i in shown) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
