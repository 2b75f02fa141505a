"""serve.py over real sockets: what it serves, what it refuses, how it starts and stops."""

import contextlib
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve import make_server
from voxtral.web import runtime
from voxtral.web.headers import COMMON_HEADERS
from voxtral.web.places import Places
from voxtral.web.precache import Asset, Precache
from voxtral.web.responses import parse_range
from voxtral.web.site import RefusedError, decode_address
from voxtral.web.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
SECRET = "not for the network"
CLIP = "/static/samples/digits_1.wav"
CLIP_FILE = ROOT / CLIP[1:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models beside a file that must stay private."""
    top = tmp_path_factory.mktemp("tree")
    (top / "secret.txt").write_text(SECRET)
    (top / "models-private").mkdir()
    (top / "models-private" / "secret.txt").write_text(SECRET)
    models = top / "models"
    (models / "shards").mkdir(parents=True)
    (models / "tiny model ü.gguf").write_bytes(bytes(range(256)))
    (models / "empty.gguf").write_bytes(b"")
    (models / ".hidden").write_text(SECRET)
    (models / "shards" / "part-0.gguf").write_bytes(b"01234567")
    (models / "way-out.gguf").symlink_to(top / "secret.txt")
    (models / "way-out").symlink_to(top / "models-private")
    (models / "inside.gguf").symlink_to(models / "shards" / "part-0.gguf")
    os.mkfifo(models / "pipe.gguf")
    return models


@pytest.fixture(scope="module")
def address(tree: Path) -> Iterator[tuple[str, int]]:
    runtime.ensure()
    with make_server("localhost", 0, tree, {"mounted": ROOT / "e2e"}) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield "localhost", int(running.server_address[1])
        running.shutdown()
        thread.join()


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def ask(address: tuple[str, int], path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def ask_raw(address: tuple[str, int], request: bytes) -> bytes:
    """Whatever comes back for these bytes, until the server closes."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


# -- what is served -----------------------------------------------------------------------------------
def test_the_bare_address_is_the_page_whatever_its_options(address):
    page = (ROOT / "app" / "index.html").read_bytes()
    assert ask(address, "/").body == page
    assert ask(address, "/?delay_ms=960&model=..%2f..").body == page


@pytest.mark.parametrize(
    ("path", "mime"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app/transcriber.js", "text/javascript; charset=utf-8"),
        ("/service_worker.js", "text/javascript; charset=utf-8"),
        ("/app.webmanifest", "application/manifest+json"),
        ("/static/runtime.json", "application/json; charset=utf-8"),
        ("/static/runtime/pyodide-0.29.0/pyodide.mjs", "text/javascript; charset=utf-8"),
        ("/static/runtime/pyodide-0.29.0/pyodide.asm.wasm", "application/wasm"),
        ("/static/model/voxtral-demo-q4_0.gguf", "application/octet-stream"),
        (f"/dist/{WheelBuilder().name}", "application/zip"),
        (CLIP, "audio/wav"),
        ("/models/shards/part-0.gguf", "application/octet-stream"),
        ("/mounted/harness.html", "text/html; charset=utf-8"),
    ],
)
def test_types_and_headers(address, path, mime):
    answer = ask(address, path, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == mime
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert {name: answer.headers[name] for name in COMMON_HEADERS} == COMMON_HEADERS
    is_pinned = path.startswith("/static/runtime/")
    assert ("immutable" in answer.headers["Cache-Control"]) == is_pinned
    assert int(answer.headers["Content-Length"]) == len(ask(address, path).body)


def test_every_runtime_file_is_served_as_pinned(address):
    packages, files = runtime.read_list()
    assert {file.package for file in files} == set(packages)
    for file in files:
        assert packages[file.package].version in file.path, "an immutable address must carry the version"
        assert int(ask(address, f"/static/runtime/{file.path}", "HEAD").headers["Content-Length"]) == file.size


def test_known_content_is_not_sent_again(address):
    for path in (CLIP, f"/dist/{WheelBuilder().name}", "/models/"):
        etag = ask(address, path).headers["ETag"]
        again = ask(address, path, If_None_Match=f'"other", W/{etag}')
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
        assert ask(address, path, If_None_Match='"other"').status == 200


def test_the_service_worker_changes_with_the_app_only(address, tmp_path):
    script = ask(address, "/service_worker.js").body
    assert script == ask(address, "/service_worker.js").body
    assert script.endswith((ROOT / "app" / "service_worker.js").read_bytes())
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "service_worker.js").write_text("// the same")
    file, precache = tmp_path / "app" / "x.js", Precache(tmp_path / "app")
    scripts = []
    for content, header in (("1", "a"), ("2", "a"), ("2", "b"), ("1", "a")):
        file.write_text(content)
        os.utime(file, (len(scripts), len(scripts)))
        scripts.append(precache.service_worker([Asset("app/x.js", file)], {"X": header}))
    assert scripts[0] == scripts[3]
    assert len(set(scripts)) == 3


def test_a_folder_of_models_is_listed(address):
    listing = json.loads(ask(address, "/models/").body)
    assert listing["folders"] == ["shards"]
    sizes = {entry["name"]: entry["n_bytes"] for entry in listing["files"]}
    assert sizes == {"empty.gguf": 0, "inside.gguf": 8, "tiny model ü.gguf": 256}
    shards = {"files": [{"name": "part-0.gguf", "n_bytes": 8}], "folders": []}
    assert json.loads(ask(address, "/models/shards/").body) == shards
    assert json.loads(ask(address, "/models/shards/manifest.json").body) == shards
    assert ask(address, "/models/tiny%20model%20%C3%BC.gguf").body == bytes(range(256))
    assert ask(address, "/models/inside.gguf").body == b"01234567"


def test_without_models_the_list_is_empty(server):
    answer = ask(("localhost", server.port), "/models/")
    assert json.loads(answer.body) == {"files": [], "folders": []}
    assert ask(("localhost", server.port), "/models/manifest.json").body == answer.body
    assert ask(("localhost", server.port), "/models/x.gguf").status == 404


def test_the_wheel_holds_package_and_shaders_and_installs(tmp_path):
    builder = WheelBuilder()
    content = builder.content()
    assert content == WheelBuilder().content(), "the same sources must give the same bytes"
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    shaders = {f"voxtral/shaders/{path.relative_to(ROOT / 'shaders')}" for path in (ROOT / "shaders").rglob("*.wgsl")}
    assert shaders
    assert shaders <= set(names)
    wheel = tmp_path / builder.name
    wheel.write_bytes(content)
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    installed = {str(path.relative_to(target)) for path in target.rglob("*") if "__pycache__" not in path.parts}
    assert {name for name in names if name.startswith("voxtral/")} <= installed


def test_a_changed_source_makes_a_new_wheel(tmp_path):
    (tmp_path / "py" / "voxtral").mkdir(parents=True)
    (tmp_path / "shaders").mkdir()
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    module = tmp_path / "py" / "voxtral" / "__init__.py"
    module.write_text("a = 1\n")
    builder = WheelBuilder(Places.of_checkout(tmp_path))
    first = builder.content()
    assert builder.content() is first
    module.write_text("a = 12\n")
    changed = zipfile.ZipFile(io.BytesIO(builder.content()))
    assert changed.read("voxtral/__init__.py") == b"a = 12\n"


# -- ranges -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, None),
        ("bytes=-5", -5, None),
        ("bytes=7-99999999", 7, None),
    ],
)
def test_a_range_is_a_part_of_the_file(address, header, start, end):
    whole = CLIP_FILE.read_bytes()
    answer = ask(address, CLIP, Range=header)
    expected = whole[start:end]
    first = start if start >= 0 else len(whole) + start
    assert (answer.status, answer.body) == (206, expected)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(whole)}"


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0", "bytes=99999999-999999999"])
def test_a_range_outside_is_416(address, header):
    answer = ask(address, CLIP, Range=header)
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{CLIP_FILE.stat().st_size}"


