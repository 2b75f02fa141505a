"""What PyScript runs in its worker: puts `voxtral.worker` and the browser together.

PyScript looks `xworker.onmessage` up by name, so `xworker` must stay a global. It also swallows what is
raised here, so a failed import is kept and told to the page in answer to its first message.
"""

from polyscript import js_modules, xworker

try:
    from voxtral import browser
    from voxtral.worker import Worker

    port = browser.Port(xworker)
    worker = Worker(browser.BrowserHost(port, js_modules.tape.replay))
    port.listen(worker.receive)
    browser.keep_bytecode(lambda: worker.is_idle)
except Exception as error:
    from js import Object
    from pyodide.ffi import to_js

    sentence = (
        f"The engine did not start ({type(error).__name__}: {error}); reload the page, or load it from elsewhere."
    )
    message = {"type": "error", "session": None, "sentence": sentence, "fatal": True}
    failure = to_js(message, dict_converter=Object.fromEntries)
    xworker.onmessage = lambda _event: xworker.postMessage(failure)
