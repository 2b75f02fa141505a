"""Runs the page's bench (/?bench) in a headless Chromium and brings its report home; `python -m voxtral bench`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tools.chromium import letters, offered_model, report_of
from voxtral.web.site import Site

SILENCE_LIMIT_S = 300.0


def bench_in_browser(
    model: Path | None,
    backend: str | None,
    command: Sequence[str] | None,
    on_line: Callable[[str], None],
    effort: str | None = None,
) -> dict[str, Any]:
    """The report of py/voxtral/bench/report.py. Raises BrowserError.

    model: a .gguf file or a folder, None for the demo. command: starts a Chromium, None for the system's; the address
    is added to it. on_line: gets each line of progress.
    """
    models, address = offered_model(model)
    options = {"bench": effort or "", "report": "", "model": address, "backend": backend}
    query = urlencode({name: value for name, value in options.items() if value is not None})
    mail = letters(Site(models), command, f"?{query}", SILENCE_LIMIT_S)
    return report_of(mail, lambda letter: on_line(letter["line"]))
