"""`voxtral ablation`: what padding, quantisation, level and delay cost, natively or in a browser."""

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral import exit_codes
from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.ablation_rendering import render
from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.factors import PLANS
from voxtral.accuracy.normalization import Normalizer, normalizer_named
from voxtral.accuracy.recordings import clips_of, open_set, set_name_of
from voxtral.accuracy.report import EngineFacts, ModelFacts
from voxtral.accuracy.results import Failure
from voxtral.accuracy.run import hear, result_of
from voxtral.accuracy.sets import ClipEntry, chosen
from voxtral.commands import report_files
from voxtral.commands.in_browser import add_browser_options, chromium_command, driving, require_sense, tool
from voxtral.commands.set_options import add_set_options
from voxtral.config import StreamingConfig
from voxtral.errors import AudioError, ConfigError, DeviceError
from voxtral.model_path import weights_sha256
from voxtral.native_loading import EngineOptions, load_native, native_machine
from voxtral.terminal import say
from voxtral.transcript_output import write_new
from voxtral.web import places
from voxtral.web.places import HERE

# Of the set that comes with the app: what is understood, and what should not be; fours, for the quarters of the plan.
OUR_CLIPS = {"digits": 16, "orders": 16, "other_speech": 8, "silence_noise": 4}

DESCRIPTION = """Hears a set of recordings again and again: with 32 and 76 tokens of left padding, with silence before
the first word and without, at several levels, peak-normalised and not, at several delays, and with the
weights of --model and of --model-f16. Prints tables with 95 % intervals of paired differences, as in MODEL.md.
With --json the report is written after each combination, and the same command goes on where it was interrupted,
unless the weights are others, as their SHA-256 tells."""

Levels = tuple[int, ...]
Heard = Callable[[Levels, Sequence[Mapping[str, Any]]], None]
Begun = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


