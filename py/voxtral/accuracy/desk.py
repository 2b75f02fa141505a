"""The worker's requests about sets and reports: reads them, and keeps the runs for which the page sends sound.

Messages are those of `protocol`.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from voxtral.accuracy.measurement import Measurement, Post
from voxtral.accuracy.report import Report
from voxtral.accuracy.sets import parse_set
from voxtral.accuracy.summary import differences
from voxtral.host import Host


class Desk:
    """Answers by post; sentence: what to tell the user of an error."""

    def __init__(self, host: Host, post: Post, sentence: Callable[[Exception], str]) -> None:
        self._host, self._post, self._sentence = host, post, sentence
        self._measurements: dict[int, Measurement] = {}

    def read_set(self, id: int, name: str, files: Any) -> None:
        """Answer with the clips of a folder."""
        try:
            listed: list[dict[str, str | None]] = self._host.plain(files)
            texts = {str(file["path"]): file["text"] for file in listed if file["text"] is not None}
            found = parse_set(texts, [str(file["path"]) for file in listed], name)
            entries = [asdict(entry) for entry in found.entries]
            self._post("set_read", id=id, entries=entries, notices=found.notices, sentence=None)
        except Exception as error:
            self._post("set_read", id=id, entries=None, notices=None, sentence=self._sentence(error))

    def read_reports(self, id: int, names: Any, texts: Any) -> None:
        """Answer with one or two reports that the page was given, and what the second has more than the first."""
        try:
            reports, comparison = _read_reports(self._host.plain(names), self._host.plain(texts))
            self._post("reports_read", id=id, reports=reports, comparison=comparison, sentence=None)
        except Exception as error:
            self._post("reports_read", id=id, reports=None, comparison=None, sentence=self._sentence(error))

    def open(
        self, session: int, set_name: str, entries: Any, condition: Any, normalizer: str, modules: Any
    ) -> Measurement:
        """The run that a request asks for. Raises AccuracyError, ConfigError."""
        entries, condition, modules = map(self._host.plain, (entries, condition, modules))
        measurement = Measurement.of(session, set_name, entries, condition, normalizer, modules)
        self._measurements[session] = measurement
        return measurement

    def take_clip(self, session: int, id: str, samples: Any, reason: str | None) -> None:
        """Sound for a run, or why there is none."""
        if measurement := self._measurements.get(session):
            content = None if samples is None else np.frombuffer(self._host.content(samples), np.float32)
            measurement.take(id, content, reason)

    def end(self, session: int) -> None:
        """A run is to end with what it has heard."""
        if measurement := self._measurements.get(session):
            measurement.end()

    def forget(self, session: int) -> None:
        """A run is over."""
        self._measurements.pop(session, None)


def _read_reports(names: list[str], texts: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    reports = [Report.of_json(text, name) for name, text in zip(names, texts, strict=True)]
    comparison = differences(reports[1].clips, reports[0].clips) if len(reports) == 2 else None
    return [report.as_dict() for report in reports], comparison
