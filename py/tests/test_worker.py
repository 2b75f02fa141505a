"""The worker on CPython: a fake host, and the real demo model."""

import asyncio
import io
import wave

import numpy as np
import pytest
from fake_host import ROOT, FakeHost

from voxtral.model.voxtral import Voxtral
from voxtral.worker import Worker

SAMPLES = ROOT / "static" / "samples"
MODEL_URL = "http://localhost/static/model/"


def load(**changes):
    options = {"model_url": MODEL_URL, "files": None, "backend": None, "delay_ms": None, "left_pad_tokens": 32}
    return {"type": "load", **options, **changes}


def transcribe(session, name, data, delay_ms=None):
    return {"type": "transcribe", "session": session, "name": name, "bytes": data, "delay_ms": delay_ms}


def listen(session, port, **changes):
    live = {"name": "microphone", "sample_rate": 16_000, "is_live": True, "start_s": 0.0, "total_s": None}
    options = {"delay_ms": None, "has_second_pass": False}
    return {"type": "listen", "session": session, "port": port, **live, **options, **changes}


def with_worker(scenario, **options):
    """Run scenario(host, worker) with the demo model loaded."""

    async def main():
        host = FakeHost()
        worker = Worker(host)
        worker.receive(load(**options))
        await host.until("state", n=2)
        try:
            return await scenario(host, worker)
        finally:
            if worker._runner:
                worker._runner.cancel()

    return asyncio.run(main())


