"""Times what the engine does for a recording: decoder steps, encoder calls, the sharing of a step, a whole file."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from voxtral.bench.speech import speech_like
from voxtral.bench.timer import ActiveTime, Timed, Timer, digits, elapsed_ms
from voxtral.config import (
    GROUP,
    MEL_FRAMES_PER_TOKEN,
    N_MEL_BINS,
    SAMPLES_PER_TOKEN,
    STREAMING_PAD_TOKEN,
    StreamingConfig,
)
from voxtral.model.prefix import Checkpoint
from voxtral.model.stream import HISTORY_MEL_FRAMES, Stream
from voxtral.model.voxtral import Voxtral
from voxtral.readings import Choice
from voxtral.tekken import Tekken
from voxtral.transcription import Transcription

CONTEXTS = (64, 1024, 8192)  # tokens the decoder looks back on
ENCODER_POSITION = 1024  # tokens: the encoder's window is full there
MAX_STEPS = 32  # from a context on, in a timed pass; none beyond the audio of a chunk
SILENCE = -0.625  # as mel


class StepBench:
    """A borrowed stream that is put where a measurement begins."""

    def __init__(self, model: Voxtral, stream: Stream, streaming: StreamingConfig, timer: Timer) -> None:
        self._ops, self._config, self._stream = model.ops, model.config, stream
        self._streaming, self._timer = streaming, timer
        self._decode = stream.programs["decode"]
        self._encode = {n: stream.programs[f"encode {n}"] for n in stream.chunk_tokens}

    def stand_at(self, position: int) -> None:
        """Go there with whatever the rings hold: what a step costs depends on the position alone."""
        self._stream.start(self._streaming)
        self._stream.resume(Checkpoint(position, STREAMING_PAD_TOKEN), self._streaming)

    def _stand_near(self) -> None:
        self.stand_at(CONTEXTS[0])

    def _stand_far(self) -> None:
        self.stand_at(ENCODER_POSITION)

    async def _wait(self) -> None:
        """Until the device has nothing left to do."""
        await self._stream.choices(1)

    def _step(self, stand: Callable[[], None]) -> Timed:
        return Timed([self._decode], max_repeats=min(MAX_STEPS, self._stream.chunk_tokens[0]), before=stand)

    async def decode(self) -> list[dict[str, Any]]:
        """A decoder step at each context: on the device, and by the wall, many at once as a file is transcribed."""
        n_steps = self._stream.chunk_tokens[0]
        stands = [lambda context=context: self.stand_at(context - 1) for context in CONTEXTS]
        device = await self._timer.best_ms([self._step(stand) for stand in stands])
        rows = []
        for context, stand, ms in zip(CONTEXTS, stands, device, strict=True):
            wall = await self._timer.wall_ms(Timed([self._decode] * n_steps, before=stand), self._wait)
            rows.append(
                {
                    "context": context,
                    "keys": min(context, self._config.decoder.window),
                    "device_ms": digits(ms),
                    "wall_ms": digits(wall / n_steps),
                    "steps_at_once": n_steps,
                    "dispatches": dispatches(self._decode),
                }
            )
        return rows

    async def encode(self, encoder_weights: int) -> list[dict[str, Any]]:
        """An encoder call of each size the engine has, and four of the largest in one submit; encoder_weights: how
        many there are, for the arithmetic."""
        sizes = [(max(self._encode), 4), *((n, 1) for n in self._encode)]
        timed = [Timed([self._encode[n]] * n_calls, before=self._stand_far) for n, n_calls in sizes]
        device = await self._timer.best_ms(timed)
        rows = []
        for (n, n_calls), one, ms in zip(sizes, timed, device, strict=True):
            wall = await self._timer.wall_ms(one, self._wait)
            rows.append(
                {
                    "rows": GROUP * n * n_calls,
                    "calls": n_calls,
                    "tokens": n * n_calls,
                    "device_ms": digits(ms),
                    "wall_ms": digits(wall),
                    "tflop_per_s": digits(2 * GROUP * n * n_calls * encoder_weights / ms / 1e9),
                    "dispatches": dispatches(self._encode[n], n_calls),
                }
            )
        return rows

    async def chunks(self) -> list[dict[str, Any]]:
        """What listening costs: mel frames in to tokens read back, a submit each, by the wall."""
        rows = []
        for n in self._stream.chunk_tokens:
            ms = await self._chunk_ms(n)
            rows.append({"tokens": n, "wall_ms": digits(ms), "wall_ms_per_token": digits(ms / n)})
        return rows

    async def _chunk_ms(self, n_tokens: int) -> float:
        mel = _silence(n_tokens)

        async def run() -> float:
            self._stand_near()
            await self._wait()
            return await elapsed_ms(lambda: self._stream.advance(mel))

        return await self._timer.median(run)

    async def shares(self) -> dict[str, Any]:
        """Who spends the time of a token in a file's largest chunk, in milliseconds for each token.

        python_ms: Python in `Stream.advance`, waits and submits excluded, None where waits cannot be told from work;
        submit_ms: encoding and submitting the tapes, in JavaScript or wgpu; device_decode_ms and device_encode_ms: the
        GPU; wall_ms: all of it by the wall.
        """
        n = self._stream.chunk_tokens[0]
        programs = [self._encode[n], *[self._decode] * n]
        mel = _silence(n)

        async def active() -> float:
            self._stand_near()
            await self._wait()
            running: ActiveTime[list[Choice]] = ActiveTime(self._stream.advance(mel))
            await running
            return running.ms if running.n_waits else math.nan

        async def submit() -> float:
            self._stand_near()
            await self._wait()
            started = time.perf_counter()
            self._ops.submit(programs)
            spent_ms = (time.perf_counter() - started) * 1000
            await self._wait()
            return spent_ms

        active_ms, submit_ms = await self._timer.median(active), await self._timer.median(submit)
        decode_ms, encode_ms = await self._timer.best_ms(
            [self._step(self._stand_near), Timed([self._encode[n]], before=self._stand_far)]
        )
        return {
            "tokens": n,
            "python_ms": None if math.isnan(active_ms) else digits(max(0.0, active_ms - submit_ms) / n),
            "submit_ms": digits(submit_ms / n),
            "device_decode_ms": digits(decode_ms),
            "device_encode_ms": digits(encode_ms / n),
            "wall_ms": digits(await self._chunk_ms(n) / n),
        }


async def transcribe_file(model: Voxtral, tekken: Tekken, streaming: StreamingConfig, seconds: float) -> dict[str, Any]:
    """A file's way through the engine, in slices of the largest chunk as the worker does it.

    python_ms_per_token: all of Python, from samples to text, that is not waiting; submits included. None as above.
    """
    samples = speech_like(seconds)
    transcription = Transcription(model, tekken, streaming)
    slice_samples = transcription.chunk_tokens * SAMPLES_PER_TOKEN
    started, active_ms, n_waits = time.perf_counter(), 0.0, 0
    for start in range(0, len(samples), slice_samples):
        running: ActiveTime[Any] = ActiveTime(transcription.feed(samples[start : start + slice_samples]))
        await running
        active_ms += running.ms
        n_waits += running.n_waits
    await transcription.finish()
    wall_s = time.perf_counter() - started
    n_tokens = len(transcription.tokens)
    return {
        "audio_s": round(transcription.audio_s, 3),
        "wall_s": digits(wall_s),
        "rtf": digits(wall_s / transcription.audio_s),
        "tokens": n_tokens,
        "python_ms_per_token": digits(active_ms / max(1, n_tokens)) if n_waits else None,
    }


def dispatches(program: Any, n_calls: int = 1) -> int | None:
    """Of so many runs of a GPU's program; numpy has none."""
    count: int | None = getattr(program, "dispatch_count", None)
    return count and count * n_calls


def _silence(n_tokens: int) -> Any:
    return np.full((HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN, N_MEL_BINS), SILENCE, np.float32)
