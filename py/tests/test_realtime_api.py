"""The WebSocket /v1/realtime, with the clients people use: websockets in vLLM's shape, openai in OpenAI's.

What the model hears is compared with a `Transcription` of the same sound alone; what a server must stand is tried with
an engine that has no model.
"""

import asyncio
import base64
import contextlib
import json
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_server import FINAL, FakeEngine, append, client, commit, live_server, seconds, update
from openai import AsyncOpenAI
from server_fixture import SAMPLES, demo_engine, load_demo
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from voxtral.audio_file import read_audio
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.decoding import Addition, Revision, Word
from voxtral.errors import DeviceError
from voxtral.server.realtime import INBOX_MESSAGES, MAX_FRAME_BYTES, MAX_MISTAKES, Limits
from voxtral.transcription import Transcription

CHUNK = 4096
DIGITS, KEYWORDS = "digits_1.wav", "keywords_1.wav"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def live():
    """The server with the demo model."""
    with live_server(demo_engine()) as running:
        yield running


@pytest.fixture
def fake():
    """The server with an engine that does as it is told."""
    engine = FakeEngine()
    with live_server(engine, limits=Limits(max_connections=400)) as running:
        running.engine = engine
        yield running


def samples_of(name):
    return read_audio(SAMPLES / name)[0]


def messages_of(samples, n=CHUNK):
    return [append(samples[start : start + n]) for start in range(0, len(samples), n)]


@pytest.fixture(scope="module")
def heard_alone():
    """Words of a sample, as the model hears them with nobody else there."""
    loaded = asyncio.run(load_demo())
    known = {}

    async def words(name, delay_ms=480):
        if (name, delay_ms) not in known:
            transcription = Transcription(loaded.model, loaded.tekken, StreamingConfig(delay_ms))
            await transcription.feed(samples_of(name))
            await transcription.finish()
            known[name, delay_ms] = transcription.result("", 0.0).words
        return known[name, delay_ms]

    return words


def timed(words):
    return [(word["text"], word["start"], word["end"]) for word in words]


# -- vLLM's shape -----------------------------------------------------------------------------------
async def test_a_client_of_vllm_gets_its_words_and_then_the_next_utterance(live, heard_alone):
    async with client(live) as one:
        for name in (DIGITS, KEYWORDS):
            samples = samples_of(name)
            await one.send(update(model="voxtral-test"), commit(), *messages_of(samples), FINAL)
            events = await one.until("transcription.done")
            assert {event["type"] for event in events[:-1]} == {"transcription.delta"}
            text = " ".join(word.text for word in await heard_alone(name))
            assert events[-1]["text"] == "".join(event["delta"] for event in events[:-1]) == text != ""
            usage = events[-1]["usage"]
            assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
            assert set(events[-1]) == {"type", "text", "usage"}


async def test_sound_may_come_before_a_commit(live, heard_alone):
    samples = samples_of(DIGITS)
    async with client(live) as one:
        await one.send(*messages_of(samples), FINAL)
        done = (await one.until("transcription.done"))[-1]
    assert done["text"] == " ".join(word.text for word in await heard_alone(DIGITS))


async def test_who_asks_for_words_gets_them_with_their_times(live, heard_alone):
    samples = samples_of(DIGITS)
    async with client(live) as one:
        await one.send(update(include=["words"], delay_ms=960))
        updated = await one.next()
        assert updated == {**updated, "type": "session.updated", "delay_ms": 960, "include": ["words"]}
        await one.send(*messages_of(samples), FINAL)
        events = await one.until("transcription.done")
    words, done = [], events.pop()
    for event in events:
        if event["type"] == "transcription.delta":
            words += event["words"]
            assert 0 <= event["heard_s"] <= done["audio_s"] + 0.1
        elif event["type"] == "transcription.revised":
            words[event["first"] : event["first"] + event["n_replaced"]] = event["words"]
        else:
            assert set(event) == {"type", "heard_s", "waiting_s"}
    assert words == done["words"]
    assert timed(words) == timed(word.as_dict() for word in await heard_alone(DIGITS, 960))
    assert done["audio_s"] == pytest.approx(len(samples) / SAMPLE_RATE, abs=1e-3)


