"""StreamingSession: audio in, tokens out, at any pace.

A file is a session fed in one go; there is no other path. All state of a stream of audio is here and in
the model's `Stream`: the mel overlap, frames that wait for their token, positions, and the silence that
`flush` put into the timeline.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral.config import (
    DEFAULT_DELAY_MS,
    DEFAULT_LEFT_PAD_TOKENS,
    EOS_TOKEN,
    MEL_FRAMES_PER_TOKEN,
    MS_PER_TOKEN,
    N_MEL_BINS,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    StreamingConfig,
)
from voxtral.decoding import TokenEvent, frame_time_s
from voxtral.mel import MelStream
from voxtral.model.stream import HISTORY_MEL_FRAMES, Probe, Stream
from voxtral.model.voxtral import Voxtral
from voxtral.onsets import levels_of
from voxtral.padding import n_right_pad_samples
from voxtral.readings import Choice


@dataclass(frozen=True)
class _Silence:
    """Silence that `flush` added: it is in the model's timeline but not in the input."""

    start_s: float
    length_s: float


class StreamingSession:
    """One stream of mono float32 audio at 16 kHz, transcribed as it comes.

    feed(samples) → new tokens; flush() forces out what is still delayed, and listening goes on; finish()
    ends the audio; reset() starts over. Any chunking gives the same mel frames and the same tokens.
    `probe` sees every stage from position 0 on (slow: the silent prefix is computed, not copied).
    Raises ConfigError for a delay or padding outside the model's range.
    """

    def __init__(
        self,
        model: Voxtral,
        delay_ms: int = DEFAULT_DELAY_MS,
        left_pad_tokens: int = DEFAULT_LEFT_PAD_TOKENS,
        stop_at_eos: bool = False,
        probe: Probe | None = None,
    ) -> None:
        self.config = StreamingConfig(delay_ms, left_pad_tokens, stop_at_eos)
        self._model = model
        self._probe = probe
        self._stream: Stream | None = None
        self._forget()

    def _forget(self) -> None:
        self._mel = MelStream()
        self._silence: AsyncIterator[None] | None = None  # of `approach`
        self._frames: list[NDArray[np.float32]] = []  # history, then frames that wait for their token
        self._n_waiting_frames = 0
        self._n_fed_samples = 0
        self._silences: list[_Silence] = []
        # How loud the tokens are about which the decoder still has to speak, () where that does not matter.
        self._levels: deque[tuple[float, ...]] = deque(maxlen=self.config.delay_tokens + 1)
        self._position = 0  # tokens the model has advanced by, left padding included
        self._started = False
        self.ended = False  # at `</s>`, when the session was asked to end there

    @property
    def heard_s(self) -> float:
        """Seconds of input that have been turned into tokens."""
        n_tokens = max(0, self._position - self.config.left_pad_tokens)
        return self._input_s(min(n_tokens * MS_PER_TOKEN / 1000, self._n_fed_samples / SAMPLE_RATE))

    async def approach(self, n_tokens: int) -> bool:
        """Hear up to n_tokens of the silent prefix, all of which the first feed would hear at once; True behind it."""
        if self._started:
            return True
        if self._silence is None:
            self._stream = self._stream or await self._model.borrow()
            self._silence = self._model.approach(self._stream, self.config, n_tokens)
        async for _ in self._silence:
            return False
        return True

    async def feed(self, samples: NDArray[np.float32]) -> list[TokenEvent]:
        """Take samples [n], any n; return the tokens that became certain."""
        events = [] if self._started else await self._start()
        if self.ended and not self._probe:
            return events
        self._n_fed_samples += len(samples)
        self._take_frames(self._mel.feed(np.asarray(samples, np.float32)))
        return events + await self._advance()

    async def flush(self) -> list[TokenEvent]:
        """Append silence until everything said so far is written; the input's clock does not move."""
        n_samples = n_right_pad_samples(self._n_fed_samples, self.config)
        self._silences.append(_Silence(self._n_fed_samples / SAMPLE_RATE, n_samples / SAMPLE_RATE))
        return await self.feed(np.zeros(n_samples, np.float32))

    async def finish(self) -> list[TokenEvent]:
        """End of the audio: pad it as the model expects, and return the last tokens."""
        events = await self.flush()
        self._take_frames(self._mel.flush())
        events += await self._advance()
        self._release()
        return events

    def reset(self) -> None:
        """Forget the audio so far; the next feed begins a new session with the same options."""
        self._release()
        self._forget()

    def _release(self) -> None:
        if self._stream is not None:
            self._model.give_back(self._stream)
            self._stream = None

    # -- start ----------------------------------------------------------------------------------
    async def _start(self) -> list[TokenEvent]:
        """Stand behind the silent prefix, or at position 0 when every stage is probed."""
        self._stream = self._stream or await self._model.borrow()
        self._started = True
        if self._probe:
            self._stream.start(self.config)
            self._frames = [np.zeros((HISTORY_MEL_FRAMES, N_MEL_BINS), np.float32)]
            self._take_frames(self._mel.feed(np.zeros(self.config.left_pad_tokens * SAMPLES_PER_TOKEN, np.float32)))
            return []
        prefix = await self._model.prefix(self._stream, self.config)
        self._position = self._stream.position
        # Of the silence, only its last two tokens still matter: history, and the position real audio touches.
        n_tokens = self.config.left_pad_tokens - self.config.n_silent_tokens + 1
        frames = self._mel.feed(np.zeros(n_tokens * SAMPLES_PER_TOKEN, np.float32))
        self._frames = [frames[MEL_FRAMES_PER_TOKEN - HISTORY_MEL_FRAMES : MEL_FRAMES_PER_TOKEN]]
        self._take_frames(frames[MEL_FRAMES_PER_TOKEN:])
        return self._events(prefix.choices, 0, [()] * len(prefix.choices))

    # -- frames to tokens ---------------------------------------------------------------------------
    def _take_frames(self, frames: NDArray[np.float32]) -> None:
        if self._probe:
            self._probe("mel", frames)
        self._frames.append(frames)
        self._n_waiting_frames += len(frames)

    async def _advance(self) -> list[TokenEvent]:
        """Run the model over every token whose frames are complete."""
        events: list[TokenEvent] = []
        n_waiting_tokens = self._n_waiting_frames // MEL_FRAMES_PER_TOKEN
        if not n_waiting_tokens or self._stream is None:
            return events
        frames = np.concatenate(self._frames)
        start = 0
        while n_waiting_tokens and (self._probe or not self.ended):
            n_tokens = 1 if self._probe else next(n for n in self._stream.chunk_tokens if n <= n_waiting_tokens)
            stop = start + HISTORY_MEL_FRAMES + n_tokens * MEL_FRAMES_PER_TOKEN
            first = self._position
            if self._probe:
                choices = await self._stream.advance_probed(frames[start:stop], self._probe, decode=not self.ended)
            else:
                choices = await self._stream.advance(frames[start:stop])
            levels = levels_of(frames[start + HISTORY_MEL_FRAMES : stop]).reshape(n_tokens, -1).tolist()
            events += self._events(choices, first, list(map(tuple, levels[: len(choices)])))
            self._position += n_tokens
            start += n_tokens * MEL_FRAMES_PER_TOKEN
            n_waiting_tokens -= n_tokens
        self._frames = [frames[start:]]
        self._n_waiting_frames = len(frames) - start - HISTORY_MEL_FRAMES
        return events

    def _events(self, choices: list[Choice], first_position: int, levels: list[tuple[float, ...]]) -> list[TokenEvent]:
        """Tokens behind the prompt, with their time; ends the session at `</s>` when asked to."""
        events = []
        for position, (choice, heard) in enumerate(zip(choices, levels, strict=True), first_position):
            self._levels.append(heard)
            if position < self.config.n_prompt_tokens - 1:
                continue
            token = choice[0].token
            time_s = self._input_s(frame_time_s(position, self.config))
            events.append(TokenEvent(position, token, time_s, choice, self._levels[0]))
            if token == EOS_TOKEN and self.config.stop_at_eos:
                self.ended = True
                break
        return events

    def _input_s(self, timeline_s: float) -> float:
        """A time on the input's clock, which does not count silence that `flush` added."""
        added = (min(silence.length_s, max(0.0, timeline_s - silence.start_s)) for silence in self._silences)
        return timeline_s - sum(added)
