"""What a command says on stderr: sentences, and how far it has come.

say         one sentence
Progress    a bar with bytes, speed and time left where a person looks on, else one line at the end
SoundProgress   a bar with the time in a recording where a person looks on
"""

import functools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from voxtral.errors import in_words
from voxtral.transcription import clock

BAR = "{desc:>9} {percentage:3.0f} % |{bar}| {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left"

SOUND_BAR = "{desc} {percentage:3.0f} % |{bar}| {unit}, {remaining} left"
ENDLESS_BAR = "{desc}: {unit}"


def say(sentence: str) -> None:
    """Print a sentence for a person."""
    print(f"voxtral: {sentence}", file=sys.stderr, flush=True)


class Progress:
    """How far a command has come with each of its stages, which may go on side by side; a context.

    is_passing: nothing of it stays to be read.
    """

    def __init__(self, is_passing: bool = False) -> None:
        self._stages: dict[str, _Stage] = {}
        self._is_passing = is_passing

    def __enter__(self) -> Self:
        return self

    def tell(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of a stage are done, in all; a total of 0 is not known yet."""
        if total_bytes:
            if stage not in self._stages:  # what is done at the first word of it was done by an earlier command
                self._stages[stage] = _Stage(stage, done_bytes, self._is_passing)
            self._stages[stage].show(done_bytes, total_bytes)

    def of(self, stage: str) -> Callable[[int, int], None]:
        """`tell` of one stage, of which nothing is done yet."""
        self._stages[stage] = _Stage(stage, 0, self._is_passing)
        return functools.partial(self.tell, stage)

    def awaitable(self, stage: str) -> Callable[[int, int], Awaitable[None]]:
        """`of` as a coroutine function."""
        tell = self.of(stage)

        async def report(done_bytes: int, total_bytes: int) -> None:
            tell(done_bytes, total_bytes)

        return report

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for stage in self._stages.values():
            stage.close()
        summaries = [summary for stage in self._stages.values() if (summary := stage.summary())]
        if error is None and summaries and not (self._is_passing or sys.stderr.isatty()):
            say("; ".join(summaries))


class _Stage:
    """One bar, and what is left to say of it."""

    def __init__(self, name: str, start_bytes: int, is_passing: bool) -> None:
        self.name = name
        self._is_passing = is_passing
        self._start_bytes = self._done_bytes = start_bytes
        self._started = self._ended = time.perf_counter()
        self._bar: Any = None

    def show(self, done_bytes: int, total_bytes: int) -> None:
        self._done_bytes, self._ended = done_bytes, time.perf_counter()
        if self._bar is None and self._start_bytes < total_bytes:
            self._bar = _bar(self.name, self._start_bytes, total_bytes, not self._is_passing)
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


class SoundProgress:
    """How much of a recording was heard: tell, close; a context. total_s: its length, None where it is not known."""

    def __init__(self, name: str, total_s: float | None) -> None:
        self._total_s = total_s
        self._started = time.perf_counter()
        bar_format = ENDLESS_BAR if total_s is None else SOUND_BAR
        self._bar = _tqdm(desc=name, total=total_s, unit="begins", bar_format=bar_format, leave=False)

    def tell(self, heard_s: float) -> None:
        """So many seconds were heard, in all."""
        if self._bar is None:
            return
        speed = heard_s / max(1e-3, time.perf_counter() - self._started)
        of_all = "" if self._total_s is None else f" of {clock(self._total_s)}"
        self._bar.unit = f"{clock(heard_s)}{of_all}, {speed:.{1 if speed < 10 else 0}f} x real time"
        self._bar.update(min(heard_s, self._total_s or heard_s) - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bar(name: str, start_bytes: int, total_bytes: int, leave: bool) -> Any:
    """A bar of bytes, or None."""
    options = {"unit": "B", "unit_scale": True, "bar_format": BAR, "leave": leave}
    return _tqdm(desc=name, initial=start_bytes, total=total_bytes, **options)


def _tqdm(**options: Any) -> Any:
    """A bar of tqdm; None where nobody looks on, or in a checkout without tqdm."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    return tqdm(**options)
