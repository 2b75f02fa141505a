"""Who gets in: keys, origins, host names, limits; over real sockets, and the rules by themselves."""

import contextlib
import http.client
import json
import socket
import time

import httpx
import pytest
from live_server import FakeEngine, client, live_server
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from voxtral.errors import ConfigError
from voxtral.server import serving
from voxtral.server.errors import ApiError
from voxtral.server.security import Access, is_loopback, read_keys
from voxtral.web.site import Site

KEY = "a-key-of-this-test"
FRIEND = "https://friend.example"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def opened():
    """On loopback, without a key."""
    with live_server(FakeEngine(), Access("127.0.0.1", (), (FRIEND,)), site=Site()) as live:
        yield live


@pytest.fixture(scope="module")
def locked():
    """With a key."""
    with live_server(FakeEngine(), Access("0.0.0.0", (KEY, "another")), site=Site()) as live:
        yield live


# -- rules ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "a.localhost"])
def test_what_only_this_machine_reaches(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_what_others_reach(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "0.0.0.0"}, "--api-key"),
        ({"host": "127.0.0.1", "origins": ("*",)}, "--api-key"),
        ({"host": "127.0.0.1", "origins": ("https://example.org/",)}, "no path"),
        ({"host": "127.0.0.1", "origins": ("example.org",)}, "expected an origin"),
        ({"host": "127.0.0.1", "origins": ("HTTPS://EXAMPLE.ORG",)}, "expected an origin"),
    ],
)
def test_rules_that_protect_nobody_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Access(**options)


def test_where_keys_come_from(tmp_path):
    file = tmp_path / "keys"
    file.write_text("one\n\n two \n")
    assert read_keys(None, None, {}) == ()
    assert read_keys(None, None, {"VOXTRAL_API_KEY": "mine"}) == ("mine",)
    assert read_keys("given", file, {"VOXTRAL_API_KEY": "mine"}) == ("given", "one", "two")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff", b"not a token"])
def test_a_file_of_keys_that_holds_none(tmp_path, content):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError):
        read_keys(None, file, {})


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer ключ"]
)
def test_what_is_no_key(given):
    with pytest.raises(ApiError) as caught:
        Access("0.0.0.0", (KEY,)).check_key({"authorization": given})
    assert caught.value.status == 401


# -- keys -------------------------------------------------------------------------------------------
def get(live, path, method="GET", **headers):
    return httpx.request(method, live.url + path, headers=headers)


def test_the_page_needs_no_key_and_its_calls_do(locked):
    assert get(locked, "/").headers["content-type"].startswith("text/html")
    assert get(locked, "/v1/voxtral").json()["needs_key"] is True
    assert get(locked, "/healthz").status_code == 200
    refused = get(locked, "/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert get(locked, "/v1/audio/transcriptions", "POST").status_code == 401
    for key in (KEY, "another"):
        assert get(locked, "/v1/models", authorization=f"Bearer {key}").status_code == 200


async def test_a_socket_opens_by_header_or_by_subprotocol(locked):
    async with client(locked, additional_headers={"Authorization": f"Bearer {KEY}"}):
        pass
    async with client(locked, subprotocols=["realtime", f"openai-insecure-api-key.{KEY}"]) as one:
        assert one.socket.subprotocol == "realtime"


async def test_without_a_key_a_program_gets_a_status_and_a_page_a_sentence(locked):
    with pytest.raises(InvalidStatus) as caught:
        await connect(locked.socket_url)
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["error"]["code"] == "invalid_api_key"
    async with connect(locked.socket_url, subprotocols=["realtime", "openai-insecure-api-key.wrong"]) as socket:
        event = json.loads(await socket.recv())
        assert (event["type"], event["code"]) == ("error", "invalid_api_key")
        await socket.wait_closed()
        assert socket.close_code == 1008


# -- other pages ------------------------------------------------------------------------------------
EVIL = "https://evil.example"


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1", "not an origin", "http://["])
async def test_a_page_of_another_origin_is_refused(opened, origin):
    posted = get(opened, "/v1/audio/transcriptions", "POST", origin=origin)
    assert (posted.status_code, posted.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in posted.headers
    with pytest.raises(InvalidStatus) as caught:  # whatever it offers
        await connect(opened.socket_url, additional_headers={"Origin": origin}, subprotocols=["realtime"])
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("own", [True, False])
async def test_the_own_page_and_allowed_ones_are_let_in(opened, own):
    origin = opened.url if own else FRIEND
    async with client(opened, additional_headers={"Origin": origin}):
        pass
    assert get(opened, "/v1/models", origin=origin).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "localhost.evil.example", "friend.example.evil"]
)
async def test_a_name_that_was_pointed_here_is_refused(opened, host):
    """DNS rebinding: to the browser it is one origin."""
    for path in ("/", "/v1/models", "/healthz"):
        assert get(opened, path, host=host).status_code == 403
    if not host:
        return
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://{host}/v1/realtime", host="127.0.0.1", port=opened.port, origin=f"http://{host}")
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]", "[::1]:80", "friend.example"])
def test_names_of_this_machine_are_right(opened, host):
    assert get(opened, "/v1/models", host=host).status_code == 200


