"""Loading that goes wrong in the real page and engine: one sentence, an empty GPU, and the demo at hand.

Faults are made in the engine's worker by faults.js, or lie in the model's files.
"""

import json
import re
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import Harness
from patience import wait_until
from playwright.sync_api import Browser, Page, Route, expect
from watch import Watch

from serve import make_server
from voxtral.gguf import TensorInfo, read_index
from voxtral.random_model import FULL, header, random_tekken
from voxtral.shards import MemorySource
from voxtral.web import runtime

E2E = Path(__file__).resolve().parent
ROOT = E2E.parent
DEMO = ROOT / "static" / "model"
LOAD_LIMIT_MS = 300_000
SHARD_BYTES = 4_000_000
MOST_BUFFER_BYTES = 16 << 20

FAULTS = """(faults) => new Promise((resolve) => {
    const channel = new BroadcastChannel("faults");
    channel.onmessage = ({ data }) => { channel.close(); resolve(data); };
    channel.postMessage(faults);
})"""
NO_FAULTS = {"room": None, "adapter": "", "byob": True}
LOAD = """async ([model, backend]) => {
    voxtral.load({ model, backend });
    try { await voxtral.ready; } catch (error) { return error.message; }
    return null;
}"""


class Demo(NamedTuple):
    data: bytes
    tensors: list[TensorInfo]  # in the order of their bytes

    def at(self, offset: int) -> TensorInfo:
        return next(tensor for tensor in self.tensors if tensor.offset <= offset < tensor.offset + tensor.n_bytes)


@pytest.fixture(scope="module")
def demo() -> Demo:
    data = (DEMO / "voxtral-demo-q4_0.gguf").read_bytes()
    index = _now(read_index(MemorySource(data, "demo")))
    return Demo(data, sorted(index.tensors.values(), key=lambda tensor: tensor.offset))


def _now(coroutine: Any) -> Any:
    """What a coroutine that waits for nothing returns; Playwright's event loop keeps asyncio.run from working."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it does wait")


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory, demo: Demo) -> Iterator[str]:
    """The app, with damaged models below /models/."""
    models = tmp_path_factory.mktemp("models")
    shards = [demo.data[start : start + SHARD_BYTES] for start in range(0, len(demo.data), SHARD_BYTES)]
    _write(models / "short", {f"shard-a{chr(97 + i)}": data for i, data in enumerate(shards)})
    (models / "short" / "shard-ab").write_bytes(shards[1][:-1000])
    odd = bytearray(demo.data)
    name = demo.tensors[-1].name.encode()
    kind_at = odd.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4 + 8 * len(demo.tensors[-1].shape)
    odd[kind_at] = 29
    _write(models / "odd", {"model.gguf": bytes(odd)})
    large = replace(FULL, decoder=replace(FULL.decoder, vocab_size=4096))
    _write(models / "large", {"model.gguf": header(large)}, json.dumps(random_tekken(4096)).encode())
    with (models / "large" / "model.gguf").open("r+b") as file:
        file.truncate(2_600_000_000)  # a hole: nobody reads it
    _write(models / "whole", {"model.gguf": demo.data})

    runtime.ensure()
    with make_server("localhost", 0, models, {"e2e": E2E}) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://localhost:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def _write(folder: Path, files: dict[str, bytes], tekken: bytes | None = None) -> None:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "tekken.json").write_bytes(tekken or (DEMO / "tekken.json").read_bytes())


class FaultyPage:
    """The page, with faults.js in its engine's worker."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.set_default_timeout(LOAD_LIMIT_MS)
        tape = (E2E / "faults.js").read_text() + (ROOT / "app" / "tape.js").read_text()
        headers = {"Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp"}
        page.route("**/app/tape.js", lambda route: route.fulfill(body=tape, headers=headers))
        page.goto(address)

    def faults(self, **faults: Any) -> dict[str, int]:
        """Make them, and see what was counted so far."""
        seen: dict[str, int] = self.page.evaluate(
            FAULTS.replace("postMessage(faults)", "postMessage({ ...faults, room: faults.room ?? Infinity })"),
            {**NO_FAULTS, **faults},
        )
        return seen

    def load(self, model: str, backend: str | None, **faults: Any) -> str | None:
        """The sentence of a load that goes wrong, which must also be on the page and leave the GPU empty."""
        self.faults(**faults)
        sentence: str | None = self.page.evaluate(LOAD, [model, backend])
        if sentence is not None:
            card = self.page.get_by_role("alert").filter(has_text="The model was not loaded")
            expect(card).to_be_visible()
            expect(card).to_contain_text(sentence[1:].rstrip("."))
            assert "\n" not in sentence
            assert self.faults()["live"] == 0
        return sentence

    def use_demo(self) -> None:
        """Press the button, and hear four digits."""
        self.faults()
        self.page.get_by_role("button", name="Use the demo model").click()
        expect(self.page.get_by_role("status").first).to_have_text("Ready on the CPU", timeout=LOAD_LIMIT_MS)
        expect(self.page.locator("#refusal")).to_be_hidden()
        expect(self.page).not_to_have_url(re.compile("model="))
        self.page.get_by_role("button", name="Digits", exact=True).click()
        expect(self.page.locator(".entry .text")).to_have_text("one four one seven", timeout=LOAD_LIMIT_MS)


