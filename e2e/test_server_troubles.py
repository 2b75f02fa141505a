"""A server that breaks off, is busy, full, gone or refuses: nothing that was said is lost, and each trouble has its
sentence."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fake_page import Director
from patience import wait_until
from playwright.sync_api import Browser, Page, expect
from server_page import LIMIT_MS, Serve, add, allow, directed_page, document_of, look_at, speak, stop
from vllm_server import MODEL, serve_vllm

GIVE_UP_MS = 46_000  # after Stop; remote_transcriber.js, PATIENCE_S
SAID_IN_DELTAS = """async (deltas) => {
    const { DeltaWords } = await import("/app/delta_words.js");
    const { joined } = await import("/app/documents.js");
    const heard = new DeltaWords(10);
    deltas.forEach((delta, i) => heard.take(delta, 1 + 0.08 * i));
    heard.finish();
    const ends = [10, ...heard.all.map(({ end }) => end)];
    const rising = heard.all.every(({ start, end }, i) => start < end && start >= ends[i]);
    return { words: heard.all.map(({ text, joins }) => (joins ? "+" : "") + text), text: joined(heard.all), rising };
}"""
COUNT_TROUBLES = """() => {
    const line = document.getElementById("recovery");
    window.nTroubles = 0;
    new MutationObserver(() => (nTroubles += !line.hidden)).observe(line, { attributes: true });
}"""
RETRY_AFTER = """async (values) => {
    const { retryAfterOf } = await import("/app/server_errors.js");
    return values.map(retryAfterOf);
}"""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(**behaviour) → a server for this test."""
    with ExitStack() as stack:
        yield lambda **behaviour: stack.enter_context(serve_vllm(**behaviour))


@pytest.fixture
def director(
    listening_browser: Browser, base_url: str, serve: Serve, request: pytest.FixtureRequest
) -> Iterator[Director]:
    del serve  # servers outlive the page
    with directed_page(listening_browser, base_url, request) as director:
        yield director


