"""What the worker runs in: the browser's worker, in `browser`; tests bring their own."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.loading import LoadingHost

Message = dict[str, Any]


class Host(LoadingHost, Protocol):
    """What the worker needs from its surroundings."""

    def post(self, message: Message) -> None:
        """Send a message of plain values to the page."""

    def listen(self, port: Any, on_samples: Callable[[NDArray[np.float32]], None]) -> Callable[[], None]:
        """Call back with every audio block that arrives on a port the page sent; returns what ends that."""

    def content(self, buffer: Any) -> bytes:
        """Copy an ArrayBuffer from a message."""

    def plain(self, value: Any) -> Any:
        """Objects and arrays from a message as dicts and lists, all the way down."""

    def memory(self) -> dict[str, int]:
        """heap_bytes and loader_bytes of the `inspected` event."""

    def machine(self) -> dict[str, Any]:
        """What a bench says of the machine: system, cpu_threads, heap_bytes, loader_peak_bytes."""
