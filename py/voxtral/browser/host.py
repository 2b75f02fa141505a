"""A Web Worker of a browser as the surroundings of `worker.Worker`: everything it asks of a `Host`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import js  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

from voxtral.browser.adapter import open_browser
from voxtral.browser.buffers import loader_buffers
from voxtral.browser.disk import export, open_disk
from voxtral.browser.files import ChosenFiles
from voxtral.browser.http import FetchTransport, HttpSource, fetch_bytes
from voxtral.browser.locks import model_lock
from voxtral.browser.values import Port, heap_bytes, now_ms, to_bytes, to_float32, to_plain
from voxtral.gpu.device import Device
from voxtral.shards import ByteSource
from voxtral.storage import Disk
from voxtral.transport import Transport


class BrowserHost:
    """`voxtral.host.Host` in a Web Worker. page: where events go; replay: of app/tape.js."""

    def __init__(self, page: Port, replay: Any) -> None:
        self._page, self._replay = page, replay
        self._ports: set[Port] = set()  # a port nobody holds is closed

    def post(self, message: Mapping[str, Any]) -> None:
        self._page.post(message)

    def listen(self, port: Any, on_samples: Callable[[NDArray[np.float32]], None]) -> Callable[[], None]:
        listening = Port(port)
        listening.listen(lambda block: on_samples(to_float32(block)))
        self._ports.add(listening)

        def end() -> None:
            listening.close()
            self._ports.discard(listening)

        return end

    def content(self, buffer: Any) -> bytes:
        return to_bytes(buffer)

    def network(self) -> Transport:
        return FetchTransport()

    async def fetch(self, url: str) -> bytes:
        return await fetch_bytes(url)

    async def open_source(self, url: str, n_bytes: int | None) -> ByteSource:
        return await HttpSource.open(url, n_bytes)

    def chosen(self, files: Any) -> ChosenFiles:
        return ChosenFiles(files)

    async def open_disk(self) -> Disk | None:
        return await open_disk()

    def lock(self, key: str, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        return model_lock(key, on_wait)

    async def export(self, key: str) -> list[dict[str, Any]]:
        return await export(key)

    async def open_gpu(self) -> Device:
        return await open_browser(self._replay)

    def plain(self, value: Any) -> Any:
        return to_plain(value)

    def memory(self) -> dict[str, int]:
        return {"heap_bytes": heap_bytes(), "loader_bytes": loader_buffers.now}

    def machine(self) -> dict[str, Any]:
        return {
            "system": js.navigator.userAgent,
            "cpu_threads": js.navigator.hardwareConcurrency,
            "heap_bytes": heap_bytes(),
            "loader_peak_bytes": loader_buffers.peak,
        }

    def now_s(self) -> float:
        return now_ms() / 1000
