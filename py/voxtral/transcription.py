"""One recording on its way to text, however long: legs of a session, its transcript, and the result people save.

A leg is one `StreamingSession`, begun somewhere in the recording. There is a new one when the watchdog finds the
decoder stuck, and when the GPU went away and the model was loaded anew; complete words stay, and the sound behind them
is heard again as far as it is kept. The command line and the worker both use this, so that they give the same words,
times and JSON.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral import second_pass
from voxtral.config import EOS_TOKEN, MS_PER_TOKEN, SAMPLE_RATE, SAMPLES_PER_TOKEN, STREAMING_PAD_TOKEN, StreamingConfig
from voxtral.decoding import Addition, TokenEvent, Transcript, Word, joined
from voxtral.model.voxtral import Voxtral
from voxtral.sample_queue import SampleQueue
from voxtral.second_pass import WINDOW_TOKENS, Passages, SecondPass
from voxtral.session import StreamingSession
from voxtral.tekken import Tekken
from voxtral.watchdog import Alarm, Loudness, Reason, Watchdog

KEPT_S = 45.0  # of the sound that was heard, to be heard again
LAPSE_S = 0.08  # behind the end of a word: its last sound belongs to it


@dataclass(frozen=True)
class Result:
    """What became of one recording; times in seconds, rtf = wall_s / audio_s; tokens: () where they were not kept."""

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
    """feed(samples) → what changed; finish() → the rest; result(…) → everything.

    Who must stay responsive calls put(samples), and step() while `waiting_s` is not 0, instead of feed. start_s: where
    on the recording's clock its first sample lies; keeps_tokens: for the result, which then grows by one every 80 ms;
    has_second_pass: `second_pass` hears what is over again, by `step_carefully`, when there is time for it.
    """

    def __init__(
        self,
        model: Voxtral,
        tekken: Tekken,
        streaming: StreamingConfig,
        start_s: float = 0.0,
        keeps_tokens: bool = True,
        has_second_pass: bool = False,
    ) -> None:
        self.chunk_tokens = model.ops.chunk_tokens[0]  # the most that one call of the encoder takes
        self.tokens: list[int] = []
        self._notices: list[str] = []
        self._streaming, self._keeps_tokens = streaming, keeps_tokens
        self._start_s = start_s
        self._heard, self._waiting = SampleQueue(), SampleQueue()
        self._n_samples = 0
        self._transcript = Transcript(tekken)
        self._watchdog = Watchdog()
        self._passages = Passages(start_s)
        self.second_pass: SecondPass | None = None
        if has_second_pass and streaming.delay_ms < second_pass.CAREFUL_DELAY_MS:
            self.second_pass = SecondPass(model.remembering(WINDOW_TOKENS), tekken, streaming, self._passages)
        self._begin_leg(model)

    @property
    def heard_s(self) -> float:
        """The moment on the recording's clock up to which its sound was turned into tokens."""
        return self._leg_s + self._session.heard_s

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that `step` has not heard, or must hear again."""
        return (self._waiting.end - self._waiting.start) / SAMPLE_RATE

    @property
    def audio_s(self) -> float:
        """Seconds of audio that came."""
        return self._n_samples / SAMPLE_RATE

    # -- audio to words -------------------------------------------------------------------------
    def put(self, samples: NDArray[np.float32]) -> None:
        """Take mono float32 samples at 16 kHz, for `step` to hear."""
        self._waiting.append(samples)
        self._n_samples += len(samples)

    async def approach(self, n_tokens: int) -> bool:
        """Hear up to n_tokens of the silence before a leg, all of which `step` would hear at once; True behind it."""
        return await self._session.approach(n_tokens)

    async def step(self, n_tokens: int) -> list[Addition]:
        """Hear the next n_tokens of 80 ms, or what there is of them; returns what changed, in order."""
        samples = self._waiting.take(n_tokens * SAMPLES_PER_TOKEN)
        self._heard.append(samples)
        self._heard.take(self._heard.end - self._heard.start - round(KEPT_S * SAMPLE_RATE))
        self._sounds += self._loudness.feed(samples)
        return self._take(await self._session.feed(samples))

    async def feed(self, samples: NDArray[np.float32]) -> list[Addition]:
        """Hear these samples, mono float32 at 16 kHz; returns what changed, in order."""
        self.put(samples)
        return await self._hear_all()

    async def finish(self) -> list[Addition]:
        """The audio is over: the last words."""
        additions = await self._hear_all()
        events = [self._on_clock(event) for event in await self._session.finish()]
        self._keep(events)
        additions.append(self._transcript.flush([_without_end(event) for event in events]))
        self._end_passage(self._start_s + self._heard.end / SAMPLE_RATE)
        return additions

    async def step_carefully(self) -> list[Addition]:
        """Hear a bit of a passage again; returns other words for it, if it is done and they differ."""
        assert self.second_pass is not None
        found = await self.second_pass.step(self._transcript.words)
        if found is None:
            return []
        passage, words = found
        revision = self._transcript.revise(passage.first, passage.n_words, words)
        self._passages.moved(passage.end, len(words) - passage.n_words)
        return [Addition(revisions=[revision])]

    async def go_on(self, model: Voxtral) -> Addition:
        """The model was loaded anew, and what the old one remembered is lost: hear on behind the last complete word."""
        if self.second_pass:
            self.second_pass.go_on(model.remembering(WINDOW_TOKENS))
        return self._restart(len(self._transcript.words), model)

    def cancel(self) -> None:
        """Give the session's place on the device back."""
        self._session.reset()
        if self.second_pass:
            self.second_pass.cancel()

    def result(self, file: str, wall_s: float) -> Result:
        """The transcript so far."""
        words = self._transcript.words
        return Result(file, joined(words), words, self.audio_s, wall_s, self.tokens)

    def take_notices(self) -> list[str]:
        """Sentences for people about what happened since they were last taken."""
        notices, self._notices = self._notices, []
        return notices

    async def _hear_all(self) -> list[Addition]:
        additions: list[Addition] = []
        while self.waiting_s:
            additions += await self.step(self.chunk_tokens)
        return additions

    # -- tokens to words ------------------------------------------------------------------------
    def _take(self, events: list[TokenEvent]) -> list[Addition]:
        """Write down what these tokens say, up to the one at which the watchdog has enough."""
        taken = []
        for event in (self._on_clock(event) for event in events):
            taken.append(event)
            if alarm := self._watchdog.see(event.token, event.time_s, self._is_sound(event.position)):
                self._keep(taken)
                written = self._transcript.feed([_without_end(event) for event in taken])
                return [written, self._begin_anew(alarm, event.time_s)]
        self._keep(taken)
        written = self._transcript.feed([_without_end(event) for event in taken])
        self._cut(taken)
        return [written]

    def _cut(self, events: list[TokenEvent]) -> None:
        """End passages where the speaker paused, or where it becomes too long."""
        for event in events:
            if (end_s := self._passages.see(event.token, event.time_s)) is not None:
                self._end_passage(end_s)
        words = self._transcript.words
        if events and words and self._passages.is_too_long(events[-1].time_s):
            self._end_passage(words[-1].end + LAPSE_S)

    def _end_passage(self, end_s: float) -> None:
        if self.second_pass:
            span = (round((s - self._start_s) * SAMPLE_RATE) for s in (self._passages.start_s, end_s))
            self._passages.take(self._transcript.words, end_s, self._heard.between(*span))

    def _keep(self, events: list[TokenEvent]) -> None:
        if self._keeps_tokens:
            self.tokens += [event.token for event in events]

    def _on_clock(self, event: TokenEvent) -> TokenEvent:
        return replace(event, time_s=event.time_s + self._leg_s)

    def _is_sound(self, position: int) -> bool:
        """Whether the frame that the token at this position speaks about holds sound; asked in order."""
        frame = position - self._streaming.left_pad_tokens - self._streaming.delay_tokens
        while self._sounds and self._sounds_frame < frame:
            self._sounds.popleft()
            self._sounds_frame += 1
        return bool(self._sounds) and self._sounds_frame == frame and self._sounds[0]

    # -- legs -----------------------------------------------------------------------------------
    def _begin_leg(self, model: Voxtral) -> None:
        """Begin with the sound that waits."""
        streaming = self._streaming
        self._model = model
        self._session = StreamingSession(model, streaming.delay_ms, streaming.left_pad_tokens, streaming.stop_at_eos)
        self._leg_s = self._start_s + self._waiting.start / SAMPLE_RATE
        self._loudness = Loudness()
        self._sounds: deque[bool] = deque()  # of each frame of the leg from _sounds_frame on
        self._sounds_frame = 0
        self._watchdog.begin()

    def _begin_anew(self, alarm: Alarm, now_s: float) -> Addition:
        words = self._transcript.words
        n_kept = len(words)
        while n_kept and words[n_kept - 1].end > alarm.keep_until_s:
            n_kept -= 1
        self._session.reset()
        addition = self._restart(n_kept, self._model, since_s=0.0 if alarm.hears_again else now_s)
        self._notices.append(_sentence(alarm, now_s, self._leg_s))
        return addition

    def _restart(self, n_kept: int, model: Voxtral, since_s: float = 0.0) -> Addition:
        """Another leg behind the first n_kept words, which hears nothing again that lies before since_s."""
        revision = self._transcript.take_back(n_kept)
        if self._transcript.words:
            self._end_passage(self._transcript.words[-1].end + LAPSE_S)
        if self._transcript.words:
            since_s = max(since_s, self._transcript.words[-1].end + LAPSE_S)
        start = max(self._heard.start, round((since_s - self._start_s) * SAMPLE_RATE))
        self._waiting.go_back(self._heard, min(start, self._heard.end))
        self._begin_leg(model)
        self._passages.begin_anew(n_kept, self._leg_s)
        if self.second_pass:
            self.second_pass.forget_beyond(n_kept)
        return Addition(revisions=[revision])


def _without_end(event: TokenEvent) -> TokenEvent:
    """`</s>` ends nothing here: the sound goes on, and the model may as well; it says as much as a pad."""
    return replace(event, token=STREAMING_PAD_TOKEN) if event.token == EOS_TOKEN else event


def _sentence(alarm: Alarm, now_s: float, leg_s: float) -> str:
    what = "heard sound but wrote nothing" if alarm.reason is Reason.STALL else "repeated itself without end"
    again = f", and what was said since {clock(leg_s)} was heard again" if now_s - leg_s > MS_PER_TOKEN / 1000 else ""
    return f"At {clock(now_s)} the recogniser {what}, so it was started anew{again}."


def clock(seconds: float) -> str:
    """3:07, or 1:03:07."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
