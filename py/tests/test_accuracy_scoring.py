"""Errors, intervals, delays of words and reports, against cases worked out by hand and against any texts."""

import json
from dataclasses import replace

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.latency import arrivals, timing
from voxtral.accuracy.normalization import basic, normalizer_named
from voxtral.accuracy.rendering import aligned, render, render_against
from voxtral.accuracy.report import EngineFacts, ModelFacts, Report
from voxtral.accuracy.results import ClipResult, Counts, Failure, HeardWord, Step
from voxtral.accuracy.run import Heard, result_of
from voxtral.accuracy.scoring import score_clip, sure_hits
from voxtral.accuracy.sets import ClipEntry
from voxtral.accuracy.summary import differences, summarize
from voxtral.config import STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, StreamingConfig
from voxtral.errors import AccuracyError
from voxtral.tekken import Tekken
from voxtral.web.places import HERE

BASIC = normalizer_named("basic")
TEXTS = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(["one", "two", "Two,", "don't", "é"])).map(" ".join))


# -- texts --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello, World!", "hello world"),
        ("I don’t know; it's 3-4 o'clock", "i dont know its 3 4 oclock"),
        ("ＡＢＣ１", "abc1"),
        ("Straße ÉTÉ e\u0301te\u0301", "straße été été"),
        ("co\u00adoperate क्\u200dष \u200fשלום don\u2060't e\u200d\u0301 a\u200bb", "cooperate क्ष שלום dont é a b"),
        ("नमस्ते, दुनिया।", "नमस्ते दुनिया"),
        ("今日は、天気。", "今日は 天気"),
        (" \t\n…—", ""),
        ("İx", "i̇x"),
    ],
)
def test_the_basic_normaliser(text, normal):
    assert BASIC(text) == normal


@given(TEXTS)
def test_what_is_normal_stays_as_it_is(text):
    assert BASIC(BASIC(text)) == BASIC(text)


def test_normalisers_say_their_version():
    english = normalizer_named("english")
    assert (BASIC.name, english.name) == ("basic 2", "english (whisper-normalizer 0.1.12)")
    assert english("Mr. Smith won't pay $20 for twenty-two colours") == "mister smith will not pay $20 for 22 colors"
    with pytest.raises(AccuracyError, match="expected a normaliser among basic, english, found 'german'"):
        normalizer_named("german")


def test_a_normaliser_whose_package_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "whisper_normalizer.english", None)
    with pytest.raises(AccuracyError, match="needs the package whisper-normalizer, which does not load"):
        normalizer_named("english")


# -- errors -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters", "shown"),
    [
        ("one two three", "one two three", Counts(3, 0, 0, 0), Counts(13, 0, 0, 0), "one two three"),
        ("One, two three.", "one too three", Counts(2, 1, 0, 0), Counts(12, 1, 0, 0), "one [two→too] three"),
        ("one two three", "one three", Counts(2, 0, 1, 0), Counts(9, 0, 4, 0), "one [-two-] three"),
        ("one three", "one two three", Counts(2, 0, 0, 1), Counts(9, 0, 0, 4), "one {+two+} three"),
        ("", "", Counts(0, 0, 0, 0), Counts(0, 0, 0, 0), ""),
        ("", "a word", Counts(0, 0, 0, 2), Counts(0, 0, 0, 6), "{+a word+}"),
        ("a word", "", Counts(0, 0, 2, 0), Counts(0, 0, 6, 0), "[-a word-]"),
    ],
)
def test_errors_by_hand(reference, hypothesis, words, characters, shown):
    score = score_clip(reference, hypothesis, BASIC)
    assert (score.words, score.characters, aligned(score.alignment)) == (words, characters, shown)


@given(TEXTS, TEXTS)
def test_counts_and_alignment_agree_for_any_texts(reference, hypothesis):
    score = score_clip(reference, hypothesis, BASIC)
    spoken, heard = BASIC(reference).split(), BASIC(hypothesis).split()
    assert [word for step in score.alignment for word in step.reference] == spoken
    assert [word for step in score.alignment for word in step.hypothesis] == heard
    assert (score.words.n_reference, score.words.hits + score.words.substitutions + score.words.insertions) == (
        len(spoken),
        len(heard),
    )
    assert (score.words.errors == 0) == (spoken == heard)
    if spoken:
        assert score.words.errors / len(spoken) == pytest.approx(jiwer.wer(" ".join(spoken), " ".join(heard)))
    hits = sure_hits(score.alignment)
    assert all(spoken[i] == heard[j] for i, j in hits)
    assert len(hits) <= score.words.hits
    assert spoken != heard or len(hits) == len(spoken)