def add_ablation_command(commands: Any) -> None:
    ablation = commands.add_parser(
        "ablation",
        help="measure what padding, quantisation, level and delay cost",
        description=DESCRIPTION,
        epilog=exit_codes.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ours = ", ".join(f"{n} {group}" for group, n in OUR_CLIPS.items())
    add_set_options(
        ablation, f"of the set; default: all; of our own: {ours}", "clips of each group, from all over it; default: all"
    )
    ablation.add_argument("--plan", choices=PLANS, default="full", help="quick: two levels of each; default: full")
    ablation.add_argument("--json", type=Path, metavar="FILE", help="keep the report there, and go on with what it has")
    ablation.add_argument("--render", type=Path, metavar="REPORT", help="a report's tables; nothing is heard")
    ablation.add_argument(
        "--figures", type=Path, metavar="DIR", help="also draw it there; needs matplotlib, a checkout"
    )
    EngineOptions.add_to(ablation)
    ablation.add_argument("--model-f16", type=Path, metavar="PATH", help="the same model with other weights")
    add_browser_options(ablation)
    ablation.set_defaults(command=_ablation)


async def _ablation(options: argparse.Namespace) -> int:
    _require_sense(options)
    draw = _drawing(options.figures) if options.figures else None
    exit_code = exit_codes.DONE
    if options.render:
        ablation = _read(options.render, "--render")
    else:
        ablation = await _hear(options)
        if set(ablation.clip_ids) - {clip.id for clip in ablation.clips}:
            exit_code = exit_codes.FAILED  # with a sentence for each, when it could not be read
    print(render(ablation))
    if draw:
        for path in draw(ablation, options.figures):
            say(f"{path} is drawn")
    return exit_code


def _require_sense(options: argparse.Namespace) -> None:
    if options.render and (options.json or options.browser):
        raise ConfigError("--render hears nothing; leave --json and --browser out")
    require_sense(options, options.set)
    report_files.require_place(options.json)


# -- hearing --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Work:
    """What every model has to hear."""

    options: argparse.Namespace
    entries: list[ClipEntry]
    folder: Path
    normalizer: Normalizer


async def _hear(options: argparse.Namespace) -> Ablation:
    found, folder = open_set(options.set or HERE.accuracy_set)
    entries = _chosen(found.entries, options)
    normalizer = normalizer_named(options.normalizer)
    for sentence in found.notices:
        say(sentence)
    planned = PLANS[options.plan].conditions(entries)
    models = [options.model or HERE.demo_model, *([options.model_f16] if options.model_f16 else [])]
    set_name = set_name_of(options.set)
    ids = [entry.id for entry in entries]
    fresh = Ablation.of_plan(PLANS[options.plan], ids, len(planned) * len(models), set_name, normalizer.name)
    digests = [await weights_sha256(model) for model in models]
    ablation = fresh
    if options.json and options.json.exists():
        ablation = _go_on(options.json, fresh, list(zip(models, digests, strict=True)))
    work = _Work(options, entries, folder, normalizer)
    say(f"{fresh.n_planned} combinations; each clip is heard under {_n_of_clip(planned) * len(models)} of them")
    for number, (model, sha256) in enumerate(zip(models, digests, strict=True)):
        missing = [(levels, condition) for levels, condition in planned if not ablation.is_heard(number, levels)]
        if not missing:
            continue
        begin = functools.partial(_begin, ablation, number, sha256)
        take = functools.partial(_take, ablation, options.json, number)
        if options.browser:
            _hear_in_browser(work, model, missing, begin, take)
        else:
            await _hear_here(work, model, missing, begin, take)
    return ablation


def _begin(ablation: Ablation, number: int, sha256: str, model: Mapping[str, Any], engine: Mapping[str, Any]) -> None:
    ablation.begin_model(number, {**model, "sha256": sha256}, engine)  # which the page does not know


def _take(
    ablation: Ablation, path: Path | None, model: int, levels: Levels, results: Sequence[Mapping[str, Any]]
) -> None:
    ablation.take(model, levels, results)
    say(f"heard {len(ablation.runs)} of {ablation.n_planned} combinations")
    if path:
        write_new(path, ablation.as_json(), True)


def _n_of_clip(planned: Sequence[tuple[Levels, Condition]]) -> int:
    n_hearings = sum(len(condition.ids or ()) for _, condition in planned)
    return n_hearings // len({id for _, condition in planned for id in condition.ids or ()})


def _chosen(entries: Sequence[ClipEntry], options: argparse.Namespace) -> list[ClipEntry]:
    """Clips from all over each group: neighbours are of one speaker."""
    is_ours = not (options.set or options.groups or options.limit)
    groups = options.groups if options.groups else list(OUR_CLIPS) if is_ours else None
    by_group: dict[str, list[ClipEntry]] = {}
    for entry in chosen(entries, groups, None):
        by_group.setdefault(entry.group, []).append(entry)
    taken = []
    for group, of_group in by_group.items():
        n = min(len(of_group), (OUR_CLIPS[group] if is_ours else options.limit) or len(of_group))
        taken += [of_group[i * len(of_group) // n] for i in range(n)]
    return taken


def _go_on(path: Path, fresh: Ablation, models: Sequence[tuple[Path, str]]) -> Ablation:
    """An earlier report to go on with, or to show if it is complete; models: their paths and SHA-256."""
    earlier = _read(path, "--json")
    if not earlier.goes_on(fresh):
        raise ConfigError(f"--json {path}: it holds another ablation; name another file, or delete that one")
    for before, (model, sha256) in zip(earlier.models, models, strict=False):  # which may not have begun with all
        if before["sha256"] is None:
            raise ConfigError(
                f"--json {path}: expected the SHA-256 of the weights that it heard, found none, as in older reports; "
                "show it by --render, or name another file"
            )
        if before["sha256"] != sha256:
            raise ConfigError(
                f"--json {path}: expected the weights that it heard, of SHA-256 {before['sha256'][:12]}…, found "
                f"{sha256[:12]}… in {model}; name that model, or another file"
            )
    return earlier


async def _hear_here(
    work: _Work, model: Path, planned: Sequence[tuple[Levels, Condition]], begin: Begun, take: Heard
) -> None:
    options = EngineOptions(model, work.options.backend, work.options.adapter)
    loaded = await load_native(options, StreamingConfig(), say, warms_up=False)
    try:
        machine = native_machine()
        begin(
            asdict(ModelFacts.of_loaded(loaded, StreamingConfig(), None)),
            asdict(EngineFacts.of_loaded(loaded, machine)),
        )
        sounds = dict(_sounds(work.entries, work.folder))
        entries = {entry.id: entry for entry in work.entries if entry.id in sounds}
        for levels, condition in planned:
            results = []
            for entry in (entries[id] for id in condition.ids or () if id in entries):
                samples, shift_s = condition.prepared(sounds[entry.id], entry.id)
                heard = await hear(loaded, condition.streaming, [samples])
                results.append(result_of(entry.shifted(shift_s), heard, work.normalizer).as_dict())
            take(levels, results)
    finally:
        loaded.close()


def _sounds(entries: Sequence[ClipEntry], folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each clip as it was recorded; one that cannot be read is a sentence, and is left out."""
    for clip in clips_of(entries, folder, keeps_level=True):
        try:
            yield clip.entry.id, np.concatenate([np.zeros(0, np.float32), *clip.sound])
        except AudioError as error:
            say(str(error))


def _hear_in_browser(
    work: _Work, model: Path, planned: Sequence[tuple[Levels, Condition]], begin: Begun, take: Heard
) -> None:
    told: set[str] = set()

    def on_report(i: int, report: Mapping[str, Any]) -> None:
        for sentence in (Failure(**failure).sentence for failure in report["failures"]):
            if sentence not in told:  # once, not under each combination
                told.add(sentence)
                say(sentence)
        if not report["set"]["is_complete"]:  # kept, it would count as heard, and never be heard again
            raise DeviceError("the page stopped within a combination, which is not kept; run the same command again")
        begin(report["model"], report["engine"])
        take(planned[i][0], report["clips"])

    options = work.options
    with driving():
        tool("browser_accuracy").accuracy_in_browser(
            model if options.model or options.model_f16 == model else None,
            options.backend,
            chromium_command(options),
            say,
            [condition for _, condition in planned],
            set_folder=work.folder if options.set else None,
            normalizer=options.normalizer,
            on_report=on_report,
        )


# -- files ----------------------------------------------------------------------------------------
def _drawing(folder: Path) -> Callable[[Ablation, Path], list[Path]]:
    """What draws, which needs a library that nothing else needs."""
    if not places.is_checkout():
        raise ConfigError("--figures needs a checkout, with py/tools; run it there: PYTHONPATH=py")
    try:
        draw: Callable[[Ablation, Path], list[Path]] = tool("ablation_plots").draw
    except ImportError as error:
        raise ConfigError(
            f"--figures needs matplotlib, which does not load ({error}); run `pip install matplotlib`"
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--figures {folder}: cannot be made ({error.strerror}); name another folder") from error
    return draw


def _read(path: Path, option: str) -> Ablation:
    return Ablation.of_json(report_files.read(path, option), f"{option} {path}")
