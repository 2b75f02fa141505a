"""The wheel that pip builds: what is in it, that it runs in a clean environment, and that Pyodide takes it as it is."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from voxtral.web.places import CHECKOUT as ROOT
from voxtral.web.places import HERE
from voxtral.web.wheel import WheelBuilder

CLIP, WORDS = ROOT / "static" / "samples" / "digits_1.wav", "one four one seven"
START_LIMIT_S = 120

ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a server here, past any proxy of the person's


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def entries(content: zipfile.ZipFile) -> dict[str, bytes]:
    """Its files but those about itself, and about the package as people read it."""
    return {name: content.read(name) for name in content.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_package_shaders_page_and_demo_and_nothing_else(wheel: Path) -> None:
    sources = {
        "voxtral": ROOT / "py" / "voxtral",
        "voxtral/shaders": ROOT / "shaders",
        "voxtral/web/app": ROOT / "app",
        "voxtral/web/static": ROOT / "static",
    }
    expected = {
        f"{inside}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for inside, folder in sources.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.is_relative_to(HERE.runtime)
    }
    found = entries(zipfile.ZipFile(wheel))
    assert set(found) == set(expected)
    assert [name for name, content in found.items() if content != expected[name]] == []


def test_what_pyodide_gets_is_that_wheel_without_what_serves_the_page(wheel: Path) -> None:
    whole, page = zipfile.ZipFile(wheel), zipfile.ZipFile(io.BytesIO(WheelBuilder().content()))
    served = ("voxtral/web/", "voxtral/server/")
    of_engine = {name: content for name, content in entries(whole).items() if not name.startswith(served)}
    of_page = entries(page)
    of_engine.pop("voxtral/shaders/README.md")
    assert set(of_page) == set(of_engine)
    assert [name for name in of_page if of_page[name] != of_engine[name]] == []
    assert WheelBuilder().name == wheel.name
    about = [
        Parser().parsestr(archive.read(f"voxtral-{HERE.version}.dist-info/METADATA").decode())
        for archive in (whole, page)
    ]
    assert about[0]["Version"] == about[1]["Version"]
    needed = [{re.sub(r"[\s\"']", "", line) for line in one.get_all("Requires-Dist", [])} for one in about]
    assert {line for line in needed[0] if "extra==" not in line} == needed[1]


def test_pyodide_takes_the_whole_wheel_as_well(wheel: Path, page: Page) -> None:
    asked = []

    def give(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=wheel.read_bytes(), content_type="application/zip")

    page.route("**/dist/*.whl", give)
    page.goto("/?backend=numpy")
    text = page.evaluate(
        """async (clip) => {
            await window.voxtral.ready;
            const file = new File([await (await fetch(clip)).blob()], "clip.wav");
            return (await window.voxtral.transcribeFile(file)).text;
        }""",
        "/static/samples/digits_1.wav",
    )
    assert text == WORDS
    assert asked


@pytest.fixture
def clean(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who has nothing of ours but the runtime, which it would fetch."""
    cache = tmp_path / "cache"
    version = subprocess.check_output(["sha256sum", HERE.runtime_list], text=True)[:12]
    (cache / "voxtral").mkdir(parents=True)
    (cache / "voxtral" / f"runtime-{version}").symlink_to(HERE.runtime)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    places = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(cache), "PIPX_HOME": str(tmp_path / "pipx")}
    yield {**kept, **places}
    shutil.rmtree(tmp_path / "pipx", ignore_errors=True)


def test_pipx_runs_it_in_a_clean_environment(wheel: Path, clean: dict[str, str], tmp_path: Path) -> None:
    run = [sys.executable, "-m", "pipx", "run", "--spec", str(wheel), "voxtral"]
    heard = subprocess.run(
        [*run, "transcribe", str(CLIP)], env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert (heard.stdout, heard.returncode) == (f"{WORDS}\n", 0), heard.stderr
    serving = subprocess.Popen(
        [*run, "serve", "--port", "0", "--no-open", "--backend", "numpy"],
        env=clean,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        address = next(found[0] for line in serving.stdout if (found := re.search(r"http://\S+:\d+", line)))
        for path, content in (
            ("/", (ROOT / "app" / "index.html").read_bytes()),
            ("/app/main.js", (ROOT / "app" / "main.js").read_bytes()),
            ("/static/runtime.json", HERE.runtime_list.read_bytes()),
        ):
            with ask(address + path, timeout=START_LIMIT_S) as answer:
                assert answer.read() == content, path
        with ask(f"{address}/dist/{wheel.name}", timeout=START_LIMIT_S) as answer:
            served = zipfile.ZipFile(io.BytesIO(answer.read()))
        assert entries(served) == entries(zipfile.ZipFile(io.BytesIO(WheelBuilder().content())))
    finally:
        serving.send_signal(signal.SIGTERM)
        rest = serving.communicate(timeout=START_LIMIT_S)
    assert serving.returncode == 0, rest
