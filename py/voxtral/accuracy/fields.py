"""Values out of a file that anybody may have written, each checked as it is taken; a mistake is one sentence."""

import math
from collections.abc import Mapping
from typing import Any, Final

from voxtral.errors import AccuracyError

MOST: Final = 1e12


class Fields:
    """The fields of one object; `where` names it in sentences. Every method raises AccuracyError."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise mistake(where, "an object with fields", value)
        self._value, self._where = value, where

    def take(self, name: str) -> tuple[Any, str]:
        """Whatever it is, and what to call it."""
        if name not in self._value:
            raise AccuracyError(f"{self._where} has no field “{name}”, which every report has; choose another file")
        return self._value[name], f"{self._where}.{name}"

    def fields(self, name: str) -> "Fields":
        return Fields(*self.take(name))

    def items(self, name: str) -> list[tuple[Any, str]]:
        """Of a list, each with what to call it."""
        value, where = self.take(name)
        if not isinstance(value, list | tuple):
            raise mistake(where, "a list", value)
        return [(item, f"{where}[{i}]") for i, item in enumerate(value)]

    def plain(self, name: str) -> dict[str, Any]:
        """An object whose fields are not looked at."""
        value, where = self.take(name)
        if not isinstance(value, Mapping):
            raise mistake(where, "an object with fields", value)
        return dict(value)

    def text(self, name: str) -> str:
        return text(*self.take(name))

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(text(*item) for item in self.items(name))

    def flag(self, name: str) -> bool:
        value, where = self.take(name)
        if not isinstance(value, bool):
            raise mistake(where, "true or false", value)
        return value

    def count(self, name: str) -> int:
        value = self.number(name, 0)
        if value != int(value):
            raise mistake(f"{self._where}.{name}", "a whole number", value)
        return int(value)

    def number(self, name: str, least: float = -MOST) -> float:
        return number(*self.take(name), least)

    def numbers(self, name: str) -> tuple[float, ...]:
        return tuple(number(*item) for item in self.items(name))


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise mistake(where, "text", value)
    return value


def number(value: Any, where: str, least: float = -MOST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (least <= value <= MOST):
        raise mistake(where, f"a number from {least:g}" if least > -MOST else "a number", value)
    return float(value)


def mistake(where: str, expected: str, value: Any) -> AccuracyError:
    if isinstance(value, Mapping | list | tuple):
        found = "an object" if isinstance(value, Mapping) else "a list"
    elif isinstance(value, int) and abs(value) > MOST:
        found = "a very large number"  # Python refuses to write the largest
    elif isinstance(value, float) and math.isnan(value):
        found = "no number"
    else:
        found = "nothing" if value is None else " ".join(repr(value).split())[:40]
    return AccuracyError(f"{where} should be {expected}, found {found}; choose another file")
