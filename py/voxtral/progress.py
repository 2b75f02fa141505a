"""How far a download is, in one story about all its files."""

from collections.abc import Callable, Mapping, Set

Tell = Callable[[str, int, int], None]  # stage (listing, download, verify), bytes done, bytes in all as far as known


class Progress:
    """Tells of all files in one: of bytes that are here until all are, then of bytes that are verified."""

    def __init__(self, sizes: Mapping[str, int | None], here: Mapping[str, int], whole: Set[str], tell: Tell) -> None:
        """By name: the sizes as far as known, the bytes that are here, and what of that needs no verifying."""
        self._tell = tell
        self._sizes = dict(sizes)
        self._here = {name: here.get(name, 0) for name in sizes}
        self._verified = {name: self._here[name] for name in whole}

    def size(self, name: str, n_bytes: int | None) -> None:
        self._sizes[name] = n_bytes

    def here(self, name: str, n_bytes: int) -> None:
        self._here[name] = n_bytes
        self._verified[name] = 0
        self._tell("download", *self.totals())

    def verified(self, name: str, n_bytes: int) -> None:
        self._verified[name] = n_bytes
        self.report()

    def totals(self) -> tuple[int, int]:
        """Bytes that are here, and in all as far as known."""
        in_all = (max(here, self._sizes[name] or 0) for name, here in self._here.items())
        return sum(self._here.values()), sum(in_all)

    def report(self) -> None:
        """Tell how far it is now."""
        here, total = self.totals()
        if here < total or None in self._sizes.values():
            self._tell("download", here, total)
        else:
            self._tell("verify", sum(self._verified.values()), total)
