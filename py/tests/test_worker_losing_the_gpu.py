"""The worker where the GPU goes away: a fake device that vanishes, the real demo model computed with numpy."""

import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest
from test_worker import SAMPLES, listen, load, pcm, transcribe, with_worker

from voxtral import held_model
from voxtral.errors import DeviceError
from voxtral.gpu.recording import RecordingDevice
from voxtral.loading import load as load_model
from voxtral.model.stream import Stream

SPOKEN = "one four one seven"


class FragileDevice(RecordingDevice):
    """Stands for the GPU on which the model is."""

    is_gone = False

    def on_lost(self, callback):
        self.callback = callback

    def vanish(self):
        self.is_gone = True
        self.callback(DeviceError("the GPU went away (unplugged)"))


class Machine:
    """Whose GPU may vanish: devices so far, the model's options each time, and how often none is there."""

    def __init__(self, monkeypatch):
        self.devices, self.options, self.n_missing = [], [], 0
        self.steps_until_loss = None
        self.n_losses = 0
        monkeypatch.setattr(held_model, "load", self._load)
        monkeypatch.setattr(held_model, "PAUSES_S", (0.0, 0.0))
        advance = Stream.advance

        async def fragile(stream, mel):
            if self.steps_until_loss is not None and self.n_losses:
                self.steps_until_loss -= 1
                if self.steps_until_loss < 0:
                    self.n_losses -= 1
                    self.steps_until_loss = 0 if self.n_losses else None
                    self.devices[-1].vanish()
            if self.devices[-1].is_gone:
                raise DeviceError("reading failed: the device is lost")
            return await advance(stream, mel)

        monkeypatch.setattr(Stream, "advance", fragile)

    async def _load(self, host, library, options, progress_of):
        self.options.append(options)
        if self.devices and self.n_missing:
            self.n_missing -= 1
            raise DeviceError("the browser found no GPU; restart the browser")
        loaded = await load_model(host, library, replace(options, backend="numpy"), progress_of)
        self.devices.append(FragileDevice())
        return replace(loaded, gpu=self.devices[-1], found_gpu=self.devices[-1])


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def states(host):
    return [m["state"] for m in host.of("state")]


@pytest.mark.parametrize("n_missing", [0, 2])
def test_a_recording_goes_on_where_the_gpu_was_lost(machine, n_missing):
    async def scenario(host, worker):
        machine.n_missing, machine.n_losses, machine.steps_until_loss = n_missing, 1, 20
        samples = pcm("digits_1.wav")
        worker.receive(listen(1, "p"))
        for start in range(0, len(samples), 1280):
            host.ports["p"](samples[start : start + 1280])
            await asyncio.sleep(0)
        host.ports["p"](np.zeros(0, np.float32))
        return host, (await host.until("done", 1))["result"]

    host, result = with_worker(scenario)
    assert result["text"] == SPOKEN
    assert [word["text"] for word in result["words"]] == SPOKEN.split()
    assert states(host)[:6] == ["loading", "ready", "listening", "recovering", "listening", "ready"]
    (notice,) = host.of("notice", 1)
    lost_s, again_s = (int(s) for s in re.findall(r"0:0(\d)", notice["sentence"]))
    assert "GPU went away at 0:0" in notice["sentence"]
    assert again_s <= lost_s
    assert machine.devices[0].destroyed
    assert not host.of("error")
    assert [options.backend for options in machine.options] == [None, *["webgpu", "webgpu", None][: n_missing + 1]]


def test_losing_it_again_and_again_at_the_same_place_ends_in_a_sentence(machine):
    async def scenario(host, worker):
        machine.n_losses, machine.steps_until_loss = 99, 0
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        error = await host.until("error", 1)
        machine.n_losses = 0
        worker.receive(transcribe(2, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return error, (await host.until("done", 2))["result"]["text"]

    error, text = with_worker(scenario)
    assert "device is lost" in error["sentence"]
    assert text == SPOKEN
    assert 4 <= len(machine.devices) <= 6


def test_where_it_never_comes_back_the_words_stay_and_another_model_may_be_loaded(machine):
    async def scenario(host, worker):
        machine.n_missing, machine.n_losses, machine.steps_until_loss = 3, 1, 0
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        error = await host.until("error", 1)
        await host.until("refused")
        worker.receive(load())
        await host.until("ready", n=2)
        return host, error

    host, error = with_worker(scenario)
    assert "found no GPU" in error["sentence"]
    assert states(host) == ["loading", "ready", "transcribing", "recovering", "failed", "loading", "ready"]
    assert not host.of("done")


def test_an_idle_gpu_that_goes_away_is_replaced_in_silence(machine):
    async def scenario(host, worker):
        machine.devices[0].vanish()
        await host.until("state", n=4)
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return host, (await host.until("done", 1))["result"]["text"]

    host, text = with_worker(scenario)
    assert states(host)[:4] == ["loading", "ready", "recovering", "ready"]
    assert not host.of("notice") + host.of("error")
    assert text == SPOKEN


def test_a_fault_that_is_none_of_the_gpu_is_not_tried_again(machine, monkeypatch):
    monkeypatch.setattr(held_model, "LOST_S", 0.01)

    async def scenario(host, worker):
        monkeypatch.setattr("voxtral.session.StreamingSession.finish", lambda _: 1 / 0)
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return await host.until("error", 1)

    assert "ZeroDivisionError" in with_worker(scenario)["sentence"]
    assert len(machine.devices) == 1
