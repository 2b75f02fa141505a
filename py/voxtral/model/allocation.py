"""Memory on a device that is asked for piece by piece, and given back as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from voxtral.ops.base import Ops

Thing = TypeVar("Thing")


class Allocation:
    """Tensors, matrices and programs that go together."""

    def __init__(self, ops: Ops[Any, Any, Any]) -> None:
        self.ops = ops
        self._things: list[Any] = []

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32", label: str = "") -> Any:
        """A persistent tensor of zeros. Raises MemoryRefusedError, if not `ops.settle` does."""
        return self.keep(self.ops.zeros(shape, dtype, label))

    def keep(self, thing: Thing) -> Thing:
        """Count it in; returns it."""
        self._things.append(thing)
        return thing

    def free(self) -> None:
        """Give everything back."""
        things, self._things = self._things, []
        self.ops.free(things)

    @contextmanager
    def or_nothing(self) -> Iterator[None]:
        """Give everything back where something fails meanwhile."""
        try:
            yield
        except BaseException:
            self.free()
            raise
