"""An ablation: which clip is heard under what, how that is kept, and what is said of it."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtral.accuracy.ablation import Ablation
from voxtral.accuracy.ablation_rendering import render
from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.effects import ENOUGH_CLIPS, Estimate, Findings, Verdict
from voxtral.accuracy.factors import PLANS
from voxtral.accuracy.sets import ClipEntry
from voxtral.errors import AccuracyError

WORDS = [f"w{i}" for i in range(10)]
MACHINE = {"system": "none", "cpu_threads": 2, "python": "3.11"}
ENGINE = {"version": "1", "date": "today", "machine": MACHINE, "backend": "numpy", "adapter": None}


def clips(n_spoken=24, n_silent=8):
    spoken = [ClipEntry(f"digits-{i}", "digits", "x", " ".join(WORDS), "a.ogg") for i in range(n_spoken // 2)]
    spoken += [ClipEntry(f"orders-{i}", "orders", "y", " ".join(WORDS), "a.ogg") for i in range(n_spoken // 2)]
    return spoken + [ClipEntry(f"noise-{i}", "noise", "", "", "a.ogg") for i in range(n_silent)]


def result(entry, n_missed, n_false=0, latency_s=0.5):
    heard = entry.transcript.split()[n_missed:] + ["false"] * n_false
    n_words = len(entry.transcript.split())
    return {
        "id": entry.id,
        "group": entry.group,
        "speaker": entry.speaker,
        "audio_s": 30.0,
        "reference": entry.transcript,
        "hypothesis": " ".join(heard),
        "word_counts": {
            "hits": n_words - n_missed,
            "substitutions": 0,
            "deletions": n_missed,
            "insertions": n_false,
        },
        "false_words": 0 if n_words else n_false,
        "latencies_s": [latency_s] * (n_words - n_missed),
        "wall_s": 0.1,
    }


class Hearing(NamedTuple):
    weights: str
    condition: Condition
    entry: ClipEntry


def heard(answer, plan="full", entries=None, weights=("Q4_0", "F16")):
    """An ablation in which answer(hearing) → words missed, or (words missed, false words)."""
    entries = clips() if entries is None else entries
    by_id = {entry.id: entry for entry in entries}
    planned = PLANS[plan].conditions(entries)
    ablation = Ablation.of_plan(PLANS[plan], list(by_id), len(planned) * len(weights), "made up", "basic 1")
    for number, kind in enumerate(weights):
        model = {"name": "tiny", "sha256": None, "weight_type": kind, "parameters": 1000}
        ablation.begin_model(number, model, ENGINE)
        for levels, condition in planned:
            counts = [answer(Hearing(kind, condition, by_id[id])) for id in condition.ids]
            pairs = [count if isinstance(count, tuple) else (count, 0) for count in counts]
            ablation.take(number, levels, [result(by_id[i], *n) for i, n in zip(condition.ids, pairs, strict=True)])
    return ablation


def factor(ablation, name):
    return next(factor for factor in ablation.factors if factor.name == name)


def never(_hearing):
    return 0


def spoken(entry, n):
    return int(n) if entry.transcript else 0


def only_silent(entry, n):
    return 0 if entry.transcript else int(n)


# -- plans --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_each_clip_by_itself_is_a_fair_comparison_of_any_two_factors(plan):
    entries = clips(8, 4)
    heard_under = {entry.id: [] for entry in entries}
    for levels, condition in plan.conditions(entries):
        for id in condition.ids:
            heard_under[id].append(levels)
    for combinations in heard_under.values():
        for a, b in itertools.combinations(range(len(plan.factors)), 2):
            counts = Counter((levels[a], levels[b]) for levels in combinations)
            assert len(counts) == len(plan.factors[a].levels) * len(plan.factors[b].levels)
            assert len(set(counts.values())) == 1


def test_a_full_plan_hears_every_combination_and_each_clip_under_a_quarter_of_them():
    planned = PLANS["full"].conditions(clips(8, 4))
    assert len(planned) == len({levels for levels, _ in planned}) == 2 * 2 * 6 * 2 * 4
    counts = Counter(id for _, condition in planned for id in condition.ids)
    assert set(counts.values()) == {len(planned) // 4}


def test_both_paddings_of_a_combination_are_heard_with_the_same_clips():
    plan = PLANS["full"]
    padding = [f.name for f in plan.factors].index("left_pad_tokens")
    ids = {levels: condition.ids for levels, condition in plan.conditions(clips())}
    for levels, found in ids.items():
        assert found == ids[(*levels[:padding], 1 - levels[padding], *levels[padding + 1 :])]


def test_each_silent_prefix_is_computed_once():
    prefixes = [(c.left_pad_tokens, c.delay_ms) for _, c in PLANS["full"].conditions(clips())]
    assert len(list(itertools.groupby(prefixes))) == len(set(prefixes)) == 8


def test_a_plan_for_two_clips_leaves_out_what_nobody_would_hear():
    planned = PLANS["full"].conditions(clips(2, 0))
    assert {len(condition.ids) for _, condition in planned} == {2}  # one of each group, both in the first quarter
    assert len(planned) == 192 // 4


def test_levels_are_the_fields_of_a_condition():
    levels, condition = PLANS["quick"].conditions(clips(2, 0))[0]
    assert levels == (0, 0, 0, 0, 0)
    assert condition == Condition(240, 32, 0.0, -40.0, False, ids=condition.ids)


# -- reports ------------------------------------------------------------------------------------------
def test_a_report_read_again_is_the_same():
    ablation = heard(lambda h: spoken(h.entry, h.condition.delay_ms == 80))
    assert Ablation.of_json(ablation.as_json(), "r.json").as_json() == ablation.as_json()
    assert ablation.is_complete


def test_a_text_is_kept_once():
    ablation = heard(never)
    assert [clip.heard for clip in ablation.clips] == [[clip.reference] for clip in ablation.clips]
    n_hearings = sum(len(run.clips) for run in ablation.runs)
    assert len(ablation.as_json()) < 60 * n_hearings  # of which each has ten latencies


def test_silence_that_was_added_is_no_part_of_a_clip():
    entries = clips(2, 0)
    levels, condition = PLANS["quick"].conditions(entries)[-1]
    assert condition.leading_silence_s == 1.0
    ablation = Ablation.of_plan(PLANS["quick"], ["digits-0"], 1, "made up", "basic 1")
    ablation.begin_model(0, {"name": "tiny", "sha256": None, "weight_type": "F16", "parameters": 1}, ENGINE)
    ablation.take(0, levels, [result(entries[0], 0)])
    assert ablation.clips[0].audio_s == 29.0


def test_two_models_of_the_same_type_are_refused():
    with pytest.raises(AccuracyError, match="both models have F16 weights"):
        heard(never, weights=("F16", "F16"))


def test_an_interrupted_ablation_goes_on_with_the_same_model_only():
    whole = heard(never)
    begun = Ablation.of_json(whole.as_json(), "r.json")
    del begun.runs[300:]
    planned = PLANS["full"].conditions(clips())
    ids = [entry.id for entry in clips()]
    assert begun.goes_on(Ablation.of_plan(PLANS["full"], ids, 384, "made up", "basic 1"))
    assert not begun.is_complete
    assert sum(not begun.is_heard(number, levels) for number in (0, 1) for levels, _ in planned) == 84
    begun.begin_model(1, begun.models[1], ENGINE)
    assert len(begun.models) == 2
    with pytest.raises(AccuracyError, match="expected F16 weights, as heard before, found BF16"):
        begun.begin_model(1, {**begun.models[1], "weight_type": "BF16"}, ENGINE)
    for change in ({"name": "another"}, {"parameters": 4_000_000}):
        with pytest.raises(AccuracyError, match=r"expected tiny of 1,000 parameters, as heard before, found "):
            begun.begin_model(1, {**begun.models[1], **change}, ENGINE)
    for other in (
        Ablation.of_plan(PLANS["full"], ids, 384, "another set", "basic 1"),
        Ablation.of_plan(PLANS["full"], ids[1:], 384, "made up", "basic 1"),
        Ablation.of_plan(PLANS["quick"], ids, 384, "made up", "basic 1"),
    ):
        assert not begun.goes_on(other)


REPORT = heard(never, "quick", clips(2, 2)).as_json()


def paths_of(value, before=()):
    yield before
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from paths_of(child, (*before, key))


@pytest.mark.parametrize("name", ["models", "engines"])
def test_every_model_has_its_weights_and_its_engine(name):
    value = json.loads(REPORT)
    n = len(value[name])
    value[name] = value[name][1:]
    wanted = rf"^r.json.{name} should be a list of {n}, one for each type of weights, found a list; choose"
    with pytest.raises(AccuracyError, match=wanted):
        Ablation.of_json(json.dumps(value), "r.json")


@given(st.data())
def test_a_damaged_report_is_read_or_refused_in_one_sentence(data):
    value = json.loads(REPORT)
    path = data.draw(st.sampled_from([path for path in paths_of(value) if path]))
    wrong = data.draw(st.sampled_from([None, -1, 10**9, "x", [], {}, [[]], True, 1e308]))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = wrong
    sentence = refusal(lambda: render(Ablation.of_json(json.dumps(value), "r.json")))
    assert sentence is None or "\n" not in sentence


def refusal(act):
    try:
        act()
    except AccuracyError as error:
        return str(error)
    return None


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"format": "voxtral-accuracy", "version": 1}'])
def test_what_is_no_report_is_refused(content):
    with pytest.raises(AccuracyError, match=r"^r.json: expected the report of an ablation"):
        Ablation.of_json(content, "r.json")


# -- findings -----------------------------------------------------------------------------------------
def test_rates_are_those_of_everything_heard_at_a_level():
    ablation = heard(lambda h: spoken(h.entry, 2 if h.condition.delay_ms == 80 else 1))
    findings = Findings(ablation)
    rates = {level.label: level.wer.value for level in findings.levels(factor(ablation, "delay_ms"))}
    assert rates == pytest.approx({"80 ms": 0.2, "240 ms": 0.1, "480 ms": 0.1, "960 ms": 0.1})
    assert findings.overall() == Estimate(*[pytest.approx(0.125)] * 3)


def test_differences_are_paired_so_that_hard_clips_do_not_hide_them():
    hard = {entry.id: random.Random(entry.id).randint(0, 8) for entry in clips()}
    ablation = heard(lambda h: spoken(h.entry, hard[h.entry.id] + (h.condition.left_pad_tokens == 32)))
    levels = Findings(ablation).levels(factor(ablation, "left_pad_tokens"))
    assert levels[0].difference == Estimate(*[pytest.approx(0.1)] * 3)
    assert levels[1].difference is None
    assert levels[1].wer.high - levels[1].wer.low > 0.1


def test_an_effect_is_told_apart_by_the_levels_of_other_factors_and_by_group():
    """Padding matters where speech begins at once, for orders only."""

    def answer(h):
        begins_at_once = h.condition.left_pad_tokens == 32 and h.condition.leading_silence_s == 0
        return 4 if begins_at_once and h.entry.group == "orders" else 0

    ablation = heard(answer)
    effects = {effect.label: effect.difference.value for effect in Findings(ablation).effects(ablation.factors[1])}
    expected = {
        "overall": 0.1,
        "digits": 0,
        "orders": 0.2,
        "none: speech at once": 0.2,
        "1 s of silence": 0,
        "Q4_0": 0.1,
    }
    assert {label: effects[label] for label in expected} == pytest.approx(expected)


def test_false_words_count_by_the_minute_of_clips_in_which_nothing_is_said():
    ablation = heard(lambda h: (0, only_silent(h.entry, int(h.condition.normalise_peak))))
    levels = Findings(ablation).levels(factor(ablation, "normalise_peak"))
    assert [level.false_words_per_min.value for level in levels] == [0, 2]  # clips of half a minute
    assert [level.wer.value for level in levels] == [0, 0]


def test_agreement_compares_hearings_that_differ_in_one_factor():
    ablation = heard(lambda h: spoken(h.entry, h.weights == "F16" and h.condition.delay_ms == 80))
    findings = Findings(ablation)
    n_same, n_all = findings.agreement(ablation.factors[0])
    assert n_all == 32 * 192 // 4
    assert n_all - n_same == 24 * 192 // 4 // 4
    assert findings.agreement(factor(ablation, "left_pad_tokens")) == (2 * n_all // 2, 2 * n_all // 2)


VERDICTS = {
    Verdict.CHANGE: lambda h: spoken(h.entry, h.condition.left_pad_tokens == 76),
    Verdict.KEEP: lambda h: spoken(h.entry, h.condition.left_pad_tokens == 32),
    Verdict.EQUAL: never,
    Verdict.OPEN: lambda h: spoken(h.entry, (h.condition.left_pad_tokens == 76) == h.entry.id.endswith(tuple("02468"))),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_default_follows_what_is_clear(verdict):
    ablation = heard(VERDICTS[verdict])
    assert Findings(ablation).verdict(factor(ablation, "left_pad_tokens")) is verdict


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: spoken(
            h.entry,
            2
            if h.condition.delay_ms == 80 and h.condition.left_pad_tokens == 32
            else h.condition.left_pad_tokens == 76,
        ),
        lambda h: (
            spoken(h.entry, h.condition.left_pad_tokens == 76),
            only_silent(h.entry, h.condition.left_pad_tokens == 32),
        ),
    ],
    ids=["worse at some delay", "more false words"],
)
def test_a_default_does_not_follow_a_gain_that_is_paid_for_elsewhere(answer):
    ablation = heard(answer)
    findings = Findings(ablation)
    padding = factor(ablation, "left_pad_tokens")
    assert findings.levels(padding)[0].difference.is_better
    assert findings.verdict(padding) is not Verdict.CHANGE


def test_few_clips_decide_nothing():
    ablation = heard(VERDICTS[Verdict.CHANGE], entries=clips(ENOUGH_CLIPS - 2))
    assert Findings(ablation).verdict(factor(ablation, "left_pad_tokens")) is Verdict.OPEN


def test_normalising_is_judged_by_what_the_product_does_not_raise_anyway():
    ablation = heard(lambda h: spoken(h.entry, 5 * (h.condition.level_dbfs < -37 and not h.condition.normalise_peak)))
    findings = Findings(ablation)
    normalising = factor(ablation, "normalise_peak")
    assert findings.levels(normalising)[1].difference.is_better
    assert findings.verdict(normalising) is Verdict.EQUAL
    assert findings.quiet().difference.value == pytest.approx(-0.5)


def test_how_loud_a_recording_should_be_is_told_of_those_that_are_not_normalised():
    ablation = heard(lambda h: spoken(h.entry, h.condition.normalise_peak or h.condition.level_dbfs == -20))
    found = {effect.label: effect.difference.value for effect in Findings(ablation).loudness()}
    assert found == pytest.approx(
        {"−50 dBFS": -0.1, "−40 dBFS": -0.1, "−30 dBFS": -0.1, "−20 dBFS": 0}
        | dict.fromkeys(("−10 dBFS", "0 dBFS"), -0.1)
    )
    row = "| −10 dBFS | 0.0 % (0.0 % … 0.0 %) | **−10.00 (−10.00 … −10.00)** | 10.0 % (10.0 % … 10.0 %) |"
    assert row in render(ablation).splitlines()


def test_an_ablation_of_silence_alone_is_refused():
    with pytest.raises(AccuracyError, match="no clip in which something is said"):
        Findings(heard(never, entries=clips(0, 8)))


# -- texts --------------------------------------------------------------------------------------------
def test_the_tables_say_what_was_found():
    text = render(heard(lambda h: (spoken(h.entry, h.weights == "Q4_0"), only_silent(h.entry, 1))))
    lines = text.splitlines()
    assert (
        "384 combinations, 32 clips of the set made up (12 digits, 12 orders, 8 noise), 3,072 hearings: 1536 minutes"
        in lines[0]
    )
    assert "| Q4_0 | 10.0 % (10.0 % … 10.0 %) | | 10.0 % | 2.0 (2.0 … 2.0) | 0.50 s (0.50) |" in lines
    assert (
        "| F16 | 0.0 % (0.0 % … 0.0 %) | **−10.00 (−10.00 … −10.00)** | 0.0 % | 2.0 (2.0 … 2.0) | 0.50 s (0.50) |"
        in lines
    )
    assert "| **overall** | **−10.00 (−10.00 … −10.00)** | 0 (0 … 0) | 0 (0 … 0) | 0 (0 … 0) |" in lines
    assert "- Weights, Q4_0 and F16: the same words in 25.0 % of 1,536 pairs of hearings." in lines
    padding = "- Left padding: 76 tokens stays: whatever difference there is, is smaller than half a point"
    assert f"{padding}; the same words in 100.0 % of 1,536 pairs of hearings." in lines


def test_one_model_leaves_its_weights_out():
    text = render(heard(never, weights=("Q4_0",)))
    assert "Weights" not in text
    assert "**Delay**" in text


def test_figures_are_the_same_each_time_and_show_every_level(tmp_path: Path):
    from tools.ablation_plots import draw

    ablation = heard(lambda h: spoken(h.entry, h.condition.delay_ms == 80))
    drawn = [{path.name: path.read_text() for path in draw(ablation, tmp_path)} for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {"differences.svg", "rates.svg"}
    assert all(label in drawn[0]["differences.svg"] for label in ("−50 dBFS", "F16", "1 s of silence", "960 ms"))
    assert all(label in drawn[0]["rates.svg"] for label in ("32 tokens, Q4_0", "normalised, F16"))
