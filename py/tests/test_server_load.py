"""Everybody at once, on the demo model: nobody is lost, everybody is answered; and whatever a client thinks of."""

import asyncio
import io
import json
import wave
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from live_server import FINAL, MODEL, append, client, live_server, update
from openai import OpenAI
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from server_fixture import SAMPLES, demo_engine, load_demo

from voxtral.audio_file import read_audio
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.server.openapi import openapi
from voxtral.server.uploads import UploadLimits
from voxtral.transcription import Transcription

SPOKEN = {"one four": ("digits_1.wav", 0.0, 1.2), "seven": ("digits_1.wav", 2.0, 2.72)}  # seconds of a sample
N_LIVE, N_UPLOADS = 8, 20
PIECE_SAMPLES = 1600
EXAMPLES = settings(max_examples=25, suppress_health_check=list(HealthCheck))
LIMITS = UploadLimits(max_bytes=200_000)
DOCUMENT = json.loads(json.dumps(openapi((MODEL,), False, LIMITS, "")))


def spoken(name):
    """Samples."""
    sample, start_s, end_s = SPOKEN[name]
    return read_audio(SAMPLES / sample)[0][round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]


def as_file(name):
    """The same as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((spoken(name) * 32768).astype("<i2").tobytes())
    return f"{name}.wav", content.getvalue()


@pytest.fixture(scope="module")
def alone():
    """Words and times of what is spoken, each heard with nobody else there."""
    loaded = asyncio.run(load_demo())

    async def hear(name):
        transcription = Transcription(loaded.model, loaded.tekken, StreamingConfig())
        await transcription.feed(spoken(name))
        await transcription.finish()
        return [(word.text, word.start, word.end) for word in transcription.result(name, 0.0).words]

    return {name: asyncio.run(hear(name)) for name in SPOKEN}


def upload(live, name):
    """As the openai client does it, which comes again where it is told to."""
    with OpenAI(base_url=f"{live.url}/v1", api_key="none is needed", timeout=300, max_retries=20) as openai:
        answer = openai.audio.transcriptions.create(
            file=as_file(name),
            model=MODEL,
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    return name, [(word.word, word.start, word.end) for word in answer.words]


async def talk(live, name):
    """A live session: sound in small pieces."""
    samples = spoken(name)
    async with client(live) as one:
        await one.send(update(include=["words"]))
        for start in range(0, len(samples), PIECE_SAMPLES):
            await one.send(append(samples[start : start + PIECE_SAMPLES]))
            await asyncio.sleep(0.01)
        await one.send(FINAL)
        done = (await one.until("transcription.done"))[-1]
    return name, [(word["text"], word["start"], word["end"]) for word in done["words"]]


def rounded(words):
    return [(text, round(start, 2), round(end, 2)) for text, start, end in words]


def test_eight_live_sessions_and_twenty_files_at_once(alone):
    async def everybody(live):
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(N_UPLOADS) as threads:
            names = [*SPOKEN] * N_UPLOADS
            files = [loop.run_in_executor(threads, upload, live, name) for name in names[:N_UPLOADS]]
            return await asyncio.gather(*files, *(talk(live, name) for name in names[:N_LIVE]))

    with live_server(demo_engine(n_seats=N_LIVE + 2)) as live:
        heard = asyncio.run(everybody(live))
        assert len(heard) == N_LIVE + N_UPLOADS
        for name, words in heard:
            assert rounded(words) == rounded(alone[name]), name
            assert name in " ".join(word for word, _, _ in words)
        assert httpx.get(f"{live.url}/healthz").json() == {"status": "ready", "live": 0, "files": 0, "queued": 0}


def test_a_full_queue_says_when_to_come_again_and_who_does_is_served(alone):
    engine = demo_engine(n_seats=1, max_queued_files=1)

    def post(_):
        form = {"files": {"file": as_file("seven")}, "data": {"model": MODEL}}
        return httpx.post(f"{live.url}/v1/audio/transcriptions", timeout=300, **form)

    with live_server(engine) as live, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(post, range(6)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in refused:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        served = list(threads.map(lambda _: upload(live, "seven"), refused))
        assert [rounded(words) for _, words in served] == [rounded(alone["seven"])] * len(refused)


OPERATIONS = [result.ok() for result in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]


@pytest.fixture(scope="module")
def described():
    """The server that the document is about."""
    with live_server(demo_engine(model_id=MODEL), uploads=LIMITS) as live:
        yield live


def test_the_document_is_the_servers(described):
    document = httpx.get(f"{described.url}/openapi.json").json()
    assert {**document, "info": DOCUMENT["info"]} == DOCUMENT


def check(case, live):
    """Status, shape and headers; that random bytes are no sound is as it should be."""
    case.call_and_validate(base_url=live.url, excluded_checks=[positive_data_acceptance])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_what_a_client_may_send_is_answered_as_described(described, operation):
    @EXAMPLES
    @given(case=operation.as_strategy())
    def ask(case):
        check(case, described)

    ask()


def test_what_a_client_must_not_send_is_refused_as_described(described):
    (post,) = (operation for operation in OPERATIONS if operation.method == "post")

    @EXAMPLES
    @given(case=post.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case):
        check(case, described)

    ask()
    assert httpx.get(f"{described.url}/healthz").json()["status"] == "ready"
