"""What one session of the worker is about: audio that waits to be transcribed, and how it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.resample import Resampler
from voxtral.sample_queue import SampleQueue
from voxtral.sound import Levels, without_bad


@dataclass
class Job:
    """One recording: a live one grows until it is stopped, a file is complete when it is queued."""

    session: int
    name: str
    live: bool
    delay_ms: int | None = None  # the model's
    start_s: float = 0.0  # of the first sample, on the recording's clock
    total_s: float | None = None
    has_second_pass: bool = False
    samples: SampleQueue = field(default_factory=SampleQueue)
    resampler: Resampler | None = None
    levels: Levels | None = None  # of a file that comes in blocks
    close: Callable[[], None] = lambda: None  # no blocks are taken any more
    stopped: bool = False
    cancelled: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take a block of audio; an empty one ends the recording."""
        if len(samples) == 0:
            self.stop()
        elif not self.stopped:
            samples = without_bad(samples)
            self._take_in(self.resampler.feed(samples) if self.resampler else samples)
            self.arrived.set()

    def stop(self) -> None:
        if not self.stopped and self.resampler:
            self._take_in(self.resampler.flush())
        if not self.stopped and self.levels:
            self.samples.append(self.levels.flush())
        self.stopped = True
        self.arrived.set()

    def _take_in(self, samples: NDArray[np.float32]) -> None:
        self.samples.append(self.levels.feed(samples) if self.levels else samples)

    def cancel(self) -> None:
        self.cancelled = self.stopped = True
        self.samples.clear()
        self.arrived.set()

    def take(self, n: int) -> NDArray[np.float32]:
        """Up to n waiting samples, in order."""
        return self.samples.take(n)

    @property
    def waiting_s(self) -> float:
        n_held = self.levels.n_held if self.levels else 0
        return (len(self.samples) + n_held) / SAMPLE_RATE
