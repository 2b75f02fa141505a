"""Hears a set in the page (/?bench=accuracy) in a headless Chromium and brings the reports home; `voxtral wer`."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tools.chromium import BrowserError, letters, offered_model
from voxtral.accuracy.conditions import Condition
from voxtral.web.site import Site

SILENCE_LIMIT_S = 600.0  # a clip of half a minute on a machine that hears twenty times slower than one speaks

Report = dict[str, Any]


def accuracy_in_browser(
    model: Path | None,
    backend: str | None,
    command: Sequence[str] | None,
    on_line: Callable[[str], None],
    conditions: Sequence[Condition],
    set_folder: Path | None = None,
    normalizer: str = "basic",
    on_report: Callable[[int, Report], None] = lambda _i, _report: None,
) -> list[Report]:
    """A report (voxtral/accuracy/report.py) for each condition, from one load of the model. Raises BrowserError.

    model: a .gguf file or a folder, None for the demo. command: starts a Chromium, None for the system's; the address
    is added to it. on_line: gets each line of progress. set_folder: None for the built-in set. on_report(i, report):
    told of each as soon as it is there.
    """
    models, address = offered_model(model)
    options = {"bench": "accuracy", "report": "", "plan": "plan/plan.json", "model": address, "backend": backend}
    query = urlencode({name: value for name, value in options.items() if value is not None})
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as folder:
        plan = _plan(conditions, set_folder, normalizer)
        Path(folder, "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        mounts = {"plan": Path(folder), **({"set": set_folder} if set_folder else {})}
        with closing(letters(Site(models, mounts), command, f"?{query}", SILENCE_LIMIT_S)) as mail:
            for letter in mail:
                if "error" in letter:
                    raise BrowserError(letter["error"])
                if "report" in letter:
                    break
                if "accuracy" in letter:
                    reports.append(letter["accuracy"])
                    on_report(len(reports) - 1, reports[-1])
                else:
                    on_line(letter["line"])
    return reports


def _plan(conditions: Sequence[Condition], set_folder: Path | None, normalizer: str) -> dict[str, Any]:
    """As app/accuracy_plan.js reads it."""
    files: list[dict[str, str]] = []
    if set_folder:
        paths = sorted(path.relative_to(set_folder).as_posix() for path in set_folder.rglob("*") if path.is_file())
        shown = [path for path in paths if not any(part.startswith(".") for part in path.split("/"))]
        files = [{"path": path, "address": f"set/{quote(path)}"} for path in shown]
    return {
        "conditions": [condition.as_dict() for condition in conditions],
        "normalizer": normalizer,
        "set": set_folder and set_folder.resolve().name,
        "files": files,
    }
