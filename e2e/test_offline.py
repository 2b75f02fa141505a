"""The service worker: what it keeps, that versions never mix, and that the app needs no network after one visit.

Most of it on a page of four small files, whose server the tests see through; the whole app once, at the end.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import wait_until
from plain_server import PlainServer, serve_plainly
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Request, Response, expect

from serve import make_server
from voxtral.web import runtime
from voxtral.web.precache import Asset, Precache

ROOT = Path(__file__).resolve().parents[1]
BELOW = "some/path"
YEAR_2026_S = 1_767_225_600
LIMIT_MS = 180_000

PAGE = """<!doctype html>
<script type="module" src="app/main.js"></script>
<script type="module" src="app/offline.js"></script>
<p id="version"></p>
<p id="update" hidden><span class="sentence">A new version is here.</span> <button>Update</button></p>
"""
MAIN = """
import { version } from "./part.js";
document.querySelector("#version").textContent = `page VERSION, part ${version}`;
const { promise, resolve } = Promise.withResolvers();
window.voxtral = { ready: promise };
window.finishLoading = resolve;
window.loadLater = async () => (await import("./late.js")).version;
"""
ASK = """async (question) => {
    const { port1, port2 } = new MessageChannel();
    (await navigator.serviceWorker.ready).active.postMessage(question, [port2]);
    return await new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
}"""
CACHED = """async (edit) => {
    const cache = await caches.open(`voxtral ${new URL("./", location).pathname}`);
    const digest = async (response) => {
        const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
        return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    };
    const right = [];
    for (const request of await cache.keys()) {
        const name = request.url.split("/").at(-1);
        if (edit.remove === name) await cache.delete(request);
        else if (edit.damage === name) await cache.put(request, new Response("damaged"));
        else right.push([name, await digest(await cache.match(request))]);
    }
    return right;
}"""


class Site:
    """A small app on a plain server; `write` puts a version there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests: dict[str, str] = {}
        (folder / "app").mkdir(parents=True)
        for name in ("offline.js", "service_worker.js"):
            (folder / "app" / name).write_bytes((ROOT / "app" / name).read_bytes())
        (folder / "app" / "still.css").write_text("/* the same in all versions */" * 100)

    def write(self, version: int, *, lie: str = "") -> None:
        """lie: name of a file that the list describes as something else."""
        contents = {
            "index.html": PAGE,
            "main.js": MAIN.replace("VERSION", str(version)),
            "part.js": f"export const version = {version};",
            "late.js": f"export const version = {version}; // late",
        }
        for name, content in contents.items():
            (self.folder / ("" if name == "index.html" else "app") / name).write_text(content)
        names = ["index.html", "app/main.js", "app/part.js", "app/late.js", "app/offline.js", "app/still.css"]
        assets = [Asset(name, (self.folder / name).read_bytes()) for name in names]
        assets = [Asset(name, b"a lie" if name == lie else content) for name, content in assets]
        script = Precache(self.folder / "app").service_worker(assets, {})
        (self.folder / "service_worker.js").write_bytes(script)
        for path in self.folder.rglob("*"):  # the server knows a change by the second
            os.utime(path, (YEAR_2026_S + version, YEAR_2026_S + version))
        files = json.loads(script.split(b"\n", 1)[0].removeprefix(b"const PRECACHE = ").rstrip(b";"))["files"]
        self.digests = {name: file["sha256"] for name, file in files.items()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / BELOW)


@pytest.fixture
def host(site: Site) -> Iterator[PlainServer]:
    with serve_plainly(site.folder.parents[BELOW.count("/")], Cache_Control="max-age=600") as server:
        yield server


@pytest.fixture
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(20_000)
    yield context
    context.close()


Visit = Callable[..., Page]


@pytest.fixture
def visit(visitor: BrowserContext, site: Site, host: PlainServer) -> Visit:
    """visit() → the page of the site in a new tab; finished: it has loaded and is kept."""
    del site

    def open_tab(*, finished: bool = True) -> Page:
        page = visitor.new_page()
        page.goto(f"{host.url}/{BELOW}/")
        if finished:
            finish(page)
        return page

    return open_tab


def until(page: Page, condition: str) -> None:
    """Wait until the promise of this expression gives something true."""
    page.evaluate(f"async () => {{ while (!(await ({condition}))) await new Promise((go) => setTimeout(go, 20)); }}")


REGISTRATION = "navigator.serviceWorker.getRegistration()"
IS_KEPT = f"{REGISTRATION}.then((found) => found?.active?.state === 'activated')"


def finish(page: Page) -> None:
    page.evaluate("window.finishLoading()")
    until(page, IS_KEPT)


def shown(page: Page, version: int) -> None:
    expect(page.locator("#version")).to_have_text(f"page {version}, part {version}")


