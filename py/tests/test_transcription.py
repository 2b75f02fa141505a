"""Transcription: legs of a recording, begun anew where the decoder was stuck."""

import asyncio
import itertools

import numpy as np
import pytest
from demo_case import MODEL, TEKKEN
from fake_host import ROOT

from voxtral.config import EOS_TOKEN, STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, StreamingConfig
from voxtral.decoding import TokenEvent, frame_time_s, joined
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.session import StreamingSession
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.tekken import Tekken
from voxtral.transcription import KEPT_S, Transcription, clock
from voxtral.wav import read_wav

SAMPLES = ROOT / "static" / "samples"
PAD, WORD = STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN
FIRST_WORD = 1000


def samples_of(name):
    (samples,) = read_wav((SAMPLES / name).read_bytes(), name).channels
    return samples


async def demo():
    data = (ROOT / MODEL).read_bytes()
    model = await Voxtral.load(ReferenceOps(), ShardedCursor([MemorySource(data, MODEL)]))
    return model, Tekken.from_json((ROOT / TEKKEN).read_bytes(), TEKKEN)


def shown(additions):
    """What a page that follows the additions holds: text of complete words, and of the one that is not."""
    words, open_text = [], ""
    for addition in additions:
        for revision in addition.revisions:
            words[revision.first : revision.first + revision.n_replaced] = revision.words
            open_text = "" if revision.reason == "restart" else open_text
        open_text += addition.text
        for word in addition.words:
            open_text = open_text.removeprefix("" if word.joins or not words else " ").removeprefix(word.text)
            words.append(word)
    return words, open_text


@pytest.mark.parametrize("at_s", [0.4, 1.9, 3.1])
def test_a_leg_may_begin_anywhere_and_the_words_are_the_same(at_s):
    async def both():
        model, tekken = await demo()
        samples, at = samples_of("digits_3.wav"), round(at_s * 16_000)
        whole = Transcription(model, tekken, StreamingConfig(), start_s=100.0)
        await whole.feed(samples)
        await whole.finish()
        legs = Transcription(model, tekken, StreamingConfig(), start_s=100.0)
        additions = [*await legs.feed(samples[:at]), await legs.go_on(model)]
        assert legs.heard_s <= 100 + at_s
        additions += [*await legs.feed(samples[at:]), *await legs.finish()]
        return whole.result("", 0), legs.result("", 0), additions

    whole, legs, additions = asyncio.run(both())
    assert whole.text == legs.text == "nine six seven eight zero three eight"
    for a, b in zip(whole.words, legs.words, strict=True):
        assert (a.start, a.end) == (pytest.approx(b.start, abs=0.25), pytest.approx(b.end, abs=0.25))
        assert 100 < a.end < 106.2
    assert (whole.audio_s, legs.audio_s) == (len(samples_of("digits_3.wav")) / 16_000,) * 2
    assert shown(additions) == (legs.words, "")


class Script:
    """Takes the place of the network: what is written in each leg, by the number of its frame."""

    def __init__(self, monkeypatch, write):
        self.legs = []  # samples heard in each
        script = self

        async def feed(session, samples):
            if not hasattr(session, "leg"):
                session.leg, session.n, session.total = len(script.legs), 0, 0
                script.legs.append([])
            script.legs[session.leg].append(samples)
            session.total += len(samples)
            events = []
            while session.n < session.total // 1280:
                position = session.n + session.config.left_pad_tokens + session.config.delay_tokens
                events.append(TokenEvent(position, write(session.leg, session.n), 0.0))
                session.n += 1
            timed = [(e.position, e.token, frame_time_s(e.position, session.config)) for e in events]
            return [TokenEvent(*event) for event in timed]

        async def finish(_session):
            return []

        monkeypatch.setattr(StreamingSession, "feed", feed)
        monkeypatch.setattr(StreamingSession, "finish", finish)


def hum(seconds):
    """Sound whose samples, read as numbers, roughly tell their second."""
    return np.repeat(np.arange(round(seconds * 12.5), dtype=np.float32) * 0.08, 1280)