@pytest.mark.parametrize(
    "header", ["bytes=5-2", "bytes=", "bytes=-", "lines=0-1", "bytes=0-1,3-4", "bytes=a-b", "bytes=0-" + "9" * 5000]
)
def test_a_range_nobody_understands_gives_the_whole_file(address, header):
    answer = ask(address, CLIP, Range=header)
    assert (answer.status, answer.body) == (200, CLIP_FILE.read_bytes())


def test_if_range_guards_against_a_changed_file(address):
    etag = ask(address, CLIP, "HEAD").headers["ETag"]
    assert ask(address, CLIP, Range="bytes=0-3", If_Range=etag).status == 206
    assert ask(address, CLIP, Range="bytes=0-3", If_Range='"older"').status == 200


def test_an_empty_file_has_no_range(address):
    assert (ask(address, "/models/empty.gguf").status, ask(address, "/models/empty.gguf").body) == (200, b"")
    assert ask(address, "/models/empty.gguf", Range="bytes=0-").status == 416


@given(
    header=st.text(max_size=40) | st.from_regex(r"bytes=\d{0,25}-\d{0,25}", fullmatch=True), size=st.integers(0, 1000)
)
def test_any_range_header_lies_inside_the_file(header, size):
    try:
        span = parse_range(header, size)
    except RefusedError:
        return
    if span is not None:
        assert 0 <= span[0] < span[1] <= size


# -- what is refused ----------------------------------------------------------------------------------
CLIMBING = [
    "/../serve.py",
    "/static/../serve.py",
    "/models/../secret.txt",
    "/models/%2e%2e/secret.txt",
    "/models/%2E%2E%2Fsecret.txt",
    "/models/..%2fsecret.txt",
    "/models/..%5csecret.txt",
    "/models/..\\secret.txt",
    "/models/%252e%252e/secret.txt",
    "/models/....//secret.txt",
    "/models/../models-private/secret.txt",
    "/models//secret.txt",
    "/models/%2Fetc%2Fpasswd",
    "/models//etc/passwd",
    "//etc/passwd",
    "/models/secret.txt%00.gguf",
    "/models/way-out.gguf",
    "/models/way-out/secret.txt",
    "/models/.hidden",
    "/models/%2ehidden",
    "/models/%ff%fe",
    "/models/%c0%ae%c0%ae/secret.txt",
    "/models/shards",
    "/models/pipe.gguf",
    "/models/" + "a" * 5000,
    "/models/" + "a/" * 2000,
    "/app/../pyproject.toml",
    "/app/%2e%2e/pyproject.toml",
    "/static",
    "/static/",
    "/dist/",
    "/dist/voxtral-9.9.9-py3-none-any.whl",
    "/shaders/matvec.wgsl",
    "/pyproject.toml",
    "/.git/config",
    "/e2e/conftest.py",
    "/tests/golden/tiny/model.gguf",
    "/C:/Windows/win.ini",
    "http://localhost/models/../secret.txt",
    "models/../secret.txt",
    "*",
]


