"""What a command says on stderr: sentences, and how far it has come.

say         one sentence
Progress    a bar with bytes, speed and time left where a person looks on, else one line at the end
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from voxtral.errors import in_words

BAR = "{desc:>9} {percentage:3.0f} % |{bar}| {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left"


def say(sentence: str) -> None:
    """Print a sentence for a person."""
    print(f"voxtral: {sentence}", file=sys.stderr, flush=True)


class Progress:
    """How far a command has come with each of its stages, which may go on side by side; a context."""

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    def __enter__(self) -> Self:
        return self

    def tell(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of a stage are done, in all; a total of 0 is not known yet."""
        if total_bytes:
            if stage not in self._stages:  # what is done at the first word of it was done by an earlier command
                self._stages[stage] = _Stage(stage, done_bytes)
            self._stages[stage].show(done_bytes, total_bytes)

    def of(self, stage: str) -> Callable[[int, int], None]:
        """`tell` of one stage, of which nothing is done yet."""
        self._stages[stage] = _Stage(stage, 0)
        return functools.partial(self.tell, stage)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for stage in self._stages.values():
            stage.close()
        summaries = [summary for stage in self._stages.values() if (summary := stage.summary())]
        if error is None and summaries and not sys.stderr.isatty():
            say("; ".join(summaries))


class _Stage:
    """One bar, and what is left to say of it."""

    def __init__(self, name: str, start_bytes: int) -> None:
        self.name = name
        self._start_bytes = self._done_bytes = start_bytes
        self._started = self._ended = time.perf_counter()
        self._bar: Any = None

    def show(self, done_bytes: int, total_bytes: int) -> None:
        self._done_bytes, self._ended = done_bytes, time.perf_counter()
        if self._bar is None and self._start_bytes < total_bytes:
            self._bar = _bar(self.name, self._start_bytes, total_bytes)
        if self._bar is not None:
            self._bar.total = total_bytes
            self._bar.update(done_bytes - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def summary(self) -> str:
        """'download: 2.5 GB in 41 s, 61 MB/s'; nothing where there was nothing to do."""
        n_bytes, seconds = self._done_bytes - self._start_bytes, self._ended - self._started
        if n_bytes <= 0:
            return ""
        pace = f", {n_bytes / 1e6 / seconds:.0f} MB/s" if seconds >= 1 else ""
        return f"{self.name}: {in_words(n_bytes)} in {seconds:.0f} s{pace}"


def _bar(name: str, start_bytes: int, total_bytes: int) -> Any:
    """A bar of tqdm; None where nobody looks on, or in a checkout without tqdm."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    return tqdm(desc=name, initial=start_bytes, total=total_bytes, unit="B", unit_scale=True, bar_format=BAR)
