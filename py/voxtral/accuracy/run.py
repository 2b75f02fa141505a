"""Clips through a loaded model, as files go through it; the same on this machine and in the page.

hear          the sound of one clip to its words, and when each of them was there
result_of     what that is worth
results_of    both, of many clips; one whose sound cannot be read is a failure
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.latency import Timing, arrivals, timing
from voxtral.accuracy.normalization import Normalizer
from voxtral.accuracy.results import ClipResult, Counts, Failure, HeardWord
from voxtral.accuracy.scoring import score_clip, sure_hits
from voxtral.accuracy.sets import Clip, ClipEntry
from voxtral.config import SAMPLE_RATE, SAMPLES_PER_TOKEN, StreamingConfig
from voxtral.errors import AudioError
from voxtral.loading import Loaded
from voxtral.transcription import Transcription


@dataclass(frozen=True)
class Heard:
    """wall_s: what the engine took, without reading and decoding the sound."""

    text: str
    words: tuple[HeardWord, ...]
    audio_s: float
    wall_s: float
    notices: tuple[str, ...]


async def results_of(
    loaded: Loaded,
    streaming: StreamingConfig,
    clips: Iterable[Clip],
    normalizer: Normalizer,
    tell: Callable[[float], None] = lambda _heard_s: None,
) -> AsyncIterator[ClipResult | Failure]:
    """What came of each, in order; a clip whose sound cannot be read is a failure. tell: see `hear`."""
    for clip in clips:
        try:
            heard = await hear(loaded, streaming, clip.sound, tell)
        except AudioError as error:
            yield Failure(clip.entry.id, clip.entry.group, str(error))
        else:
            yield result_of(clip.entry, heard, normalizer, clip.notices)


async def hear(
    loaded: Loaded,
    streaming: StreamingConfig,
    pieces: Iterable[NDArray[np.float32]],
    tell: Callable[[float], None] = lambda _heard_s: None,
) -> Heard:
    """Transcribe one recording. Raises AudioError where there is no sound, and whatever `pieces` and `tell` raise.

    pieces: mono float32 at 16 kHz, in order, as they are decoded; tell(heard_s): after each step, behind which others
    get their turn. The place on the device is given back however it ends.
    """
    transcription = Transcription(loaded.model, loaded.tekken, streaming)
    chunk_s = transcription.chunk_tokens * SAMPLES_PER_TOKEN / SAMPLE_RATE
    wall_s = 0.0
    try:
        for piece in pieces:
            transcription.put(piece)
            while transcription.waiting_s and transcription.waiting_s >= chunk_s:
                started_s = time.perf_counter()
                await transcription.step(transcription.chunk_tokens)
                wall_s += time.perf_counter() - started_s
                tell(transcription.heard_s)
                await asyncio.sleep(0)
        if not transcription.audio_s:
            raise AudioError("expected sound, found none; record or export it again")
        started_s = time.perf_counter()
        await transcription.finish()
        wall_s += time.perf_counter() - started_s
    except BaseException:
        transcription.cancel()
        raise
    notices = transcription.take_notices()
    result = transcription.result("", wall_s)
    came = [] if notices else arrivals(result.tokens, streaming, loaded.tekken)  # a session begun anew has two clocks
    is_known = [word.text for word in result.words] == [word for word, _ in came]
    words = tuple(
        HeardWord(word.text, round(word.end, 3), round(came[i].heard_s, 3) if is_known else None)
        for i, word in enumerate(result.words)
    )
    return Heard(result.text, words, round(result.audio_s, 3), round(wall_s, 4), tuple(notices))


def result_of(entry: ClipEntry, heard: Heard, normalizer: Normalizer, notices: Iterable[str] = ()) -> ClipResult:
    """Score what was heard of a clip. notices: about its sound."""
    score = score_clip(entry.transcript, heard.text, normalizer)
    timed = Timing()
    texts = [word.text for word in heard.words]
    if entry.word_ends_s and _keeps_words(entry.transcript.split(), normalizer) and _keeps_words(texts, normalizer):
        came, printed = [word.arrival_s for word in heard.words], [word.end_s for word in heard.words]
        timed = timing(entry.word_ends_s, sure_hits(score.alignment), came, printed)
    return ClipResult(
        id=entry.id,
        group=entry.group,
        speaker=entry.speaker,
        audio_s=heard.audio_s,
        reference=normalizer(entry.transcript),
        said=normalizer(entry.said),
        hypothesis=normalizer(heard.text),
        word_counts=score.words,
        character_counts=score.characters,
        false_words=_n_false(entry, heard, normalizer, score.words),
        alignment=score.alignment,
        words=heard.words,
        latencies_s=timed.delays_s,
        end_errors_s=timed.end_errors_s,
        wall_s=heard.wall_s,
        notices=(*notices, *heard.notices),
    )


def _keeps_words(words: list[str], normalizer: Normalizer) -> bool:
    """Whether each word stays one, also beside the others, so that those of an alignment can be found again."""
    return normalizer(" ".join(words)).split() == [normalizer(word) for word in words]


def _n_false(entry: ClipEntry, heard: Heard, normalizer: Normalizer, counts: Counts) -> int:
    """Words that nobody said, where nothing should be understood."""
    if counts.n_reference:
        return 0
    against_said = score_clip(entry.said, heard.text, normalizer).words
    return against_said.insertions + against_said.substitutions
