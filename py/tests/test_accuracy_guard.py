"""The demo model hears the built-in set as well as it did when its figures were recorded (tools/accuracy_figures.py).

A few clips of each group are heard with every run of the tests, all of them by
`python3 e2e/check.py -m nightly`.
"""

import asyncio
import json
from dataclasses import replace

import pytest

from tools.accuracy_figures import FIGURES, complaints, figures_of, sha256_of_model
from voxtral.accuracy.normalization import normalizer_named
from voxtral.accuracy.recordings import BUILT_IN, clips_of, open_set
from voxtral.accuracy.report import EngineFacts, ModelFacts, Report
from voxtral.accuracy.run import results_of
from voxtral.accuracy.scoring import scorer_name
from voxtral.accuracy.sets import chosen
from voxtral.bench.report import LoadTimes
from voxtral.config import StreamingConfig
from voxtral.gguf import read_index
from voxtral.loading import Loaded
from voxtral.model.voxtral import Voxtral
from voxtral.ops.reference import ReferenceOps
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.tekken import Tekken
from voxtral.web.places import HERE

N_SPOKEN, N_SILENT = 4, 2  # clips of each group with words, and without
MACHINE = {"system": "a test", "cpu_threads": 1}


@pytest.fixture(scope="module")
def figures():
    return json.loads(FIGURES.read_bytes())


def entries_of(groups=None, limit=None):
    return chosen(open_set(HERE.accuracy_set)[0].entries, groups, limit)


async def measured(weights, entries, is_complete=False):
    """A report on these clips by the network in these bytes; it says that they are the demo model's."""
    streaming = StreamingConfig()
    model = await Voxtral.load(ReferenceOps(), ShardedCursor([MemorySource(weights, "demo")]))
    tekken = Tekken.from_json((HERE.demo_model / "tekken.json").read_bytes(), "tekken.json")
    loaded = Loaded(model, tekken, streaming, LoadTimes(len(weights), 0.0, 0.0), "demo", None, None)
    clips = clips_of(entries, HERE.accuracy_set)
    normalizer = normalizer_named("basic")
    results = [result async for result in results_of(loaded, streaming, clips, normalizer)]
    facts = ModelFacts.of_loaded(loaded, streaming, sha256_of_model())
    return Report(
        EngineFacts.of_loaded(loaded, MACHINE), facts, BUILT_IN, is_complete, normalizer.name, scorer_name(), results
    )


def demo_weights():
    (path,) = HERE.demo_model.glob("*.gguf")
    return path.read_bytes()


@pytest.fixture(scope="module")
def fast():
    silent = ["other_speech", "silence_noise"]
    entries = [entry for entry in entries_of(limit=N_SPOKEN) if entry.group not in silent]
    return asyncio.run(measured(demo_weights(), [*entries, *entries_of(silent, N_SILENT)]))


def test_a_few_clips_are_heard_as_well_as_recorded(fast, figures):
    assert {clip.group for clip in fast.clips} == set(figures["groups"])
    assert sum(clip.word_counts.n_reference for clip in fast.clips) > 100  # one word is less than the guard's 1 %
    assert complaints(fast, figures, by_group=False) == []


@pytest.mark.nightly
def test_every_group_is_heard_as_well_as_recorded(figures):
    assert complaints(asyncio.run(measured(demo_weights(), entries_of(), is_complete=True)), figures) == []


def test_a_damaged_model_is_found(figures):
    weights = bytearray(demo_weights())
    index = asyncio.run(read_index(MemorySource(bytes(weights), "demo")))
    for name, tensor in index.tensors.items():
        if name.startswith("layers.") and len(tensor.shape) == 2:
            weights[tensor.offset : tensor.offset + tensor.n_bytes // 4] = bytes(tensor.n_bytes // 4)
    report = asyncio.run(measured(bytes(weights), entries_of(["digit_words"], 3)))
    assert [sentence.partition(":")[0] for sentence in complaints(report, figures)] == ["all groups", "digit_words"]


def test_swapped_words_and_words_out_of_nothing_are_found(fast, figures):
    worse = []
    for clip in fast.clips:
        if clip.group == "digits":
            counts = replace(
                clip.word_counts, hits=clip.word_counts.hits - 1, substitutions=1 + clip.word_counts.substitutions
            )
            clip = replace(clip, word_counts=counts)
        worse.append(replace(clip, false_words=clip.false_words + (clip.group == "silence_noise")))
    found = complaints(replace(fast, clips=worse), figures)
    assert [sentence.partition(":")[0] for sentence in found] == ["all groups", "all groups", "digits", "silence_noise"]
    assert all("recorded" in sentence for sentence in found)


def test_another_model_needs_figures_of_its_own(fast, figures):
    other = replace(fast, model=replace(fast.model, sha256="0" * 64))
    assert complaints(other, figures) == [
        "the run differs from the recorded one in model_sha256; if that is meant, record figures by "
        "`PYTHONPATH=py python -m tools.accuracy_figures`"
    ]


def test_what_is_recorded_of_a_run_finds_nothing_wrong_with_it(fast):
    assert complaints(fast, figures_of(fast)) == []