async def test_revisions_and_how_far_it_is_are_told_to_who_asks(fake):
    async with client(fake) as rich, client(fake) as plain:
        await rich.send(update(include=["words"]), commit())
        await rich.next()
        await plain.send(commit(), FINAL)
        assert (await plain.next())["type"] == "transcription.done"
        seat = await seat_of(fake, 0)
        word = Word("no", 0.0, 1.0)
        revised = Addition(" yes", [], [Revision(0, 1, [word], "continued")])
        fake.loop.call_soon_threadsafe(seat._additions.put_nowait, revised)
        events = await rich.until("transcription.delta")
        assert events[-2] == {"type": "transcription.revised", **revised.revisions[0].as_dict()}
        await rich.send(seconds(0.5))
        assert (await rich.until("transcription.heard"))[-1]["heard_s"] == 0.5


# -- OpenAI's shape ---------------------------------------------------------------------------------
@pytest.mark.parametrize("rate", [24_000, 16_000])
async def test_the_openai_client_gets_items_with_their_transcripts(live, heard_alone, rate):
    samples = samples_of(DIGITS)
    sent = np.interp(np.arange(0, len(samples), SAMPLE_RATE / rate), np.arange(len(samples)), samples)
    openai = AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none is needed", max_retries=0)
    heard = {"format": {"type": "audio/pcm", "rate": rate}, "transcription": {"model": "voxtral-test"}}
    items = []
    async with openai, openai.realtime.connect(model="voxtral-test") as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "transcription", "audio": {"input": heard}})
        updated = await connection.recv()
        assert (updated.type, updated.session.audio.input.format.rate) == ("session.updated", rate)
        for _ in range(2):
            for message in messages_of(sent.astype(np.float32)):
                await connection.input_audio_buffer.append(audio=json.loads(message)["audio"])
            await connection.input_audio_buffer.commit()
            deltas = ""
            while (event := await connection.recv()).type != "conversation.item.input_audio_transcription.completed":
                if event.type == "input_audio_buffer.committed":
                    items.append((event.item_id, event.previous_item_id))
                else:
                    assert event.type == "conversation.item.input_audio_transcription.delta"
                    deltas += event.delta
            assert event.transcript == deltas == " ".join(word.text for word in await heard_alone(DIGITS))
            assert event.item_id == items[-1][0]
            assert event.usage.seconds == pytest.approx(len(samples) / SAMPLE_RATE, abs=1e-3)
    assert items[0][1] is None
    assert items[1][1] == items[0][0]


async def test_an_error_names_the_event_it_is_about_in_openais_shape(fake):
    async with client(fake, "?intent=transcription") as one:
        await one.send(json.dumps({"type": "response.create", "event_id": "mine"}))
        event = await one.next()
        assert event["error"] == {**event["error"], "event_id": "mine", "code": "unknown_event", "param": "type"}
        assert set(event["error"]) == {"type", "code", "message", "param", "event_id"}


async def test_a_cleared_buffer_is_forgotten(fake):
    async with client(fake, "?intent=transcription") as one:
        await one.send(seconds(1.5, 24_000), json.dumps({"type": "input_audio_buffer.clear"}))
        assert (await one.until("input_audio_buffer.cleared"))[-1]["event_id"]
        assert (await seat_of(fake, 0)).is_cancelled
        await one.send(commit())
        assert (await one.next())["error"]["code"] == "input_audio_buffer_commit_empty"


# -- mistakes ---------------------------------------------------------------------------------------
def openai_update(**heard):
    return update(session={"type": "transcription", "audio": {"input": heard}})


MISTAKES = {
    "no JSON": ("{", "invalid_json"),
    "nothing": ("", "invalid_json"),
    "deep JSON": ("[" * 100_000, "invalid_json"),
    "a list": ("[]", "invalid_event"),
    "no type": ("{}", "invalid_event"),
    "a type that is none": ('{"type": 1}', "invalid_event"),
    "an unknown type": ('{"type": "response.create"}', "unknown_event"),
    "half a character": ('{"type": "\\ud800"}', "unknown_event"),
    "a binary frame": (b"\0\0", "binary_frame"),
    "no audio": ('{"type": "input_audio_buffer.append"}', "invalid_audio"),
    "audio as a list": ('{"type": "input_audio_buffer.append", "audio": [0]}', "invalid_audio"),
    "text as audio": ('{"type": "input_audio_buffer.append", "audio": "hello, world"}', "invalid_audio"),
    "empty audio": ('{"type": "input_audio_buffer.append", "audio": ""}', "invalid_audio"),
    "an odd byte": ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_audio"),
    "an end without a start": (FINAL, "input_audio_buffer_commit_empty"),
    "a final that is none": (commit(final="yes"), "invalid_value"),
    "a model that is no name": (update(model=1), "invalid_value"),
    "a delay of none": (update(delay_ms=481), "invalid_value"),
    "a delay that is no number": (update(delay_ms=True), "invalid_value"),
    "an unknown wish": (update(include=["logprobs"]), "invalid_value"),
    "a conversation": (update(session={"type": "realtime"}), "invalid_value"),
    "a session that is none": (update(session=[]), "invalid_value"),
    "turns": (openai_update(turn_detection={"type": "server_vad"}), "unsupported_value"),
    "a telephone": (openai_update(format={"type": "audio/pcmu"}), "unsupported_value"),
    "a language nobody speaks": (openai_update(transcription={"language": "tlh"}), "unsupported_value"),
    "another rate": (openai_update(format={"type": "audio/pcm", "rate": 8000}), "unsupported_value"),
}