def test_a_word_that_may_be_either_of_two_is_no_sure_hit():
    assert sure_hits(score_clip("five five nine", "five nine", BASIC).alignment) == [(2, 1)]
    assert sure_hits(score_clip("a b c", "a x c", BASIC).alignment) == [(0, 0), (2, 2)]


def test_long_stretches_of_the_same_words_are_shortened():
    words = tuple("abcdefghijkl")
    same, miss = Step("equal", words, words), Step("delete", ("x",), ())
    assert aligned([same, miss, same, miss, same]) == "… i j k l [-x-] a b c d … i j k l [-x-] a b c d …"


# -- delays of words ------------------------------------------------------------------------------------
def test_a_word_is_there_with_its_last_token():
    """By hand: left padding 76, delay 480 ms; the token at position 76 + n has heard (n + 1) * 80 ms."""
    streaming = StreamingConfig(480, 76)
    tekken = Tekken.from_json((HERE.demo_model / "tekken.json").read_bytes(), "tekken.json")
    one, two = (next(t for t in range(1000, 1300) if tekken.piece(t).strip() == word) for word in (b"one", b"two"))
    first = streaming.n_prompt_tokens - 1
    tokens = [STREAMING_PAD_TOKEN] * (76 - first + 10)
    tokens += [STREAMING_WORD_TOKEN, one, STREAMING_PAD_TOKEN, STREAMING_WORD_TOKEN, two, two]
    found = arrivals(tokens, streaming, tekken)
    assert [(word, round(s, 3)) for word, s in found] == [("one", 0.96), ("two", 1.2), ("two", 1.28)]


def test_delays_and_errors_of_printed_ends():
    found = timing([0.5, None, 1.5], [(0, 0), (1, 1), (2, 2)], [1.04, 1.5, None], [0.54, 1.1, 1.45])
    assert found == ((0.54,), (0.04, -0.05))


def heard_words(*words):
    return tuple(HeardWord(text, end, end + 0.6) for text, end in words)


def test_a_result_times_what_was_heard_right_alone():
    entry = ClipEntry("a", "g", "", "one two three", "a.wav", word_ends_s=(0.4, 0.9, 1.5))
    heard = Heard("one too three", heard_words(("one", 0.42), ("too", 0.9), ("three", 1.48)), 2.0, 0.2, ())
    result = result_of(entry, heard, BASIC)
    assert (result.latencies_s, result.end_errors_s) == ((0.62, 0.58), (0.02, -0.02))
    twenty = replace(entry, transcript="twenty two three")
    said = Heard("twenty two three", heard_words(("twenty", 0.4), ("two", 0.9), ("three", 1.5)), 2.0, 0.2, ())
    assert len(result_of(twenty, said, BASIC).latencies_s) == 3
    assert result_of(twenty, said, normalizer_named("english")).latencies_s == ()  # "22 three": whose end is it?


def test_words_that_were_said_are_not_false():
    entry = ClipEntry("a", "g", "", "", "a.wav", said="ten of clubs, four queens")
    result = result_of(entry, Heard("of four seven", (), 2.0, 0.2, ()), BASIC)
    assert (result.false_words, result.word_counts, result.should_be_silent) == (1, Counts(0, 0, 0, 3), True)
    assert result_of(replace(entry, said=""), Heard("of four", (), 2.0, 0.2, ()), BASIC).false_words == 2


# -- many clips ------------------------------------------------------------------------------------------
def clip(id, n_words, n_errors, group="g", false_words=0, audio_s=3.0):
    counts = Counts(n_words - n_errors, n_errors, 0, false_words)
    words = (HeardWord("a", 0.5, 1.1), HeardWord("b", 0.7, None))
    alignment = (Step("equal", ("a",), ("a",)), Step("substitute", ("b",), ("c",)))
    texts = {
        "reference": "a b" if n_words else "",
        "said": "",
        "hypothesis": "a c",
        "alignment": alignment,
        "words": words,
    }
    timed = {"latencies_s": (0.6,), "end_errors_s": (-0.1,), "wall_s": 0.3, "notices": ("odd",)}
    return ClipResult(
        id=id, group=group, speaker="s", audio_s=audio_s, word_counts=counts, character_counts=counts, **texts,
        false_words=false_words, **timed,
    )  # fmt: skip


