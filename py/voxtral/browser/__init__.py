"""The door to the browser: nothing outside this package imports js or pyodide.

    device        BrowserDevice, a `gpu.device.Device` over GPUDevice
    adapter       open_browser: from navigator.gpu to a BrowserDevice, or one sentence why not
    http          FetchTransport, HttpSource and fetch_bytes: files behind addresses
    files         ChosenFiles: File objects that a person chose
    disk          open_disk: where models are kept, in the private file system (opfs) or, where that is missing, in
                  the Cache API (cache_files); refusals: what both say when they cannot
    locks         model_lock: one tab at a time
    buffers       what all sources here are made of, and loader_buffers, the bytes they hold
    bytecode      keep_bytecode: makes the next start shorter
    host          BrowserHost: all of this as the surroundings of the worker
    values        Port, and what else crosses between Python and JavaScript

Others import it by this name alone, `voxtral.browser`.
"""

from voxtral.browser.adapter import open_browser
from voxtral.browser.buffers import BlobSource, loader_buffers
from voxtral.browser.bytecode import keep_bytecode
from voxtral.browser.device import BrowserDevice
from voxtral.browser.disk import export, open_disk
from voxtral.browser.files import ChosenFiles
from voxtral.browser.host import BrowserHost
from voxtral.browser.http import FetchTransport, HttpSource, fetch_bytes
from voxtral.browser.locks import model_lock
from voxtral.browser.values import Port, from_message, heap_bytes, now_ms, to_bytes, to_float32

__all__ = [
    "BlobSource",
    "BrowserDevice",
    "BrowserHost",
    "ChosenFiles",
    "FetchTransport",
    "HttpSource",
    "Port",
    "export",
    "fetch_bytes",
    "from_message",
    "heap_bytes",
    "keep_bytecode",
    "loader_buffers",
    "model_lock",
    "now_ms",
    "open_browser",
    "open_disk",
    "to_bytes",
    "to_float32",
]