async def test_after_a_mistake_the_connection_goes_on(fake):
    async with client(fake) as one:
        for n, (name, (message, code)) in enumerate(MISTAKES.items()):
            await one.send(message)
            event = await one.next()
            assert (event["type"], event["code"]) == ("error", code), name
            assert "Traceback" not in event["error"], name
            if n % 8 == 7:  # sound in between: it is no flood
                await one.send(seconds(0.1), FINAL)
                await one.until("transcription.done")
        await one.send(seconds(2), FINAL)
        assert (await one.until("transcription.done"))[-1]["text"] == "word0 word1"


async def test_mistakes_without_end_end_the_connection(fake):
    async with client(fake) as one:
        await one.send(*["{"] * (MAX_MISTAKES + 1))
        events = [await one.next() for _ in range(MAX_MISTAKES + 1)]
        assert [event["code"] for event in events] == ["invalid_json"] * MAX_MISTAKES + ["too_many_errors"]
        assert await one.close_code() == 1008


@pytest.mark.parametrize("query", ["", "?model=gpt-realtime"])
async def test_another_model_is_not_here(fake, query):
    async with client(fake, query) as one:
        if not query:
            await one.send(update(model="gpt-realtime"))
        event = await one.next()
        assert event["code"] == "model_not_found"
        assert "voxtral-test" in event["error"]
        assert await one.close_code() == 1008


async def test_a_frame_has_a_limit(fake):
    async with client(fake) as one:
        with contextlib.suppress(ConnectionClosed):
            await one.send("x" * (MAX_FRAME_BYTES + 1))
        assert await one.close_code() == 1009
    await works(fake)


# -- what a server must stand -----------------------------------------------------------------------
async def seat_of(fake, number):
    """The seat that the engine gave out; it may take a moment."""
    while len(fake.engine.seats) <= number:
        await asyncio.sleep(0.01)
    return fake.engine.seats[number]


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def works(live):
    async with client(live) as one:
        await one.send(seconds(1), FINAL)
        assert (await one.until("transcription.done"))[-1]["text"] == "word0"


async def test_without_a_seat_a_client_is_told_when_to_come_again(fake):
    fake.engine.n_seats = 1
    async with client(fake) as first, client(fake) as second:
        await first.send(commit())
        await seat_of(fake, 0)
        await second.send(seconds(0.1))
        event = await second.next()
        assert (event["code"], event["retry_after_s"]) == ("rate_limit_exceeded", 7)
        assert await second.close_code() == 1013
        assert second.socket.close_reason.startswith("try again in 7 s")
        await first.send(FINAL)
        await first.until("transcription.done")
    await works(fake)


@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_who_goes_stops_being_computed(fake, how):
    async with client(fake) as one:
        await one.send(seconds(1))
        seat = await seat_of(fake, 0)
        if how == "close":
            await one.socket.close()
        elif how == "abort":
            one.socket.transport.abort()
        else:
            one.socket.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await until(lambda: seat.is_cancelled)
    await works(fake)


async def test_who_waits_for_the_last_words_and_goes_stops_being_computed(fake):
    fake.engine.on_seat = lambda seat: setattr(seat, "finish", asyncio.Event().wait)
    async with client(fake) as one:
        await one.send(seconds(1), FINAL)
        seat = await seat_of(fake, 0)
    await until(lambda: seat.is_cancelled)


async def test_sound_that_the_engine_cannot_take_is_not_read(fake):
    fake.engine.on_seat = lambda seat: seat.gate.clear()
    message = seconds(20)
    n_messages = 60_000_000 // len(message)
    async with client(fake) as one:
        sending = asyncio.create_task(one.send(*[message] * n_messages))
        seat = await seat_of(fake, 0)
        await until(lambda: seat.n_feeds)
        await asyncio.sleep(0.5)
        assert not sending.done()
        assert seat.n_feeds == 1
        fake.loop.call_soon_threadsafe(seat.gate.set)
        await sending
        await one.send(FINAL)
        done = (await one.until("transcription.done"))[-1]
        assert done["text"].split()[-1] == f"word{20 * n_messages - 1}"
        assert n_messages > INBOX_MESSAGES


