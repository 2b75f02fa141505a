"""Fixtures of the browser tests: the server, browsers with WebGPU in software, pages under watch.

A page under watch fails its test on a request to another origin, and on an error on the console or an
exception nobody caught, unless the test is marked `expects_console_errors`.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from chromium import find_chromium, launch
from harness import Harness
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect
from watch import Watch

from serve import make_server
from tools.chromium import QUIET_FLAGS, SOFTWARE_FLAGS
from voxtral.web import runtime

ROOT = Path(__file__).resolve().parents[1]
READY_LIMIT_MS = 180_000
EXPECT_LIMIT_MS = 30_000  # as long as for actions: a busy machine is slow, but not wrong
SERVICE_WORKERS: Literal["block"] = "block"  # one would answer requests before page.route sees them

expect.set_options(timeout=EXPECT_LIMIT_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: Playwright leaves an event loop running, beside which asyncio.run refuses to work."""
    items.sort(key=lambda item: item.path.is_relative_to(ROOT / "e2e"))


class RunningServer(NamedTuple):
    """serve.py's server on a free port; the tests' own files lie under /e2e/ and /tests/."""

    url: str
    port: int
    made: Path  # what tests write there is served under /made/


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The app, served as users get it."""
    runtime.ensure()
    made = tmp_path_factory.getbasetemp() / "made"
    made.mkdir(exist_ok=True)
    mounts = {"e2e": ROOT / "e2e", "tests": ROOT / "py" / "tests", "made": made}
    with make_server("localhost", 0, mounts=mounts) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        port = int(running.server_address[1])
        yield RunningServer(f"http://localhost:{port}", port, made)
        running.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def base_url(server: RunningServer) -> str:
    """Lets tests say page.goto("/")."""
    return server.url


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], playwright: Playwright) -> dict[str, Any]:
    return {
        **browser_type_launch_args,
        "executable_path": find_chromium(playwright),
        "args": [*QUIET_FLAGS, *SOFTWARE_FLAGS],
    }


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "service_workers": SERVICE_WORKERS}


@pytest.fixture
def context(context: BrowserContext, server: RunningServer, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """pytest-playwright's context, under watch; `page` is a page of it."""
    watch = Watch(context, server.url)
    yield context
    watch.end(errors_expected=_expects_errors(request))


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(playwright: Playwright, server: RunningServer, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """open_page("/", "--flag", …, webgpu=True) → a watched page in a browser of its own with further flags."""
    opened: list[tuple[Browser, Watch]] = []

    def open_one(path: str, *flags: str, webgpu: bool = True) -> Page:
        browser = launch(playwright, flags, webgpu=webgpu)
        context = browser.new_context(base_url=server.url, permissions=["microphone"], service_workers=SERVICE_WORKERS)
        opened.append((browser, Watch(context, server.url)))
        page = context.new_page()
        page.goto(path)
        return page

    yield open_one
    try:
        for _, watch in opened:
            watch.end(errors_expected=_expects_errors(request))
    finally:
        for browser, _ in opened:
            browser.close()


@pytest.fixture(scope="module")
def listening_browser(playwright: Playwright) -> Iterator[Browser]:
    """With a fake microphone that beeps."""
    browser = launch(playwright, ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def loaded_page(browser: Browser, server: RunningServer) -> Iterator[tuple[Page, Watch]]:
    """One page with the demo model loaded, for all tests that do not need a fresh one."""
    context = browser.new_context(base_url=server.url, service_workers=SERVICE_WORKERS)
    watch = Watch(context, server.url)
    page = context.new_page()
    page.set_default_timeout(READY_LIMIT_MS)
    page.goto("/?backend=webgpu")  # by itself the page would prefer the CPU to a software GPU
    page.evaluate("async () => { await window.voxtral.ready; }")
    yield page, watch
    context.close()


@pytest.fixture
def ready_page(loaded_page: tuple[Page, Watch], request: pytest.FixtureRequest) -> Iterator[Page]:
    """The shared page, engine ready; leave it idle. It computes with WebGPU, its model is the demo."""
    page, watch = loaded_page
    yield page
    watch.check(errors_expected=_expects_errors(request))


@pytest.fixture(scope="session")
def harness(browser: Browser, server: RunningServer) -> Iterator[Harness]:
    """Python in a worker of Chromium, with the package and the test modules; see harness.py."""
    context = browser.new_context(base_url=server.url)
    watch = Watch(context, server.url)
    yield Harness(context.new_page(), ROOT / "py" / "tests")
    context.close()
    watch.check()


def _expects_errors(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("expects_console_errors") is not None