class Machine:
    class ops:  # noqa: N801 - stands for an instance
        chunk_tokens = (64, 1)

    def give_back(self, stream):
        pass


def transcribed(seconds, tekken):
    async def main():
        t = Transcription(Machine(), tekken, StreamingConfig(), start_s=0.0)
        # A hum is no sound to a watchdog that knows noise; syllables are.
        t._watchdog.see = lambda token, time_s, _, see=t._watchdog.see: see(token, time_s, True)
        additions = await t.feed(hum(seconds))
        additions += await t.finish()
        return t, additions

    return asyncio.run(main())


@pytest.fixture(scope="module")
def tekken():
    return Tekken.from_json((ROOT / TEKKEN).read_bytes(), TEKKEN)


def token_of(word, tekken):
    return next(i for i in range(1000, 1400) if tekken.piece(i).strip() == word)


@pytest.fixture(scope="module")
def piece(tekken):
    return token_of(b"seven", tekken)


def test_a_stalled_decoder_is_started_anew_and_hears_what_it_missed(monkeypatch, tekken, piece):
    def write(leg, n):
        if leg == 0:
            return {10: WORD, 11: piece}.get(n, PAD)
        return {0: WORD, 1: piece}.get(n % 12, PAD)

    script = Script(monkeypatch, write)
    t, additions = transcribed(40, tekken)
    assert len(script.legs) == 2
    again_s = script.legs[1][0][0]
    assert again_s == pytest.approx(t._transcript.words[0].end + 0.08, abs=0.09)
    assert t._transcript.words[1].end == pytest.approx(again_s, abs=0.2)
    assert t._transcript.words[-1].end > 38
    (notice,) = t.take_notices()
    assert "wrote nothing" in notice
    assert "At 0:2" in notice
    assert shown(additions)[0] == t._transcript.words


def test_of_a_loop_two_repeats_stay(monkeypatch, tekken, piece):
    loop = token_of(b"one", tekken)

    def write(leg, n):
        if leg == 0 and n > 100:
            return loop if n % 2 else WORD
        return {0: WORD, 1: piece}.get(n % 25, PAD)

    script = Script(monkeypatch, write)
    t, additions = transcribed(60, tekken)
    assert len(script.legs) == 2
    words = t._transcript.words
    kept = [word for word in words if word.end <= script.legs[1][0][0]]
    assert joined(kept) == "seven seven seven seven one one"
    assert [word.reason for addition in additions for word in addition.revisions] == ["restart"]
    assert max(b.end - a.end for a, b in itertools.pairwise(words[6:])) < 2.2
    assert "repeated itself" in t.take_notices()[0]
    assert shown(additions)[0] == words


def test_the_end_token_ends_nothing(monkeypatch, tekken, piece):
    begins = np.cumsum([20 + i % 3 * (i % 5) for i in range(40)]).tolist()
    at = dict.fromkeys(begins, WORD) | {n + 1: piece for n in begins} | {n + 5: EOS_TOKEN for n in begins}
    Script(monkeypatch, lambda _leg, n: at.get(n, PAD))
    t, _ = transcribed((begins[-1] + 20) * 0.08, tekken)
    assert len(t._transcript.words) == len(begins)
    assert t.take_notices() == []


def test_sound_is_kept_for_half_a_minute_however_long_the_recording(monkeypatch, tekken):
    Script(monkeypatch, lambda _leg, _n: PAD)

    async def main():
        t = Transcription(Machine(), tekken, StreamingConfig(), keeps_tokens=False)
        for _ in range(40):
            await t.feed(np.zeros(160_000, np.float32))
        return t

    t = asyncio.run(main())
    assert (t._heard.end - t._heard.start) / 16_000 == KEPT_S
    assert sum(len(block) for block in t._heard._blocks) == KEPT_S * 16_000
    assert t.tokens == []
    assert len(t._sounds) <= 1


def test_times_for_people():
    assert [clock(s) for s in (0, 65.9, 3600, 36_061)] == ["0:00", "1:05", "1:00:00", "10:01:01"]