def touch(page: Page) -> None:
    """What a person does, after which nothing reloads by itself."""
    page.mouse.click(5, 5)


def test_a_page_keeps_its_version_until_all_its_tabs_are_gone(site: Site, host: PlainServer, visit: Visit) -> None:
    site.write(1)
    visit()
    site.write(2)
    host.asked.clear()
    page = visit()
    shown(page, 1)
    expect(page.locator("#update")).to_be_visible()
    assert page.evaluate("loadLater()") == 1, "a file asked for late must be of the page's version"
    fetched = {path.removeprefix(f"/{BELOW}/") for path in host.asked}
    assert fetched - {"service_worker.js"} == {"", "app/main.js", "app/part.js", "app/late.js"}, "only what changed"
    for tab in page.context.pages:
        tab.close()
    page = visit()
    shown(page, 2)
    assert page.evaluate("loadLater()") == 2
    assert {name for name, _ in page.evaluate(CACHED, {})} >= set(site.digests.values()) - {site.digests[""]}
    assert len(page.evaluate(CACHED, {})) == len(site.digests), "the version before is forgotten"


def test_update_waits_for_the_other_tabs(site: Site, visit: Visit) -> None:
    site.write(1)
    first = visit()
    second = visit()
    site.write(2)
    touch(second)
    second.evaluate(f"{REGISTRATION}.then((found) => found.update())")
    expect(second.locator("#update")).to_be_visible()
    second.get_by_role("button", name="Update").click()
    expect(second.locator("#update")).to_contain_text("close the other tabs of this app")
    shown(second, 1)
    first.close()
    second.get_by_role("button", name="Update").click()
    shown(second, 2)
    assert second.evaluate("loadLater()") == 2


def test_an_edit_shows_at_a_plain_reload(site: Site, visit: Visit) -> None:
    site.write(1)
    page = visit()
    navigations: list[Frame] = []
    page.on("framenavigated", lambda frame: navigations.append(frame))
    for version in (2, 3):
        site.write(version)
        navigations.clear()
        page.reload()
        wait_until(page, lambda: len(navigations) > 1)  # not by looking into the page, which counts as a gesture
        shown(page, version)
        finish(page)


@pytest.mark.parametrize("harm", ["damage", "remove"])
def test_damage_heals(site: Site, host: PlainServer, visit: Visit, harm: str) -> None:
    site.write(1)
    page = visit()
    page.reload()
    finish(page)
    digest = site.digests["app/late.js"]
    page.evaluate(CACHED, {harm: digest})
    assert [digest, digest] not in page.evaluate(CACHED, {})
    host.asked.clear()
    assert page.evaluate(ASK, "heal") == ["app/late.js"]
    assert [digest, digest] in page.evaluate(CACHED, {})
    assert page.evaluate(ASK, "heal") == []
    page.evaluate(CACHED, {"remove": digest})
    assert page.evaluate("loadLater()") == 1
    assert [digest, digest] in page.evaluate(CACHED, {}), "what was missing is kept again"


def test_what_is_missing_never_comes_from_another_version(site: Site, host: PlainServer, visit: Visit) -> None:
    host.extra["Cache-Control"] = "no-store"
    site.write(1)
    page = visit()
    page.reload()
    finish(page)
    page.evaluate(CACHED, {"remove": site.digests["app/late.js"]})
    (site.folder / "app" / "late.js").write_text("export const version = 2;")
    answer = page.evaluate("fetch('app/late.js').then(async (response) => [response.status, await response.text()])")
    assert answer[0] == 503
    assert "app/late.js" in answer[1]


def test_a_version_is_kept_whole_or_not_at_all(site: Site, host: PlainServer, visit: Visit) -> None:
    site.write(1, lie="app/late.js")
    page = visit(finished=False)
    page.evaluate("window.finishLoading()")
    until(page, f"{REGISTRATION}.then((found) => found?.installing)")
    until(page, f"{REGISTRATION}.then((found) => !found)")
    assert sum("late.js" in path for path in host.asked) == 2, "what the browser had was wrong, so the server was asked"
    site.write(2)
    page.reload()
    finish(page)
    page.reload()
    assert page.evaluate("navigator.serviceWorker.controller !== null")