async def test_an_engine_that_fails_says_so_and_the_next_client_is_served(fake):
    async with client(fake) as one:
        await one.send(seconds(1))
        await one.until("transcription.delta")
        fake.loop.call_soon_threadsafe(fake.engine.seats[0].fail, DeviceError("the GPU went away"))
        event = await one.next()
        assert (event["error"], event["code"]) == ("the GPU went away", "unavailable")
        assert await one.close_code() == 1011
    await works(fake)


async def test_a_defect_is_no_traceback_for_the_client(fake, caplog):
    fake.engine.failure = RuntimeError("secret")
    async with client(fake) as one:
        await one.send(seconds(1))
        event = await one.next()
        assert event["code"] == "internal_error"
        assert "secret" not in event["error"]
        assert await one.close_code() == 1011
    assert "secret" in caplog.text  # the operator is told
    fake.engine.failure = None
    await works(fake)


async def test_silence_for_long_ends_a_connection():
    with live_server(FakeEngine(), limits=Limits(idle_s=1.5)) as live:
        async with client(live) as one:
            assert (await one.next())["code"] == "idle_timeout"
            assert await one.close_code() == 1008
        async with client(live) as one:
            for _ in range(8):  # together longer than idle_s, each so much shorter that a busy machine does not matter
                await asyncio.sleep(0.25)
                await one.send(seconds(0.25))
            await one.send(FINAL)
            assert (await one.until("transcription.done"))[-1]["text"] == "word0 word1"


async def test_a_thousand_connections_at_once(fake):
    """Some are served, the others are told to come again, and the server goes on."""
    told = []

    async def come():
        async with connect(fake.socket_url, open_timeout=60) as socket:
            event = json.loads(await socket.recv())
            told.append((event["type"], event.get("code")))
            await until(lambda: len(told) == 1000)

    await asyncio.gather(*(come() for _ in range(1000)))
    assert told.count(("session.created", None)) == 400
    assert told.count(("error", "rate_limit_exceeded")) == 600
    await until(lambda: fake.draining.is_idle)
    await works(fake)


async def test_a_server_that_stops_lets_utterances_end(fake):
    async with client(fake) as talking, client(fake) as ending, client(fake) as resting:
        for one in (talking, ending):
            await one.send(seconds(2))
            await one.until("transcription.delta")
        fake.stop()
        event = await resting.next()
        assert (event["code"], await resting.close_code()) == ("unavailable", 1012)
        await ending.send(FINAL)
        for one in (ending, talking):  # who goes on talking gets what was heard when the grace is over
            events = await one.until("error")
            assert [event["type"] for event in events[-2:]] == ["transcription.done", "error"]
            assert events[-2]["text"] == "word0 word1"
            assert await one.close_code() == 1012


# -- anything ---------------------------------------------------------------------------------------
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["audio", "final", "model", "include", "delay_ms", "session", "event_id", "type"])
KINDS = st.sampled_from(
    [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
    ]
)
AUDIO = st.binary(max_size=64).map(lambda data: base64.b64encode(data).decode())
EVENTS = st.builds(
    lambda kind, audio, fields: json.dumps({"type": kind, "audio": audio, **fields}),
    KINDS,
    AUDIO,
    st.dictionaries(KEYS, JSON, max_size=3),
)
SESSIONS = st.builds(lambda inner: update(session={"type": "transcription", "audio": inner}), JSON)
FRAMES = st.one_of(EVENTS, EVENTS, SESSIONS, st.text(max_size=40), st.binary(max_size=40))


@pytest.fixture(scope="module")
def standing():
    engine = FakeEngine()
    with live_server(engine) as running:
        running.engine = engine
        yield running


@settings(max_examples=150)
@given(frames=st.lists(FRAMES, max_size=12), query=st.sampled_from(["", "?intent=transcription"]))
def test_whatever_is_sent_the_answer_is_an_event(standing, frames, query):
    async def send():
        async with client(standing, query) as one:
            with contextlib.suppress(ConnectionClosed):
                await one.send(*frames, json.dumps({"type": "the end"}))
                sentence = ""
                while "the end" not in sentence:
                    event = await one.next()
                    if event["type"] == "error":
                        error = event["error"] if isinstance(event["error"], dict) else event
                        sentence = error.get("message", event["error"])
                        assert error["code"] not in (None, "internal_error")
            assert one.socket.close_code in (None, 1000, 1008)

    asyncio.run(send())
    asyncio.run(works(standing))