def test_cross_origin_answers_are_for_allowed_pages_alone(opened):
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    asked = get(opened, "/v1/audio/transcriptions", "OPTIONS", origin=FRIEND, **asks)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == FRIEND
    assert get(opened, "/v1/models", origin=FRIEND).headers["access-control-allow-origin"] == FRIEND
    refused = get(opened, "/v1/audio/transcriptions", "OPTIONS", origin=EVIL, **asks)
    assert refused.status_code >= 400
    assert "access-control-allow-origin" not in refused.headers


def test_a_closed_server_answers_no_preflight(locked):
    asked = get(locked, "/v1/models", "OPTIONS", origin=FRIEND, **{"access-control-request-method": "GET"})
    assert asked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers


# -- HTTP -------------------------------------------------------------------------------------------
def test_errors_have_one_shape(opened):
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/x", 404),
    ):
        answer = get(opened, path, method)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_is_served_as_serve_py_does(opened):
    page = get(opened, "/")
    assert "content-security-policy" in page.headers
    assert get(opened, "/", **{"if-none-match": page.headers["etag"]}).status_code == 304
    head = get(opened, "/app/main.js", "HEAD")
    whole = get(opened, "/app/main.js")
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(whole.content) > 100
    part = get(opened, "/app/main.js", range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert get(opened, "/app/main.js", range="bytes=99999999-").status_code == 416
    assert get(opened, "/app/../pyproject.toml").status_code == 404
    assert get(opened, "/nothing").status_code == 404
    assert get(opened, "/", "POST").status_code == 405


def test_a_model_can_be_asked_for_by_name(opened):
    listed = [card["id"] for card in get(opened, "/v1/models").json()["data"]]
    for name in listed:
        assert get(opened, f"/v1/models/{name}").json()["id"] == name


def test_a_head_that_is_too_long_or_never_ends(opened, monkeypatch):
    connection = http.client.HTTPConnection("127.0.0.1", opened.port)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        connection.request("GET", "/", headers={"x": "y" * 4 * serving.MAX_HEAD_BYTES})
        assert connection.getresponse().status == 400
    monkeypatch.setattr(serving, "HEAD_TIMEOUT_S", 0.3)
    with socket.create_connection(("127.0.0.1", opened.port)) as slow:
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                slow.sendall(b"G")
                time.sleep(0.1)
        slow.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert slow.recv(1) == b""
    assert get(opened, "/healthz").status_code == 200


@pytest.mark.parametrize(
    ("state", "status", "says"), [("failed", 503, "failed"), ("recovering", 503, "recovering"), ("ready", 200, "ready")]
)
def test_health_says_whether_new_work_is_taken(state, status, says):
    engine = FakeEngine()
    with live_server(engine) as live:
        engine.state = state
        answer = get(live, "/healthz")
        assert (answer.status_code, answer.json()["status"]) == (status, says)
