"""One recording on its way to text: a session, its transcript, and the result people save.

The command line and the worker both use this, so that they give the same words, times and JSON.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE, StreamingConfig
from voxtral.decoding import Addition, TokenEvent, Transcript, Word
from voxtral.model.voxtral import Voxtral
from voxtral.session import StreamingSession
from voxtral.tekken import Tekken


@dataclass(frozen=True)
class Result:
    """What became of one recording; times in seconds, rtf = wall_s / audio_s."""

    file: str
    text: str
    words: list[Word]
    audio_s: float
    wall_s: float
    tokens: list[int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "text": self.text,
            "words": [word.as_dict() for word in self.words],
            "audio_s": round(self.audio_s, 3),
            "wall_s": round(self.wall_s, 3),
            "rtf": round(self.wall_s / self.audio_s, 4) if self.audio_s else None,
            "tokens": self.tokens,
        }


class Transcription:
    """feed(samples) → what to append; finish() → the rest; result(…) → everything."""

    def __init__(self, model: Voxtral, tekken: Tekken, streaming: StreamingConfig) -> None:
        self._session = StreamingSession(model, streaming.delay_ms, streaming.left_pad_tokens, streaming.stop_at_eos)
        self._transcript = Transcript(tekken)
        self._n_samples = 0
        self.chunk_tokens = model.ops.chunk_tokens[0]  # the most that one call of the encoder takes
        self.tokens: list[int] = []

    @property
    def heard_s(self) -> float:
        """Seconds of audio already turned into tokens."""
        return self._session.heard_s

    @property
    def audio_s(self) -> float:
        """Seconds of audio fed."""
        return self._n_samples / SAMPLE_RATE

    async def feed(self, samples: NDArray[np.float32]) -> Addition:
        """Take mono float32 samples at 16 kHz."""
        self._n_samples += len(samples)
        return self._add(await self._session.feed(samples))

    async def finish(self) -> Addition:
        """The audio is over: the last words."""
        addition = self._add(await self._session.finish())
        rest = self._transcript.flush()
        return Addition(addition.text + rest.text, addition.words + rest.words)

    def cancel(self) -> None:
        """Give the session's place on the device back."""
        self._session.reset()

    def result(self, file: str, wall_s: float) -> Result:
        """The transcript so far."""
        text = self._transcript.text.strip()
        return Result(file, text, self._transcript.words, self.audio_s, wall_s, self.tokens)

    def _add(self, events: list[TokenEvent]) -> Addition:
        self.tokens += [event.token for event in events]
        return self._transcript.feed(events)
