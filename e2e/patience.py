"""Waiting for what nothing in a page tells: requests that tests hold, downloads, what servers of tests have seen."""

import time
from collections.abc import Callable

from playwright.sync_api import Page

LIMIT_S = 60
LOOK_MS = 20


def wait_until(page: Page, is_so: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Until it is so, while the page and the handlers of its events go on. Raises AssertionError after limit_s."""
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, f"still not so after {limit_s} s"
        page.wait_for_timeout(LOOK_MS)
