"""When a word was there, against when it was over.

    arrivals    the sound that had been heard when a word was complete, from the tokens of a session
    timing      of the words that were heard right: their delays, and how far their printed ends are from the true ones

A delay is in the sound's own time: what a listener would wait for with a machine that computes in no time. It is made
of the delay the model was asked for, and one token, 80 ms, for each piece that a word is written with.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from voxtral.config import EOS_TOKEN, MS_PER_TOKEN, STREAMING_PAD_TOKEN, StreamingConfig
from voxtral.decoding import TokenEvent, Transcript, frame_time_s
from voxtral.tekken import Tekken


class Arrival(NamedTuple):
    """A word, and the seconds of sound that had been heard when its last token was decoded."""

    text: str
    heard_s: float


class Timing(NamedTuple):
    """Of each word whose true end is known: arrival minus true end, and printed end minus true end, in seconds."""

    delays_s: tuple[float, ...] = ()
    end_errors_s: tuple[float, ...] = ()


def arrivals(tokens: Sequence[int], streaming: StreamingConfig, tekken: Tekken) -> list[Arrival]:
    """The words of a session that was not interrupted; tokens: all of it, the silence before the sound included."""
    transcript = Transcript(tekken)
    heard_s: list[float] = []
    for position, token in enumerate(tokens, streaming.n_prompt_tokens - 1):
        kept = STREAMING_PAD_TOKEN if token == EOS_TOKEN else token
        addition = transcript.feed([TokenEvent(position, kept, frame_time_s(position, streaming))])
        if addition.text or addition.revisions:
            n_words = transcript.n_words
            del heard_s[n_words - 1 :]
            heard_s += [(position + 1 - streaming.left_pad_tokens) * MS_PER_TOKEN / 1000] * (n_words - len(heard_s))
    transcript.flush()
    heard_s += heard_s[-1:] * (len(transcript.words) - len(heard_s))  # a character that was never complete
    return [Arrival(word.text, s) for word, s in zip(transcript.words, heard_s, strict=False)]


def timing(
    true_ends_s: Sequence[float | None],
    hits: Iterable[tuple[int, int]],
    arrivals_s: Sequence[float | None],
    printed_ends_s: Sequence[float],
) -> Timing:
    """hits: numbers of the words that are the same in the transcript and in what was heard."""
    delays, errors = [], []
    for spoken, heard in hits:
        true_s, arrival_s = true_ends_s[spoken], arrivals_s[heard]
        if true_s is not None:
            errors.append(round(printed_ends_s[heard] - true_s, 4))
            if arrival_s is not None:
                delays.append(round(arrival_s - true_s, 4))
    return Timing(tuple(delays), tuple(errors))
