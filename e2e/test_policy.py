"""What the page and its worker may connect to: their own server, the hub, and the one origin that the address names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_server import PlainServer, serve_plainly
from playwright.sync_api import Browser, Page, expect

HUB_FILES = ["https://huggingface.co/api/models", "https://cdn-lfs-us-1.hf.co/x", "https://cas-bridge.xethub.hf.co/x"]
TRY = """async ([addresses, inWorker]) => {
    const tries = async (addresses) => {
        const refused = [];
        addEventListener("securitypolicyviolation", ({ blockedURI }) => refused.push(blockedURI));
        const got = [];
        for (const address of addresses) {
            const body = await fetch(address).then((response) => response.text(), () => null);
            await new Promise((resolve) => setTimeout(resolve, 50));
            got.push(refused.length ? "refused" : body ?? "no answer");
            refused.length = 0;
        }
        return got;
    };
    if (!inWorker) return await tries(addresses);
    const text = `onmessage = async ({ data }) => postMessage(await (${tries})(data));`;  // as PyScript starts its own
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    worker.postMessage(addresses);
    return await new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
}"""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    yield from _elsewhere(tmp_path_factory.mktemp("named"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    yield from _elsewhere(tmp_path_factory.mktemp("other"))


def _elsewhere(folder: Path) -> Iterator[PlainServer]:
    (folder / "tekken.json").write_text("hello")
    with serve_plainly(folder, Access_Control_Allow_Origin="*") as server:
        yield server


@pytest.fixture
def page(browser: Browser, base_url: str) -> Iterator[Page]:
    """Not under watch: it is made to ask elsewhere, and told not to."""
    context = browser.new_context(base_url=base_url, service_workers="block")
    page = context.new_page()
    page.route("https://**", lambda route: route.fulfill(body="hub", headers={"Access-Control-Allow-Origin": "*"}))
    yield page
    context.close()


@pytest.mark.parametrize("option", ["model", "from", "packages", "server"])
@pytest.mark.parametrize("in_worker", [False, True])
def test_only_the_named_origin_is_in_reach(
    page: Page, named: PlainServer, other: PlainServer, option: str, in_worker: bool
) -> None:
    page.route("**/app/main.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(f"/?{option}={named.url}/folder/")
    addresses = [f"{named.url}/tekken.json", f"{other.url}/tekken.json", "https://example.com/x"]
    assert page.evaluate(TRY, [addresses, in_worker]) == ["hello", "refused", "refused"]
    assert not any("tekken" in path for path in other.asked)
    assert "refused" not in page.evaluate(TRY, [HUB_FILES, in_worker])
    assert page.evaluate(TRY, [["/static/icon.svg"], False])[0].startswith("<svg")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?model=hub",
        "?model=static/model/",
        "?from=hub:OWNER/REPO",
        "?model=stored:abc",
        "?model=//",
        "?model=http://a b",
        "?model=;script-src *",
        "?model=https://evil.example;x",
        "?model=https://evil.example,x",
        "?model=https://*",
        "?from=https://example.org&from=https://example.com",
        "?packages=https://example.org&packages=https://example.net&packages=https://example.com",
        "?server=;script-src *",
        "?server=https://*",
        "?server=https://example.org&server=https://example.com",
    ],
)
def test_nothing_else_in_the_address_opens_anything(page: Page, other: PlainServer, query: str) -> None:
    page.route("**/app/main.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(f"/{query}")
    addresses = [f"{other.url}/tekken.json", "https://example.com/x", "https://evil.example/x"]
    assert page.evaluate(TRY, [addresses, False]) == ["refused"] * 3
    meta = page.locator("meta[http-equiv=Content-Security-Policy]")
    expect(meta).to_have_count(2)
    assert "*" not in (meta.first.get_attribute("content") or "").replace("https://*.h", "")


SOCKETS = """async (addresses) => {
    const refused = [];
    addEventListener("securitypolicyviolation", ({ blockedURI }) => refused.push(new URL(blockedURI).host));
    for (const address of addresses) new WebSocket(address);
    await new Promise((resolve) => setTimeout(resolve, 300));
    return refused;
}"""
NAME = (
    """(address) => localStorage.setItem("voxtral-servers", JSON.stringify({ used: null, servers: [{ address }] }))"""
)


def test_a_server_the_person_named_is_in_reach_with_its_sockets_and_no_other(
    page: Page, named: PlainServer, other: PlainServer
) -> None:
    page.route("**/app/main.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto("/")
    sockets = [f"ws://localhost:{server.server_port}/v1/realtime" for server in (named, other)]
    assert page.evaluate(SOCKETS, sockets) == [f"localhost:{server.server_port}" for server in (named, other)]
    page.evaluate(NAME, f"{named.url}/v1")
    page.reload()
    assert page.evaluate(SOCKETS, sockets) == [f"localhost:{other.server_port}"]
    assert page.evaluate(TRY, [[f"{named.url}/tekken.json", f"{other.url}/tekken.json"], False]) == ["hello", "refused"]
    page.evaluate("localStorage.setItem('voxtral-servers', '{\"servers\": [{}, 7]}')")  # damaged: nothing is opened
    page.reload()
    assert page.evaluate(SOCKETS, sockets[:1]) == [f"localhost:{named.server_port}"]


@pytest.mark.usefixtures("server")
def test_the_engine_is_bound_by_it(page: Page, named: PlainServer, other: PlainServer) -> None:
    page.set_default_timeout(180_000)
    named.asked.clear()
    page.goto(f"/?model={named.url}/model.gguf")
    outcome = "async () => await window.voxtral.ready.then(() => 'ready', (error) => error.message)"
    assert named.url in page.evaluate(outcome)
    assert named.asked, "the engine asked the origin that the address names"
    load = f"(address) => {{ window.voxtral.load({{ model: address }}); return ({outcome})(); }}"
    assert "Failed to fetch" in page.evaluate(load, f"{other.url}/model.gguf")
    assert not any("model" in path for path in other.asked)