def pcm(name):
    with wave.open(str(SAMPLES / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def wav_bytes(samples, rate):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
    return out.getvalue()


def test_loading_reports_stages_then_what_the_model_is():
    async def scenario(host, _worker):
        return host.messages

    messages = with_worker(scenario)
    stages = list(dict.fromkeys(m["stage"] for m in messages if m["type"] == "progress"))
    assert stages == ["weights", "memory", "gpu"]
    for stage in stages:
        last = [m for m in messages if m["type"] == "progress" and m["stage"] == stage][-1]
        assert last["done"] == last["total"] > 0
    ready = next(m for m in messages if m["type"] == "ready")
    assert ready["backend"] == "numpy"
    assert "seven" in ready["vocabulary"]
    assert [m["state"] for m in messages if m["type"] == "state"] == ["loading", "ready"]


def test_a_software_gpu_is_left_alone_unless_asked_for(device):
    class SoftwareHost(FakeHost):
        async def open_gpu(self):
            assert device.info.is_software
            return device

    async def main(backend):
        host = SoftwareHost()
        worker = Worker(host)
        worker.receive(load(backend=backend))
        ready = await host.until("ready")
        worker._runner.cancel()
        return ready["backend"], ready["is_software"]

    assert asyncio.run(main(None)) == ("numpy", True)
    assert asyncio.run(main("numpy")) == ("numpy", False)


def test_a_file_becomes_words_progress_and_a_result():
    async def scenario(host, worker):
        worker.receive(transcribe(1, "digits 1.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        result = (await host.until("done", 1))["result"]
        await host.until("state", n=4)
        return host, result

    host, result = with_worker(scenario)
    assert (result["file"], result["text"]) == ("digits 1.wav", "one four one seven")
    assert "".join(m["text"] for m in host.of("words", 1)) == result["text"]
    assert [word for m in host.of("words", 1) for word in m["words"]] == result["words"]
    heard = host.of("heard", 1)
    assert [m["heard_s"] for m in heard] == sorted(m["heard_s"] for m in heard)
    assert heard[-1]["waiting_s"] == 0
    assert heard[-1]["total_s"] == pytest.approx(result["audio_s"], abs=1e-3)
    assert [m["state"] for m in host.of("state")] == ["loading", "ready", "transcribing", "ready"]


def test_what_a_session_used_up_is_computed_again_before_the_next(monkeypatch):
    warm_up, calls = Voxtral.warm_up, []

    async def counted(model, *arguments):
        calls.append(arguments)
        await warm_up(model, *arguments)

    monkeypatch.setattr(Voxtral, "warm_up", counted)

    async def scenario(host, worker):
        for session in (1, 2):
            worker.receive(transcribe(session, "digits 1.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        await host.until("done", 1)
        await host.until("done", 2)
        await host.until("state", n=6)
        await asyncio.sleep(0)

    with_worker(scenario)
    assert len(calls) == 2  # when loading, and when there was nothing else to do


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_speech_from_a_microphone_becomes_words_while_it_goes_on(rate):
    async def scenario(host, worker):
        samples = np.repeat(pcm("digits_2.wav"), rate // 16_000)
        worker.receive(listen(5, "p", sample_rate=rate))
        await host.until("state", n=3)
        block = rate * 80 // 1000
        for start in range(0, len(samples), block):
            host.ports["p"](samples[start : start + block])
            await asyncio.sleep(0)
        before_stop = await host.until("words", 5, n=3)
        worker.receive({"type": "stop", "session": 5})
        host.ports["p"](samples[-block:] * 0)  # blocks on their way still count
        host.ports["p"](np.zeros(0, np.float32))
        host.ports["p"](np.ones(block, np.float32))  # behind the end: the recording is over
        done = await host.until("done", 5)
        await host.until("state", n=4)
        assert not host.ports  # no longer listened to
        return before_stop, done["result"]

    before_stop, result = with_worker(scenario)
    assert before_stop["text"].strip()
    assert result["text"] == "zero three zero nine eight two"
    assert result["audio_s"] == pytest.approx(len(pcm("digits_2.wav")) / 16_000 + 0.08, abs=1e-3)


def test_a_very_quiet_file_that_comes_decoded_is_raised_and_a_recording_is_not():
    async def scenario(host, worker):
        for session, is_live in ((1, False), (2, True)):
            worker.receive(listen(session, "p", name="quiet.mp3", is_live=is_live))
            host.ports["p"](pcm("digits_1.wav") / 500)
            host.ports["p"](np.zeros(0, np.float32))
            await host.until("done", session)
        return host

    host = with_worker(scenario)
    assert host.of("done", 1)[0]["result"]["text"] == "one four one seven"
    (notice,) = host.of("notice")
    assert notice["sentence"].startswith("quiet.mp3: it is very quiet (peak -")
    assert notice["session"] == 1


def test_sound_that_waits_is_heard_in_larger_pieces():
    async def scenario(host, worker):
        worker.receive(listen(1, "p"))
        await host.until("state", n=3)
        block = np.zeros(1280, np.float32)
        for _ in range(5):  # as it comes
            host.ports["p"](block)
            await host.until("heard", 1, n=len(host.of("heard", 1)) + 1)
        n_single = len(host.of("heard", 1))
        for _ in range(48):
            host.ports["p"](block)
        host.ports["p"](block[:0])
        await host.until("done", 1)
        return n_single, [event["heard_s"] for event in host.of("heard", 1)][n_single - 1 :]

    n_single, heard_s = with_worker(scenario)
    assert n_single == 5
    assert min(np.diff(heard_s[:4])) > 0.6, "several tokens in one call of the encoder"


def test_a_recording_whose_end_never_arrives_ends_all_the_same():
    async def scenario(host, worker):
        worker.receive(listen(1, "p"))
        host.ports["p"](pcm("digits_1.wav"))
        worker.receive({"type": "stop", "session": 1})
        return (await host.until("done", 1))["result"]["text"]

    assert with_worker(scenario) == "one four one seven"


def test_a_fault_of_the_engine_is_told_and_the_next_recording_works(monkeypatch):
    async def scenario(host, worker):
        with monkeypatch.context() as patch:
            patch.setattr("voxtral.session.StreamingSession.finish", lambda _: 1 / 0)
            worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
            error = await host.until("error", 1)
        worker.receive(transcribe(2, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return error, (await host.until("done", 2))["result"]["text"]

    error, text = with_worker(scenario)
    assert "ZeroDivisionError" in error["sentence"]
    assert text == "one four one seven"


def test_recordings_wait_for_each_other_and_nothing_is_lost():
    async def scenario(host, worker):
        worker.receive(listen(1, "p"))
        worker.receive(transcribe(2, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        worker.receive(listen(3, "q"))
        host.ports["q"](pcm("digits_4.wav"))
        host.ports["p"](pcm("keywords_2.wav"))
        worker.receive({"type": "stop", "session": 3})
        worker.receive({"type": "stop", "session": 1})
        return [(await host.until("done", session))["result"]["text"] for session in (1, 2, 3)]

    texts = ["snowboy snowboy snowboy jarvis", "one four one seven", "four seven nine three three"]
    assert with_worker(scenario) == texts


def test_cancel_stops_a_file_and_one_that_waits():
    async def scenario(host, worker):
        worker.receive(transcribe(1, "long.wav", (SAMPLES / "long_60s.wav").read_bytes()))
        worker.receive(transcribe(2, "next.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        await host.until("heard", 1)
        worker.receive({"type": "cancel", "session": 2})
        worker.receive({"type": "cancel", "session": 1})
        await host.until("cancelled", 1)
        await host.until("cancelled", 2)
        worker.receive(transcribe(3, "after.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        await host.until("done", 3)
        return host

    host = with_worker(scenario)
    assert not host.of("done", 1) + host.of("done", 2)
    assert host.of("heard", 1)[-1]["heard_s"] < 30


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"hello, this is text", "note.wav"),
        (wav_bytes(np.zeros(0), 16_000), "note.wav"),
        (wav_bytes(np.zeros(1), 16_000), "note.wav"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_next_one_works(data, expected):
    async def scenario(host, worker):
        worker.receive(transcribe(1, "note.wav", data))
        error = await host.until("error", 1)
        worker.receive(transcribe(2, "good.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return error, (await host.until("done", 2))["result"]["text"]

    error, text = with_worker(scenario)
    assert not error["fatal"]
    assert "note.wav" in error["sentence"]
    assert expected in error["sentence"]
    assert "\n" not in error["sentence"]
    assert text == "one four one seven"


def test_what_was_odd_about_a_file_is_said():
    whole = (SAMPLES / "digits_1.wav").read_bytes()

    async def scenario(host, worker):
        worker.receive(transcribe(1, "cut.wav", whole[: len(whole) // 2]))
        await host.until("done", 1)
        return host.of("notice", 1)

    (notice,) = with_worker(scenario)
    assert "cut.wav" in notice["sentence"]


def test_a_file_that_comes_in_pieces_is_transcribed_with_progress():
    async def scenario(host, worker):
        samples = np.repeat(pcm("digits_1.wav"), 2)
        worker.receive(
            listen(1, "p", name="talk.mp3", sample_rate=32_000, is_live=False, total_s=len(samples) / 32_000)
        )
        for start in range(0, len(samples), 32_000):
            host.ports["p"](samples[start : start + 32_000])
            await asyncio.sleep(0)
        assert not host.of("heard", 1)  # whether it is very quiet is not known yet
        host.ports["p"](np.zeros(0, np.float32))
        return host, (await host.until("done", 1))["result"]

    host, result = with_worker(scenario)
    assert (result["file"], result["text"]) == ("talk.mp3", "one four one seven")
    heard = host.of("heard", 1)
    assert {m["total_s"] for m in heard} == {len(pcm("digits_1.wav")) / 16_000}
    assert len({m["heard_s"] for m in heard}) > 2
    assert host.of("state")[2]["state"] == "transcribing"


def test_a_session_takes_its_own_delay_and_another_may_be_prepared():
    warmed = []

    async def scenario(host, worker):
        model = worker._held.loaded.model
        warm_up = model.warm_up
        model.warm_up = lambda streaming: warmed.append(streaming.delay_ms) or warm_up(streaming)
        worker.receive({"type": "prepare", "delay_ms": 960})
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_2.wav").read_bytes(), 240))
        text = (await host.until("done", 1))["result"]["text"]
        worker.receive({"type": "prepare", "delay_ms": 500})
        worker.receive(transcribe(2, "d.wav", (SAMPLES / "digits_1.wav").read_bytes(), 100))
        return text, (await host.until("error", 2))["sentence"], host.of("error")[0]

    text, sentence, refused = with_worker(scenario)
    assert text == "zero three zero nine eight two"
    assert "got 100" in sentence
    assert "got 500" in refused["sentence"]
    assert warmed[-1] == 960
    assert len(warmed) <= 2  # once for all that was asked while it was busy


def test_memory_can_be_inspected():
    async def scenario(host, worker):
        worker.receive({"type": "inspect"})
        return await host.until("inspected")

    assert with_worker(scenario) == {"type": "inspected", "heap_bytes": 0, "loader_bytes": 0, "gpu_bytes": 0}


def test_an_empty_recording_says_so():
    async def scenario(host, worker):
        worker.receive(listen(1, "p"))
        worker.receive({"type": "stop", "session": 1})
        return await host.until("error", 1)

    assert "no sound" in with_worker(scenario)["sentence"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"delay_ms": 500}, "480"),
        ({"left_pad_tokens": 1}, "left_pad_tokens"),
        ({"backend": "webgpu"}, "no WebGPU"),
        ({"model_url": "http://localhost/static/model/nothing.gguf"}, "nothing.gguf, the server answered 404"),
        ({"model_url": "http://localhost/static/samples/"}, "static/samples"),
        ({"model_url": "http://localhost/nowhere/model.gguf"}, "tekken.json"),
    ],
)
def test_a_load_that_cannot_work_is_one_sentence_and_another_may_follow(changes, expected):
    async def scenario(host, worker):
        await host.until("refused")
        worker.receive(load())
        await host.until("ready")
        worker.receive(transcribe(1, "d.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return host, (await host.until("done", 1))["result"]["text"]

    host, text = with_worker(scenario, **changes)
    (refused,) = host.of("refused")
    assert expected in refused["sentence"]
    assert "\n" not in refused["sentence"]
    assert not refused["can_insist"]
    assert not host.of("error")
    assert [m["state"] for m in host.of("state")][:4] == ["loading", "failed", "loading", "ready"]
    assert text == "one four one seven"


def test_another_model_takes_the_place_of_the_first_when_its_recordings_are_done():
    async def scenario(host, worker):
        worker.receive(transcribe(1, "before.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        worker.receive(load(delay_ms=960))
        worker.receive(transcribe(2, "after.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        await host.until("done", 2)
        return host

    host = with_worker(scenario)
    assert [m["result"]["text"] for m in host.of("done")] == ["one four one seven"] * 2
    order = [m["type"] for m in host.messages if m["type"] in ("ready", "done")]
    assert order == ["ready", "done", "ready", "done"]
    assert [m["delay_ms"] for m in host.of("ready")] == [480, 960]


def test_a_recording_without_a_model_is_refused_in_a_sentence():
    async def scenario(host, worker):
        await host.until("refused")
        worker.receive(transcribe(1, "early.wav", (SAMPLES / "digits_1.wav").read_bytes()))
        return await host.until("error", 1)

    error = with_worker(scenario, delay_ms=500)
    assert error["sentence"] == "no model is loaded; load one, then try again"
    assert not error["fatal"]


def test_unknown_messages_are_refused_politely():
    async def scenario(host, worker):
        worker.receive({"type": "dance"})
        return await host.until("error")

    assert "dance" in with_worker(scenario)["sentence"]
