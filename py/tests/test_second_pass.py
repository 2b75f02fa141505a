"""The second pass: where passages end, and that what is heard again replaces what was heard first."""

import asyncio
import itertools

import numpy as np
import pytest
from test_transcription import demo, samples_of, shown
from test_worker import listen, pcm, with_worker

from voxtral import second_pass
from voxtral.config import STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, StreamingConfig
from voxtral.decoding import Word
from voxtral.errors import MemoryRefusedError
from voxtral.model.stream import HISTORY_MEL_FRAMES, Stream
from voxtral.second_pass import LONGEST_S, MAX_BACKLOG_S, Passages
from voxtral.transcription import Transcription

PAD, WORD = STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN
SPOKEN = "nine six seven eight zero three eight"
SAMPLE_RATE = 16_000


@pytest.fixture(autouse=True)
def a_delay_the_demo_model_knows(monkeypatch):
    monkeypatch.setattr(second_pass, "CAREFUL_DELAY_MS", 1200)


# -- passages -----------------------------------------------------------------------------------
def ends(tokens):
    passages, found = Passages(0.0), []
    for i, token in enumerate(tokens):
        if (end_s := passages.see(token, i * 0.08)) is not None:
            found.append(end_s)
    return found, passages


def test_a_passage_ends_in_the_middle_of_a_pause_of_640_ms():
    assert ends([WORD, 1000, *[PAD] * 7, WORD, 1000])[0] == []
    assert ends([WORD, 1000, *[PAD] * 8, WORD, 1000])[0] == [pytest.approx((9 - 4) * 0.08)]
    assert len(ends([WORD, 1000, *[PAD] * 100] * 3)[0]) == 3
    found, passages = ends([PAD] * 1000)
    assert (found, passages.start_s) == ([], pytest.approx((999 - 4) * 0.08))  # silence is no passage


def test_passages_hold_their_words_and_follow_when_others_change():
    passages = Passages(0.0)
    words = [Word("one", i, i + 0.5) for i in range(6)]
    for end_s in (2.0, 4.0, 6.0):
        passages.take(words, end_s, np.ones(3200, np.float32))
    assert [(p.first, p.n_words, p.start_s) for p in passages.queue] == [(0, 2, 0.0), (2, 2, 2.0), (4, 2, 4.0)]
    first = passages.queue.popleft()
    passages.moved(first.end, 3)
    assert [p.first for p in passages.queue] == [5, 7]
    passages.begin_anew(8, 5.0)
    assert [p.first for p in passages.queue] == [5]


def test_a_machine_that_has_no_time_forgets_the_oldest_passages():
    passages = Passages(0.0)
    words = [Word("one", i * 10, i * 10 + 5) for i in range(40)]
    for i in range(1, 40):
        passages.take(words, i * 10.0, np.zeros(10 * SAMPLE_RATE, np.float32))
    assert passages.waiting_s == MAX_BACKLOG_S
    assert passages.queue[-1].first == 38
    assert passages.is_too_long(390 + LONGEST_S + 1)
    assert not passages.is_too_long(390 + LONGEST_S)


# -- hearing again ------------------------------------------------------------------------------
def test_words_that_were_wrong_are_replaced():
    async def main():
        model, tekken = await demo()
        t = Transcription(model, tekken, StreamingConfig(), start_s=50.0, has_second_pass=True)
        additions = await t.feed(samples_of("digits_3.wav"))
        additions += await t.finish()
        t._transcript.words[2].text = "heaven"  # as if it had been misheard
        n_passages = len(t._passages.queue)
        while t.second_pass.has_work:
            additions += await t.step_carefully()
        return t.result("", 0), additions, n_passages

    result, additions, n_passages = asyncio.run(main())
    assert result.text == SPOKEN
    (revision,) = (revision for addition in additions for revision in addition.revisions)
    assert (revision.reason, revision.first <= 2 < revision.first + revision.n_replaced) == ("careful", True)
    assert n_passages >= 1
    assert [a.end <= b.end for a, b in itertools.pairwise(result.words)] == [True] * 6
    assert 50 < result.words[0].end < result.words[-1].end < 56.2
    assert shown(additions)[0] == result.words


def test_a_live_recording_is_heard_again_before_it_is_done(monkeypatch):
    feed = Transcription._take
    monkeypatch.setattr(Transcription, "_take", lambda t, events: misheard(feed(t, events)))

    def misheard(additions):
        for addition in additions:
            for word in addition.words:
                word.text = word.text.replace("eight", "ate")
        return additions

    async def scenario(host, worker):
        worker.receive(listen(1, "p", has_second_pass=True))
        samples = np.concatenate([pcm("digits_3.wav"), np.zeros(32_000, np.float32), pcm("digits_1.wav")])
        for start in range(0, len(samples), 16_000):
            host.ports["p"](samples[start : start + 16_000])
            await asyncio.sleep(0)
        host.ports["p"](np.zeros(0, np.float32))
        return host, (await host.until("done", 1))["result"]

    host, result = with_worker(scenario)
    assert result["text"] == f"{SPOKEN} one four one seven"
    revised = host.of("revised", 1)
    assert {m["reason"] for m in revised} == {"careful"}
    words = [word for m in host.of("words", 1) for word in m["words"]]
    assert "ate" in [word["text"] for word in words]
    for m in revised:
        words[m["first"] : m["first"] + m["n_replaced"]] = m["words"]
    assert words == result["words"]


def test_without_memory_for_it_there_is_no_second_pass(monkeypatch):
    async def refuse(_second, _words):
        raise MemoryRefusedError("the GPU has no room")

    monkeypatch.setattr(second_pass.SecondPass, "step", refuse)

    async def scenario(host, worker):
        worker.receive(listen(1, "p", is_live=False, total_s=6.1, has_second_pass=True))
        host.ports["p"](pcm("digits_3.wav"))
        host.ports["p"](np.zeros(0, np.float32))
        return host, (await host.until("done", 1))["result"]["text"]

    host, text = with_worker(scenario)
    assert text == SPOKEN
    (notice,) = host.of("notice", 1)
    assert "no room" in notice["sentence"]


def test_sound_never_waits_for_more_than_a_step_of_a_second_hearing(monkeypatch):
    """The silence before the first passage, too, is heard in steps."""

    async def main():
        model, tekken = await demo()
        t = Transcription(model, tekken, StreamingConfig(), has_second_pass=True)
        await t.feed(samples_of("digits_3.wav"))
        await t.finish()
        advanced, advance = [], Stream.advance

        async def counted(stream, mel):
            advanced.append((len(mel) - HISTORY_MEL_FRAMES) // 8)
            return await advance(stream, mel)

        monkeypatch.setattr(Stream, "advance", counted)
        steps = []
        while t.second_pass.has_work:
            await t.step_carefully()
            steps.append(sum(advanced))
            advanced.clear()
            if len(steps) == 2:  # halfway through the silence the recording begins anew
                t._passages.queue.appendleft(t.second_pass._passage)
                t.second_pass.cancel()
        return steps, t.result("", 0).text

    steps, text = asyncio.run(main())
    assert max(steps) <= second_pass.STEP_TOKENS
    assert sum(steps[2:]) > 31
    assert text == SPOKEN