def test_parts_and_heads_of_what_is_kept(site: Site, host: PlainServer, visit: Visit) -> None:
    site.write(1)
    page = visit()
    page.reload()
    host.asked.clear()
    ask = """async ([method, range]) => {
        const response = await fetch("app/still.css", { method, headers: range ? { Range: range } : {} });
        const { status, headers } = response;
        return [status, headers.get("content-length"), headers.get("content-range"), (await response.text()).length];
    }"""
    assert page.evaluate(ask, ["GET", "bytes=10-19"]) == [206, "10", "bytes 10-19/3000", 10]
    assert page.evaluate(ask, ["GET", "bytes=2990-"]) == [206, "10", "bytes 2990-2999/3000", 10]
    assert page.evaluate(ask, ["GET", "bytes=0-99999"]) == [206, "3000", "bytes 0-2999/3000", 3000]
    assert page.evaluate(ask, ["GET", None]) == [200, "3000", None, 3000]
    assert page.evaluate(ask, ["HEAD", None]) == [200, "3000", None, 0]
    assert not [path for path in host.asked if "still.css" in path]


def test_what_is_not_listed_passes_by(site: Site, host: PlainServer, visit: Visit) -> None:
    site.write(1)
    (site.folder / "models").mkdir()
    (site.folder / "models" / "m.gguf").write_bytes(b"0123456789")
    page = visit()
    page.reload()
    for n_asked in (1, 2):
        got = page.evaluate("fetch('models/m.gguf', { cache: 'no-store' }).then((response) => response.text())")
        assert got == "0123456789"
        assert sum("m.gguf" in path for path in host.asked) == n_asked


def test_a_server_that_became_another_site_gets_its_address_back(site: Site, visit: Visit) -> None:
    site.write(1)
    page = visit()
    (site.folder / "service_worker.js").unlink()
    (site.folder / "index.html").write_text("<!doctype html><h1>Another site</h1>")
    page.reload()
    expect(page.get_by_role("heading")).to_have_text("Another site")
    assert page.evaluate(f"{REGISTRATION}.then((found) => !found)")


KEEP_DEMO = """async () => {  // the demo, once more, as any model is kept
    const { Transcriber } = await import(new URL("app/transcriber.js", document.baseURI));
    return await new Promise((resolve, reject) => {
        const onEvent = ({ type, key, sentence }) => {
            if (type === "fetched") resolve(key);
            if (type === "fetch_failed" || type === "error") reject(new Error(sentence));
        };
        const transcriber = new Transcriber({ backend: "numpy", onEvent });
        transcriber.ready.then(() => transcriber.fetchModel(new URL("static/model/", document.baseURI).href));
    });
}"""
TRANSCRIBE = """async () => {
    const { delay_ms } = await window.voxtral.ready;
    const file = new File([await (await fetch("static/samples/digits_1.wav")).blob()], "clip.wav");
    return [delay_ms, (await window.voxtral.transcribeFile(file)).text];
}"""
MEASURE = """async () => {  // what the accuracy page does behind its button, on two clips
    const [{ readBuiltIn }, { filesOf }] = await Promise.all(["accuracy_sets.js", "runtime_files.js"].map(
        (name) => import(new URL(`app/${name}`, document.baseURI))));
    const set = await readBuiltIn(window.voxtral);
    const condition = { groups: ["silence_noise"], limit: 2 };
    const modules = await filesOf(["jiwer", "rapidfuzz", "more-itertools", "whisper-normalizer"]);
    const options = { setName: set.name, entries: set.entries, condition, normalizer: "english", modules };
    return (await window.voxtral.measure(options, (id) => set.soundOf(id)).result).clips.length;
}"""
LOAD = "async (model) => { window.voxtral.load({ model, backend: 'numpy' }); await window.voxtral.ready; }"


def test_the_whole_app_needs_no_network_after_one_visit(visitor: BrowserContext) -> None:
    runtime.ensure()
    visitor.set_default_timeout(LIMIT_MS)
    page = visitor.new_page()
    with make_server("localhost", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://localhost:{server.server_address[1]}/?backend=numpy&bench=accuracy"
        page.goto(url)
        key = page.evaluate(KEEP_DEMO)
        until(page, IS_KEPT)
        until(page, "caches.open('voxtral bytecode').then((cache) => cache.keys()).then((keys) => keys.length)")
        server.shutdown()
        thread.join()
    visitor.set_offline(True)
    asked: list[Request] = []
    visitor.on("request", lambda request: asked.append(request))
    answers: list[Response] = []
    visitor.on("response", lambda answer: answers.append(answer) if answer.request in asked else None)
    page.goto(f"{url}&delay_ms=960")
    assert page.evaluate(TRANSCRIBE) == [960, "one four one seven"]
    assert page.evaluate(MEASURE) == 2
    page.evaluate(LOAD, f"stored:{key}")
    assert page.evaluate(TRANSCRIBE) == [480, "one four one seven"]
    from_network = [answer.url for answer in answers if not answer.from_service_worker]
    assert [address for address in from_network if not address.startswith("blob:")] == []
    assert any(re.search(r"pyodide\.asm\.wasm$", answer.url) for answer in answers)
    assert page.locator("#update").is_hidden()
