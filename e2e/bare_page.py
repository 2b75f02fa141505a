"""A page with the transcriber and nothing else, for tests of what lies below the view; its events are in `events`."""

from pathlib import Path

from fake_page import use_fake_engine
from playwright.sync_api import Page

APP = Path(__file__).resolve().parents[1] / "app"
MAIN = """
import { Transcriber } from "./transcriber.js";
window.events = [];
window.voxtral = new Transcriber({ model: %s, onEvent: (event) => events.push(event) });
"""


def open_bare(page: Page, model: str | None = "fake:ready") -> Page:
    """The page with the fake engine and its model, or with None for the real one and the demo model."""
    if model:
        use_fake_engine(page)
    main = MAIN % (f'"{model}"' if model else "undefined")
    page.route("**/app/main.js", lambda route: route.fulfill(body=main, content_type="text/javascript"))
    page.goto("/")
    page.evaluate("async () => { while (!window.voxtral) await new Promise((go) => setTimeout(go, 10)); }")
    page.evaluate("voxtral.ready")
    return page


def prepend(page: Page, script: str, text: str) -> None:
    """From now on this module of the app begins with other statements."""
    body = text + (APP / script).read_text(encoding="utf-8")
    headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
    page.route(f"**/app/{script}", lambda route: route.fulfill(body=body, headers=headers))
