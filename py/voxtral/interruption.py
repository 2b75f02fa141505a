"""Ctrl-C as the wish that something endless comes to its end: what was heard is written before the command ends.

asyncio would only look at it between two steps, and a thread that waits for a pipe would never come back.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """A context in which the first Ctrl-C is but noted, and calls on_wish; the second one raises KeyboardInterrupt."""

    def __init__(self, on_wish: Callable[[], object] = lambda: None) -> None:
        self.is_wished = False
        self._on_wish = on_wish
        self._is_waiting = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """In here, where nothing is computed, it ends the block."""
        self._is_waiting = True
        try:
            yield
        except KeyboardInterrupt:
            pass
        finally:
            self._is_waiting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        was_wished, self.is_wished = self.is_wished, True
        self._on_wish()
        if was_wished or self._is_waiting:
            raise KeyboardInterrupt