def test_a_recording_goes_on_where_the_connection_broke(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = allow(director, server)
    back = page.get_by_text(f"{server.host} hears again and goes on where it was.")
    server.breaks_after_s = 1.0
    page.get_by_role("button", name="Speak").click()
    expect(page.locator("#recovery")).to_contain_text(
        f"The connection to {server.host} broke off; what is said is kept", timeout=LIMIT_MS
    )
    server.lets_in = True
    expect(back).to_be_visible(timeout=LIMIT_MS)
    expect(page.locator("#recovery")).to_be_hidden()
    expect(page.locator(".word").nth(3)).to_be_visible(timeout=LIMIT_MS)

    server.breaks_with, server.breaks_after_s = 1013, 0.0
    expect(page.locator("#recovery")).to_contain_text("is busy; what is said is kept", timeout=LIMIT_MS)
    expect(page.locator("#elsewhere")).to_contain_text(f"Sound is kept here until {server.host} answers again.")
    expect(back).to_be_hidden()  # that was last time
    look_at(page, request, "busy")
    server.lets_in = True
    expect(page.locator("#recovery")).to_be_hidden(timeout=LIMIT_MS)
    n_words = page.locator(".word").count()
    expect(page.locator(".word").nth(n_words + 1)).to_be_visible(timeout=LIMIT_MS)

    page.evaluate(COUNT_TROUBLES)
    server.ends_after_s = 0.0  # its memory is full; nobody need know
    n_connections = len(server.connections)
    wait_until(page, lambda: len(server.connections) > n_connections)
    assert page.evaluate("nTroubles") == 0
    expect(page.locator(".word").nth(page.locator(".word").count() + 1)).to_be_visible(timeout=LIMIT_MS)
    stop(page)
    document = document_of(director)
    starts = [word["start"] for word in document["words"]]
    assert starts == sorted(starts)
    heard = server.sound[1:]  # after the test for live sound
    assert len(heard) == 4
    heard_again_s = sum(map(len, heard)) / 32_000 - document["audio_s"]
    assert 0 <= heard_again_s < 3 * 2.0  # nothing was skipped, little was heard twice
    assert server.mistakes == []


@pytest.mark.expects_console_errors
def test_what_a_server_will_not_hear_any_more_can_be_heard_here(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = allow(director, server)
    speak(page, 3)
    server.key = "another"
    server.breaks_after_s = 0.0
    entry = page.get_by_role("article").first
    expect(entry).to_have_attribute("data-status", "failed", timeout=LIMIT_MS)
    expect(entry.locator(".sentence")).to_have_text(
        f"{server.host} wants a key, or another one; give it with the address in the settings."
    )
    expect(entry).to_contain_text("one four")
    look_at(page, request, "failed")
    entry.get_by_role("button", name="Hear the rest on this machine").click()
    rest = page.get_by_role("article").last
    expect(rest).to_contain_text(", from 0:0")
    expect(rest).to_have_attribute("data-status", "done")
    expect(rest).not_to_contain_text("heard by")


@pytest.mark.expects_console_errors
def test_who_stopped_does_not_wait_for_ever_for_a_server_that_is_gone(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = director.page
    page.clock.install()
    allow(director, server)
    speak(page, 2)
    page.context.set_offline(True)
    expect(page.locator("#recovery")).to_contain_text("broke off; what is said is kept, and it is tried again")
    look_at(page, request, "lost")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.wait_for_timeout(1000)
    entry = page.get_by_role("article")
    expect(entry).to_have_attribute("data-status", "running")  # it may come back
    page.clock.fast_forward(GIVE_UP_MS)
    expect(entry).to_have_attribute("data-status", "failed", timeout=LIMIT_MS)
    expect(entry.locator(".sentence")).to_contain_text(f"{server.host} is gone")
    expect(entry.locator(".text")).to_contain_text("one")
    page.context.set_offline(False)
    expect(entry.get_by_role("button", name="Hear the rest on this machine")).to_be_visible()


@pytest.mark.expects_console_errors
def test_each_trouble_has_its_sentence(director: Director, serve: Serve, request: pytest.FixtureRequest) -> None:
    """While servers are added: off, closed to this page, not one at all, with another key, live or not."""
    page = director.page
    page.goto("/?model=fake:ready")
    note = page.locator(".server-list .note")
    closed, files_only, keyed = (
        serve(allows_origins=False),
        serve(has_realtime=False),
        serve(key="right-1", has_proxy=True),
    )
    for wrong, sentence in {
        "not an address": "Expected an address like",
        "http://gpu.example": "has an http address, over which sound would go unprotected",
    }.items():
        add(page, wrong)
        expect(page.locator("#server-problem")).to_contain_text(sentence)
    add(page, "localhost:1")  # the page is loaded again, and opens where it was
    expect(note.last).to_contain_text(
        "localhost:1 cannot be reached: it is off or the address is wrong, or it does not allow"
    )
    add(page, closed.url)
    expect(note.last).to_contain_text("does not allow this page")
    add(page, files_only.host)
    expect(note.last).to_contain_text(f"{files_only.host} answers with {MODEL}: files only, no live captions.")
    add(page, f"{keyed.url}/v1/", "wrong")
    expect(note.last).to_contain_text(f"{keyed.host} wants a key, or another one")
    look_at(page, request, "unreachable")
    add(page, keyed.url, "right-1")
    expect(note.last).to_contain_text(f"{keyed.host} answers with {MODEL}: live captions and files.")
    assert not any(server.sound and any(server.sound) for server in (closed, files_only, keyed))

    page.get_by_role("radio", name=keyed.host).click()
    expect(page.get_by_role("dialog", name="Send sound")).to_contain_text("the key you gave for it")
    page.get_by_role("button", name="Yes, send sound").click()
    page.get_by_role("button", name="Close settings").click()
    speak(page, 2)  # the key goes by the subprotocol
    stop(page)
    assert keyed.mistakes == []
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name=f"Forget {keyed.host}").click()
    expect(page.locator("#elsewhere")).to_be_hidden()
    assert "right-1" not in page.evaluate("JSON.stringify(localStorage)")


SEND_TO_CLOSING = """async () => {
    const { RealtimeClient } = await import("/app/realtime_client.js");
    const sent = [];
    let socket;
    window.WebSocket = class {
        static OPEN = 1;
        readyState = 1;
        bufferedAmount = 0;
        constructor() { socket = this; }
        send(text) { sent.push([this.readyState, JSON.parse(text).type]); }
        close() {}
    };
    const { port1, port2 } = new MessageChannel();
    const { promise: isLost, resolve: lost } = Promise.withResolvers();
    const options = { session: -1, address: "http://localhost:1/v1", key: "", model: "m", delayMs: null, startS: 0 };
    new RealtimeClient(options, port2, { event() {}, opened() {}, lost });
    socket.onmessage({ data: '{"type": "session.created"}' });
    const block = () => port1.postMessage(new Float32Array(1280));
    for (block(); sent.length < 3; ) await new Promise((go) => setTimeout(go, 10));
    socket.readyState = 2; // closing
    block();
    await new Promise((go) => setTimeout(go, 300)); // in which it looks for what it may send
    socket.onclose({ code: 1011, reason: "" });
    const { kind, wasOpen } = await isLost;
    return [sent, kind, wasOpen];
}"""


# -- below the page -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(listening_browser: Browser, base_url: str) -> Iterator[Page]:
    """Of the page's origin, with nothing on it."""
    page = listening_browser.new_page(base_url=base_url)
    page.route("**/bare", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto("/bare")
    yield page
    page.close()


@pytest.mark.parametrize(
    ("deltas", "words"),
    [
        ([" hel", "lo", " wor", "ld."], ["hello", "world."]),
        (["今日", "は", "。", "良", "い"], ["今", "+日", "+は。", "+良", "+い"]),
        ([" GPU", "で", "動", "く"], ["GPU", "+で", "+動", "+く"]),
        (["안녕", "하세요", " 여러분"], ["안녕하세요", "여러분"]),
        (["", " ", "", " one", "", " "], ["one"]),
    ],
)
def test_words_of_deltas(bare: Page, deltas: list[str], words: list[str]) -> None:
    made: dict[str, Any] = bare.evaluate(SAID_IN_DELTAS, deltas)
    assert made["words"] == words
    assert made["text"] == "".join(deltas).strip()
    assert made["rising"]


def test_nothing_is_sent_to_a_connection_that_is_closing(bare: Page) -> None:
    sent, kind, was_open = bare.evaluate(SEND_TO_CLOSING)
    types = ["session.update", "input_audio_buffer.commit", "input_audio_buffer.append"]
    assert sent == [[1, each] for each in types]
    assert (kind, was_open) == ("closed", True)


def test_how_long_a_busy_server_wants_one_to_wait(bare: Page) -> None:
    values = ["7", " 7 ", "0", "86400", None, "", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]
    assert bare.evaluate(RETRY_AFTER, values) == [7, 7, 1, 60, 5, 5, 5, 1]
    [seconds] = bare.evaluate(f"async () => ({RETRY_AFTER})([new Date(Date.now() + 20_000).toUTCString()])")
    assert 15 <= seconds <= 20