@pytest.fixture(scope="module")
def faulty(browser: Browser, server_url: str) -> Iterator[FaultyPage]:
    """A page whose model of 4 billion parameters met a software GPU; engine idle, ready for further loads."""
    context = browser.new_context(base_url=server_url, service_workers="block")
    watch = Watch(context, server_url)
    page = FaultyPage(context.new_page(), "/?model=models/large/model.gguf")
    expect(page.page.locator("#refusal")).to_be_visible(timeout=LOAD_LIMIT_MS)
    yield page
    page.use_demo()  # after all that, it still works
    context.close()
    watch.check()


def test_a_large_model_on_a_software_gpu_is_not_loaded_unless_insisted_on(faulty: FaultyPage) -> None:
    card = faulty.page.locator("#refusal")
    expect(card).to_contain_text("This model has 4.0 billion parameters and needs a GPU, but the only one here is ")
    expect(card).to_contain_text("swiftshader, software on the CPU")
    expect(card.get_by_role("button", name="Load it anyway")).to_be_visible()
    expect(card.get_by_role("button", name="Use the demo model")).to_be_visible()
    expect(faulty.page.get_by_role("status").first).to_have_text("No model")
    seen = faulty.faults()
    assert seen["live"] == 0
    assert seen["largest"] <= MOST_BUFFER_BYTES


def test_a_shard_that_is_too_short_is_named_with_its_tensor(faulty: FaultyPage, demo: Demo) -> None:
    sentence = faulty.load("models/short/", "webgpu")
    assert sentence is not None
    broken = demo.at(2 * SHARD_BYTES - 1000).name
    assert "/models/short/shard-ab: ends within tensor" in sentence
    assert f"{broken!r}: expected {SHARD_BYTES:,} bytes, found {SHARD_BYTES - 1000:,}, 1,000 are missing" in sentence


def test_a_tensor_of_a_type_we_do_not_read_is_named(faulty: FaultyPage, demo: Demo) -> None:
    sentence = faulty.load("models/odd/model.gguf", None)
    assert sentence is not None
    expected = f"tensor {demo.tensors[-1].name!r} is of type IQ1_M, expected F32, F16, BF16, Q4_0 or Q8_0"
    assert f"/models/odd/model.gguf: {expected}" in sentence


