"""Words from a server that the person named: a yes before any sound, shown while it is used, taken back in one press,
live and files. When things break: test_server_troubles.py."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from fake_page import Director, use_fake_engine
from patience import wait_until
from playwright.sync_api import Browser, expect
from server_page import (
    CLIP,
    LIMIT_MS,
    Serve,
    add,
    allow,
    directed_page,
    document_of,
    look_at,
    propose,
    say_yes,
    speak,
    stop,
)
from vllm_server import MODEL, serve_vllm

LOCK_LINE = "Nothing leaves this machine"


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


@pytest.mark.expects_console_errors
def test_no_sound_goes_anywhere_without_a_yes_and_a_yes_shows(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = propose(director, server)
    look_at(page, request, "offered")
    expect(page.get_by_text(LOCK_LINE)).to_be_visible()
    assert server.asked == []
    page.get_by_role("button", name="Look at it").click()
    consent = page.get_by_role("dialog", name=f"Send sound to {server.host}?")
    expect(consent).to_contain_text("sound and video files that you choose, whole, with their names")
    expect(consent).to_contain_text(MODEL)
    look_at(page, request, "asked")
    page.keyboard.press("Escape")
    expect(consent).to_be_hidden()
    speak(page, 2)  # this machine hears
    stop(page)
    assert not any(server.sound)
    expect(page.locator("#elsewhere")).to_be_hidden()

    page.get_by_label("Where words come from").select_option(f"{server.url}/v1")
    say_yes(page, server)
    expect(page.get_by_text(LOCK_LINE)).to_be_hidden()
    expect(page.locator("#privacy-server")).to_contain_text(server.host)
    expect(page.locator("#status")).to_have_text(f"Heard by {server.host}")
    expect(page.get_by_label("Where words come from")).to_have_value(f"{server.url}/v1")
    look_at(page, request, "used")
    expect(page).not_to_have_url(re.compile("server="))
    assert not any(server.sound)
    page.reload()  # the yes is kept
    expect(page.locator("#elsewhere")).to_contain_text(server.host)
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#leaves-sound")).to_contain_text(server.host)
    expect(page.locator("#leaves-nothing")).to_be_hidden()
    add(page, serve(has_realtime=False).url)
    page.get_by_role("button", name=f"Test {server.host}").click()
    expect(page.locator(".server-list .note").first).to_contain_text("live captions and files")
    page.locator("#servers").scroll_into_view_if_needed()
    look_at(page, request, "settings")


def test_what_is_said_is_written_by_the_server_and_the_transcript_says_so(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = allow(director, server)
    speak(page, 4)
    expect(page.locator("#elsewhere")).to_contain_text(f"Sound is being sent to {server.host}")
    expect(page.locator("#privacy-here")).to_have_attribute("hidden", "")
    look_at(page, request, "live")
    page.keyboard.press("f")
    expect(page.locator("#captions .from")).to_have_text(f"heard by {server.host}")
    page.keyboard.press("f")
    stop(page)
    entry = page.get_by_role("article")
    expect(entry).to_contain_text(re.compile(r"^\W*one four one seven", re.MULTILINE))
    expect(entry.locator(".facts")).to_contain_text(f"heard by {server.host}")
    assert server.mistakes == []
    kinds = [message["type"] for message in server.connections[-1]]
    assert kinds[:3] == ["session.update", "input_audio_buffer.commit", "input_audio_buffer.append"]
    assert server.connections[-1][-1] == {"type": "input_audio_buffer.commit", "final": True}

    document = document_of(director)
    expected = {"backend": "server", "adapter": f"{server.url}/v1", "delay_ms": None}
    assert expected.items() <= document["settings"].items()
    assert document["model"] == MODEL
    assert document["estimates"] == ["start", "end", "probability"]
    assert document["audio_s"] == pytest.approx(len(server.sound[-1]) / 32_000)
    assert document["text"] == " ".join(word["text"] for word in document["words"])
    ends = [word["end"] for word in document["words"]]
    assert ends == sorted(ends)
    page.reload()
    page.locator(".session .open").first.click()
    expect(entry.locator(".facts")).to_contain_text(f"heard by {server.host}")
    entry.locator(".word").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#word-card-about")).to_have_text(re.compile(r"Heard “four”, about [\d.]+ to [\d.]+ s"))
    look_at(page, request, "details")


def test_stop_using_it_ends_what_is_on_its_way_in_every_tab(director: Director, serve: Serve) -> None:
    server = serve()
    page = allow(director, server)
    speak(page, 2)
    page.get_by_role("button", name="Stop using it").click()
    entry = page.get_by_role("article")
    expect(entry).to_have_attribute("data-status", "cancelled")
    expect(entry).to_contain_text("one four")
    expect(page.locator("#elsewhere")).to_be_hidden()
    wait_until(page, lambda: server.n_open == 0)  # what was under way has come
    n_bytes = len(server.sound[-1])
    expect(page.get_by_label("Where words come from")).to_have_value("here")
    speak(page, 6)  # this machine hears
    stop(page)
    assert len(server.sound[-1]) == n_bytes
    page.get_by_label("Where words come from").select_option(f"{server.url}/v1")
    expect(page.get_by_role("dialog", name="Send sound")).to_be_visible()  # it asks anew
    say_yes(page, server)

    other = page.context.new_page()
    use_fake_engine(other)
    other.goto("/?model=fake:ready")
    expect(other.locator("#elsewhere")).to_contain_text(server.host)
    speak(other, 2)
    page.get_by_role("button", name="Stop using it").click()
    expect(other.get_by_role("article")).to_have_attribute("data-status", "cancelled")
    expect(other.locator("#elsewhere")).to_be_hidden()
    expect(other.get_by_label("Where words come from")).to_have_value("here")


@pytest.mark.expects_console_errors
def test_files_go_there_as_they_are(director: Director, serve: Serve, request: pytest.FixtureRequest) -> None:
    server = serve()
    page = allow(director, server)
    server.n_busy, server.lets_in = 1, False
    page.locator("#file-input").set_input_files(CLIP)
    expect(page.locator("#recovery")).to_contain_text(f"{server.host} is busy; the file is sent again in 1 s.")
    server.lets_in = True
    entry = page.get_by_role("article")
    expect(entry).to_have_attribute("data-status", "done", timeout=LIMIT_MS)
    expect(entry).to_contain_text("says no times of words")
    expect(page.locator("#recovery")).to_be_hidden()
    assert [upload["response_format"] for upload in server.uploads] == ["verbose_json", "json"]
    assert all((upload["name"], upload["content"]) == ("talk.wav", CLIP["buffer"]) for upload in server.uploads)
    document = document_of(director)
    assert [word["text"] for word in document["words"]] == ["one", "four"]
    assert (document["audio_s"], document["words"][-1]["end"]) == (1, 1)
    assert document["estimates"] == ["start", "end", "probability"]

    server.has_words = True
    page.locator("#file-input").set_input_files({**CLIP, "name": "timed.wav"})
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("article").last).to_have_attribute("data-status", "done")
    document = document_of(director)
    assert [(word["start"], word["end"]) for word in document["words"]] == [(0, 0.3), (0.5, 0.8)]
    assert document["estimates"] == ["probability"]
    server.model = "another"
    page.locator("#file-input").set_input_files({**CLIP, "name": "late.wav"})
    expect(page.get_by_role("article")).to_have_count(3)
    expect(page.get_by_role("article").last.locator(".sentence")).to_contain_text(
        f"The model `{MODEL}` does not exist."
    )
    look_at(page, request, "files")


def test_a_machine_that_cannot_is_offered_a_server(
    director: Director, serve: Serve, request: pytest.FixtureRequest
) -> None:
    server = serve()
    page = director.page
    page.goto("/?model=fake:numpy")
    page.get_by_role("button", name="Use a server instead").click()
    expect(page.get_by_label("Address of a server")).to_be_focused()
    page.goto("/?model=fake:refused")
    expect(page.get_by_role("button", name="Use a server…")).to_be_visible()
    look_at(page, request, "refused")
    page.get_by_role("button", name="Use a server…").click()
    expect(page.get_by_label("Address of a server")).to_be_focused()
    add(page, server.url)
    expect(page.locator(".server-list .note")).to_contain_text("live captions and files")
    page.get_by_role("radio", name=server.host).click()
    say_yes(page, server)
    page.get_by_role("button", name="Close settings").click()
    expect(page.locator("#refusal")).to_be_hidden()
    speak(page, 2)
    stop(page)
    assert server.mistakes == []
