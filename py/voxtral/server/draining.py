"""How a server ends: `Draining` says what is asked of everybody, and knows when nothing is running any more.

begun      new work is refused, running work goes on, connections at rest are closed
expired    the grace is over: live sessions end with what they have heard
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from voxtral.server.errors import DownError

RETRY_AFTER_S = 10.0  # another copy of the server may be there by then
STOPPING = "The server is stopping; connect again in a moment"


class Draining:
    """begin() and expire() once each, in this order; `running` counts what must come to its end."""

    def __init__(self) -> None:
        self.begun, self.expired = asyncio.Event(), asyncio.Event()
        self._n_running = 0

    @property
    def is_idle(self) -> bool:
        return not self._n_running

    @contextmanager
    def running(self) -> Iterator[None]:
        """While a request or a connection is answered."""
        self._n_running += 1
        try:
            yield
        finally:
            self._n_running -= 1

    def require_open(self) -> None:
        """Raises DownError for new work while the server is stopping."""
        if self.begun.is_set():
            raise stopping()


def stopping() -> DownError:
    return DownError(STOPPING, RETRY_AFTER_S)
