"""`voxtral wer`: how well a model hears recordings with transcripts, and whether that is better than before."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from voxtral import exit_codes
from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.normalization import Normalizer, normalizer_named
from voxtral.accuracy.recordings import clips_of, open_set, set_name_of
from voxtral.accuracy.rendering import also_in, render, render_against
from voxtral.accuracy.report import EngineFacts, ModelFacts, Report
from voxtral.accuracy.results import ClipResult, Failure
from voxtral.accuracy.run import results_of
from voxtral.accuracy.scoring import scorer_name
from voxtral.accuracy.sets import ClipEntry
from voxtral.commands import report_files
from voxtral.commands.in_browser import add_browser_options, chromium_command, driving, require_sense, tool
from voxtral.commands.set_options import DEFAULT_NORMALIZER, add_set_options
from voxtral.config import DEFAULT_DELAY_MS, DEFAULT_LEFT_PAD_TOKENS, SAMPLE_RATE
from voxtral.errors import ConfigError, DeviceError
from voxtral.interruption import Interruption
from voxtral.loading import Loaded
from voxtral.model_path import weights_sha256
from voxtral.native_loading import EngineOptions, add_streaming_options, load_native, native_machine
from voxtral.terminal import Progress, SoundProgress, say
from voxtral.transcript_output import write_new
from voxtral.web.places import HERE

DESCRIPTION = """Word and character errors with 95 % intervals, delays of words, and speed, of a model on a set of
recordings: a folder as LibriSpeech or Common Voice come, one with a .csv or .tsv of files and transcripts (columns such
as path and sentence), or such a table alone. Without SET it is the set that comes with the app."""


def add_wer_command(commands: Any) -> None:
    wer = commands.add_parser(
        "wer",
        help="measure how well a model hears",
        description=DESCRIPTION,
        epilog=exit_codes.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_set_options(wer, "of the set; default: all", "the first N clips of each group; default: all")
    wer.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    wer.add_argument(
        "--against", type=Path, metavar="REPORT", help="an earlier report's JSON: show both, and differences"
    )
    wer.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="two reports, A against B; nothing is measured"
    )
    add_browser_options(wer)
    EngineOptions.add_to(wer)
    add_streaming_options(wer)
    wer.set_defaults(command=_wer)


async def _wer(options: argparse.Namespace) -> int:
    if options.compare:
        return _compare(options)
    report_files.require_place(options.json)
    earlier = _read_report(options.against, "--against") if options.against else None
    require_sense(options, options.set)
    condition = Condition(options.delay_ms, options.left_pad, groups=options.groups, limit=options.limit)
    normalizer = normalizer_named(options.normalizer)
    scorer_name()  # before hours of listening that nothing could count
    found, folder = open_set(options.set or HERE.accuracy_set)
    entries = condition.chosen(found.entries)
    for sentence in found.notices:
        say(sentence)
    if options.browser:
        return await _wer_in_browser(options, condition, earlier)
    with Progress(is_passing=True) as progress:
        loaded = await load_native(EngineOptions.of(options), condition.streaming, say, progress.awaitable("loading"))
    facts = ModelFacts.of_loaded(loaded, condition.streaming, await weights_sha256(EngineOptions.of(options).model))
    run = _Run(loaded, condition, normalizer, entries)
    await run.measure(folder)
    _tell(run.report(set_name_of(options.set), facts), earlier, options.json)
    return run.exit_code()


def _compare(options: argparse.Namespace) -> int:
    measuring = (options.set, options.groups, options.limit, options.json, options.against, options.browser)
    engine = (options.chromium, options.model, options.backend, options.adapter)
    differing = (
        options.normalizer != DEFAULT_NORMALIZER,
        options.delay_ms != DEFAULT_DELAY_MS,
        options.left_pad != DEFAULT_LEFT_PAD_TOKENS,
    )
    if any((*measuring, *engine, *differing)):
        raise ConfigError("--compare measures nothing; leave SET, --groups and all other options out")
    mine, theirs = (_read_report(path, "--compare") for path in options.compare)
    print(render_against(mine, theirs))
    return exit_codes.DONE if also_in(theirs, mine) else exit_codes.FAILED


async def _wer_in_browser(options: argparse.Namespace, condition: Condition, earlier: Report | None) -> int:
    command, sha256 = chromium_command(options), await weights_sha256(EngineOptions.of(options).model)
    hear = tool("browser_accuracy").accuracy_in_browser
    with driving():
        [value] = hear(options.model, options.backend, command, say, [condition], options.set, options.normalizer)
    report = Report.of(value, "the page's report")
    report = replace(report, model=replace(report.model, sha256=sha256))  # the page does not know it
    _tell(report, earlier, options.json)
    return exit_codes.FAILED if report.failures or not report.is_complete else exit_codes.DONE


def _tell(report: Report, earlier: Report | None, path: Path | None) -> None:
    if not report.clips and not report.failures:
        return
    print(render(report))
    if earlier:
        print("\n" + render_against(report, earlier))
    if path:
        write_new(path, report.to_json(), overwrites=True)


@dataclass
class _Run:
    """The clips of one command; whatever ends it, what was measured until then is kept."""

    loaded: Loaded
    condition: Condition
    normalizer: Normalizer
    entries: Sequence[ClipEntry]
    clips: list[ClipResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    end: KeyboardInterrupt | DeviceError | None = None  # what ended it before its time

    async def measure(self, folder: Path) -> None:
        with Interruption() as interruption, self._progress() as progress:
            done_s = 0.0

            def tell(heard_s: float) -> None:
                progress.tell(done_s + heard_s)
                if interruption.is_wished:
                    raise KeyboardInterrupt

            try:
                clips = clips_of(self.entries, folder)
                async for result in results_of(self.loaded, self.condition.streaming, clips, self.normalizer, tell):
                    if isinstance(result, Failure):
                        self.failures.append(result)
                        say(result.sentence)
                    else:
                        self.clips.append(result)
                        done_s += result.audio_s
            except (KeyboardInterrupt, DeviceError) as end:
                self.end = end

    def _progress(self) -> SoundProgress:
        lengths = [entry.n_samples for entry in self.entries]
        total_s = sum(n for n in lengths if n) / SAMPLE_RATE
        return SoundProgress(f"{len(self.entries):,} clips", None if None in lengths else total_s)

    def report(self, set_name: str, facts: ModelFacts) -> Report:
        engine = EngineFacts.of_loaded(self.loaded, native_machine())
        is_complete = len(self.clips) + len(self.failures) == len(self.entries)
        names = (self.normalizer.name, scorer_name())
        return Report(engine, facts, set_name, is_complete, *names, self.clips, self.failures, self.condition)

    def exit_code(self) -> int:
        """With a sentence where it ended before its time."""
        if self.end is None:
            return exit_codes.FAILED if self.failures else exit_codes.DONE
        so_far = f"the figures are those of {len(self.clips):,} of {len(self.entries):,} clips"
        if isinstance(self.end, KeyboardInterrupt):
            say(f"interrupted; {so_far}")
            return exit_codes.INTERRUPTED
        say(f"{self.end}; {so_far}")
        return exit_codes.NO_ENGINE


def _read_report(path: Path, option: str) -> Report:
    return Report.of_json(report_files.read(path, option), f"{option} {path}")
