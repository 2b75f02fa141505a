"""Watches a browser context for what must never happen: requests to elsewhere, and errors nobody handled."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError


class Watch:
    """Collects, from its creation on, what a context's pages and workers do wrong.

    elsewhere: origins beside the page's own that may be asked.

    foreign: requests to another origin, whether they got through or not. errors: messages on the console
    of level error, and exceptions that nobody caught.
    """

    def __init__(self, context: BrowserContext, origin: str, *elsewhere: str) -> None:
        self.context = context
        self.origin = origin
        self.allowed = {origin, *elsewhere}
        self.n_requests = 0
        self.foreign: list[str] = []
        self.errors: list[str] = []
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)

    def check(self, *, errors_expected: bool = False) -> None:
        """Fail when something was collected since the last check."""
        foreign, errors = self.foreign, self.errors
        self.foreign, self.errors = [], []
        assert foreign == [], f"requests left {self.origin}: {foreign}"
        assert errors_expected or errors == [], "errors in the page:\n" + "\n".join(errors)

    def end(self, *, errors_expected: bool = False) -> None:
        """The last check; the handlers of requests still on their way may not fail in the next test."""
        try:
            self.check(errors_expected=errors_expected)
        finally:
            for each in (*self.context.pages, self.context):
                each.unroute_all(behavior="ignoreErrors")

    def _on_request(self, request: Request) -> None:
        self.n_requests += 1
        address = request.url.removeprefix("blob:")
        parts = urlsplit(address)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" not in self.allowed:
            self.foreign.append(request.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: WebError) -> None:
        self.errors.append(str(error.error))


@contextmanager
def watched(context: BrowserContext, origin: str, *elsewhere: str, errors_expected: bool = False) -> Iterator[Watch]:
    """Watches the context, checks it at the end and closes it in any case."""
    watch = Watch(context, origin, *elsewhere)
    try:
        yield watch
        watch.end(errors_expected=errors_expected)
    finally:
        context.close()
