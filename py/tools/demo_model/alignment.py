"""Where every word of every clip ends: what tables and silences tell, and for the rest forced alignment.

    align   trains an aligner on all clips, writes word ends and a check of them as JSON

A network learns to write letters and word ends at the frames where they are heard (aligner.py, from chains.py); the
transcript is then forced onto what it hears (forced_path.py). How far the ends so found are from true ones is measured
on clips that it has not learned from: those whose ends are known, and digits of one speaker put behind each other.
The median error is taken off what was found, for recordings and synthetic voices apart. Clips whose transcript does not
fit what is heard are dropped.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.demo_model.chains import FRAMES_PER_S, NEVER, SAMPLES_PER_FRAME, Chains, Utterance, together, utterances
from tools.demo_model.configuration import AlignmentConfig, Recipe
from tools.demo_model.forced_path import forced_paths, word_ends
from tools.demo_model.recordings import ISOLATED, Pack, end_of_speech
from voxtral.config import SAMPLE_RATE

SYNTHETIC = "synthetic"  # the pack's name
LEAD_S, TAIL_S = 0.3, 0.4  # silence around a clip, so that it may begin and end with speech
BATCH_S = 1200  # of sound aligned at once
STRING = "string:"
LAST_WORDS = "last words of "
STRING_WORDS = (3, 8)
STRING_GAP_S = (0.05, 0.5)
SHORTEST_WORD_S = 0.02
UNHEARD = 99.0  # doubt in a transcript with more letters than the clip has frames
LAST_LOSSES = 20  # averaged for the record
CUT_S = (0.08, 0.35)  # silence behind the speech of a trimmed sentence, where its end can be trusted

Job = tuple[Utterance, NDArray[np.float64]]  # and its pieces of sound


@dataclass(frozen=True)
class Aligned:
    """An utterance and what was found. ends_s: from the clip's start; doubt: of its worst word."""

    utterance: Utterance
    ends_s: tuple[float, ...]
    doubt: float


def align(
    packs: Sequence[Pack], unlearned: Sequence[Pack], out_json: Path, recipe: Recipe, device: Any
) -> dict[str, Any]:
    """Write the word ends of all clips with words, in seconds from their starts, and how good they are.

    unlearned: whose word ends are found, too, but which nothing is learned from.
    The document: `word_ends_s`: "pack:index" → seconds; `dropped`: "pack:index" → doubt in nats a letter; `check`: a
    row for each source; `offsets_s`: what was added to ends found in recordings, and in synthetic voices; `training`:
    for the record. device: "cuda" or "cpu".
    """
    import torch

    from tools.demo_model.aligner import log_probs, trained

    config, seed, device = recipe.alignment, recipe.seed, torch.device(device)
    generator = torch.Generator(device).manual_seed(seed)
    seconds, begin = {}, time.monotonic()
    n_learned = len(utterances(packs, recipe.held_out_speakers))
    packs = [*packs, *unlearned]
    material = utterances(packs, recipe.held_out_speakers)
    checked = _checked(material[:n_learned], config.check, seed)
    learned = [one for one in material[:n_learned] if one.key not in checked]
    stream = torch.from_numpy(np.concatenate([pack.sound for pack in packs])).to(device)
    seconds["prepare"], begin = time.monotonic() - begin, time.monotonic()

    weights, losses = trained(stream, Chains(learned, SYNTHETIC, config, seed), config, seed)
    seconds["train"], begin = time.monotonic() - begin, time.monotonic()

    strings = _strings([one for one in material if one.key in checked], config.n_check_strings, seed)
    alone = [(one, _alone(one)) for one in material if one.key in checked or not _is_certain(one)]
    found: list[Aligned] = []
    for batch in _batches(alone + strings):
        pieces, n_frames = _padded([pieces for _, pieces in batch]), _n_frames(batch[0][1])
        found += _ends(batch, log_probs(weights, stream, pieces, n_frames, config, generator))
    errors = _errors([one for one in found if one.utterance.key in checked or one.utterance.key.startswith(STRING)])
    synthetic = {one.clip.source for one in material if _is_synthetic(one)}
    offsets_s = [
        _offset([rows for source, rows in errors.items() if (source in synthetic) == of]) for of in (False, True)
    ]
    seconds["align"] = time.monotonic() - begin

    document = document_of(material, found, offsets_s, config)
    errors |= _last_words(found, packs)
    document["check"] = [
        _row(source, rows, offsets_s[source.removeprefix(LAST_WORDS) in synthetic]) for source, rows in errors.items()
    ]
    document["training"] = {
        "n_utterances": len(learned),
        "n_steps": config.n_steps,
        "loss": round(float(np.mean(losses[-LAST_LOSSES:])), 4),
        "seconds": {stage: round(value, 1) for stage, value in seconds.items()},
    }
    out_json.write_text(json.dumps(document) + "\n")
    return document


