"""Calls Python functions inside Chromium: the tests' side of harness.html.

    harness.run("in_chromium", "run_golden", ["tiny"], files=["tests/golden/tiny/model.gguf"])

The function lives in e2e/ or py/tests/; arguments and result are plain JSON values.
"""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from voxtral.web.wheel import WheelBuilder

E2E = Path(__file__).resolve().parent
CALL_LIMIT_S = 300


class Harness:
    """One page of Chromium with one Python worker; the modules are loaded with the first call."""

    def __init__(self, page: Page, tests: Path) -> None:
        self.page = page
        shared = [path.name for path in sorted(tests.glob("*.py")) if not path.name.startswith(("test_", "conftest"))]
        self.modules = [f"tests/{name}" for name in shared] + ["e2e/in_chromium.py"]
        page.goto(f"/e2e/harness.html?wheel={WheelBuilder().name}")
        page.wait_for_function("window.harness")

    def run(
        self,
        module: str,
        function: str,
        arguments: list[Any],
        files: list[str] | None = None,
        limit_s: float = CALL_LIMIT_S,
    ) -> Any:
        """The function's result. Raises playwright's Error with the Python traceback, or when it takes too long."""
        return self.page.evaluate(
            """([module, name, args, files, limitMs]) => Promise.race([
                harness.run(module, name, args, files),
                new Promise((_, reject) => setTimeout(() => reject(new Error(`${name}: no answer`)), limitMs)),
            ])""",
            [module, function, arguments, self.modules + (files or []), limit_s * 1000],
        )
