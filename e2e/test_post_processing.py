"""Python in the page: scripts of a person's own change the transcript, and whatever they do, the page goes on."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RunningServer
from plain_server import PlainServer, serve_plainly
from playwright.sync_api import Browser, Locator, Page, expect
from watch import Watch

START_LIMIT_MS = 180_000  # Python, from the files of the server


@pytest.fixture
def section(page: Page) -> Locator:
    page.goto("/e2e/post_processing.html?limit_s=15")
    return page.locator("#python")


def write(section: Locator, code: str) -> None:
    section.get_by_label("Script", exact=True).select_option("own")
    section.get_by_label("Python code").fill(code)


def run(section: Locator, expected: str) -> None:
    """Presses Run, and waits until the section says so."""
    section.get_by_role("button", name="Run").click()
    expect(section.get_by_role("status")).to_contain_text(expected, timeout=START_LIMIT_MS)


def test_scripts_change_the_transcript_and_nothing_else_does(page: Page, section: Locator) -> None:
    status = section.get_by_role("status")
    area = section.get_by_label("Python code")
    outcome = section.get_by_label("The text as it would be")

    # an example
    expect(area).to_have_value(Path("app/post_processing/glossary.py").read_text())
    run(section, "One place changed.")
    expect(outcome.locator("del")).to_have_text("smart mirror")
    expect(outcome.locator("ins")).to_have_text("SmartMirror")
    assert page.evaluate("used") == []
    section.get_by_role("button", name="Use this text").click()
    [made] = page.evaluate("used")
    assert made["text"] == "so um we bought twenty one SmartMirror from from Alexa"
    assert [(word["text"], word["start"], word["end"], word["heard"]) for word in made["words"]][6:8] == [
        ("SmartMirror", 3.0, 3.9, "smart mirror"),
        ("from", 4.0, 4.4, None),
    ]
    expect(section.get_by_role("button", name="Use this text")).to_be_hidden()
    section.get_by_role("button", name="Back to the raw text").click()
    assert page.evaluate("used.at(-1)") is None

    # numpy, what is printed, and words that are left out
    write(section, "import numpy as np\ndef process(words, text):\n    print(np.arange(3).sum())\n    return words[:2]")
    area.press("Control+Enter")
    expect(section.get_by_text("Printed")).to_be_visible(timeout=START_LIMIT_MS)
    expect(section.locator(".python-printed pre")).to_have_text("3\n")
    expect(outcome.locator("del")).to_have_text("we bought twenty one smart mirror from from Alexa")

    # a mistake
    write(section, "def process(words, text):\n    return text / 2")
    run(section, "The script failed")
    traceback = section.get_by_role("alert")
    expect(traceback).to_contain_text('File "your_code.py", line 2, in process\n    return text / 2')
    expect(traceback).to_contain_text("TypeError: unsupported operand")
    expect(traceback).not_to_contain_text("voxtral")
    expect(section.get_by_role("button", name="Use this text")).to_be_hidden()

    # a loop without end
    write(section, "def process(words, text):\n    while True:\n        pass")
    run(section, "Python was stopped: it had not come to an end after 15 s.")
    write(section, "def process(words, text):\n    return text.upper()")
    run(section, "One place changed.")
    expect(outcome.locator("ins")).to_have_text("SO UM WE BOUGHT TWENTY ONE SMART MIRROR FROM FROM ALEXA")

    # the transcript changes
    page.evaluate("() => { transcript.text += ' today'; view.update(); }")
    expect(outcome).to_be_hidden()
    page.evaluate("() => { window.transcript = null; view.update(); }")
    expect(status).to_have_text("There is no text yet; speak or drop a file first.")
    expect(section.get_by_role("button", name="Run")).to_be_disabled()


def test_code_is_kept_and_typed_with_the_keyboard(page: Page, section: Locator) -> None:
    script, area = section.get_by_label("Script", exact=True), section.get_by_label("Python code")
    page.evaluate("addEventListener('keydown', (event) => (window.leaked = event.key))")
    script.select_option("own")
    area.fill("")
    area.press_sequentially("def process(words, text):\nreturn text\n# packages:")
    assert area.input_value() == "def process(words, text):\n    return text\n    # packages:"
    area.press("Shift+Tab")
    assert area.input_value().endswith("text\n# packages:")
    area.press("Control+a")
    area.press("Tab")
    assert area.input_value() == "    def process(words, text):\n        return text\n    # packages:"
    area.press("Control+z")
    assert area.input_value() == "def process(words, text):\n    return text\n# packages:"
    assert page.evaluate("window.leaked") is None
    area.press("Escape")
    area.press("Tab")
    expect(area).not_to_be_focused()

    script.select_option("digits")
    expect(area).to_have_value(Path("app/post_processing/digits.py").read_text())
    page.reload()
    expect(script).to_have_value("digits")
    script.select_option("own")
    expect(area).to_have_value("def process(words, text):\n    return text\n# packages:")
    section.get_by_role("button", name="Restore the original").click()
    expect(area).to_have_value(Path("app/post_processing/own.py").read_text())


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PlainServer]:
    """A package index with one package, which needs another."""
    for name, needs in (("shouting", "Requires-Dist: loudness>=2\n"), ("loudness", "")):
        folder = tmp_path / "simple" / name
        folder.mkdir(parents=True)
        wheel = f"{name}-2.0-py3-none-any.whl"
        info = f"{name}-2.0.dist-info"
        with zipfile.ZipFile(folder / wheel, "w") as archive:
            archive.writestr(
                f"{name}.py", "from loudness import loud\n" if needs else "def loud(text): return text + '!'\n"
            )
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n{needs}")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        (folder / "index.html").write_text(f'<!doctype html><html><body><a href="{wheel}">{wheel}</a></body></html>')
    with serve_plainly(tmp_path, Access_Control_Allow_Origin="*") as server:
        yield server


@pytest.fixture
def free_page(browser: Browser, server: RunningServer, index: PlainServer) -> Iterator[Page]:
    """A page that may ask the index, too; what it says on the console is its own business."""
    context = browser.new_context(base_url=server.url, service_workers="block")
    watch = Watch(context, server.url, index.url)
    yield context.new_page()
    context.close()
    watch.check(errors_expected=True)  # the browser tells of what the policy refused


def test_packages_come_from_where_the_address_says_only(free_page: Page, index: PlainServer) -> None:
    page = free_page
    code = "# packages: {}\nfrom shouting import loud\ndef process(words, text):\n    return loud(text)"
    wheel = f"{index.url}/simple/shouting/shouting-2.0-py3-none-any.whl"
    page.goto("/e2e/post_processing.html")
    section = page.locator("#python")
    write(section, code.format("shouting"))
    run(section, "“shouting” is a name, and this page knows no package index")
    write(section, code.format(wheel))
    run(section, f"The packages lie at {index.url}, where this page may not connect; add packages={index.url}")
    assert index.asked == []

    page.goto(f"/e2e/post_processing.html?packages={index.url}/simple/")
    write(section, code.format("shouting"))
    run(section, "One place changed.")
    expect(section.locator("ins")).to_have_text("Alexa!")
    assert any("loudness-2.0" in path for path in index.asked)
    write(section, code.format("whispering"))
    run(section, "The packages could not be had (ValueError: Can't fetch metadata for 'whispering'")
