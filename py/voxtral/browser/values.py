"""Values on their way between Python and JavaScript: messages, arrays, plain objects, times, error texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import js  # type: ignore[import-not-found]
import numpy as np
import pyodide_js  # type: ignore[import-not-found]
from numpy.typing import NDArray
from pyodide.ffi import JsProxy, create_proxy, jsnull, to_js  # type: ignore[import-not-found]


class Port:
    """Anything with postMessage and onmessage: a worker's own scope, a MessagePort."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._handler: Any = None

    def post(self, message: Mapping[str, Any], transfer: Sequence[Any] = ()) -> None:
        """Send a dict of plain values (JS objects may be among them) as a plain object; None arrives as null."""
        self._target.postMessage(to_object(_with_nulls(message)), to_js(list(transfer)))

    def listen(self, callback: Callable[[Any], None]) -> None:
        """Call back with each message: a dict of its fields if it is a plain object, else the JS value itself.

        Values other than numbers, strings, booleans and null stay JS objects.
        """
        self._handler = create_proxy(lambda event: callback(from_message(event.data)))
        self._target.onmessage = self._handler

    def close(self) -> None:
        """Of a MessagePort: nothing comes any more, and nothing of it is kept."""
        self._target.onmessage = jsnull
        self._target.close()
        self._handler.destroy()


def from_message(data: Any) -> Any:
    """A message's data for Python: plain objects become dicts (one level), null becomes None."""
    if isinstance(data, JsProxy) and data.constructor.name == "Object":
        return {name: None if value is jsnull else value for name, value in js.Object.entries(data)}
    return None if data is jsnull else data


def to_plain(value: Any) -> Any:
    """Objects and arrays as dicts and lists, all the way down; null becomes None."""
    return _without_nulls(value.to_py() if isinstance(value, JsProxy) else value)


def to_float32(array: Any) -> NDArray[np.float32]:
    """A copy of a Float32Array."""
    result = np.empty(array.length, np.float32)
    array.assign_to(result)
    return result


def to_bytes(buffer: Any) -> bytes:
    """A copy of an ArrayBuffer or typed array."""
    data: bytes = buffer.to_bytes()
    return data


def heap_bytes() -> int:
    """Size of the WebAssembly heap, which only ever grows: also its peak."""
    return int(pyodide_js._module.HEAPU8.length)


def now_ms() -> float:
    """Milliseconds on a clock that never goes back."""
    return float(js.performance.now())


def to_object(value: Mapping[str, Any]) -> Any:
    """A Python dict, with the dicts and lists inside, as a plain JS object."""
    return to_js(value, dict_converter=js.Object.fromEntries)


def first_line(message: Any) -> str:
    """The first line of what the browser says, for the middle of a sentence; the rest is a trace of its own calls."""
    return str(message).split("\n", 1)[0].rstrip(".")


def _with_nulls(value: Any) -> Any:
    """None becomes null here; to_js alone would make it undefined."""
    if isinstance(value, Mapping):
        return {name: _with_nulls(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(item) for item in value]
    return jsnull if value is None else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return None if value is jsnull else value