def test_a_summary_by_hand():
    found = summarize([clip("a", 10, 1), clip("b", 30, 3), clip("c", 0, 0, false_words=1, audio_s=30.0)])
    assert (found["wer"]["value"], found["false_words_per_min"]["value"], found["n_words"]) == (0.1, 2.0, 40)
    assert (found["wer"]["low"], found["wer"]["high"]) == (0.1, 0.1)  # both clips have as many errors a word
    assert (found["latency"], found["rtf"]) == ({"n": 3, "median_s": 0.6, "p95_s": 0.6}, 0.025)
    assert found["end_error"]["median_s"] == 0.1
    nothing = summarize([])
    assert (nothing["wer"], nothing["latency"], nothing["rtf"], nothing["n_clips"]) == (None, None, None, 0)


def random_clips(rng, n, rate):
    sizes = rng.integers(3, 15, n)
    return [clip(str(i), int(k), int(rng.binomial(k, rate))) for i, k in enumerate(sizes)]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """100 sets of 60 clips: a 95 % interval fails in 5 on average, and in more than 14 once in 10 000 such runs."""
    rng = np.random.default_rng(5)
    intervals = [summarize(random_clips(rng, 60, 0.2))["wer"] for _ in range(100)]
    n_missed = sum(not found["low"] <= 0.2 <= found["high"] for found in intervals)
    assert n_missed <= 14
    width = np.median([found["high"] - found["low"] for found in intervals])
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / (60 * 8.5)), rel=0.15)  # of words that err alone
    again = [summarize(random_clips(np.random.default_rng(8), 20, 0.1)) for _ in range(2)]
    assert again[0] == again[1]


def test_a_difference_is_of_the_clips_that_both_have():
    mine = [clip(str(i), 10, i % 3) for i in range(40)] + [clip("new", 10, 10)]
    theirs = [clip(str(i), 10, i % 3 + 1) for i in range(40)] + [clip("old", 10, 0)]
    found = differences(mine, theirs)
    assert (found["n_clips"], found["n_others"]) == (40, 2)
    wer = found["groups"]["overall"]["wer"]
    assert (wer["value"], wer["low"], wer["high"]) == (-0.1, -0.1, -0.1)  # each clip is better by one word of ten
    assert [*found["groups"]] == ["overall", "g"]
    same = differences(mine, mine)["groups"]["g"]
    assert (same["wer"]["value"], same["wer"]["low"], same["wer"]["high"]) == (0, 0, 0)
    assert same["false_words_per_min"] is None
    assert differences(mine, [])["groups"]["overall"]["wer"] is None


def test_a_group_called_overall_does_not_take_the_place_of_all_clips():
    mine, theirs = ([clip("1", 2, 0, "overall"), clip("2", 2, n_errors, "g")] for n_errors in (2, 0))
    groups = differences(mine, theirs)["groups"]
    assert {name: (group["n_clips"], group["wer"]["value"]) for name, group in groups.items()} == {
        "overall": (2, 0.5),
        "g": (1, 1.0),
    }


# -- reports ----------------------------------------------------------------------------------------------
MACHINE = {"system": "Linux", "cpu_threads": 2, "python": "3.12 on linux"}
REPORT = Report(
    EngineFacts("0.1.0", "2026-01-01 10:00 UTC", MACHINE, "webgpu", {"name": "A GPU", "is_software": False}),
    ModelFacts("Demo", "ab" * 32, "Q4_0", 20_000_000, 480, 76),
    "built in",
    True,
    "basic 2",
    "jiwer 4.0.0",
    [clip("a", 2, 1), clip("b", 0, 0, group="quiet", false_words=3)],
    [Failure("c", "g", "no sound")],
    Condition(level_dbfs=-20, groups=("g", "quiet"), limit=2),
)


