"""`voxtral bench`: how fast a model runs here, natively or in a browser; both reports have the same fields."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from voxtral.bench.rendering import render, render_against
from voxtral.bench.report import Subject, measure
from voxtral.commands import report_files
from voxtral.commands.in_browser import add_browser_options, chromium_command, driving, require_sense, tool
from voxtral.config import StreamingConfig
from voxtral.errors import ConfigError
from voxtral.native_loading import EngineOptions, load_native, native_machine
from voxtral.terminal import say
from voxtral.transcript_output import write_new


def add_bench_command(commands: Any) -> None:
    bench = commands.add_parser("bench", help="measure how fast a model runs here")
    EngineOptions.add_to(bench)
    bench.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    bench.add_argument(
        "--against",
        type=Path,
        metavar="REPORT",
        help="an earlier report's JSON, of any machine: show both, and the ratio",
    )
    add_browser_options(bench)
    bench.set_defaults(command=_bench)


async def _bench(options: argparse.Namespace) -> int:
    require_sense(options)
    report_files.require_place(options.json)
    earlier = _read_report(options.against) if options.against else None
    report = _bench_in_browser(options) if options.browser else await _bench_here(options)
    print(render(report))
    if earlier:
        print("\n" + render_against(report, earlier))
    if options.json:
        write_new(options.json, json.dumps(report, indent=1, ensure_ascii=False) + "\n", overwrites=True)
    return 0


async def _bench_here(options: argparse.Namespace) -> dict[str, Any]:
    streaming = StreamingConfig()
    loaded = await load_native(EngineOptions.of(options), streaming, say)
    subject = Subject(loaded.model, loaded.tekken, streaming, loaded.times)
    return await measure(subject, _machine(), None, _tell)


def _bench_in_browser(options: argparse.Namespace) -> dict[str, Any]:
    command = chromium_command(options)
    with driving():
        report: dict[str, Any] = tool("browser_bench").bench_in_browser(options.model, options.backend, command, say)
    return report


def _read_report(path: Path) -> dict[str, Any]:
    """One that a bench wrote, or the page; known before anything is measured to be fit for a table."""
    try:
        report: dict[str, Any] = json.loads(report_files.read(path, "--against"))
        render_against(report, report)
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"--against {path}: expected a report of this version's bench, found something else; "
            "make one by bench --json, or by the page's button Download JSON"
        ) from error
    return report


async def _tell(what: str) -> None:
    say(f"measuring {what}")


def _machine() -> dict[str, Any]:
    """As `voxtral.host.Host.machine`; the heap is the process's."""
    return {
        **native_machine(),
        "heap_bytes": _peak_memory_bytes(),
        "loader_peak_bytes": None,
    }


def _peak_memory_bytes() -> int | None:
    """Of this process; None on systems that do not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
