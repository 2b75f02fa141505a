"""The engine with the demo model on numpy: many sessions in turns, each as if it were alone."""

import asyncio
import itertools
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_fixture import SAMPLES, demo_engine, load_demo

from voxtral.audio_file import read_audio
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.decoding import joined
from voxtral.errors import ConfigError, DeviceError, MemoryRefusedError, ModelFileError
from voxtral.model.stream import Stream
from voxtral.server import scheduler, seats
from voxtral.server.errors import CUT_OFF, STOPPING, UNFORESEEN, ApiError, BusyError, DownError, as_api_error
from voxtral.server.seats import Hearing
from voxtral.transcription import Transcription

FILES = ("digits_1", "digits_2", "digits_3", "digits_4", "digits_noisy", "keywords_1", "keywords_2", "silence_3s")
SOUND = {name: read_audio(SAMPLES / f"{name}.wav")[0] for name in FILES}
SHORT = SOUND["digits_1"]
EIGHT = {name: sound[: round(1.2 * SAMPLE_RATE)] for name, sound in SOUND.items()}
SPOKEN = "one four one seven"


class Shared:
    """The demo model, loaded once; every engine gets it as its own."""

    def __init__(self):
        self.loaded = asyncio.run(load_demo())
        self.n_loads = 0

    async def load(self):
        self.n_loads += 1
        return self.loaded

    @property
    def n_idle(self):
        return len(self.loaded.model._idle)


@pytest.fixture(scope="module")
def demo():
    return Shared()


@pytest.fixture
def model(demo, monkeypatch):
    """The shared model, with the streams that earlier tests made: each costs seconds."""
    demo.n_loads = 0
    monkeypatch.setattr(scheduler, "PAUSES_S", (0.0, 0.0))
    return demo


class Turns:
    """What sessions do in the engine's thread, one step after the other; hold and go on."""

    def __init__(self, monkeypatch):
        self.log: list[tuple[str, int]] = []
        self._may_go = threading.Event()
        self._may_go.set()
        advance = Hearing.advance

        async def logged(hearing, n_tokens, now_s):
            while not self._may_go.is_set() and not hearing.is_gone:
                await asyncio.sleep(0.002)
            self.log.append((hearing.name, n_tokens))
            return await advance(hearing, n_tokens, now_s)

        monkeypatch.setattr(Hearing, "advance", logged)

    def hold(self):
        self._may_go.clear()

    def go_on(self):
        self._may_go.set()

    def names(self):
        return [name for name, _ in self.log]


@pytest.fixture
def turns(monkeypatch):
    return Turns(monkeypatch)


