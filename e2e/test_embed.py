"""voxtral.js as builders use it, on the real engine: from the served app, and from an export on another site."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_page import use_fake_engine
from patience import wait_until
from plain_server import serve_plainly
from playwright.sync_api import Browser, Page, expect
from watch import Watch

from voxtral.web import runtime
from voxtral.web.export import export

pytestmark = pytest.mark.alone  # sound comes at its own pace

READY_LIMIT_MS = 180_000
BLANK = "<!doctype html><meta charset=utf-8><title>A page of someone else</title>"
SETUP = """async (module) => {
    const { Voxtral } = await import(module);
    window.Voxtral = Voxtral;
    const progress = [];
    window.voxtral = await Voxtral.load({ backend: "numpy", onProgress: (event) => progress.push(event) });
    window.clip = async (name) => await (await fetch(`/static/samples/${name}.wav`)).blob();
    window.samplesOf = async (blob) => {
        const pcm = new Int16Array(await blob.slice(44).arrayBuffer());
        return Float32Array.from(pcm, (sample) => sample / 32768);
    };
    window.why = (promise) => promise.then(() => "no error", ({ name, message }) => `${name}: ${message}`);
    window.whyNot = (act) => why(new Promise((resolve) => resolve(act())));
    return progress;
}"""
FEED_ODDLY = """async () => {
    const samples = await samplesOf(await clip("digits_2"));
    const stream = voxtral.stream({ delayMs: 480 });
    const events = [];
    for (const type of ["state", "token", "word", "revised", "lag", "final", "error"]) {
        stream.addEventListener(type, ({ detail }) => events.push([type, detail]));
    }
    const odd = [1, 7, 1279, 1281, 0, 3333];
    const block = new Float32Array(4000);
    for (let i = 0, turn = 0; i < samples.length; turn++) {
        const n = Math.min(odd[turn % odd.length], samples.length - i);
        block.set(samples.subarray(i, i + n)); // the same array again and again: what was fed is a copy
        stream.feed(block.subarray(0, n));
        i += n;
    }
    const transcript = await stream.finish();
    return { events, transcript, text: stream.text, pending: stream.pending, words: stream.words, state: stream.state };
}"""


@pytest.fixture(scope="module")
def builder_page(browser: Browser, base_url: str) -> Iterator[tuple[Page, list[dict[str, Any]]]]:
    """A page on the app's server with nothing of the app in it, and a Voxtral loaded; and the progress of that."""
    context = browser.new_context(base_url=base_url, service_workers="block")
    watch = Watch(context, base_url)
    page = context.new_page()
    page.set_default_timeout(READY_LIMIT_MS)
    page.route("**/builder.html", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
    page.goto("/builder.html")
    yield page, page.evaluate(SETUP, "/voxtral.js")
    context.close()
    watch.check()


def test_loading_tells_how_far_it_is_and_what_there_is(builder_page: tuple[Page, list[dict[str, Any]]]) -> None:
    page, progress = builder_page
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.1
    assert progress[-1] == {"stage": "ready", "done": 1, "total": 1, "fraction": 1}
    assert {"runtime", "weights", "memory"} <= {event["stage"] for event in progress}
    info = page.evaluate("voxtral.info")
    assert (info["backend"], info["delayMs"]) == ("numpy", 480)
    assert "seven" in info["vocabulary"]


def test_a_blob_samples_and_a_stream_of_odd_chunks_give_the_same(builder_page: tuple[Page, Any]) -> None:
    page, _ = builder_page
    whole = page.evaluate("async () => await voxtral.transcribe(await clip('digits_2'))")
    assert whole["text"] == "zero three zero nine eight two"  # spoken from the first sample on
    assert whole["audioS"] == pytest.approx(2.95, abs=0.01)
    assert set(whole["words"][0]) == {"text", "start", "end", "probability", "alternatives", "joins"}
    as_samples = page.evaluate("async () => await voxtral.transcribe(await samplesOf(await clip('digits_2')))")
    assert as_samples["words"] == whole["words"]

    fed = page.evaluate(FEED_ODDLY)
    assert fed["transcript"]["words"] == fed["words"] == whole["words"]
    assert (fed["text"], fed["pending"], fed["state"]) == (whole["text"], "", "over")
    of_type = {kind: [detail for name, detail in fed["events"] if name == kind] for kind, _ in fed["events"]}
    assert "".join(token["text"] for token in of_type["token"]) == whole["text"]
    assert [word.pop("index") for word in of_type["word"]] == [0, 1, 2, 3, 4, 5]
    assert of_type["word"] == whole["words"]
    assert [state["state"] for state in of_type["state"]] == ["listening", "over"]
    assert of_type["lag"][-1]["heardS"] > 2
    assert of_type["final"] == [fed["transcript"]]
    assert "error" not in of_type

    subtitles = page.evaluate("(transcript) => voxtral.render(transcript, 'srt')", whole)
    assert subtitles.startswith("1\n00:00:00,")
    limits = {"lineLength": 8, "nLines": 1, "charactersPerS": 17}
    short = page.evaluate("([transcript, limits]) => voxtral.render(transcript, 'vtt', { limits })", [whole, limits])
    assert short.count("-->") > subtitles.count("-->")
    assert max(map(len, short.split("\n\n")[1].split("\n")[1:])) <= 8


def test_streams_wait_for_each_other_and_can_be_given_up(builder_page: tuple[Page, Any]) -> None:
    page, _ = builder_page
    outcome = page.evaluate(
        """async () => {
            const samples = await samplesOf(await clip("digits_1"));
            const [first, second, third] = [voxtral.stream(), voxtral.stream(), voxtral.stream()];
            second.feed(samples);
            const last = second.finish();
            third.cancel();
            const listening = new Promise((resolve) => first.addEventListener("state", resolve, { once: true }));
            await listening;
            const states = [first.state, second.state, third.state];
            const aborting = new AbortController();
            const file = voxtral.transcribe(await clip("long_60s"), { signal: aborting.signal });
            aborting.abort();
            const waited = await why(file); // it stands behind two others, yet answers at once
            first.cancel(new Error("enough of it"));
            return { states, waited, first: await why(first.finish()), third: await why(third.finish()),
                text: (await last).text, late: await whyNot(() => second.feed(samples)) };
        }"""
    )
    assert outcome["states"] == ["listening", "waiting", "over"]
    assert outcome["waited"].startswith("AbortError: ")
    assert outcome["first"] == "Error: enough of it"
    assert outcome["third"] == "AbortError: The stream was cancelled."
    assert outcome["text"] == "one four one seven"
    assert "takes no more samples" in outcome["late"]


def test_mistakes_are_one_sentence_each(builder_page: tuple[Page, Any]) -> None:
    page, _ = builder_page
    sentences = page.evaluate(
        """async () => {
            const unused = voxtral.stream();
            const sentences = {
                integers: await whyNot(() => unused.feed(new Int16Array(3))),
                rate: await whyNot(() => voxtral.stream({ sampleRate: 5 })),
                array: await why(voxtral.transcribe([0.5])),
                input: await why(voxtral.stream({ input: document.body }).finish()),
                aborted: await why(voxtral.transcribe(new Float32Array(9), { signal: AbortSignal.abort() })),
            };
            unused.cancel();
            sentences.nonsense = await why(voxtral.transcribe(new Blob(["hello"]), { name: "a letter" }));
            sentences.nothing = await why(voxtral.stream().finish());
            return sentences;
        }"""
    )
    assert "found Int16Array; convert it" in sentences["integers"]
    assert "expected 1000 to 768000 Hz, found 5" in sentences["rate"]
    assert "found Array; convert it" in sentences["array"]
    assert "a <video>, an <audio> or a MediaStream" in sentences["input"]
    assert sentences["aborted"].startswith("AbortError: ")
    assert "a letter: expected" in sentences["nonsense"]
    assert "no sound arrived" in sentences["nothing"]
    assert not any("\n" in sentence or "    at " in sentence for sentence in sentences.values())


def test_disposing_ends_the_worker_and_all_that_waits(builder_page: tuple[Page, Any]) -> None:
    """The last test of this page."""
    page, _ = builder_page
    n_workers = len(page.workers)
    outcome = page.evaluate(
        """async () => {
            const running = why(voxtral.transcribe(await clip("long_60s"), { onProgress: () => begun() }));
            const { promise, resolve: begun } = Promise.withResolvers();
            const waiting = why(voxtral.stream().finish());
            await promise;
            voxtral.dispose();
            voxtral.dispose();
            const refused = await why(voxtral.transcribe(new Float32Array(9)));
            const aborted = await why(Voxtral.load({ signal: AbortSignal.timeout(50) }));
            return [aborted, await running, await waiting, refused];
        }"""
    )
    assert outcome[0].startswith("TimeoutError: ")
    assert set(outcome[1:]) == {"Error: This Voxtral was disposed of; load another with Voxtral.load()."}
    wait_until(page, lambda: len(page.workers) < n_workers)  # the browser tells of those that ended now and then


BEEPS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
ELEMENT = f"""{BLANK}<script type="module" src="/voxtral_captions.js"></script>
<voxtral-captions placeholder="Nothing yet"></voxtral-captions>"""


def test_the_element_captions_a_microphone(open_page: Callable[..., Page]) -> None:
    """With the fake engine, which hears a word each half second, and another when it is stopped."""
    page = open_page("/e2e/fake_core.js", *BEEPS)
    use_fake_engine(page)
    page.route("**/captions.html", lambda route: route.fulfill(body=ELEMENT, content_type="text/html"))
    page.goto("/captions.html")
    captions = page.locator("voxtral-captions")
    log = captions.get_by_role("log", name="Captions")
    captions.evaluate("captions => captions.addEventListener('final', ({ detail }) => (window.final = detail.text))")
    for n in (1, 2):
        captions.get_by_role("button", name="Start captions").click()
        expect(captions).to_have_attribute("state", "listening")
        expect(log.locator(f"> span:nth-child({n})")).to_contain_text("one four one")
        captions.get_by_role("button", name="Stop captions").click()
        expect(captions).to_have_attribute("state", "idle")
        assert page.evaluate("final").endswith("nine"), "what was left was heard, too"
    captions.evaluate("captions => captions.clear()")
    expect(log).to_have_text("")
    page.evaluate("""() => {
        MediaDevices.prototype.getUserMedia = async () => { throw new DOMException("", "NotAllowedError"); };
    }""")
    captions.get_by_role("button", name="Start captions").click()
    expect(captions.get_by_role("status")).to_contain_text("The microphone was not allowed")
    expect(captions.get_by_role("button", name="Try again")).to_be_visible()


def test_a_page_of_another_site_imports_an_export(browser: Browser, tmp_path: Path) -> None:
    """By the address that stays, from a host that lets others read its files, into a page with a strict policy."""
    runtime.ensure()
    folder = tmp_path / "host" / "some" / "path"
    version = export(folder).version
    assert (folder / "voxtral.js").read_text() == f'export * from "./v-{version}/app/voxtral.js";\n'
    for name in ("voxtral.d.ts", "voxtral_captions.js", "voxtral_captions.d.ts"):
        target = (folder / name).read_text().split('"')[1]
        assert (folder / target.replace(".js", name[name.index(".") :])).is_file()
    other = tmp_path / "other"
    other.mkdir()
    with (
        serve_plainly(tmp_path / "host", Access_Control_Allow_Origin="*") as host,
        serve_plainly(other) as site,
    ):
        policy = f"default-src 'none'; script-src 'self' {host.url} 'wasm-unsafe-eval' 'unsafe-eval'; "
        policy += f"worker-src blob:; connect-src {host.url}"
        meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        (other / "index.html").write_text(BLANK.replace("<title>", f"{meta}<title>"))
        context = browser.new_context(service_workers="block")
        watch = Watch(context, site.url, host.url)
        page = context.new_page()
        page.set_default_timeout(READY_LIMIT_MS)
        page.goto(f"{site.url}/index.html")
        text = page.evaluate(
            """async ([module, address]) => {
                const { Voxtral } = await import(module);
                const voxtral = await Voxtral.load({ backend: "numpy" });
                const transcript = await voxtral.transcribe(await (await fetch(address)).blob());
                voxtral.dispose();
                return transcript.text;
            }""",
            [f"{host.url}/some/path/voxtral.js", f"{host.url}/some/path/v-{version}/static/samples/digits_1.wav"],
        )
        assert text == "one four one seven"
        context.close()
        watch.check()