@pytest.mark.parametrize("byob", [True, False])
def test_a_download_that_breaks_off_names_tensors_and_byte(faulty: FaultyPage, demo: Demo, byob: bool) -> None:
    n_sent = 5_000_000

    def send_less(route: Route) -> None:
        if route.request.method == "HEAD":
            return route.continue_()
        start = int(route.request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        headers = {"Cross-Origin-Resource-Policy": "same-origin"}
        return route.fulfill(status=206, body=demo.data[start:n_sent], headers=headers)

    faulty.page.route("**/models/whole/model.gguf", send_less)
    sentence = faulty.load("models/whole/model.gguf", "webgpu", byob=byob)
    faulty.page.unroute("**/models/whole/model.gguf")
    assert sentence is not None
    found = re.match(r"tensors? '(\S+)'(?: to '(\S+)')? could not be read: http://", sentence)
    assert found is not None, sentence
    named = [tensor.offset for tensor in demo.tensors if tensor.name in found.groups()]
    assert named[0] <= demo.at(n_sent).offset <= named[-1]
    what_came = re.search(r"expected [\d,]+ bytes from byte ([\d,]+) on, found ([\d,]+) \(", sentence)
    assert what_came is not None, sentence
    assert sum(int(number.replace(",", "")) for number in what_came.groups()) == n_sent
    assert sentence.endswith("; try again")
    assert faulty.faults()["peak"] > SHARD_BYTES


def test_a_gpu_without_memory_says_what_was_needed_and_where_it_ended(faulty: FaultyPage) -> None:
    sentence = faulty.load("models/whole/model.gguf", "webgpu", room=8_000_000)
    assert sentence is not None
    assert sentence.startswith("this model needs 17 MB of GPU memory, 12 MB for its weights and ")
    assert re.search(r"has no room for the [\d.]+ [kM]B of '.+' beside the [\d.]+ [kM]B that it holds ", sentence)
    assert "(Not enough memory left); close other tabs and programs that use the GPU, then try again" in sentence
    expect(faulty.page.locator("#refusal").get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("none", "the browser found no GPU that WebGPU may use; check that hardware acceleration is on"),
        ("no device", "gave no WebGPU device (OperationError: the driver is too old); restart the browser"),
        ("limited", "it grants maxStorageBuffersPerShaderStage 4 where 8 is needed; use another GPU or browser"),
    ],
)
def test_an_adapter_that_will_not_do_says_why(faulty: FaultyPage, adapter: str, expected: str) -> None:
    sentence = faulty.load("models/whole/model.gguf", "webgpu", adapter=adapter)
    assert sentence is not None
    assert expected in sentence


def test_loading_holds_one_buffer_at_a_time_and_in_the_end_none(harness: Harness) -> None:
    report = harness.run("browser_loading", "load_demo", [])
    assert report["after phase one"] == [0, len((DEMO / "voxtral-demo-q4_0.gguf").read_bytes())]
    assert 256 * 1024 <= report["peak"] <= MOST_BUFFER_BYTES
    assert report["after failure"] == 0


@pytest.mark.parametrize("byob", [True, False])
def test_any_ranges_of_a_file_read_like_the_whole(harness: Harness, byob: bool) -> None:
    assert harness.run("browser_loading", "read_ranges", [byob]) == []


def test_a_full_gpu_can_be_tried_again_and_without_byob_readers_the_model_loads(
    browser: Browser, server_url: str
) -> None:
    context = browser.new_context(base_url=server_url, service_workers="block")
    watch = Watch(context, server_url)
    held: list[Route] = []
    page = context.new_page()
    page.route("**/models/whole/tekken.json", lambda route: held.append(route))
    faulty = FaultyPage(page, "/?model=models/whole/model.gguf&backend=webgpu")
    wait_until(page, lambda: bool(held), LOAD_LIMIT_MS / 1000)
    faulty.faults(room=20_000_000)
    page.unroute("**/models/whole/tekken.json")
    held[0].continue_()
    expect(page.locator("#refusal")).to_contain_text("to remember what it hears, but ", timeout=LOAD_LIMIT_MS)
    assert faulty.faults(byob=False)["live"] == 0
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status").first).to_contain_text("Ready on", timeout=LOAD_LIMIT_MS)
    seen = faulty.faults()
    assert seen["chunks"] > 0
    assert seen["live"] > 12_000_000
    assert seen["largest"] <= MOST_BUFFER_BYTES
    page.get_by_role("button", name="Digits", exact=True).click()
    expect(page.locator(".entry .text")).to_have_text("one four one seven", timeout=LOAD_LIMIT_MS)
    context.close()
    watch.check()
