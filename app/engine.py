"""What PyScript runs in its worker: puts `voxtral.worker` and the browser together.

PyScript looks `xworker.onmessage` up by name, so `xworker` must stay a global. It also swallows what is
raised here, so a failed import is kept and told to the page in answer to its first message.
"""

from js import navigator
from polyscript import js_modules, xworker

try:
    from voxtral import browser
    from voxtral.worker import Worker

    class BrowserHost:
        """`voxtral.worker.Host` in a Web Worker."""

        def __init__(self, page):
            self._page = page
            self._ports = []  # a port nobody holds is closed

        def post(self, message):
            self._page.post(message)

        def listen(self, port, on_samples):
            port = browser.Port(port)
            port.listen(lambda block: on_samples(browser.to_float32(block)))
            self._ports.append(port)

        def samples(self, array):
            return browser.to_float32(array)

        def content(self, buffer):
            return browser.to_bytes(buffer)

        async def fetch(self, url):
            return await browser.fetch_bytes(url)

        async def open_source(self, url):
            return await browser.HttpSource.open(url)

        async def open_gpu(self):
            return await browser.open_browser(js_modules.tape.replay)

        def machine(self):
            return {
                "system": navigator.userAgent,
                "cpu_threads": navigator.hardwareConcurrency,
                "heap_bytes": browser.heap_bytes(),
                "loader_peak_bytes": browser.loader_buffers.peak,
            }

        def now_s(self):
            return browser.now_ms() / 1000

    port = browser.Port(xworker)
    port.listen(Worker(BrowserHost(port)).receive)
except Exception as error:
    from js import Object
    from pyodide.ffi import to_js

    sentence = f"The engine did not start ({type(error).__name__}: {error}); start the page with serve.py, then reload."
    message = {"type": "error", "session": None, "sentence": sentence, "fatal": True}
    failure = to_js(message, dict_converter=Object.fromEntries)
    xworker.onmessage = lambda _event: xworker.postMessage(failure)
