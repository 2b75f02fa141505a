"""What one session of the worker is about: audio that waits to be transcribed, and how it ends."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.resample import Resampler
from voxtral.sound import without_bad


@dataclass
class Job:
    """One recording: a live one grows until it is stopped, a file is complete when it is queued."""

    session: int
    name: str
    live: bool
    samples: list[NDArray[np.float32]] = field(default_factory=list)
    total_s: float | None = None
    resampler: Resampler | None = None
    stopped: bool = False
    cancelled: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take a block of audio; an empty one ends the recording."""
        if len(samples) == 0:
            self.stop()
        elif not self.stopped:
            samples = without_bad(samples)
            self.samples.append(self.resampler.feed(samples) if self.resampler else samples)
            self.arrived.set()

    def stop(self) -> None:
        if not self.stopped and self.resampler:
            self.samples.append(self.resampler.flush())
        self.stopped = True
        self.arrived.set()

    def cancel(self) -> None:
        self.cancelled = True
        self.arrived.set()

    def take(self, n: int) -> NDArray[np.float32]:
        """Up to n waiting samples, in order."""
        taken: list[NDArray[np.float32]] = []
        while self.samples and n:
            block = self.samples.pop(0)
            if len(block) > n:
                self.samples.insert(0, block[n:])
                block = block[:n]
            taken.append(block)
            n -= len(block)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)

    @property
    def waiting_s(self) -> float:
        return sum(map(len, self.samples)) / SAMPLE_RATE
