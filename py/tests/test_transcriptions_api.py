"""POST /v1/audio/transcriptions as OpenAI's own client calls it, and as nobody should."""

import asyncio
import io
import json
import re
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from live_server import live_server
from server_fixture import SAMPLES, demo_engine
from starlette.requests import Request
from test_server_engine import Turns

from voxtral.errors import AudioError
from voxtral.server.errors import ApiError
from voxtral.server.seats import Hearing
from voxtral.server.uploads import UploadLimits, received

MODEL = "voxtral-demo"
DIGITS = SAMPLES / "digits_1.wav"
SPOKEN = "one four one seven"
LONG = SAMPLES / "long_60s.wav"
PATH = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def engine():
    return demo_engine(n_seats=2, max_queued_files=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where uploads lie."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(engine, folder):
    limits = UploadLimits(max_bytes=2_000_000, max_audio_s=58, idle_s=1.0, folder=folder)
    with live_server(engine, uploads=limits) as live:
        yield live


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_stays(request, folder):
    """No request leaves a file behind, not even a nameless one that is still open, nor keeps a seat."""
    yield
    if "server" in request.fixturenames:
        engine = request.getfixturevalue("engine")
        until(lambda: engine.health[2:] == (0, 0, 0))
        until(lambda: not kept(folder))


def kept(folder):
    opened = Path("/proc/self/fd")  # which Linux has; elsewhere files without a name are not seen
    links = [path.readlink() for path in opened.iterdir() if path.is_symlink()] if opened.exists() else []
    return [*folder.iterdir(), *(link for link in links if str(link).startswith(str(folder)))]


def until(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def transcribe(client, **options):
    return client.audio.transcriptions.create(**{"file": DIGITS, "model": MODEL, **options})


def encoded(format, seconds=0.0):
    """The digits, and silence behind them, in another format."""
    samples, rate = soundfile.read(DIGITS, dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, np.concatenate([samples, np.zeros(round(seconds * rate), np.float32)]), rate, format=format)
    return file.getvalue()


# -- answers --------------------------------------------------------------------------------------
def test_json_is_the_default(client):
    answer = transcribe(client)
    assert answer.text == SPOKEN
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(2.69, abs=0.01)


def test_text(client):
    assert transcribe(client, response_format="text") == f"{SPOKEN}\n"


def test_subtitles(client):
    (cue,) = srt.parse(transcribe(client, response_format="srt"))
    (caption,) = webvtt.from_string(transcribe(client, response_format="vtt"))
    assert cue.content == caption.text == SPOKEN
    assert 2 < cue.end.total_seconds() < 3
    assert caption.end == "00:00:02.520"


def test_verbose_json_has_segments_and_on_demand_words(client):
    answer = transcribe(client, response_format="verbose_json")
    assert (answer.text, answer.language, answer.words) == (SPOKEN, "unknown", None)
    assert "".join(segment.text for segment in answer.segments) == SPOKEN
    answer = transcribe(
        client,
        response_format="verbose_json",
        timestamp_granularities=["word"],
        language="en",
        temperature=0,
        prompt="x",
    )
    assert answer.segments is None
    assert answer.language == "english"
    assert [word.word for word in answer.words] == SPOKEN.split()
    assert all(0 <= word.start < word.end <= answer.duration and word.probability > 0.9 for word in answer.words)


def test_a_stream_appends_text_and_ends_with_all_of_it(client):
    events = list(transcribe(client, stream=True, extra_body={"delay_ms": 960}))
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text == SPOKEN


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_other_formats_of_sound(client, format):
    assert transcribe(client, file=(f"a.{format.lower()}", encoded(format))).text == SPOKEN


def test_a_name_of_a_file_is_only_a_name(client):
    assert transcribe(client, file=("../../etc/\x1b[31mpasswd\n.wav", DIGITS.read_bytes())).text == SPOKEN
    with pytest.raises(openai.BadRequestError) as failure:
        transcribe(client, file=("../../etc/\x1b[31mpasswd\n.wav", b""))
    name = failure.value.body["message"].split(": expected")[0]
    assert name.endswith(".wav")
    assert not set(name) & set("/\\\x1b\n")


# -- wrong requests -------------------------------------------------------------------------------
def refused(client, **options):
    with pytest.raises(openai.APIStatusError) as failure:
        transcribe(client, **options)
    body = failure.value.body
    assert set(body) == {"message", "type", "param", "code"}
    assert "\n" not in body["message"]
    return failure.value.status_code, body["param"], body["code"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "whisper-1"}, (404, "model", "model_not_found")),
        ({"model": ""}, (400, "model", "missing_required_parameter")),
        ({"language": "xx"}, (400, "language", "unsupported_value")),
        ({"response_format": "xml"}, (400, "response_format", "unsupported_value")),
        ({"response_format": "diarized_json"}, (400, "response_format", "unsupported_value")),
        ({"response_format": "srt", "stream": True}, (400, "stream", "unsupported_value")),
        ({"timestamp_granularities": ["word"]}, (400, "timestamp_granularities", "invalid_request")),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["letter"]},
            (400, "timestamp_granularities", "unsupported_value"),
        ),
        ({"temperature": 2}, (400, "temperature", "unsupported_value")),
        ({"temperature": float("nan")}, (400, "temperature", "unsupported_value")),
        ({"include": ["logprobs"]}, (400, "include", "unsupported_value")),
        ({"extra_body": {"delay_ms": "100"}}, (400, "delay_ms", "unsupported_value")),
        ({"extra_body": {"delay_ms": "-80"}}, (400, "delay_ms", "unsupported_value")),
        ({"extra_body": {"stream": "perhaps"}}, (400, "stream", "unsupported_value")),
        ({"prompt": "x" * 70_000}, (413, "prompt", "request_too_large")),
        ({"file": ("a.wav", b"")}, (400, "file", "invalid_audio")),
        ({"file": ("a.wav", b"this is text " * 1000)}, (400, "file", "invalid_audio")),
        ({"file": ("a.mp3", b"this is text " * 1000)}, (400, "file", "invalid_audio")),
        ({"file": ("a.wav", bytes(3_000_000))}, (413, "file", "file_too_large")),
        ({"file": ("a.wav", bytes(2_000_001))}, (413, "file", "file_too_large")),
        ({"file": ("a.flac", encoded("FLAC", 60))}, (413, "file", "audio_too_long")),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(client, options, expected):
    assert refused(client, **options) == expected