def test_a_report_is_read_as_it_was_written():
    content = REPORT.to_json()
    assert Report.of_json(content, "r.json") == REPORT
    assert json.loads(content) == json.loads(json.dumps(REPORT.as_dict()))
    assert json.loads(content)["summary"]["groups"]["g"]["wer"] == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_what_a_file_says_of_its_summary_is_not_believed():
    value = REPORT.as_dict() | {"summary": {"overall": "perfect"}}
    assert Report.of(value, "r.json").summary() == REPORT.summary()


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just(10**400)),
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """Where in a report something may be damaged."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


PLAIN = json.loads(REPORT.to_json())


@given(st.sampled_from([path for path in places(PLAIN) if path]), st.one_of(ANYTHING, st.just("removed")))
def test_a_damaged_report_is_one_sentence_or_can_be_shown(path, damage):
    value = json.loads(REPORT.to_json())
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if damage == "removed":
        del holder[path[-1]]
    else:
        holder[path[-1]] = damage
    try:
        report = Report.of(value, "r.json")
    except AccuracyError as error:
        sentence = str(error)
        report = None
    if report is None:
        assert sentence.startswith("r.json")
        assert "\n" not in sentence
    else:
        assert render(report)
        assert render_against(report, REPORT)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff", "r.json: expected a report, JSON, found what is none"),
        (REPORT.to_json()[:-20], "found what is none, unreadable from line"),
        (b"[" * 100_000, "r.json: expected a report, JSON, found what is none"),
        (b"[]", "r.json should be an object with fields, found a list"),
        (b"{}", "r.json: expected a report of `voxtral wer --json` or of the page, found another file"),
        (b'{"format": "voxtral-accuracy", "version": 2}', "this program reads reports of version 1, found another"),
        (b'{"format": "voxtral-accuracy", "version": 1}', "r.json has no field “set”"),
        (json.dumps(REPORT.as_dict() | {"condition": {"limit": 0}}), "r.json.condition: limit must be at least 1"),
    ],
)
def test_files_that_are_no_report(content, sentence):
    with pytest.raises(AccuracyError) as raised:
        Report.of_json(content, "r.json")
    assert sentence in str(raised.value)


def test_a_report_as_text():
    shown = render(REPORT)
    assert "built in, groups g, quiet, the first 2 of each group: 2 clips; normaliser basic 2, jiwer 4.0.0" in shown
    assert "left padding 76; peaks at -20 dBFS\n" in shown
    assert [line.split()[0] for line in shown.split("\n\n")[1].splitlines()][:4] == ["group", "g", "quiet", "all"]
    assert "95 %: bootstrap over clips; who speaks is not looked at" in shown
    assert "errors: in 2 of 2 clips; the most in\n  b, s: 3 errors\n    a [b→c]" in shown
    assert "median 600 ms, 95 % within 600 ms" in shown
    assert "could not be heard and in no figure: 1 clip\n  c: no sound" in shown
    assert "  a: odd" in shown


def test_two_reports_as_text():
    better = replace(REPORT, clips=[clip("a", 2, 0), clip("b", 0, 0, group="quiet", false_words=1)], failures=())
    shown = render_against(better, REPORT)
    rows = [line.split() for line in shown.splitlines() if line.startswith(("overall", "g ", "quiet"))]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("overall", "WER", "better"),
        ("overall", "CER", "better"),
        ("overall", "false", "better"),
        ("g", "WER", "better"),
        ("g", "CER", "better"),
        ("quiet", "false", "better"),
    ]
    assert "-50.00" in shown
    assert "played differently" not in shown
    raised = replace(better, condition=Condition(level_dbfs=-40, normalise_peak=True, leading_silence_s=1))
    how = "peaks at -40 dBFS, peaks normalised, 1 s of silence before each clip; earlier: peaks at -20 dBFS"
    assert f"their clips were played differently: {how}\n" in render_against(raised, REPORT)
    unknown, default = replace(better, condition=None), replace(REPORT, condition=Condition())
    assert "differently: not known; earlier: as recorded\n" in render_against(unknown, default)
    other = replace(REPORT, clips=[clip("z", 2, 0)], normalizer="english")
    assert "no clip in common; compare runs over the same set" in render_against(other, REPORT)
    alone = replace(REPORT, clips=REPORT.clips[:1], set_name="theirs")
    rows = [line.split()[0] for line in render_against(alone, alone).splitlines() if "same" in line]
    assert rows == ["overall"] * 2, "one group needs no rows of its own"
    assert "different names: theirs; earlier: built in\n" in render_against(alone, REPORT)
    assert "normalised differently: english, basic 2" in render_against(other, REPORT)
    assert basic("A") == "a"


def test_speed_and_delays_are_compared_over_the_clips_that_both_have():
    slow = replace(clip("c", 2, 0), latencies_s=(9.0,), wall_s=30.0)
    few = replace(REPORT, clips=[clip("a", 2, 0)])
    more = replace(REPORT, clips=[clip("a", 2, 0), slow])
    last = "RTF 0.1 against 0.1; delay of words, median / 95 %: 600 ms / 600 ms against 600 ms / 600 ms"
    for pair in ((few, more), (more, few)):
        assert render_against(*pair).splitlines()[-1] == last
