"""The silence before a session: computed once for all streams of a model, and what memory that takes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from test_golden import read_set

from voxtral.config import StreamingConfig
from voxtral.errors import DeviceError, MemoryRefusedError
from voxtral.gpu.recording import RecordingDevice
from voxtral.model import prefix as prefix_module
from voxtral.model.prefix import key_of
from voxtral.model.stream import Stream
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.ops.webgpu import WebGpuOps
from voxtral.session import StreamingSession

DEFAULT = StreamingConfig(480, 32)


@pytest.fixture(scope="module")
def golden() -> Any:
    return read_set("tiny")


@pytest.fixture(params=["numpy", "webgpu"])
def ops(request: pytest.FixtureRequest) -> Any:
    return ReferenceOps() if request.param == "numpy" else WebGpuOps(request.getfixturevalue("device"))


@pytest.fixture
def recording(golden: Any) -> tuple[Voxtral, RecordingDevice]:
    device = RecordingDevice()
    return asyncio.run(golden.load_model(WebGpuOps(device))), device


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Stream]]:
    """The streams that computed, once for each time."""
    made: list[Stream] = []
    advance = Stream.advance

    async def counting(stream: Stream, mel: np.ndarray) -> Any:
        made.append(stream)
        return await advance(stream, mel)

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "advance", counting)
        yield made


async def heard(session: StreamingSession, golden: Any) -> list[Any]:
    """Events: tokens, and all probabilities as they are."""
    return await session.feed(golden.arrays["audio"][:12_000]) + await session.finish()


# -- another stream -------------------------------------------------------------------------------
def test_another_stream_copies_what_the_first_computed_and_hears_the_same(
    golden: Any, ops: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        model = await golden.load_model(ops)
        first, second = [StreamingSession(model, 480, 32) for _ in range(2)]
        with counted(monkeypatch) as made:
            begun = [await first.feed(np.zeros(0, np.float32))]
            n_made = len(made)
            assert n_made
            begun.append(await second.feed(np.zeros(0, np.float32)))
            assert len(made) == n_made
        together = await asyncio.gather(heard(first, golden), heard(second, golden))
        alone = await heard(StreamingSession(await golden.load_model(ops), 480, 32), golden)
        for one in zip(begun, together, strict=True):
            assert [*one[0], *one[1]] == alone

    asyncio.run(scenario())


def test_who_is_overtaken_on_the_way_goes_on_by_copies(golden: Any, ops: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        model = await golden.load_model(ops)
        slow, fast = [StreamingSession(model, 480, 32) for _ in range(2)]
        assert not await slow.approach(4)
        while not await fast.approach(4):
            pass
        with counted(monkeypatch) as made:
            assert await slow.approach(4)
            assert not made
        results = await asyncio.gather(heard(slow, golden), heard(fast, golden))
        assert results[0] == results[1]

    asyncio.run(scenario())


def test_each_delay_and_padding_has_its_own(golden: Any, ops: Any) -> None:
    async def scenario() -> None:
        model = await golden.load_model(ops)
        for delay_ms, left_pad in ((480, 32), (960, 32), (480, 33), (960, 32), (480, 32)):
            shared = await heard(StreamingSession(model, delay_ms, left_pad), golden)
            probed = StreamingSession(model, delay_ms, left_pad, probe=lambda *_: None)
            assert shared == await heard(probed, golden), (delay_ms, left_pad)
        assert len(list(model.prefixes)) == 3

    asyncio.run(scenario())


# -- memory ---------------------------------------------------------------------------------------
def test_copies_are_counted_and_of_many_delays_the_one_not_used_for_longest_goes(
    recording: tuple[Voxtral, RecordingDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = recording

    async def scenario() -> None:
        stream = await model.borrow()
        before = device.memory.now
        await model.prefix(stream, DEFAULT)
        one = device.memory.now - before
        assert one == model.prefixes.n_bytes > 0
        monkeypatch.setattr(prefix_module, "KEPT_COPIES_BYTES", 2 * one)
        for delay_ms in (80, 480, 160, 2400, 480):
            await model.prefix(stream, StreamingConfig(delay_ms, 32))
            assert device.memory.now - before == model.prefixes.n_bytes <= 2 * one
        assert [prefix.key for prefix in model.prefixes] == [key_of(StreamingConfig(ms, 32)) for ms in (2400, 480)]
        monkeypatch.setattr(prefix_module, "KEPT_COPIES_BYTES", 0)
        await model.prefix(stream, StreamingConfig(240, 32))
        assert device.memory.now - before == one  # the one in use stays, however small the room

    asyncio.run(scenario())


def test_without_room_for_copies_the_prefix_stays_in_the_rings_of_its_stream(
    recording: tuple[Voxtral, RecordingDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = recording

    async def scenario() -> None:
        streams = [await model.borrow() for _ in range(2)]
        before = device.memory.now
        with refusing(device, 2), counted(monkeypatch) as made:
            await model.prefix(streams[0], DEFAULT)
        assert set(made) == {streams[0]}
        assert device.memory.now == before
        with counted(monkeypatch) as made:
            await model.prefix(streams[0], DEFAULT)
            assert not made
            await model.prefix(streams[1], DEFAULT)
        assert set(made) == {streams[1]}  # which keeps copies for all
        assert device.memory.now == before + model.prefixes.n_bytes > before
        with counted(monkeypatch) as made:
            for stream in streams:
                await model.prefix(stream, DEFAULT)
        assert not made
        assert streams[0].prefix is None  # its rings hold what was copied

    asyncio.run(scenario())


def test_a_device_lost_while_copying_leaves_nothing_to_start_from(
    recording: tuple[Voxtral, RecordingDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, device = recording

    def lost(*_: object) -> None:
        raise DeviceError("the GPU went away")

    async def scenario() -> None:
        stream = await model.borrow()
        before = device.memory.now
        monkeypatch.setattr(device, "copy", lost)
        with pytest.raises(DeviceError, match="went away"):
            await model.prefix(stream, DEFAULT)
        assert device.memory.now == before
        assert list(model.prefixes) == []
        assert stream.prefix is None

    asyncio.run(scenario())


# -- a stream that is refused memory --------------------------------------------------------------
@contextmanager
def refusing(device: RecordingDevice, n: int, in_settle: bool = False) -> Iterator[list[str]]:
    """Refuse the n-th buffer from now on, and those behind it; as browsers do, once somebody waits for it."""
    refused: list[str] = []
    n_asked = 0
    create, settle = device.create_buffer, device.settle

    def create_buffer(n_bytes: int, label: str, uniform: bool = False) -> Any:
        nonlocal n_asked
        n_asked += 1
        if n_asked >= n:
            refused.append(label)
            if not in_settle:
                raise MemoryRefusedError(f"no room for {label}")
        return create(n_bytes, label, uniform)

    async def settled() -> None:
        if refused:
            raise MemoryRefusedError(f"no room for {refused[0]}")
        await settle()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "create_buffer", create_buffer)
        patch.setattr(device, "settle", settled)
        yield refused


def held(device: RecordingDevice, is_counted: Callable[[str], bool] = lambda _: True) -> int:
    return sum(len(buffer.data) for buffer in device.buffers if not buffer.destroyed and is_counted(buffer.label))


@pytest.mark.parametrize("in_settle", [False, True], ids=["at once", "told later"])
def test_a_stream_that_is_refused_any_buffer_gives_the_others_back(
    recording: tuple[Voxtral, RecordingDevice], in_settle: bool
) -> None:
    model, device = recording

    def is_of_a_stream(label: str) -> bool:
        return not label.startswith("scratch")  # which is for all, and stays

    async def refused_once_each() -> set[str]:
        before, labels = held(device, is_of_a_stream), set()
        for n in range(1, 1000):
            with refusing(device, n, in_settle) as refused, suppress(MemoryRefusedError):
                await model.borrow()
            if not refused:
                break
            labels.add(refused[0])
            assert held(device, is_of_a_stream) == before, refused
            assert device.memory.now == held(device)
        return labels

    asyncio.run(refused_once_each())  # scratch, too
    labels = asyncio.run(refused_once_each())
    assert {"encoder 0 kv", "decoder state", "rope", "decode params", "condition params", "norm_linear"} <= labels


def test_after_a_refusal_the_next_stream_is_as_good_as_the_first(golden: Any, device: Any) -> None:
    async def scenario() -> None:
        model = await golden.load_model(WebGpuOps(device))
        before = device.memory.now
        for n in (3, 12):
            with refusing(device, n), pytest.raises(MemoryRefusedError, match="this model needs"):
                await model.borrow()
            assert device.memory.now == before
        fresh = await golden.load_model(ReferenceOps())
        expected, found = [
            [event.token for event in await heard(StreamingSession(one, 480, 32), golden)] for one in (fresh, model)
        ]
        assert found == expected

    asyncio.run(scenario())