def post(server, **options):
    answer = httpx.post(f"{server.url}{PATH}", timeout=60, **options)
    return answer.status_code, answer.json()["error"]["code"]


def test_forms_that_are_none(server):
    file = {"file": ("a.wav", DIGITS.read_bytes())}
    assert post(server, json={"model": MODEL}) == (415, "unsupported_media_type")
    assert post(server, content=b"") == (415, "unsupported_media_type")
    assert post(server, data={"model": MODEL}, files={"other": b"x"}) == (400, "missing_required_parameter")
    assert post(server, files=file) == (400, "missing_required_parameter")
    assert post(server, data={"model": [MODEL, MODEL]}, files=file) == (400, "invalid_request")
    assert post(server, data={"model": MODEL}, files=[*file.items(), *file.items()]) == (400, "invalid_request")
    assert post(server, data={f"x{i}": "" for i in range(80)}, files=file) == (400, "invalid_request")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert post(server, content=b"nothing like it", headers=form) == (400, "malformed_form")
    assert post(server, content=b"--b\r\nA: b\r\n\r\n\r\n--b--\r\n", headers=form) == (400, "malformed_form")
    assert post(server, content=b"--b\r\nContent-Disposition: form-data; name=file", headers=form) == (
        400,
        "incomplete_upload",
    )
    long_boundary = {"Content-Type": f"multipart/form-data; boundary={'b' * 500}"}
    assert post(server, content=b"x", headers=long_boundary) == (400, "malformed_form")


def test_without_a_length_the_limit_holds_too(server):
    def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        for _ in range(200):
            yield bytes(65536)

    def endless_behind_its_end():
        yield PART + DIGITS.read_bytes() + b"\r\n--b--\r\n"
        for _ in range(200):
            yield bytes(65536)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for content in (endless(), endless_behind_its_end()):
        assert post(server, content=content, headers=headers) == (413, "file_too_large")


# -- connections ----------------------------------------------------------------------------------
HEAD = (
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n"
)
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def begin(server, n_bytes):
    """A connection that announces a form of so many bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(HEAD.format(PATH, n_bytes).encode())
    return connection


def whole_answer(connection):
    """Head and body, as many bytes as it says."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    n_bytes = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    while len(body) < n_bytes:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer_of(connection):
    """Status and error code of an answer behind which the server closes."""
    head, _, body = whole_answer(connection).partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert connection.recv(1) == b""
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_ten_gigabytes_are_refused_before_they_come(server):
    with begin(server, 10_000_000_000) as connection:
        assert answer_of(connection) == (413, "file_too_large")


def test_who_sends_nothing_more_is_told_so(server):
    with begin(server, 100_000) as connection:
        connection.sendall(PART)
        assert answer_of(connection) == (408, "request_timeout")


def test_a_byte_now_and_then_is_too_slow(server):
    with begin(server, 100_000) as connection:
        for byte in PART * 100:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.05)
            connection.settimeout(0.001)
            try:
                if data := connection.recv(65536, socket.MSG_PEEK):
                    assert b" 408 " in data
                    break
            except TimeoutError:
                pass
            connection.settimeout(30)
        connection.settimeout(30)
        assert answer_of(connection) == (408, "request_timeout")


