"""Reports as text for a terminal or SPEED.md: one, table below table, or the times of two side by side."""

from collections.abc import Sequence
from typing import Any

from voxtral.bench.timer import digits

Report = dict[str, Any]


def render(report: Report) -> str:
    """The whole report; ends without a newline."""
    parts = [_head(report), _memory(report)]
    parts.append(f"copy: {report['copy_gb_per_s']} GB/s, read and write; device times by {report['clock']}")
    kernel_columns = ("kernel", "rows", "us", "gb_per_s", "percent_of_copy", "tflop_per_s")
    parts.append(_table("decoder, kernels", report["decoder"], kernel_columns))
    parts.append(_table("encoder, kernels", report["encoder"], kernel_columns))
    step_columns = ("context", "device_ms", "wall_ms", "steps_at_once", "dispatches")
    parts.append(_table("decoder step", report["decode"], step_columns))
    parts.append(
        _table("encoder call", report["encode"], ("rows", "calls", "device_ms", "wall_ms", "tflop_per_s", "dispatches"))
    )
    parts.append(_table("chunk: frames in, ids out", report["chunks"], ("tokens", "wall_ms", "wall_ms_per_token")))
    parts.append(_shares(report["shares"]))
    file = report["file"]
    parts.append(
        f"file: {file['audio_s']} s of audio in {file['wall_s']} s, RTF {file['rtf']}; "
        f"Python {_or_unknown(file['python_ms_per_token'])} ms a token, submits included"
    )
    parts.append(_live(report["live"]))
    return "\n\n".join(parts)


def render_against(report: Report, earlier: Report) -> str:
    """What both have timed and how much memory both took, side by side; wherever they were made, less is better."""
    mine, theirs = _costs(report), _costs(earlier)
    rows = [
        {
            "": name,
            "this run": mine[name],
            "earlier": theirs[name],
            "ratio": round(mine[name] / theirs[name], 2) if theirs[name] else None,
        }
        for name in mine
        if name in theirs
    ]
    title = f"this run: {_where(report)}\nearlier:  {_where(earlier)}\nratio: this run to the earlier; less is better"
    parts = [_table(title, rows, ("", "this run", "earlier", "ratio"))]
    if n_others := len(mine.keys() ^ theirs.keys()):
        parts.append(f"in one of the two only, so not shown: {n_others}")
    return "\n\n".join(parts)


def _costs(report: Report) -> dict[str, float]:
    """By name and unit, all of which less is better."""
    costs: dict[str, float | None] = {}
    for row in report["decode"]:
        for clock in ("device", "wall"):
            costs[f"decoder step at context {row['context']}, {clock}, ms"] = row[f"{clock}_ms"]
    for row in report["encode"]:
        calls = f" in {row['calls']} calls" if row["calls"] > 1 else ""
        for clock in ("device", "wall"):
            costs[f"encoder, {row['rows']} rows{calls}, {clock}, ms"] = row[f"{clock}_ms"]
    for row in report["chunks"]:
        costs[f"chunk of {row['tokens']}, ms"] = row["wall_ms"]
    costs["file, s for each second of audio"] = report["file"]["rtf"]
    costs["file: Python a token, ms"] = report["file"]["python_ms_per_token"]
    if live := report["live"]:
        costs["live: last sample to its token, ms"] = live["median_ms"]
    costs["load, s"] = report["load"]["seconds"]
    costs["from loaded to ready, s"] = report["load"]["warm_up_s"]
    for name, place in (("heap_bytes", "heap"), ("gpu_peak_bytes", "GPU at most")):
        if (n_bytes := report["memory"][name]) is not None:
            costs[f"memory: {place}, MB"] = digits(n_bytes / 1e6)
    for half in ("decoder", "encoder"):
        for row in report[half]:
            costs[f"{half}: {row['kernel']}, rows: {row['rows']}, µs"] = row["us"]
    return {name: cost for name, cost in costs.items() if cost is not None}


def _where(report: Report) -> str:
    adapter = report["adapter"]
    computes = "numpy" if adapter is None else f"{adapter['name']} by {adapter['backend']}"
    return f"{report['model']['name']}, {computes}, Python {report['machine']['python']}, {report['date']}"


def _head(report: Report) -> str:
    machine, adapter, model = report["machine"], report["adapter"], report["model"]
    lines = [
        f"voxtral {report['version']}, {report['date']}",
        f"{machine['system']}, {machine['cpu_threads']} CPU threads, Python {machine['python']}",
    ]
    if adapter is None:
        lines.append("computes with numpy")
    else:
        software = ", in software" if adapter["is_software"] else ""
        lines.append(f"{adapter['name']} by {adapter['backend']}{software}")
        for name in ("features", "kernel_traits"):
            lines.append(f"{_heading(name)}: {', '.join(adapter[name]) or 'none'}")
        lines += adapter["replaced"]
        lines.append("limits: " + ", ".join(f"{name} {value}" for name, value in adapter["limits"].items()))
    layers = model["layers"]
    lines.append(
        f"{model['name']}: {model['parameters'] / 1e6:.1f} M parameters, "
        f"{layers['encoder']} + {layers['decoder']} layers"
    )
    return "\n".join(lines)


def _memory(report: Report) -> str:
    load, memory = report["load"], report["memory"]
    lines = [
        f"load: {load['bytes'] / 1e6:.1f} MB in {load['seconds']} s, {load['mb_per_s']} MB/s; "
        f"then ready after {load['warm_up_s']} s"
    ]
    names = {
        "heap_bytes": "heap",
        "loader_peak_bytes": "loader's buffers at most",
        "gpu_bytes": "GPU",
        "gpu_peak_bytes": "GPU at most",
    }
    known = [f"{name} {memory[key] / 1e6:.1f} MB" for key, name in names.items() if memory[key] is not None]
    return "\n".join([*lines, "memory: " + ", ".join(known)])


def _shares(shares: Report) -> str:
    return (
        f"a token in a file's chunk of {shares['tokens']}: {shares['wall_ms']} ms by the wall; "
        f"Python {_or_unknown(shares['python_ms'])}, submitting {shares['submit_ms']}, "
        f"device {shares['device_decode_ms']} (decoder) + {shares['device_encode_ms']} (encoder)"
    )


def _live(live: Report | None) -> str:
    if live is None:
        return "live: measured by the page only"
    return (
        f"live, {live['chunks']} chunks of 80 ms: token on the page {live['median_ms']} ms after the last sample "
        f"(95 %: {live['p95_ms']}, most: {live['max_ms']}); painted after {live['painted_median_ms']} "
        f"(95 %: {live['painted_p95_ms']})\n{live['how']}"
    )


def _table(title: str, rows: Sequence[Report], columns: Sequence[str]) -> str:
    """Rows of dicts; text to the left, numbers to the right; a column without values is left out."""
    shown = [name for name in columns if any(row[name] is not None for row in rows)]
    cells = [[_heading(name) for name in shown], *([_cell(row[name]) for name in shown] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    is_text = [not _is_number(rows[0][name]) for name in shown]
    lines = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _heading(name: str) -> str:
    names = {"gb_per_s": "GB/s", "percent_of_copy": "% of copy", "tflop_per_s": "TFLOP/s", "us": "µs"}
    return names.get(name, name.replace("_", " "))


def _cell(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def _or_unknown(value: float | None) -> float | str:
    return "(not told from waiting)" if value is None else value


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)
