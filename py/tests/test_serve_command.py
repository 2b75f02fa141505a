"""`voxtral serve` as a process: how it starts, what it says when it cannot, and how it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from live_server import Client, seconds
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

ROOT = Path(__file__).parents[2]
LIMIT_S = 120


def command(*arguments):
    return [sys.executable, "-m", "voxtral", "serve", "--port", "0", "--no-page", "--backend", "numpy", *arguments]


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if name != "VOXTRAL_API_KEY"}
    return {**clean, "PYTHONPATH": str(ROOT / "py"), "PYTHONUNBUFFERED": "1", **more}


class Process:
    """A server that has started; always ended."""

    def __init__(self, *arguments, **more):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command(*arguments), env=environment(**more), **pipes)
        self.lines = []
        while not (line := self._line()).startswith("Voxtral is at"):
            assert line, "\n".join(self.lines)
        self.url = line.split()[3].rstrip(":")

    def _line(self):
        self.lines.append(self.process.stdout.readline())
        return self.lines[-1]

    def end(self):
        """Exit code, once it has ended by itself."""
        rest, _ = self.process.communicate(timeout=LIMIT_S)
        self.lines += rest.splitlines()
        return self.process.returncode


@contextlib.contextmanager
def serving(*arguments, **more):
    one = Process(*arguments, **more)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def refusal(*arguments, **more):
    """What it says, in its only line, when it does not start."""
    ended = subprocess.run(
        command(*arguments), env=environment(**more), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert ended.returncode not in (0, None), ended.stdout
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "so a key is needed"),
        (["--allow-origin", "*"], "so a key is needed"),
        (["--model", "nowhere.gguf"], "no such file or folder"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, says):
    assert says in refusal(*arguments)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1 is taken" in refusal("--port", str(port))


def test_the_first_signal_drains_and_the_exit_code_is_0():
    """A session that runs ends in peace, new ones are refused, and health says why."""
    with serving("--grace-s", "60", "--served-name", "mine") as server:
        assert "sessions at once" in server.lines[-1]
        assert httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"] == "mine"

        async def talk():
            address = f"{server.url.replace('http', 'ws')}/v1/realtime"
            async with connect(address) as talking, connect(address) as resting:
                one, other = Client(talking), Client(resting)
                await one.next()
                await other.next()
                await one.send(seconds(0.5))
                while not httpx.get(f"{server.url}/healthz").json()["live"]:
                    await asyncio.sleep(0.05)
                server.process.send_signal(signal.SIGTERM)
                assert (await other.next())["code"] == "unavailable"
                assert await other.close_code() == 1012
                health = httpx.get(f"{server.url}/healthz")
                assert (health.status_code, health.json()["status"]) == (503, "draining")
                refused = httpx.post(f"{server.url}/v1/audio/transcriptions")
                assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
                with pytest.raises(InvalidStatus):
                    await connect(address)
                await one.send('{"type": "input_audio_buffer.commit", "final": true}')
                assert (await one.until("transcription.done"))[-1]["text"] == ""
                assert (await one.next())["code"] == "unavailable"
                assert await one.close_code() == 1012

        asyncio.run(talk())
        assert server.end() == 0
        assert server.lines[-1] == "stopped"
        assert not [line for line in server.lines if "Traceback" in line]


def test_the_second_signal_ends_at_once_with_a_key_from_the_environment():
    with serving("--grace-s", "600", VOXTRAL_API_KEY="secret-of-a-test") as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 401

        async def talk():
            address = f"{server.url.replace('http', 'ws')}/v1/realtime"
            async with connect(address, additional_headers={"Authorization": "Bearer secret-of-a-test"}) as talking:
                one = Client(talking)
                await one.next()
                await one.send(seconds(0.5))
                while not httpx.get(f"{server.url}/healthz").json()["live"]:
                    await asyncio.sleep(0.05)
                server.process.send_signal(signal.SIGINT)
                while httpx.get(f"{server.url}/healthz").json()["status"] != "draining":
                    await asyncio.sleep(0.05)
                time.sleep(0.3)
                assert server.process.poll() is None  # the session has its grace
                server.process.send_signal(signal.SIGINT)
                with contextlib.suppress(Exception):
                    await one.close_code()

        asyncio.run(talk())
        assert server.end() == 128 + signal.SIGINT
        assert not [line for line in server.lines if "Traceback" in line]