def test_who_goes_away_in_the_middle_leaves_nothing(server, client):
    with begin(server, 1_000_000) as connection:
        connection.sendall(PART + bytes(300_000))
    assert transcribe(client).text == SPOKEN


@pytest.fixture
def turns(monkeypatch):
    held = Turns(monkeypatch)
    yield held
    held.go_on()


def form_of(path, **fields):
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    return parts.encode() + PART + path.read_bytes() + b"\r\n--b--\r\n"


@pytest.mark.parametrize("stream", ["true", "false"])
def test_who_goes_away_is_not_computed_for_any_more(server, engine, turns, stream):
    form = form_of(LONG, model=MODEL, stream=stream)
    connections = []
    for wanted in ((0, 1, 0), (0, 1, 1)):  # one is heard, one waits
        connections.append(begin(server, len(form)))
        connections[-1].sendall(form)
        until(lambda wanted=wanted: engine.health[2:] == wanted)
    until(lambda: len(turns.log) > 3)
    connections[1].close()
    until(lambda: engine.health[2:] == (0, 1, 0))
    connections[0].close()
    until(lambda: engine.health[2:] == (0, 0, 0))
    n_turns = len(turns.log)
    assert n_turns * 16 * 0.08 < 54, "it did not hear all of it"


def test_when_the_queue_is_full_clients_are_asked_to_come_again(server, engine, client, turns):
    turns.hold()
    form = form_of(DIGITS, model=MODEL)
    connections = []
    for wanted in ((0, 1, 0), (0, 1, 1)):
        connections.append(begin(server, len(form)))
        connections[-1].sendall(form)
        until(lambda wanted=wanted: engine.health[2:] == wanted)
    with pytest.raises(openai.RateLimitError) as failure:
        transcribe(client)
    assert failure.value.body["code"] == "rate_limit_exceeded"
    assert int(failure.value.response.headers["Retry-After"]) >= 1
    with begin(server, 1_000_000) as late:  # is told before it sends anything
        assert answer_of(late) == (429, "rate_limit_exceeded")
    turns.go_on()
    for connection in connections:
        with connection:
            assert json.loads(whole_answer(connection).partition(b"\r\n\r\n")[2])["text"] == SPOKEN
    assert transcribe(client).text == SPOKEN


def test_what_fails_in_the_middle_of_a_stream_is_its_last_event(client, monkeypatch):
    advance = Hearing.advance

    async def failing(hearing, n_tokens, now_s):
        if hearing.heard_s > 2:
            raise AudioError("the sound broke off")
        return await advance(hearing, n_tokens, now_s)

    monkeypatch.setattr(Hearing, "advance", failing)
    events = transcribe(client, stream=True)
    assert next(events).delta.startswith("one")
    with pytest.raises(openai.APIError, match="the sound broke off"):
        list(events)


# -- anything -------------------------------------------------------------------------------------
BOUNDARIES = [b"--b\r\n", b"--b--\r\n", b"--b--", b"\r\n--b", b"\r\n", b"\r\n\r\n", b": "]
HEADERS = [PART, b"Content-Disposition: form-data; ", b'name="file"', b'name="model"', b"name=x"]
CONTENTS = [b"\x00\xff", MODEL.encode(), DIGITS.read_bytes()[:3000]]
PIECES = st.sampled_from(BOUNDARIES + HEADERS + CONTENTS)


@settings(max_examples=40)
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_any_bytes_get_an_answer(server, body):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}{PATH}", content=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 400, 404)
    assert answer.status_code == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}


@settings(max_examples=40)
@given(st.binary(max_size=300), st.text(max_size=20), st.lists(st.integers(1, 90), min_size=1, max_size=9))
def test_a_form_is_the_same_in_whatever_pieces_it_comes(content, value, sizes):
    content, value = content.replace(b"--b", b"__b"), value.encode("utf-8", "replace")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        + value
        + b"\r\n"
        + PART
        + content
        + b"\r\n--b--\r\n"
    )
    chunks, start = [], 0
    while start < len(body):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(body[start : start + size])
        start += size

    async def receive():
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def scenario():
        headers = [(b"content-type", b"multipart/form-data; boundary=b")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        async with received(request, UploadLimits()) as upload:
            assert (upload.name, upload.n_bytes, upload.file.read()) == ("a.wav", len(content), content)
            assert upload.fields == {"model": [value.decode("utf-8", "replace")]}

    asyncio.run(scenario())


def test_a_disk_without_room_is_a_sentence(tmp_path):
    async def receive():
        return {"type": "http.request", "body": PART, "more_body": False}

    async def scenario():
        headers = [(b"content-type", b"multipart/form-data; boundary=b")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        async with received(request, UploadLimits(folder=tmp_path / "missing")):
            pass

    with pytest.raises(ApiError, match="cannot keep the upload") as failure:
        asyncio.run(scenario())
    assert failure.value.status == 503
