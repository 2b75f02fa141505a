"""Word and character errors of one clip, counted and aligned by jiwer; the only module that imports it.

score_clip    a transcript against what was heard
hits          which words of the two are the same
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from voxtral.accuracy.results import Counts, Score, Step
from voxtral.errors import AccuracyError


def scorer_name() -> str:
    """Raises AccuracyError where jiwer does not load."""
    _import_jiwer()
    return f"jiwer {version('jiwer')}"


def score_clip(reference: str, hypothesis: str, normalize: Callable[[str], str]) -> Score:
    """How far the hypothesis is from the reference, both normalised; an empty reference is one.

    Raises AccuracyError where jiwer does not load.
    """
    jiwer = _import_jiwer()
    reference, hypothesis = normalize(reference), normalize(hypothesis)
    words = jiwer.process_words(reference, hypothesis)
    spoken, heard = words.references[0], words.hypotheses[0]
    alignment = tuple(
        Step(
            chunk.type,
            tuple(spoken[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in words.alignments[0]
    )
    return Score(_counts(words), _counts(jiwer.process_characters(reference, hypothesis)), alignment)


def _counts(output: Any) -> Counts:
    return Counts(output.hits, output.substitutions, output.deletions, output.insertions)


def sure_hits(alignment: Sequence[Step]) -> list[tuple[int, int]]:
    """Numbers of the words of reference and hypothesis that are the same word, however errors are laid out.

    Of "five five nine", heard as "five nine", nobody can tell which five was missed: either alignment has as few
    errors. What an alignment from the end agrees with is sure.
    """
    spoken = [word for step in alignment for word in step.reference]
    heard = [word for step in alignment for word in step.hypothesis]
    backwards = _import_jiwer().process_words(" ".join(reversed(spoken)), " ".join(reversed(heard)))
    n, m = len(spoken) - 1, len(heard) - 1
    chunks = [chunk for chunk in backwards.alignments[0] if chunk.type == "equal"]
    pairs = ((chunk.ref_start_idx + k, chunk.hyp_start_idx + k) for chunk in chunks for k in range(_length(chunk)))
    from_the_end = {(n - i, m - j) for i, j in pairs}
    return [pair for pair in _hits(alignment) if pair in from_the_end]


def _hits(alignment: Sequence[Step]) -> Iterator[tuple[int, int]]:
    i = j = 0
    for step in alignment:
        if step.kind == "equal":
            yield from zip(range(i, i + len(step.reference)), range(j, j + len(step.hypothesis)), strict=True)
        i, j = i + len(step.reference), j + len(step.hypothesis)


def _length(chunk: Any) -> int:
    return int(chunk.ref_end_idx - chunk.ref_start_idx)


def _import_jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise AccuracyError(
            f"counting errors needs the package jiwer, which does not load ({error}); install it"
        ) from error
    return jiwer
