"""The app as `serve.py --export` writes it, on a server that knows nothing of it, below some path."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_server import PlainServer, serve_plainly
from playwright.sync_api import Browser
from watch import Watch

from voxtral.web import runtime
from voxtral.web.export import ExportError, export
from voxtral.web.headers import COMMON_HEADERS
from voxtral.web.places import Places

ROOT = Path(__file__).resolve().parents[1]
BELOW = "some/sub/path"
SPACE_HEADERS = {"cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"}
HEADER = re.compile(r"[A-Za-z-]+: [\x20-\x7e]+")
TRANSCRIBE = """async (address) => {
    const { adapter } = await window.voxtral.ready;
    const file = new File([await (await fetch(address)).blob()], "clip.wav");
    return { adapter, text: (await window.voxtral.transcribeFile(file)).text, isolated: crossOriginIsolated };
}"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime.ensure()
    folder = tmp_path_factory.mktemp("host") / BELOW
    export(folder)
    return folder


@pytest.fixture(scope="module")
def host(exported: Path) -> Iterator[PlainServer]:
    with serve_plainly(exported.parents[BELOW.count("/")]) as server:
        yield server


def listed_files(folder: Path) -> dict[str, dict[str, str | int]]:
    first_line = (folder / "service_worker.js").read_text().split("\n", 1)[0]
    listing = json.loads(first_line.removeprefix("const PRECACHE = ").rstrip(";"))
    files: dict[str, dict[str, str | int]] = listing["files"]
    return files


def test_it_works_below_a_path_without_any_header(browser: Browser, host: PlainServer, exported: Path) -> None:
    context = browser.new_context(service_workers="block")
    watch = Watch(context, host.url)
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(f"{host.url}/{BELOW}/?backend=numpy")
    clip = page.locator("[data-sample$='digits_1.wav']").get_attribute("data-sample")
    heard = page.evaluate(TRANSCRIBE, clip)
    assert heard == {"adapter": "CPU (numpy)", "text": "one four one seven", "isolated": False}
    assert all(path.startswith(f"/{BELOW}/") for path in host.asked if path != "/favicon.ico")
    version = next(exported.glob("v-*")).name
    outside = {path.partition("?")[0] for path in host.asked if not path.startswith(f"/{BELOW}/{version}/")}
    assert outside - {"/favicon.ico"} == {f"/{BELOW}/", f"/{BELOW}/models/manifest.json", f"/{BELOW}/v1/voxtral"}
    context.close()
    watch.check()


def test_every_address_in_it_leads_to_a_file(exported: Path) -> None:
    for name in ("index.html", "app.webmanifest"):
        text = (exported / name).read_text()
        addresses = re.findall(r'(?:src|href|data-sample)"?[=:] ?"([^":]+)"', text)
        assert len(addresses) > 3
        for address in addresses:
            assert (exported / address.partition("#")[0]).is_file(), address
    manifest = json.loads((exported / "app.webmanifest").read_text())
    assert (manifest["start_url"], manifest["scope"]) == ("./", "./")


def test_what_the_service_worker_keeps_is_what_lies_there(exported: Path) -> None:
    files = listed_files(exported)
    assert {"", "app.webmanifest"} < set(files)
    for path, file in files.items():
        content = (exported / (path or "index.html")).read_bytes()
        assert file == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}, path
    kept = {Path(path).name for path in files}
    runtime_files = {Path(file.path).name for file in runtime.read_list()[1]}
    assert runtime_files | {"voxtral-demo-q4_0.gguf", "tekken.json", "engine.py", "digits_1.wav"} <= kept


def test_the_files_for_hosts_are_in_their_form(exported: Path) -> None:
    version = next(exported.glob("v-*")).name
    rules: dict[str, dict[str, str]] = {}
    for line in filter(None, (exported / "_headers").read_text().splitlines()):
        if not line.startswith(" "):
            rule = rules.setdefault(line, {})
            continue
        assert HEADER.fullmatch(line.strip()), line
        assert len(line) < 2000
        name, value = line.strip().split(": ", 1)
        rule[name] = value
    assert rules["/*"] == COMMON_HEADERS
    assert "immutable" in rules[f"/{version}/*"]["Cache-Control"]

    space = (exported / "README.md").read_text()
    front = space.split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line and not line.startswith(" "))
    assert fields["sdk"] == "static"
    assert (exported / fields["app_file"]).is_file()
    assert len(fields["short_description"]) <= 60
    nested = front.split("custom_headers:\n")[1].splitlines()
    assert {line.split(": ")[0].strip() for line in nested} == SPACE_HEADERS  # a Space takes no others

    nginx = re.sub(r"^#.*$|\"[^\"]*\"", "", (exported / "nginx.conf").read_text(), flags=re.MULTILINE)
    assert nginx.count("{") == nginx.count("}") == 3
    assert all(line.rstrip()[-1] in ";{}" for line in nginx.splitlines() if line.strip())
    assert (exported / ".nojekyll").read_bytes() == b""
    assert (exported / "HOSTING.md").read_text().count("v-") > 1


def test_no_other_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    command = [sys.executable, str(ROOT / "serve.py"), "--export", str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "holds other files; name a new or empty folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ExportError):
        export(tmp_path / "thesis.txt")


def test_an_earlier_export_is_replaced_and_its_version_stays(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name in ("app", "py/voxtral", "shaders"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "static").mkdir()
    for name in ("pyproject.toml", "static/runtime.json", "static/style.css"):
        shutil.copy(ROOT / name, root / name)
    folder = tmp_path / "out"
    versions = []
    for step in range(4):
        (root / "static" / "style.css").write_text(f"/* {min(step, 2)} */")
        versions.append(f"v-{export(folder, Places.of_checkout(root)).version}")
        assert f'"{versions[-1]}/app/main.js"' in (folder / "index.html").read_text()
        assert f"{versions[-1]}/app/main.js" in listed_files(folder)
        assert {path.name for path in folder.glob("v-*")} == set(versions[-2:])
        assert not list(folder.rglob("*.part"))
    assert len(set(versions)) == 3
    assert versions[2] == versions[3], "the same content must be the same version"