def _is_synthetic(one: Utterance) -> bool:
    return one.key.startswith(f"{SYNTHETIC}:")


def _is_certain(one: Utterance) -> bool:
    """Synthetic voices say what they are told to; of some one also knows when."""
    return one.has_known_ends and _is_synthetic(one)


def _offset(errors_s: Sequence[NDArray[np.float64]]) -> float:
    """What makes the median source's median error zero."""
    return -float(np.median([np.median(rows) for rows in errors_s])) if errors_s else 0.0


def document_of(
    material: Sequence[Utterance], found: Sequence[Aligned], offsets_s: Sequence[float], config: AlignmentConfig
) -> dict[str, Any]:
    """The best ends of all clips whose transcripts can be believed. offsets_s: of recordings, of synthetic voices."""
    by_key = {one.utterance.key: one for one in found}
    doubts: dict[str, list[float]] = {}
    for aligned in found:
        doubts.setdefault(aligned.utterance.clip.source, []).append(aligned.doubt)
    most = {
        source: max(config.most_doubt, config.most_doubt_of_median * float(np.median(rows)))
        for source, rows in doubts.items()
    }
    ends_s, dropped = {}, {}
    for one in material:
        if _is_certain(one):
            ends_s[one.key] = _best_ends(one, one.ends_s, 0.0)
        elif not (aligned := by_key[one.key]).ends_s or aligned.doubt > most[one.clip.source]:
            dropped[one.key] = round(aligned.doubt, 2)
        else:
            ends_s[one.key] = _best_ends(one, aligned.ends_s, offsets_s[_is_synthetic(one)])
    return {"version": 1, "offsets_s": [round(x, 4) for x in offsets_s], "word_ends_s": ends_s, "dropped": dropped}


def _checked(material: Sequence[Utterance], share: float, seed: int) -> set[str]:
    """Keys of the clips with known word ends that are measured with: the same share of every source."""
    random = np.random.default_rng(seed)
    by_source: dict[str, list[str]] = {}
    for one in material:
        if one.has_known_ends:
            by_source.setdefault(one.clip.source, []).append(one.key)
    return {
        str(key) for keys in by_source.values() for key in random.choice(keys, round(share * len(keys)), replace=False)
    }


def _strings(checked: Sequence[Utterance], n: int, seed: int) -> list[Job]:
    """Isolated words of a real speaker behind each other."""
    random = np.random.default_rng(seed)
    by_speaker: dict[tuple[str, str], list[Utterance]] = {}
    for one in checked:
        if one.clip.source in ISOLATED:
            by_speaker.setdefault((one.clip.source, one.clip.speaker), []).append(one)
    strings = []
    for i in range(n if by_speaker else 0):
        source, speaker = sorted(by_speaker)[i % len(by_speaker)]
        choice = by_speaker[source, speaker]
        chosen = [choice[j] for j in random.integers(len(choice), size=random.integers(*STRING_WORDS, endpoint=True))]
        gaps_s = [LEAD_S, *random.uniform(*STRING_GAP_S, len(chosen) - 1)]
        strings.append(together(chosen, gaps_s, f"{STRING}{i}", f"strings of {source}"))
    return strings


def _alone(one: Utterance) -> NDArray[np.float64]:
    return np.array([(one.start, one.clip.n_samples, round(LEAD_S * SAMPLE_RATE), 1, one.gain_db, 0)], np.float64)


