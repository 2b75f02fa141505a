"""Fetching the pinned runtime from an origin of our own: right, wrong, cut off, resumed, and not at all."""

import hashlib
import json
import os
import socket
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from voxtral.web import runtime
from voxtral.web.runtime import RuntimeFetchError

CONTENT = {"a.js": b"export const a = 1;\n", "big.wasm": bytes(range(256)) * 4000, "LICENSE": b"free\n"}


class Origin:
    """A public CDN of three files that can be told to misbehave."""

    def __init__(self) -> None:
        self.content = dict(CONTENT)
        self.cut: set[str] = set()  # names of which only half is sent
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            origin.asked.append(name)
            if name not in origin.content:
                self.send_error(404)
                return
            body = origin.content[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if name in origin.cut else body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        origin.url = f"http://127.0.0.1:{server.server_port}/pkg/"
        yield origin
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runtime"


@pytest.fixture
def no_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH on which there is neither npm nor pip, and a Python without pip."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(sys, "executable", str(_script(empty / "python-without-pip", "exit 1")))
    return empty


def write_list(folder: Path, cdn: str, client: str = "npm", archive_folder: str = "package/") -> Path:
    package = {"name": "Thing", "version": "1.0", "licence": "MIT", "cdn": cdn, "client": client}
    package |= {"spec": "thing@1.0", "folder": archive_folder}
    files = [
        {"path": f"thing-1.0/{name}", "package": "thing", "member": name, "size": len(body), "sha256": sha256(body)}
        for name, body in CONTENT.items()
    ]
    path = folder.with_name("list.json")
    path.write_text(json.dumps({"packages": {"thing": package}, "files": files}))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def on_disk(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def closed_port_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def _script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_every_file_arrives_with_a_line_each(origin, folder):
    lines: list[str] = []
    runtime.ensure(lines.append, write_list(folder, origin.url), folder)
    assert on_disk(folder) == CONTENT
    assert all(any(name in line and "verified" in line for line in lines) for name in CONTENT)


@pytest.mark.usefixtures("no_clients")
def test_a_later_start_needs_no_network(origin, folder):
    listing = write_list(folder, origin.url)
    runtime.ensure(lambda _: None, listing, folder)
    origin.asked.clear()
    lines: list[str] = []
    runtime.ensure(lines.append, listing, folder)
    assert origin.asked == []
    assert lines == []


@pytest.mark.parametrize("wrong", [CONTENT["big.wasm"][:-1] + b"!", CONTENT["big.wasm"] + b"more"])
def test_a_wrong_hash_is_one_sentence_and_nothing_is_written(origin, folder, wrong):
    origin.content["big.wasm"] = wrong
    with pytest.raises(RuntimeFetchError, match=r"thing-1.0/big.wasm: expected SHA-256 .* got .*nothing was written"):
        runtime.ensure(lambda _: None, write_list(folder, origin.url), folder)
    assert on_disk(folder) == {"a.js": CONTENT["a.js"]}


@pytest.mark.usefixtures("no_clients")
def test_an_interrupted_fetch_goes_on_where_it_stopped(origin, folder):
    origin.cut.add("big.wasm")
    listing = write_list(folder, origin.url)
    with pytest.raises(RuntimeFetchError, match=r"Thing 1\.0 could not be fetched"):
        runtime.ensure(lambda _: None, listing, folder)
    assert on_disk(folder) == {"a.js": CONTENT["a.js"]}
    origin.cut.clear()
    origin.asked.clear()
    runtime.ensure(lambda _: None, listing, folder)
    assert origin.asked == ["big.wasm", "LICENSE"]
    assert on_disk(folder) == CONTENT


@pytest.mark.parametrize("damage", [b"", b"export const a = 2;\n"])
def test_a_damaged_file_is_fetched_again(origin, folder, damage):
    listing = write_list(folder, origin.url)
    runtime.ensure(lambda _: None, listing, folder)
    (folder / "thing-1.0" / "a.js").write_bytes(damage)
    origin.asked.clear()
    runtime.ensure(lambda _: None, listing, folder)
    assert origin.asked == ["a.js"]
    assert on_disk(folder) == CONTENT


def test_without_the_cdn_npm_is_asked(folder, no_clients, tmp_path):
    archive = tmp_path / "thing-1.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, body in CONTENT.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(body)
            tar.addfile(entry, BytesIO(body))
    seen = tmp_path / "arguments"
    _script(no_clients / "npm", f'echo "$@" > {seen}; /bin/cp {archive} "$4"')
    runtime.ensure(lambda _: None, write_list(folder, closed_port_url()), folder)
    assert on_disk(folder) == CONTENT
    assert seen.read_text().startswith("pack thing@1.0 --pack-destination ")


def test_without_the_cdn_pip_is_asked(folder, no_clients, tmp_path):
    archive = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, body in CONTENT.items():
            wheel.writestr(f"thing/vendor/{name}", body)
    seen = tmp_path / "arguments"
    _script(no_clients / "pip3", f'echo "$@" > {seen}; /bin/cp {archive} "$5"')
    runtime.ensure(lambda _: None, write_list(folder, closed_port_url(), "pip", "thing/vendor/"), folder)
    assert on_disk(folder) == CONTENT
    assert seen.read_text().startswith("download --no-deps --only-binary=:all: --dest ")


def test_an_archive_of_another_kind_is_refused(folder, no_clients, tmp_path):
    archive = tmp_path / "thing-1.0.tgz"
    archive.write_bytes(b"<html>a captive portal</html>")
    _script(no_clients / "npm", f'/bin/cp {archive} "$4"')
    with pytest.raises(RuntimeFetchError, match=r"holds no readable package/a\.js"):
        runtime.ensure(lambda _: None, write_list(folder, closed_port_url()), folder)
    assert on_disk(folder) == {}


@pytest.mark.usefixtures("no_clients")
@pytest.mark.parametrize(("client", "words"), [("npm", "npm is not installed"), ("pip", "pip is not installed")])
def test_when_nothing_works_the_sentence_says_what_was_tried(folder, client, words):
    with pytest.raises(RuntimeFetchError, match=words) as caught:
        runtime.ensure(lambda _: None, write_list(folder, closed_port_url(), client), folder)
    assert "\n" not in str(caught.value)
    assert on_disk(folder) == {}


def test_a_failing_client_is_quoted(folder, no_clients):
    _script(no_clients / "npm", "echo 'npm error 404 not found' >&2; exit 1")
    with pytest.raises(RuntimeFetchError, match="npm error 404 not found"):
        runtime.ensure(lambda _: None, write_list(folder, closed_port_url()), folder)


@pytest.mark.usefixtures("no_clients")
def test_the_start_does_without_an_optional_package(folder):
    listing = write_list(folder, closed_port_url())
    content = json.loads(listing.read_text())
    for package in content["packages"].values():
        package["is_optional"] = True
    listing.write_text(json.dumps(content))
    lines = []
    runtime.ensure(lines.append, listing, folder)
    assert "going on without" in lines[-1]
    assert on_disk(folder) == {}


def test_the_committed_list_is_complete():
    packages, files = runtime.read_list()
    assert all(package.licence and package.version for package in packages.values())
    assert all(len(file.sha256) == 64 and file.size > 0 for file in files)
    assert not any(file.path.endswith(".map") for file in files)
    assert all(package.cdn.startswith("https://") and package.cdn.endswith("/") for package in packages.values())
    assert os.sep not in "".join(file.path.split("/", 1)[0] for file in files)
