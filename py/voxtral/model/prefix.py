"""The silence that a session hears before its first sample: where it ends, and how a stream gets back there."""

from collections.abc import Iterator
from dataclasses import dataclass

from voxtral.config import StreamingConfig
from voxtral.model.allocation import Allocation
from voxtral.model.layers import KVCache
from voxtral.readings import Choice

KEPT_COPIES_BYTES = 64 << 20  # of the prefixes of several delays


@dataclass(frozen=True)
class Copies:
    """What the rings of a stream held; `memory` gives them back."""

    rings: list[tuple[KVCache, int]]  # and how many rows they hold
    memory: Allocation
    n_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A place to return to: as long as the rings hold its keys and values, or, for any stream, by copies of these."""

    position: int  # tokens
    last_token: int  # the one generated last
    copies: Copies | None = None


@dataclass(frozen=True)
class Prefix:
    """The silence a stream heard first, and the ids generated on the way."""

    key: tuple[int, int]
    checkpoint: Checkpoint
    choices: list[Choice]  # one for each position


def key_of(streaming: StreamingConfig) -> tuple[int, int]:
    """What tells one silence from another: delay and left padding."""
    return streaming.delay_tokens, streaming.left_pad_tokens


class Prefixes:
    """Those of which there are copies; too many for KEPT_COPIES_BYTES, and the one not used for longest goes."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], tuple[Prefix, Copies]] = {}  # the one used last at the end

    def __iter__(self) -> Iterator[Prefix]:
        return (prefix for prefix, _ in self._kept.values())

    @property
    def n_bytes(self) -> int:
        """On the device."""
        return sum(copies.n_bytes for _, copies in self._kept.values())

    def find(self, key: tuple[int, int]) -> Prefix | None:
        """The one of this key, used now."""
        if key not in self._kept:
            return None
        self._kept[key] = self._kept.pop(key)
        return self._kept[key][0]

    def keep(self, prefix: Prefix, copies: Copies) -> None:
        """Add one, with its copies, instead of any of the same key."""
        self._free(prefix.key)
        self._kept[prefix.key] = prefix, copies
        while self.n_bytes > KEPT_COPIES_BYTES and len(self._kept) > 1:
            self._free(next(iter(self._kept)))

    def _free(self, key: tuple[int, int]) -> None:
        if key in self._kept:
            _, copies = self._kept.pop(key)
            copies.memory.free()