@asynccontextmanager
async def started(model, **options):
    engine = demo_engine(model.load, **options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close(0)
        assert not engine._thread.is_alive()


async def hear(seat, samples, chunk=SAMPLE_RATE):
    """What a session gives of this sound, fed as fast as it takes it."""

    async def feed():
        for start in range(0, len(samples), chunk):
            await seat.feed(samples[start : start + chunk])
        await seat.finish()

    async with seat:
        feeding = asyncio.create_task(feed())
        text = "".join([addition.text async for addition in seat])
        await feeding
    assert text == seat.result().text or seat.notices
    return seat.result()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


# -- as if alone ----------------------------------------------------------------------------------
def test_eight_sessions_at_once_hear_what_each_hears_alone(model):
    async def alone(samples, delay_ms):
        transcription = Transcription(model.loaded.model, model.loaded.tekken, StreamingConfig(delay_ms, 32))
        await transcription.feed(samples)
        await transcription.finish()
        return transcription.result("", 0.0)

    async def one(engine, name, is_live, delay_ms, chunk):
        return await hear(await engine.open(name, is_live, delay_ms), EIGHT[name], chunk)

    async def together(jobs):
        async with started(model, n_seats=12, streaming=StreamingConfig(left_pad_tokens=32)) as engine:
            jobs = [(name, i % 2 > 0, delay_ms, 1500 + 2000 * i) for i, (name, delay_ms) in enumerate(jobs)]
            return await asyncio.gather(*(one(engine, *job) for job in jobs))

    jobs = [(name, 960 if i == 4 else 480) for i, name in enumerate(EIGHT)]
    for (name, delay_ms), result in zip(jobs, asyncio.run(together(jobs)), strict=True):
        expected = asyncio.run(alone(EIGHT[name], delay_ms))
        assert [word.as_dict() for word in result.words] == [word.as_dict() for word in expected.words], name
        assert (result.text, result.audio_s) == (expected.text, expected.audio_s)


def test_progress_and_facts(model):
    async def scenario():
        async with started(model, n_seats=3, max_queued_files=5, model_id="mine") as engine:
            facts = engine.facts
            assert (facts.model_id, facts.n_seats, facts.max_queued_files) == ("mine", 3, 5)
            assert (facts.backend, facts.delay_ms, facts.left_pad_tokens) == ("numpy", 480, 76)
            seat = await engine.open("a", True)
            await hear(seat, SHORT)
            assert seat.heard_s == pytest.approx(len(SHORT) / SAMPLE_RATE)
            assert seat.waiting_s == 0
            with pytest.raises(ConfigError, match="multiple of 80"):
                await engine.open("a", True, delay_ms=100)
            with pytest.raises(RuntimeError, match="over"):
                await seat.feed(SHORT)
        async with started(model) as engine:
            assert (engine.facts.model_id, engine.facts.n_seats) == ("voxtral-demo", scheduler.MOST_SEATS)

    asyncio.run(scenario())


def test_sound_that_is_no_number_is_silence(model):
    async def scenario():
        async with started(model) as engine:
            samples = np.concatenate([np.full(4000, np.nan, np.float32), SHORT])
            assert (await hear(await engine.open("a", True), samples)).text == SPOKEN

    asyncio.run(scenario())


# -- turns ----------------------------------------------------------------------------------------
def test_live_sessions_wait_for_one_step_of_everyone_else_and_files_do_not_starve(model, turns):
    async def scenario():
        async with started(model, n_seats=8) as engine:
            names = ("file 1", "file 2", "live 1", "live 2", "live 3")
            opened = [await engine.open(name, name.startswith("live")) for name in names]
            await until(lambda: all(seat._hearing._is_ready for seat in opened))
            turns.hold()
            for seat in opened:
                await seat.feed(SOUND["keywords_1"])
            del turns.log[:]
            turns.go_on()
            await until(lambda: turns.names().count("live 1") > 4)
            for seat in opened:
                seat.cancel()

    asyncio.run(scenario())
    log = turns.log[1:]  # the first was held
    last_live = max(i for i, (name, _) in enumerate(log) if name == "live 1")
    everyone = log[: min(last_live, 5 * 4)]
    assert len(everyone) >= 8
    for start in range(len(everyone) - 4):
        window = [name for name, _ in everyone[start : start + 4]]
        assert {"live 1", "live 2", "live 3"} < set(window), everyone
        assert sum(name.startswith("file") for name in window) == 1, everyone
    files = [name for name, _ in everyone if name.startswith("file")]
    assert all(before != after for before, after in itertools.pairwise(files)), "files take turns, too"
    assert {n for name, n in everyone if name.startswith("file")} == {scheduler.FILE_STEP_BESIDE_LIVE_TOKENS}


def test_a_file_alone_takes_larger_steps(model, turns):
    async def scenario():
        async with started(model) as engine:
            await hear(await engine.open("file", False), SHORT)

    asyncio.run(scenario())
    assert {n for _, n in turns.log} == {scheduler.FILE_STEP_TOKENS}


# -- who goes away --------------------------------------------------------------------------------
def test_a_cancelled_session_computes_no_more_and_its_seat_is_free(model, turns):
    async def scenario():
        async with started(model, n_seats=1) as engine:
            n_idle = model.n_idle
            seat = await engine.open("first", True)
            assert model.n_idle == n_idle - 1
            pause = np.zeros(SAMPLE_RATE, np.float32)  # so that no word is there yet
            await seat.feed(np.concatenate([pause, SOUND["keywords_1"]]))
            await until(lambda: seat.heard_s > 0)
            seat.cancel()
            assert [addition async for addition in seat] == []
            with pytest.raises(RuntimeError, match="not heard to its end"):
                seat.result()
            await until(lambda: engine.health.n_live == 0)
            n_turns = len(turns.log)
            assert model.n_idle == n_idle
            async with await engine.open("second", True) as second:  # and does not wait for its words
                await second.feed(SOUND["keywords_1"])
            await until(lambda: engine.health.n_live == 0)
            assert (await hear(await engine.open("third", False), SHORT)).text == SPOKEN
            assert "first" not in turns.names()[n_turns:]
            assert model.n_idle == n_idle

    asyncio.run(scenario())


def test_a_seat_whose_loop_has_ended_is_given_up(model):
    async def scenario():
        async with started(model) as engine:

            async def leave_it():
                seat = await engine.open("left", True)
                await seat.feed(SOUND["keywords_1"])

            await asyncio.to_thread(asyncio.run, leave_it())
            await until(lambda: engine.health.n_live == 0)

    asyncio.run(scenario())


# -- seats and the queue --------------------------------------------------------------------------
def test_files_wait_in_order_and_beyond_the_queue_are_refused(model, turns):
    async def scenario():
        async with started(model, n_seats=2, max_queued_files=2) as engine:
            first = await engine.open("first", False)
            waiting = [asyncio.create_task(engine.open(name, False)) for name in ("second", "third")]
            await until(lambda: engine.health.n_queued == 2)
            with pytest.raises(BusyError, match="files that wait: 2") as refusal:
                await engine.open("fourth", False)
            assert 1 <= refusal.value.retry_after_s <= scheduler.LONGEST_RETRY_S
            waiting[0].cancel()  # its client went away
            await until(lambda: engine.health.n_queued == 1)
            waiting.append(asyncio.create_task(engine.open("fifth", False)))
            await until(lambda: engine.health.n_queued == 2)
            assert "third" not in turns.names()
            await hear(first, SHORT)
            third = await waiting[1]
            assert not waiting[2].done()
            await hear(third, SHORT)
            await hear(await waiting[2], SHORT)
            assert "second" not in turns.names()

    asyncio.run(scenario())


def test_room_can_be_asked_for_before_an_upload(model):
    async def scenario():
        async with started(model, n_seats=2, max_queued_files=2) as engine:
            engine.require_room(is_live=False)
            engine.require_room(is_live=False, n_coming=2)  # one on its seat, one in the queue, and this one
            with pytest.raises(BusyError):
                engine.require_room(is_live=False, n_coming=3)

    asyncio.run(scenario())


def test_live_sessions_are_refused_at_once_and_leave_a_seat_for_files(model):
    async def scenario():
        async with started(model, n_seats=3) as engine:
            live = [await engine.open(f"live {i}", True) for i in range(2)]
            with pytest.raises(BusyError, match="All seats are taken"):
                await engine.open("live 2", True)
            assert (await hear(await engine.open("file", False), SHORT)).text == SPOKEN
            live[0].cancel()
            await until(lambda: engine.health.n_live == 1)
            await engine.open("live 2", True)

    asyncio.run(scenario())


def test_retry_after_is_how_long_seats_are_kept(model):
    plan = scheduler.Scheduler(model.load, 2, 1)
    plan._holds_s[False].extend([40.0, 80.0])
    assert plan._retry_after_s(is_live=False) == 60
    assert plan._retry_after_s(is_live=True) == 1
    plan._holds_s[False].append(1e9)
    assert plan._retry_after_s(is_live=False) == scheduler.LONGEST_RETRY_S


@pytest.fixture
def small_device(monkeypatch, model):
    """Room for two streams."""
    del model.loaded.model._idle[1:]
    made = [*model.loaded.model._idle]
    build = Stream.__init__

    def refusing(stream, *arguments):
        if len(made) >= 2:
            raise MemoryRefusedError("the GPU has no room for 1.1 GB")
        made.append(stream)
        build(stream, *arguments)

    monkeypatch.setattr(Stream, "__init__", refusing)


@pytest.mark.usefixtures("small_device")
def test_where_the_device_has_room_for_fewer_there_are_fewer_seats(model):
    async def scenario():
        async with started(model, n_seats=12) as engine:
            first, second = [await engine.open(name, True) for name in ("first", "second")]
            with pytest.raises(BusyError, match="the GPU has room for 2"):
                await engine.open("third", True)
            with pytest.raises(BusyError):
                engine.require_room(is_live=True)
            file = asyncio.create_task(engine.open("file", False))
            await until(lambda: engine.health.n_queued == 1)
            first.cancel()
            assert (await hear(await file, SHORT)).text == SPOKEN
            assert (await hear(second, SHORT)).text == SPOKEN
            assert model.n_loads == 1

    asyncio.run(scenario())


@pytest.mark.usefixtures("small_device")
def test_a_file_that_has_no_room_yet_waits(model):
    async def scenario():
        async with started(model, n_seats=12) as engine:
            first, second = [await engine.open(name, False) for name in ("first", "second")]
            third = asyncio.create_task(engine.open("third", False))
            await until(lambda: engine.health.n_queued == 1)
            assert engine.health.n_files == 2
            results = await asyncio.gather(hear(first, SHORT), hear(second, SHORT))
            results.append(await hear(await third, SHORT))
            assert [result.text for result in results] == [SPOKEN] * 3

    asyncio.run(scenario())


# -- too much sound -------------------------------------------------------------------------------
def test_who_feeds_more_than_is_heard_waits(model, turns, monkeypatch):
    monkeypatch.setattr(seats, "MAX_WAITING_S", 2.0)

    async def scenario():
        async with started(model) as engine:
            seat = await engine.open("a", True)
            turns.hold()
            await seat.feed(SHORT[:SAMPLE_RATE])
            feeding = asyncio.create_task(seat.feed(SOUND["keywords_1"][: 2 * SAMPLE_RATE]))
            await asyncio.sleep(0.1)
            assert not feeding.done()
            assert seat.waiting_s == 3
            turns.go_on()
            await feeding
            assert seat.waiting_s <= 2
            turns.hold()
            feeding = asyncio.create_task(seat.feed(SOUND["keywords_1"]))
            await asyncio.sleep(0)
            seat.cancel()
            await asyncio.wait_for(feeding, 10)

    asyncio.run(scenario())


# -- a device that goes away ----------------------------------------------------------------------
class Failing:
    """Makes steps fail: `when` is asked before each with the number of steps so far."""

    def __init__(self, monkeypatch, error):
        self.n_steps = 0
        self.when = lambda _stream: False
        advance = Stream.advance

        async def fragile(stream, mel):
            self.n_steps += 1
            if self.when(stream):
                raise error
            return await advance(stream, mel)

        monkeypatch.setattr(Stream, "advance", fragile)

    def once_after(self, n_steps):
        failures = [self.n_steps + n_steps]
        self.when = lambda _stream: bool(failures) and self.n_steps > failures[0] and bool(failures.pop())


@pytest.fixture
def failing(monkeypatch):
    return Failing(monkeypatch, DeviceError("the device is lost"))


def test_where_the_gpu_goes_away_all_sessions_go_on_with_the_model_loaded_anew(model, failing):
    async def scenario():
        async with started(model) as engine:
            live, file = await engine.open("live", True), await engine.open("file", False)
            failing.once_after(12)
            results = await asyncio.gather(hear(live, SHORT), hear(file, SOUND["digits_4"]))
            assert [result.text for result in results] == [SPOKEN, "four seven nine three three"]
            for seat in (live, file):
                (notice,) = seat.notices
                assert "The GPU went away at 0:0" in notice
            assert model.n_loads == 2
            assert engine.health.state == "ready"

    asyncio.run(scenario())


def test_where_the_model_does_not_come_back_everyone_is_told(model, failing, monkeypatch):
    async def refuse():
        raise DeviceError("no GPU adapter found; install a driver")

    async def scenario():
        async with started(model, n_seats=2) as engine:
            opened = [await engine.open("live", True), await engine.open("file", False)]
            waiting = asyncio.create_task(engine.open("queued", False))
            await until(lambda: engine.health.n_queued == 1)
            monkeypatch.setattr(engine._scheduler, "_load", refuse)
            failing.when = lambda _stream: True
            heard = [hear(seat, SHORT) for seat in opened]
            failures = await asyncio.gather(*heard, waiting, return_exceptions=True)
            assert all(isinstance(failure, DownError) for failure in failures), failures
            assert {str(failure) for failure in failures} == {
                "The GPU went away, and the model could not be loaded again: no GPU adapter found; install a driver"
            }
            assert engine.health.state == "failed"
            assert "no GPU adapter" in engine.health.sentence
            with pytest.raises(DownError, match="no GPU adapter"):
                await engine.open("another", True)

    asyncio.run(scenario())


def test_no_client_learns_where_the_servers_files_are(model, failing, monkeypatch):
    async def refuse():
        raise ModelFileError("/srv/models/weights.gguf: cannot be read; fetch it again")

    async def scenario():
        async with started(model) as engine:
            seat = await engine.open("live", True)
            monkeypatch.setattr(engine._scheduler, "_load", refuse)
            failing.when = lambda _stream: True
            with pytest.raises(DownError, match="which wrote it to its log") as told:
                await hear(seat, SHORT)
            assert "/srv" not in str(told.value) + engine.health.sentence

    asyncio.run(scenario())
    told = as_api_error(ModelFileError("/srv/models/weights.gguf: cannot be read; fetch it again"))
    assert (told.status, str(told)) == (500, UNFORESEEN)


def test_one_session_that_always_fails_takes_no_other_with_it(model, failing):
    async def scenario():
        async with started(model) as engine:
            bad, good = await engine.open("bad", True), await engine.open("good", True)

            def is_bad(stream):
                hearing = engine._scheduler._live[0] if engine._scheduler._live else None
                return (
                    hearing is not None and hearing.name == "bad" and hearing._transcription._session._stream is stream
                )

            failing.when = is_bad
            results = await asyncio.gather(hear(bad, SHORT), hear(good, SHORT), return_exceptions=True)
            assert isinstance(results[0], DeviceError)
            assert results[1].text == SPOKEN
            assert model.n_loads == 2
            await until(lambda: engine.health == ("ready", "", 0, 0, 0))

    asyncio.run(scenario())


def test_what_nobody_foresaw_is_told_in_a_sentence_that_gives_nothing_away(model, monkeypatch, caplog):
    failing = Failing(monkeypatch, ZeroDivisionError("secret"))

    async def scenario():
        async with started(model) as engine:
            seat = await engine.open("a", False)
            failing.when = lambda _stream: True
            with pytest.raises(ApiError) as failure:
                await hear(seat, SHORT)
            assert (failure.value.status, str(failure.value)) == (500, UNFORESEEN)
            failing.when = lambda _stream: False
            assert (await hear(await engine.open("b", False), SHORT)).text == SPOKEN

    asyncio.run(scenario())
    assert "secret" in caplog.text


# -- beginning and end ----------------------------------------------------------------------------
def test_a_model_that_cannot_be_loaded_is_told_at_the_start():
    async def load():
        raise ModelFileError("model.gguf: expected a GGUF file, found text; download it again")

    async def scenario():
        engine = demo_engine(load)
        with pytest.raises(ModelFileError, match=r"model\.gguf"):
            await engine.start()
        await engine.close(1)
        with pytest.raises(DownError):
            await engine.open("a", True)

    asyncio.run(scenario())


def test_closing_lets_sessions_end_and_takes_no_new_ones(model, turns):
    async def scenario():
        async with started(model, n_seats=2) as engine:
            seat = await engine.open("running", False)
            waiting = asyncio.create_task(engine.open("waiting", False))
            await until(lambda: engine.health.n_queued == 1)
            turns.hold()
            closing = asyncio.create_task(engine.close(60))
            await until(lambda: engine.health.state == "draining")
            for is_live in (True, False):
                with pytest.raises(DownError, match=STOPPING):
                    await engine.open("late", is_live)
            turns.go_on()
            assert (await hear(seat, SHORT)).text == SPOKEN
            assert (await hear(await waiting, SHORT)).text == SPOKEN
            await closing

    asyncio.run(scenario())


def test_closing_without_grace_tells_everyone(model):
    async def scenario():
        async with started(model) as engine:
            seat = await engine.open("a", True)
            await seat.feed(SHORT)
            await engine.close(0)
            with pytest.raises(DownError, match=CUT_OFF):
                async for _ in seat:
                    pass
            with pytest.raises(DownError):
                await seat.feed(SHORT)
            with pytest.raises(DownError):
                await engine.open("b", True)

    asyncio.run(scenario())


# -- anything ---------------------------------------------------------------------------------------
DEEDS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["open live", "open file", "feed", "finish", "cancel"])), max_size=24
)


def abandon(opening):
    """Cancel a session that is being opened, or is open."""
    if not opening.cancel() and not opening.exception():
        opening.result().cancel()


@settings(max_examples=15)
@given(DEEDS)
def test_whatever_sessions_do_nothing_of_them_stays(demo, deeds):
    async def scenario():
        async with started(demo, n_seats=3, max_queued_files=1) as engine:
            opened = {}
            for who, deed in deeds:
                if deed.startswith("open") and who not in opened:
                    opened[who] = asyncio.create_task(engine.open(str(who), deed.endswith("live")))
                elif who in opened and deed == "cancel":
                    abandon(opened.pop(who))
                elif who in opened and opened[who].done() and not opened[who].exception():
                    seat = opened[who].result()
                    if deed == "finish":
                        await seat.finish()
                        words = [word async for addition in seat for word in addition.words]
                        assert joined(words) == seat.result().text
                    elif not seat._is_finished:
                        await seat.feed(SHORT[:6000])
                await asyncio.sleep(0)
            for opening in opened.values():
                abandon(opening)
            await asyncio.gather(*opened.values(), return_exceptions=True)
            await until(lambda: engine.health == ("ready", "", 0, 0, 0))

    asyncio.run(scenario())
