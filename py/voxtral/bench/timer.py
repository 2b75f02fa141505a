"""Times programs of a backend without being fooled.

A GPU is timed by its own clock where it has timestamp queries: by the clock on the wall a browser answers on a poll
of some 2 ms. A pass repeats a program until it is long enough for the clock, the device is warm before anything
counts, and the best of several passes is taken. `ActiveTime` tells what Python spends itself from what it waits for.
"""

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from voxtral.bench.effort import Effort
from voxtral.model.layers import AnyOps
from voxtral.ops.webgpu import WebGpuOps

SHORTEST_MS = 1e-4  # what cannot be seen takes at least this

T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """What to time: programs that do a thing n times; `before` puts things where a pass begins.

    max_repeats: in a pass, of programs that move on, so that they do not move too far.
    """

    programs: Sequence[Any]
    n: int = 1
    max_repeats: int = 1000
    before: Callable[[], None] = field(default=lambda: None)


class Timer:
    """The clock of one backend."""

    def __init__(self, ops: AnyOps, effort: Effort) -> None:
        self._ops, self._effort = ops, effort
        self._device = ops.device if isinstance(ops, WebGpuOps) else None

    @property
    def clock(self) -> str:
        """Whose time it is."""
        has_queries = self._device is not None and "timestamp-query" in self._device.info.features
        return "GPU timestamps" if has_queries else "wall clock"

    async def best_ms(self, timed: Sequence[Timed]) -> list[float]:
        """Milliseconds of each thing, done once.

        All programs exist by now: a GPU that waits for a compiler slows down, and the next kernel would seem slow.
        """
        best = [math.inf] * len(timed)
        repeats = [1] * len(timed)
        end = time.perf_counter() + self._effort.warm_up_s
        n_left = self._effort.n_passes
        while n_left:
            is_warm = time.perf_counter() >= end
            for i, one in enumerate(timed):
                once = await self._pass_ms(one, repeats[i]) / repeats[i]
                if is_warm:
                    best[i] = min(best[i], max(once / one.n, SHORTEST_MS))
                repeats[i] = max(1, min(one.max_repeats, int(self._effort.pass_ms / once)))
            n_left -= is_warm
        return best

    async def wall_ms(self, timed: Timed, wait: Callable[[], Any]) -> float:
        """Median from submit to the answer of `wait()`, a coroutine, by the clock on the wall."""

        async def once() -> None:
            self._ops.submit(timed.programs)
            await wait()

        async def run() -> float:
            timed.before()
            await wait()
            return await elapsed_ms(once)

        return await self.median(run)

    async def median(self, run: Callable[[], Any]) -> float:
        """Median of what some calls of `run`, a coroutine function, return; a first one does not count."""
        await run()
        return float(np.median([await run() for _ in range(self._effort.n_runs)]))

    async def _pass_ms(self, timed: Timed, repeats: int) -> float:
        timed.before()
        programs = list(timed.programs) * repeats

        async def run() -> float | None:
            if self._device is not None:
                return await self._device.time_ms([program.tape for program in programs])
            self._ops.submit(programs)
            return None

        started = time.perf_counter()
        ms = await run()
        return max(SHORTEST_MS, (time.perf_counter() - started) * 1000 if ms is None else ms)


def digits(value: float) -> float:
    """A measured number to the four digits that mean something."""
    return float(f"{value:.4g}")


async def elapsed_ms(run: Callable[[], Any]) -> float:
    """Milliseconds that awaiting `run()` takes."""
    started = time.perf_counter()
    await run()
    return (time.perf_counter() - started) * 1000


class ActiveTime(Generic[T]):
    """`result = await active` runs a coroutine; `active.ms` is then the time it ran itself, without its waits.

    n_waits: how often it gave way. A device that blocks instead, as wgpu's does, makes its waits look like work.
    """

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        self.ms = 0.0
        self.n_waits = 0

    def __await__(self) -> Generator[Any, Any, T]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            started = time.perf_counter()
            try:
                waited_for = self._coroutine.throw(error) if error else self._coroutine.send(sent)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self.ms += (time.perf_counter() - started) * 1000
            self.n_waits += 1
            sent, error = None, None
            try:
                sent = yield waited_for
            except BaseException as raised:
                error = raised
