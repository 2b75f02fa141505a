"""Transcribe files through the real page in headless Chromium; the output is that of the command line.

    python e2e/headless.py [--model demo|URL|DIR] [--delay-ms N] [--left-pad N] [--backend B]
                           [--format txt|srt|vtt|json] [--output-dir DIR] FILE…

Starts serve.py's server on a free port, opens the page, and hands it the files through a hidden file
input, so that the browser decodes them as it would for a person. A file that fails is one sentence on
stderr and exit status 1; the others are still transcribed.
"""

import argparse
import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "py"), str(ROOT / "e2e")]

from chromium import NoBrowserError, launch  # noqa: E402
from playwright.sync_api import Error, Page, sync_playwright  # noqa: E402

from serve import make_server  # noqa: E402
from voxtral.document import Document, Settings, of_result  # noqa: E402
from voxtral.errors import VoxtralError  # noqa: E402
from voxtral.transcript_output import Output, add_output_options  # noqa: E402
from voxtral.web import runtime  # noqa: E402
from voxtral.web.site import served_model  # noqa: E402

LOAD = """async () => {
    const input = Object.assign(document.createElement("input"), { type: "file", id: "headless-input", hidden: true });
    document.body.append(input);
    try { return { ready: await window.voxtral.ready }; } catch (error) { return { error: error.message }; }
}"""
TRANSCRIBE = """async () => {
    const [file] = document.querySelector("#headless-input").files;
    const notices = [];
    const onEvent = ({ type, sentence }) => type === "notice" && notices.push(sentence);
    try {
        return { result: await window.voxtral.transcribeFile(file, onEvent), notices };
    } catch (error) {
        return { error: error.message, notices };
    }
}"""


MEASURED = ("wall_s", "rtf")  # JavaScript has no 3.0


class HeadlessError(Exception):
    """It cannot be done; `str()` is one sentence."""


class HeadlessPage:
    """The app's page with its engine ready."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.set_default_timeout(0)  # a long recording takes as long as it takes; the page reports a dead engine itself
        page.goto(address)
        page.wait_for_function("window.voxtral")
        answer = page.evaluate(LOAD)
        if "error" in answer:
            raise HeadlessError(answer["error"])
        self.ready: dict[str, Any] = answer["ready"]

    def transcribe(self, file: Path) -> tuple[Document, list[str]]:
        """The transcript, and notices. Raises HeadlessError."""
        if not file.is_file():
            raise HeadlessError(f"{file}: cannot be read (no such file); check the name")
        self.page.locator("#headless-input").set_input_files(file)
        answer = self.page.evaluate(TRANSCRIBE)
        if "error" in answer:
            raise HeadlessError(answer["error"])
        result = answer["result"]
        seconds = {name: None if result[name] is None else float(result[name]) for name in MEASURED}
        facts = (self.ready[name] for name in ("delay_ms", "left_pad_tokens"))
        settings = Settings(*facts, False, self.ready["backend"], self.ready["adapter"])
        return of_result({**result, **seconds, "file": str(file)}, self.ready["model"], settings), answer["notices"]


@contextlib.contextmanager
def open_headless(
    model: str = "demo", delay_ms: int | None = None, left_pad: int | None = None, backend: str | None = None
) -> Iterator[HeadlessPage]:
    """The page in a browser of its own. Raises HeadlessError when it cannot be had."""
    try:
        runtime.ensure(lambda line: print(line, file=sys.stderr))
    except runtime.RuntimeFetchError as error:
        raise HeadlessError(str(error)) from error
    is_remote = urlsplit(model).scheme in {"http", "https"}
    models, model_address = (None, model) if is_remote else _locate_model(model)
    options = {"model": model_address, "delay_ms": delay_ms, "left_pad": left_pad, "backend": backend}
    query = urlencode({name: value for name, value in options.items() if value is not None})
    with make_server("localhost", 0, models) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with launch(playwright) as browser:
                # The page's policy knows https: and this machine; here the user may name any server.
                page = browser.new_page(bypass_csp=is_remote)
                yield HeadlessPage(page, f"http://localhost:{server.server_address[1]}/?{query}")
        except NoBrowserError as error:
            raise HeadlessError(str(error)) from error
        finally:
            server.shutdown()


def _locate_model(model: str) -> tuple[Path | None, str | None]:
    """The folder to serve under /models/, and the model's address for the page; None for the demo."""
    if model == "demo":
        return None, None
    if found := served_model(Path(model)):
        return found
    raise HeadlessError(f"--model {model}: expected 'demo', an address, a folder or a .gguf file, found nothing there")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    n_failed = 0
    try:
        output = Output(options, options.files)
        with open_headless(options.model, options.delay_ms, options.left_pad, options.backend) as page:
            for file in options.files:
                try:
                    document, notices = page.transcribe(file)
                    for sentence in notices:
                        _complain(sentence)
                    output.put(document, file)
                except (HeadlessError, VoxtralError) as error:
                    _complain(str(error))
                    n_failed += 1
    except (HeadlessError, VoxtralError) as error:
        _complain(str(error))
        return 1
    except Error as error:
        _complain(f"the browser failed: {error.message.splitlines()[0]}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if n_failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="headless.py", description="Transcribe files through the page, without a screen."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--model", default="demo", metavar="demo|URL|DIR", help="default: the demo network")
    parser.add_argument("--delay-ms", type=int, metavar="N", help="80…1200 by 80, or 2400")
    parser.add_argument("--left-pad", type=int, metavar="N", help="silence before the audio, in tokens of 80 ms")
    parser.add_argument("--backend", choices=("webgpu", "numpy"), help="default: WebGPU, unless it is a software one")
    add_output_options(parser)
    return parser.parse_args(arguments)


def _complain(sentence: str) -> None:
    print(f"voxtral: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
