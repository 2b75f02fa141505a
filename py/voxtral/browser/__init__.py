"""The door to the browser: nothing outside this package imports js or pyodide.

    device    BrowserDevice, a `gpu.device.Device` over GPUDevice
    adapter   open_browser: from navigator.gpu to a BrowserDevice, or one sentence why not
    http      HttpSource and fetch_bytes: files behind addresses
    values    Port, and what else crosses between Python and JavaScript

Others import it by this name alone, `voxtral.browser`.
"""

from voxtral.browser.adapter import open_browser
from voxtral.browser.device import BrowserDevice
from voxtral.browser.http import HttpSource, fetch_bytes, loader_buffers
from voxtral.browser.values import Port, from_message, heap_bytes, now_ms, to_bytes, to_float32

__all__ = [
    "BrowserDevice",
    "HttpSource",
    "Port",
    "fetch_bytes",
    "from_message",
    "heap_bytes",
    "loader_buffers",
    "now_ms",
    "open_browser",
    "to_bytes",
    "to_float32",
]
