"""StreamingSession: prefix, flush, reset, and the clock."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from test_golden import read_set

from voxtral.config import EOS_TOKEN, MEL_FRAMES_PER_TOKEN, N_MEL_BINS, ModelConfig, StreamingConfig
from voxtral.errors import ConfigError
from voxtral.mapped_file import FileSource
from voxtral.model import stream as stream_module
from voxtral.model.stream import HISTORY_MEL_FRAMES
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.random_model import PRESETS, make_random
from voxtral.session import StreamingSession
from voxtral.shards import ShardedCursor

RUN = asyncio.run


@pytest.fixture(scope="module")
def golden():
    return read_set("tiny")


async def run(session, chunks):
    events = []
    for chunk in chunks:
        events += await session.feed(chunk)
    return events + await session.finish()


@pytest.mark.parametrize("left_pad", [32, 76])
@pytest.mark.parametrize("delay_ms", [80, 480, 2400])
def test_starting_behind_the_prefix_changes_nothing(golden, ops, left_pad, delay_ms):
    async def all_ways():
        model = await golden.load_model(ops)
        audio = golden.arrays["audio"][:16_000]
        first = await run(StreamingSession(model, delay_ms, left_pad), [audio])
        again = await run(StreamingSession(model, delay_ms, left_pad), [audio])
        computed = await run(StreamingSession(model, delay_ms, left_pad, probe=lambda *_: None), [audio])
        return first, again, computed

    first, again, computed = RUN(all_ways())
    assert first == again == computed


def test_left_padding_is_silence_in_the_recording_and_nothing_else(golden):
    """76 tokens of it are 32 and a speaker who waits for 44 tokens, 3.52 s, whatever the network."""

    async def both_ways():
        model = await golden.load_model(ReferenceOps())
        audio = golden.arrays["audio"][:16_000]
        padded = await run(StreamingSession(model, 480, 76), [audio])
        waited = await run(StreamingSession(model, 480, 32), [np.zeros(44 * 1280, np.float32), audio])
        return [[(event.position, event.token) for event in events] for events in (padded, waited)]

    padded, waited = RUN(both_ways())
    assert padded == waited


@pytest.mark.parametrize("left_pad", [32, 76])
def test_one_token_for_every_position_behind_the_prompt(golden, ops, left_pad):
    async def positions():
        model = await golden.load_model(ops)
        return [event.position for event in await run(StreamingSession(model, 480, left_pad), golden.chunks(0))]

    n_tokens = -(-len(golden.arrays["audio"]) // 1280) + left_pad + 17
    assert RUN(positions()) == list(range(38, n_tokens))


@pytest.fixture(scope="module")
def long_memory(tmp_path_factory):
    """A network whose decoder remembers a whole session, while its encoder remembers a second."""
    small = PRESETS["small"]
    config = ModelConfig(replace(small.encoder, n_layers=2, window=40), replace(small.decoder, n_layers=2, window=200))
    (path,) = make_random(config, tmp_path_factory.mktemp("long memory"))
    return path


@pytest.mark.parametrize("copies", [True, False], ids=["copied", "in the rings"])
@pytest.mark.parametrize("ops", ["numpy", "webgpu"], indirect=True)
def test_of_the_prefix_only_what_is_gone_is_computed_again(long_memory, ops, copies, monkeypatch):
    if not copies:
        monkeypatch.setattr(stream_module, "LARGEST_COPY_BYTES", 0)
    noise = np.random.default_rng(5).standard_normal(16_000 * 20).astype(np.float32) * 0.1
    streaming = StreamingConfig(left_pad_tokens=32)

    async def calls_and_tokens():
        model = await Voxtral.load(ops, ShardedCursor([FileSource(long_memory)]))
        stream = await model.borrow()
        model.give_back(stream)
        made = []
        for half in ("encode", "advance"):
            method = getattr(stream, half)
            setattr(stream, half, lambda mel, half=half, method=method: made.append(half) or method(mel))

        async def warm_up(config):
            made.clear()
            await model.warm_up(config)
            return set(made)

        calls, tokens = [await warm_up(streaming), await warm_up(streaming)], []
        for seconds in (1, 20, 1):
            audio = noise[: seconds * 16_000]
            tokens.append([event.token for event in await run(StreamingSession(model, 480, 32), [audio])])
            calls.append(await warm_up(streaming))
        return [*calls, await warm_up(StreamingConfig(left_pad_tokens=33))], tokens

    calls, (first, _, again) = RUN(calls_and_tokens())
    # Computed; there already; the encoder forgot; after 20 s the decoder, too; the encoder again; another padding.
    in_the_rings = [{"advance"}, set(), {"encode"}, {"advance"}, {"encode"}, {"advance"}]
    assert calls == ([{"advance"}, set(), set(), set(), set(), {"advance"}] if copies else in_the_rings)
    assert first == again


def test_the_way_back_is_refused_where_it_is_gone(golden, ops, monkeypatch):
    monkeypatch.setattr(stream_module, "LARGEST_COPY_BYTES", 0)

    async def go_back():
        model = await golden.load_model(ops)
        stream = await model.borrow()
        streaming = StreamingConfig(left_pad_tokens=32)
        place = (await model.prefix(stream, streaming)).checkpoint
        stream.resume(place, streaming)
        mel = np.zeros((HISTORY_MEL_FRAMES + MEL_FRAMES_PER_TOKEN, N_MEL_BINS), np.float32)
        for _ in range(100):
            await stream.advance(mel)
        stream.resume(place, streaming)

    with pytest.raises(RuntimeError, match="overwritten"):
        RUN(go_back())


def test_reset_starts_over(golden, ops):
    async def twice():
        model = await golden.load_model(ops)
        session = StreamingSession(model, 480, 32)
        await session.feed(golden.arrays["audio"][:30_000])
        session.reset()
        return await run(session, golden.chunks(0)), await run(StreamingSession(model, 480, 32), golden.chunks(0))

    first, second = RUN(twice())
    assert first == second


def test_two_sessions_do_not_disturb_each_other(golden, ops):
    async def interleaved():
        model = await golden.load_model(ops)
        alone = [event.token for event in await run(StreamingSession(model, 480, 32), golden.chunks(0))]
        a, b = StreamingSession(model, 480, 32), StreamingSession(model, 480, 32)
        tokens_a, tokens_b = [], []
        for chunk in golden.chunks(1280):
            tokens_a += await a.feed(chunk)
            tokens_b += await b.feed(np.zeros_like(chunk))
        return alone, [event.token for event in tokens_a + await a.finish()]

    alone, shared = RUN(interleaved())
    assert alone == shared


def test_flush_speaks_and_listening_goes_on(golden, ops):
    async def flushed():
        model = await golden.load_model(ops)
        session = StreamingSession(model, 480, 32)
        audio = golden.arrays["audio"]
        events = await session.feed(audio[:32_000])
        before = len(events)
        events += await session.flush()
        assert len(events) == before + 17  # before and after, one token waits for 40 more samples
        assert session.heard_s == pytest.approx(2.0)
        events += await session.feed(audio[32_000:]) + await session.finish()
        return events, session.heard_s

    events, heard_s = RUN(flushed())
    times = [event.time_s for event in events]
    assert times == sorted(times)
    assert times[-1] <= heard_s == pytest.approx(4.0)


def test_the_clock_stops_at_the_end_of_the_audio(golden, ops):
    async def last_time():
        model = await golden.load_model(ops)
        return (await run(StreamingSession(model, 480, 32), [golden.arrays["audio"][:12_345]]))[-1].time_s

    assert RUN(last_time()) == pytest.approx(12_345 / 16_000)


def test_eos_ends_only_the_session_that_asks_for_it(ops):
    golden = read_set("eos")

    async def both():
        model = await golden.load_model(ops)
        ends = await run(StreamingSession(model, 480, 32, stop_at_eos=True), golden.chunks(1280))
        goes_on = await run(StreamingSession(model, 480, 32), golden.chunks(1280))
        return [event.token for event in ends], [event.token for event in goes_on]

    ends, goes_on = RUN(both())
    assert ends[-1] == EOS_TOKEN
    assert goes_on[: len(ends)] == ends
    assert len(goes_on) == golden.meta["positions"] - 38


@pytest.mark.parametrize(("delay_ms", "left_pad"), [(500, 76), (0, 76), (1280, 76), (2480, 76), (480, 31), (480, 751)])
def test_options_outside_the_model_are_refused(delay_ms, left_pad):
    with pytest.raises(ConfigError, match="got"):
        StreamingConfig(delay_ms, left_pad)