@pytest.mark.parametrize("target", CLIMBING)
def test_nothing_outside_the_folders_is_served(address, target):
    answer = ask_raw(address, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1\.1 40[04] ", answer), answer[:80]
    assert SECRET.encode() not in answer
    assert b"root:" not in answer
    assert b"Content-Security-Policy: default-src 'none'" in answer


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(["..", ".", "%2e", "%2f", "/", "\\", "%5c", "%00", "secret.txt", "models", "~", ":"]),
        max_size=8,
    )
)
def test_no_combination_of_dots_and_slashes_is_accepted(parts):
    try:
        address = decode_address("/" + "".join(parts))
    except RefusedError:
        return
    assert "/../" not in f"{address}/"
    assert "\\" not in address
    assert "\0" not in address


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(address, method):
    answer = ask(address, "/", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS on a plain port
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        random.Random(5).randbytes(300),
    ],
)
def test_a_broken_request_does_not_stop_the_server(address, request_bytes):
    answer = ask_raw(address, request_bytes)
    assert answer == b"" or b" 200 " not in answer.split(b"\r\n", 1)[0]
    assert ask(address, "/").status == 200


def test_a_body_is_not_taken_for_the_next_request(address):
    hidden = b"GET /app/transcriber.js HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(hidden)
    assert ask_raw(address, head + hidden).count(b"HTTP/1.1 ") == 1


# -- connections --------------------------------------------------------------------------------------
def test_a_connection_serves_several_requests(address):
    connection = http.client.HTTPConnection(*address, timeout=20)
    for path, status in (("/", 200), ("/nothing", 404), (CLIP, 200)):
        connection.request("GET", path)
        assert Answer(connection.getresponse()).status == status
    connection.request("HEAD", CLIP)
    assert Answer(connection.getresponse()).body == b""
    connection.request("GET", "/")
    assert Answer(connection.getresponse()).status == 200
    connection.close()


def test_several_connections_at_once(address):
    with socket.create_connection(address):  # one that never says a word blocks nobody
        with ThreadPoolExecutor(24) as pool:
            answers = list(
                pool.map(
                    lambda _: ask(address, "/static/model/voxtral-demo-q4_0.gguf", Range="bytes=0-999999"), range(48)
                )
            )
        assert {(answer.status, len(answer.body)) for answer in answers} == {(206, 1_000_000)}
        assert len({answer.body for answer in answers}) == 1


def test_a_client_that_leaves_early_is_no_error(address, capfd):
    for _ in range(5):
        with socket.create_connection(address) as connection:
            connection.sendall(b"GET /static/model/voxtral-demo-q4_0.gguf HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(100)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # reset instead of a farewell
    assert ask(address, "/").status == 200
    assert "Traceback" not in capfd.readouterr().err


# -- the program --------------------------------------------------------------------------------------
@contextlib.contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(ROOT / "serve.py"), "--no-open", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_and_stops_cleanly(sign):
    with start("--port", "0") as process:
        assert process.stdout
        greeting = process.stdout.readline()
        found = re.search(r"http://localhost:(\d+)", greeting)
        assert found, greeting
        with socket.create_connection(("localhost", int(found[1]))) as idle:
            assert ask(("localhost", int(found[1])), "/").status == 200
            process.send_signal(sign)
            output, complaints = process.communicate(timeout=20)
            assert idle.recv(1) == b""
    assert (process.returncode, output, complaints) == (0, "stopped\n", "")


def test_a_taken_port_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with start("--port", str(port)) as process:
            output, complaints = process.communicate(timeout=20)
    expected = f"port {port} on localhost is taken by another program; start with: python3 serve.py --port {port + 1}\n"
    assert (process.returncode, output, complaints) == (1, "", expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "expected a number from 0 to 65535"),
        (["--port", "-1"], "expected"),
        (["--port", "x"], "expected a number from 0 to 65535"),
        (["--export", "/dev/null"], "/dev/null holds other files"),
        (["--export", "/proc/nowhere"], "/proc/nowhere cannot be written"),
        (["--models", "/nowhere"], "'/nowhere' is not a folder"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
)
def test_a_wrong_option_is_explained(arguments, words):
    with start(*arguments) as process:
        _, complaints = process.communicate(timeout=20)
    assert process.returncode != 0
    assert words in complaints
    assert "Traceback" not in complaints
