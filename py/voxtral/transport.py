"""How bytes come from an address: what a download needs of the network, whoever provides it.

    Transport         opens an address, from a byte on
    Body              an answer, and its bytes as they come
    BrokenOffError    what may go well when it is tried again

Implemented by `native_network` (urllib) and in `browser` (fetch, and files the person chose), which keep the time
limits too: each has timers of its own kind.
"""

from typing import Protocol

from voxtral.shards import Piece

CONNECT_S = 30.0  # until there is an answer, or it broke off
STALL_S = 60.0  # without a byte


class BrokenOffError(Exception):
    """No connection, or it ended too early; `str()` is the reason, for the middle of a sentence."""


class Body(Protocol):
    """An answer of any status."""

    @property
    def status(self) -> int:
        """As HTTP numbers them."""

    @property
    def url(self) -> str:
        """Where it came from, after redirects."""

    def header(self, name: str) -> str | None:
        """A header of the answer; None if there is none, or the server does not let a page of elsewhere see it."""

    async def read(self) -> Piece | None:
        """The next bytes, some megabytes at most; None at the end. Good until the next read. Raises BrokenOffError."""

    def close(self) -> None:
        """Let the connection go; may be called twice, and while a read waits."""


class Transport(Protocol):
    """A way to addresses."""

    async def open(self, url: str, start: int = 0) -> Body:
        """GET, from byte `start` on where the server can; nothing is taken from or left in a cache.

        Raises BrokenOffError.
        """
