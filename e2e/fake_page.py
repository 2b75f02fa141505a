"""The page with fake_engine.js in the engine's place, and the channel by which a test directs that."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

E2E = Path(__file__).resolve().parent
LIST = json.loads((E2E.parent / "static" / "runtime.json").read_text(encoding="utf-8"))
LATER = [file for file in LIST["files"] if LIST["packages"][file["package"]].get("is_later")]
RUNTIME = {
    "packages": LIST["packages"],
    "files": [{"path": "fake/core.js", "size": 105}, {"path": "fake/pyodide.mjs", "size": 0}, *LATER],
}
DIRECT = """
    window.asked = [];
    window.director = new BroadcastChannel("director");
    director.onmessage = ({ data }) => asked.push(data);
"""


def use_fake_engine(page: Page) -> None:
    """From now on the page finds a tiny runtime whose PyScript starts fake_engine.js; decoders are the real ones."""
    page.route("**/static/runtime.json", lambda route: route.fulfill(body=json.dumps(RUNTIME)))
    page.route("**/fake/core.js", lambda route: route.fulfill(path=E2E / "fake_core.js"))
    page.route("**/fake/pyodide.mjs", lambda route: route.fulfill(body=""))


class Director:
    """Says events in the engine's place, and hears what the page asks of it about models."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.n_said = 0
        page.add_init_script(DIRECT)

    def say(self, kind: str, **fields: Any) -> None:
        self.n_said += 1
        self.page.evaluate("event => director.postMessage(event)", {"type": kind, "nth": self.n_said, **fields})

    def wait(self) -> None:
        """Until the page has taken all that was said: its clock, if the test holds it, is at that moment."""
        self.page.wait_for_function("nth => window.lastTold >= nth", arg=self.n_said)

    def asked(self, kind: str) -> dict[str, Any]:
        """The next request of this kind; earlier ones of other kinds are forgotten."""
        find = """(kind) => {
            const i = asked.findIndex(({ type }) => type === kind);
            if (i < 0) return null;
            const [{ files, ...request }] = asked.splice(0, i + 1).slice(i);
            return { ...request, names: request.names ?? files?.map(({ name, path }) => name ?? path) ?? null };
        }"""
        request: dict[str, Any] = self.page.wait_for_function(find, arg=kind).json_value()
        return request
