"""StreamingSession: prefix, flush, reset, and the clock."""

import asyncio

import numpy as np
import pytest
from test_golden import read_set

from voxtral.config import EOS_TOKEN, StreamingConfig
from voxtral.errors import ConfigError
from voxtral.session import StreamingSession

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
def test_the_copied_prefix_changes_nothing(golden, ops, left_pad, delay_ms):
    async def both():
        model = await golden.load_model(ops)
        audio = golden.arrays["audio"]
        copied = await run(StreamingSession(model, delay_ms, left_pad), [audio])
        again = await run(StreamingSession(model, delay_ms, left_pad), [audio])
        computed = await run(StreamingSession(model, delay_ms, left_pad, probe=lambda *_: None), [audio])
        return copied, again, computed

    copied, again, computed = RUN(both())
    assert copied == again == computed


@pytest.mark.parametrize("left_pad", [32, 76])
def test_one_token_for_every_position_behind_the_prompt(golden, ops, left_pad):
    async def positions():
        model = await golden.load_model(ops)
        return [event.position for event in await run(StreamingSession(model, 480, left_pad), golden.chunks(0))]

    n_tokens = -(-len(golden.arrays["audio"]) // 1280) + left_pad + 17
    assert RUN(positions()) == list(range(38, n_tokens))


def test_the_prefix_is_computed_once_per_delay_and_padding(golden, ops):
    async def count():
        model = await golden.load_model(ops)
        stream = await model.borrow()
        first = await model.prefix(stream, StreamingConfig(480, 76))
        assert await model.prefix(stream, StreamingConfig(480, 76)) is first
        assert await model.prefix(stream, StreamingConfig(480, 32)) is not first
        for delay_ms in (80, 160, 240, 320):  # old ones are forgotten, not piled up
            await model.prefix(stream, StreamingConfig(delay_ms, 32))
        return len(model._prefixes)

    assert RUN(count()) <= 3


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
