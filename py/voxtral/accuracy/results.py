"""What was measured of one clip; as_dict for JSON, of() to read it again. Needs neither jiwer nor a model.

Counts, Step, Score    errors and the alignment they come from
HeardWord              a word as it was printed, and when it was there
ClipResult             all of a clip
Failure                a clip that could not be heard, and why
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from voxtral.accuracy.fields import Fields, mistake, number, text

KINDS: Final = ("equal", "substitute", "delete", "insert")


@dataclass(frozen=True)
class Counts:
    """Of words or characters."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def n_reference(self) -> int:
        """How many were said."""
        return self.hits + self.substitutions + self.deletions

    @classmethod
    def of(cls, fields: Fields) -> "Counts":
        return cls(*(fields.count(name) for name in ("hits", "substitutions", "deletions", "insertions")))


@dataclass(frozen=True)
class Step:
    """Words that are the same in both texts, or differ; kind: one of KINDS."""

    kind: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """Of one clip."""

    words: Counts
    characters: Counts
    alignment: tuple[Step, ...]


@dataclass(frozen=True)
class HeardWord:
    """A word as printed. arrival_s: the sound that had been heard when it was complete, None: not known."""

    text: str
    end_s: float
    arrival_s: float | None


@dataclass(frozen=True)
class ClipResult:
    """One clip: what was said and heard, as they are written, and everything that was counted of it.

    false_words: heard although nothing should be understood, those that were `said` not counted; 0 where there is a
    reference. latencies_s, end_errors_s: of the words heard right whose true end is known (latency.py).
    notices: sentences about what was odd about its sound, or happened on the way.
    """

    id: str
    group: str
    speaker: str
    audio_s: float
    reference: str
    said: str
    hypothesis: str
    word_counts: Counts
    character_counts: Counts
    false_words: int
    alignment: tuple[Step, ...]
    words: tuple[HeardWord, ...]
    latencies_s: tuple[float, ...]
    end_errors_s: tuple[float, ...]
    wall_s: float
    notices: tuple[str, ...] = ()

    @property
    def should_be_silent(self) -> bool:
        """Whether nothing is to be understood in it."""
        return self.word_counts.n_reference == 0

    def as_dict(self) -> dict[str, Any]:
        alignment = [[step.kind, list(step.reference), list(step.hypothesis)] for step in self.alignment]
        return asdict(self) | {"alignment": alignment}

    @classmethod
    def of(cls, value: Any, where: str) -> "ClipResult":
        """Raises AccuracyError at the first field that is not what it should be."""
        fields = Fields(value, where)
        return cls(
            id=fields.text("id"),
            group=fields.text("group"),
            speaker=fields.text("speaker"),
            audio_s=fields.number("audio_s", 0),
            reference=fields.text("reference"),
            said=fields.text("said"),
            hypothesis=fields.text("hypothesis"),
            word_counts=Counts.of(fields.fields("word_counts")),
            character_counts=Counts.of(fields.fields("character_counts")),
            false_words=fields.count("false_words"),
            alignment=tuple(_step(*item) for item in fields.items("alignment")),
            words=tuple(_word(*item) for item in fields.items("words")),
            latencies_s=fields.numbers("latencies_s"),
            end_errors_s=fields.numbers("end_errors_s"),
            wall_s=fields.number("wall_s", 0),
            notices=fields.texts("notices"),
        )


@dataclass(frozen=True)
class Failure:
    """A clip that could not be heard."""

    id: str
    group: str
    reason: str

    @property
    def sentence(self) -> str:
        """For a person; many a reason begins with the name already."""
        return f"{self.id}: {self.reason.removeprefix(f'{self.id}: ')}"

    @classmethod
    def of(cls, value: Any, where: str) -> "Failure":
        """Raises AccuracyError."""
        fields = Fields(value, where)
        return cls(fields.text("id"), fields.text("group"), fields.text("reason"))


def _step(value: Any, where: str) -> Step:
    is_step = isinstance(value, list | tuple) and len(value) == 3 and value[0] in KINDS
    if not is_step or not all(isinstance(words, list | tuple) for words in value[1:]):
        raise mistake(where, "a kind and two lists of words", value)
    kind, reference, hypothesis = value
    return Step(kind, *(tuple(text(word, where) for word in words) for words in (reference, hypothesis)))


def _word(value: Any, where: str) -> HeardWord:
    fields = Fields(value, where)
    arrival = fields.take("arrival_s")
    return HeardWord(fields.text("text"), fields.number("end_s"), None if arrival[0] is None else number(*arrival))
