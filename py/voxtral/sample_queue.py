"""Sound on its way: blocks in, any number of samples out, in order."""

from collections import deque

import numpy as np
from numpy.typing import NDArray


class SampleQueue:
    """The samples of a recording from some point on, by their number in it: those heard last, or those that wait."""

    def __init__(self) -> None:
        self.start = self.end = 0  # numbers of the first sample, and of the one behind the last
        self._blocks: deque[NDArray[np.float32]] = deque()

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, samples: NDArray[np.float32]) -> None:
        if len(samples):
            self._blocks.append(samples)
            self.end += len(samples)

    def take(self, n: int) -> NDArray[np.float32]:
        """The first n samples, or as many as there are, which are then gone."""
        taken: list[NDArray[np.float32]] = []
        n = max(0, min(n, len(self)))
        self.start += n
        while n:
            block = self._blocks.popleft()
            if len(block) > n:
                self._blocks.appendleft(block[n:])
                block = block[:n]
            taken.append(block)
            n -= len(block)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)

    def between(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of the samples start … end - 1, as far as they are there."""
        blocks, at = [np.zeros(0, np.float32)], self.start
        for block in self._blocks:
            blocks.append(block[max(0, start - at) : max(0, end - at)])
            at += len(block)
        return np.concatenate(blocks)

    def go_back(self, earlier: "SampleQueue", start: int) -> None:
        """Take the samples from `start` on out of what lies before, and put them in front."""
        earlier.take(start - earlier.start)
        self._blocks.extendleft(reversed(earlier._blocks))
        self.start = earlier.start
        earlier.clear()

    def clear(self) -> None:
        """Forget what is there."""
        self._blocks.clear()
        self.end = self.start
