"""The engine on a real device, which llvmpipe is: sessions share it, and it may go away under them."""

import asyncio
from typing import Any

from server_fixture import DEMO, SAMPLES, demo_engine

from voxtral.audio_file import read_audio
from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.loading import Loaded
from voxtral.native_loading import EngineOptions, load_native
from voxtral.server.engine import Engine
from voxtral.transcription import Result, Transcription

STREAMING = StreamingConfig(480, 32)
SPEECH = read_audio(SAMPLES / "digits_1.wav")[0][: round(1.2 * SAMPLE_RATE)]
SPOKEN = "one four"


async def hear(engine: Engine, is_live: bool, devices: list[Any] | None = None) -> tuple[Result, list[str]]:
    """What a session hears, and its notices. devices: the last of them goes away in the middle of the sound."""
    async with await engine.open("somebody", is_live) as seat:
        half = len(SPEECH) // 2
        await seat.feed(SPEECH[:half])
        if devices is not None:
            while seat.heard_s < half / SAMPLE_RATE - 0.2:
                await asyncio.sleep(0.01)
            devices[-1]._device.destroy()
        await seat.feed(SPEECH[half:])
        await seat.finish()
        text = "".join([addition.text async for addition in seat])
        assert text == seat.result().text
        return seat.result(), seat.notices


def test_sessions_on_one_device_hear_what_each_hears_alone_and_outlive_it() -> None:
    models: list[Loaded] = []

    async def load() -> Loaded:
        models.append(await load_native(EngineOptions(DEMO, "webgpu"), STREAMING, warn=print))
        return models[-1]

    async def alone() -> Result:
        transcription = Transcription(models[0].model, models[0].tekken, STREAMING)
        await transcription.feed(SPEECH)
        await transcription.finish()
        return transcription.result("", 0.0)

    async def scenario() -> None:
        engine = demo_engine(load, streaming=STREAMING, n_seats=4)
        await engine.start()
        try:
            assert engine.facts.backend == "webgpu"
            together = await asyncio.gather(hear(engine, True), hear(engine, False))
            # The engine's thread has nothing to do now, so that its device may be used here.
            words = [word.as_dict() for word in (await alone()).words]
            for result, notices in together:
                assert [word.as_dict() for word in result.words] == words
                assert (result.text, notices) == (SPOKEN, [])
            devices = [models[0].gpu]
            result, notices = await hear(engine, True, devices)
            assert (len(models), engine.health.state) == (2, "ready")
            assert models[1].gpu is not models[0].gpu
            assert result.text == SPOKEN
            (notice,) = notices
            assert "The GPU went away at 0:0" in notice
        finally:
            await engine.close(0)
        assert all(model.gpu is not None and model.gpu.memory.now == 0 for model in models)

    asyncio.run(scenario())