def _n_frames(pieces: NDArray[np.float64]) -> int:
    """Of sound and the silence around it."""
    return int(pieces[-1, 1] + pieces[-1, 2] + TAIL_S * SAMPLE_RATE) // SAMPLES_PER_FRAME


def _batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Of similar lengths, longest first."""
    batch: list[Job] = []
    for job in sorted(jobs, key=lambda job: -_n_frames(job[1])):
        batch.append(job)
        if len(batch) * _n_frames(batch[0][1]) >= BATCH_S * FRAMES_PER_S:
            yield batch
            batch = []
    if batch:
        yield batch


def _padded(pieces: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[batch, n, 6], filled up with pieces that are never reached."""
    padded = np.tile(NEVER, (len(pieces), max(map(len, pieces)), 1))
    for row, some in zip(padded, pieces, strict=True):
        row[: len(some)] = some
    return padded


def _ends(batch: Sequence[Job], heard: NDArray[np.float32]) -> Iterator[Aligned]:
    n_frames = [_n_frames(pieces) for _, pieces in batch]
    labels = [one.labels for one, _ in batch]
    for i, path in enumerate(forced_paths(heard, n_frames, labels)):
        one = batch[i][0]
        if path is None:
            yield Aligned(one, (), UNHEARD)
            continue
        words = word_ends(path, heard[i, : n_frames[i]], labels[i])
        ends_s = tuple(word.frame / FRAMES_PER_S - LEAD_S for word in words)
        yield Aligned(one, ends_s, max(word.doubt for word in words))


def _best_ends(one: Utterance, found: Sequence[float | None], offset_s: float) -> list[float]:
    """Known ends, and before them those found."""
    best: list[float] = []
    latest = one.clip.seconds
    for known, heard in zip(reversed(one.ends_s), reversed(found), strict=True):
        end = known if known is not None else (heard or 0.0) + offset_s
        best.append(max(min(end, latest), 0.0))
        latest = best[-1] - SHORTEST_WORD_S
    return [round(end, 3) for end in reversed(best)]


def _errors(found: Sequence[Aligned]) -> dict[str, NDArray[np.float64]]:
    """For each source the seconds by which words whose ends are known were found too late."""
    errors: dict[str, list[float]] = {}
    for one in found:
        for known, end in zip(one.utterance.ends_s, one.ends_s, strict=False):
            if known is not None:
                errors.setdefault(one.utterance.clip.source, []).append(end - known)
    return {source: np.array(rows) for source, rows in sorted(errors.items())}


def _row(source: str, errors_s: NDArray[np.float64], offset_s: float) -> dict[str, Any]:
    def percentiles(errors: NDArray[np.float64]) -> dict[str, float]:
        median, p90 = np.percentile(np.abs(errors) * 1000, [50, 90])
        return {"median_ms": round(float(median), 1), "p90_ms": round(float(p90), 1)}

    return {
        "source": source,
        "n_words": len(errors_s),
        "median_error_ms": round(float(np.median(errors_s)) * 1000, 1),
        "before": percentiles(errors_s),
        "after": percentiles(errors_s + offset_s),
    }


def _last_words(found: Sequence[Aligned], packs: Sequence[Pack]) -> dict[str, NDArray[np.float64]]:
    """The errors of the last words of sentences with unknown ends, as far as one can hear where they fall silent."""
    by_name = {pack.name: pack for pack in packs}
    errors: dict[str, list[float]] = {}
    for one in found:
        clip, pack = one.utterance.clip, by_name.get(one.utterance.key.split(":")[0])
        if pack is None or clip.source in ISOLATED or one.utterance.ends_s[-1] is not None or not one.ends_s:
            continue
        end_s = end_of_speech(pack.samples(clip))
        if CUT_S[0] <= clip.seconds - end_s <= CUT_S[1]:
            errors.setdefault(LAST_WORDS + clip.source, []).append(one.ends_s[-1] - end_s)
    return {source: np.array(rows) for source, rows in sorted(errors.items())}
