"""What an ablation found: every clip's words under every combination it was heard under, as compact JSON.

    format, version, date
    plan         its name; clip_ids: what was to be heard; n_planned: under how many combinations
    engines      of each model: what computed it first, as in an accuracy report
    models       of each model: name, sha256 (model_path.weights_sha256; null: made before that was known), weight_type,
                 parameters
    set, normalizer     their names
    factors      name, title, levels, reference, is_choice: `weights` first, whose levels are those of `models`
    clips        id, group, speaker, audio_s, reference, n_words (after normalising); heard: every text that was ever
                 heard of it; errors: of each text, substitutions, deletions and insertions of words; of a
                 clip in which nothing should be understood, its false words as insertions
    runs         levels: which level of each factor; clips: which of the clips; heard: which text of each;
                 latencies_ms: of every word that was heard right and whose true end is known
    wall_s       what it took

A text is kept once for each clip, so that a few hundred combinations take little more room than one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from voxtral.accuracy.factors import WEIGHTS, Factor, Plan
from voxtral.accuracy.fields import MOST, Fields, mistake, number, text
from voxtral.accuracy.report import EngineFacts
from voxtral.errors import AccuracyError

FORMAT = "voxtral-ablation"
VERSION = 1
MAKE_ONE = "make one by `voxtral ablation --json`"
Errors = tuple[int, int, int]


@dataclass
class HeardClip:
    """A clip, and what was heard of it."""

    id: str
    group: str
    speaker: str
    audio_s: float
    reference: str
    n_words: int
    heard: list[str] = field(default_factory=list)
    errors: list[Errors] = field(default_factory=list)

    def take(self, text: str, errors: Errors) -> int:
        """The number of this text."""
        if text not in self.heard:
            self.heard.append(text)
            self.errors.append(errors)
        return self.heard.index(text)


@dataclass(frozen=True)
class Run:
    """One combination, the clips that were heard under it, and as which of its texts each was."""

    levels: tuple[int, ...]
    clips: tuple[int, ...]
    heard: tuple[int, ...]
    latencies_ms: tuple[int, ...]


@dataclass
class Ablation:
    """begin_model for each of the models, then take what it heard under each combination."""

    plan: str
    set_name: str
    normalizer: str
    factors: tuple[Factor, ...]
    clip_ids: tuple[str, ...]
    n_planned: int
    models: list[dict[str, Any]] = field(default_factory=list)
    engines: list[dict[str, Any]] = field(default_factory=list)
    clips: list[HeardClip] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    wall_s: float = 0.0
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    @classmethod
    def of_plan(cls, plan: Plan, clip_ids: Sequence[str], n_planned: int, set_name: str, normalizer: str) -> Self:
        """Before anything was heard. n_planned: combinations, those of the weights included."""
        return cls(plan.name, set_name, normalizer, (WEIGHTS, *plan.factors), tuple(clip_ids), n_planned)

    @property
    def is_complete(self) -> bool:
        return len(self.runs) == self.n_planned

    def goes_on(self, fresh: "Ablation") -> bool:
        """Whether this one, from a file, is the beginning of that one, in which nothing was heard yet."""
        names = ("plan", "set_name", "normalizer", "clip_ids", "n_planned")
        is_same = all(getattr(self, name) == getattr(fresh, name) for name in names)
        return is_same and self.factors[1:] == fresh.factors[1:]

    def n_heard(self, model: int) -> int:
        """How many combinations a model has heard."""
        return sum(run.levels[0] == model for run in self.runs)

    def is_heard(self, model: int, levels: Sequence[int]) -> bool:
        return any(run.levels == (model, *levels) for run in self.runs)

    def begin_model(self, number: int, model: Mapping[str, Any], engine: Mapping[str, Any]) -> None:
        """The model of this number is that one, on this engine. Raises AccuracyError if it was another before."""
        weights, level = self.factors[0], str(model["weight_type"])
        if number < len(weights.levels):
            if weights.levels[number] != level:
                raise AccuracyError(f"expected {weights.levels[number]} weights, as heard before, found {level}")
            before = self.models[number]
            if (before["name"], before["parameters"]) != (model["name"], model["parameters"]):
                raise AccuracyError(
                    f"expected {_described(before)}, as heard before, found {_described(model)}; name that model, or "
                    "another report for this one"
                )
            return
        if level in weights.levels:
            raise AccuracyError(f"both models have {level} weights; name one of another type, or one alone")
        self.models.append({name: model[name] for name in ("name", "sha256", "weight_type", "parameters")})
        self.engines.append(dict(engine))
        self.factors = (replace(weights, levels=(*weights.levels, level)), *self.factors[1:])

    def take(self, model: int, levels: Sequence[int], results: Iterable[Mapping[str, Any]]) -> None:
        """What a model heard under these levels; results: clips of an accuracy report."""
        at = {clip.id: i for i, clip in enumerate(self.clips)}
        numbers, heard, latencies = [], [], []
        for result in results:
            counts = result["word_counts"]
            if result["id"] not in at:
                at[result["id"]] = len(self.clips)
                n_words = counts["hits"] + counts["substitutions"] + counts["deletions"]
                fields = {name: result[name] for name in ("id", "group", "speaker", "audio_s", "reference")}
                self.clips.append(HeardClip(**fields, n_words=n_words))
                self.clips[-1].audio_s -= self._added_s(levels)
            number = at[result["id"]]
            errors = (counts["substitutions"], counts["deletions"], counts["insertions"])
            if self.clips[number].n_words == 0:
                errors = (0, 0, result["false_words"])
            numbers.append(number)
            heard.append(self.clips[number].take(result["hypothesis"], errors))
            latencies += [round(1000 * latency_s) for latency_s in result["latencies_s"]]
            self.wall_s += result["wall_s"]
        self.runs.append(Run((model, *levels), tuple(numbers), tuple(heard), tuple(latencies)))

    def _added_s(self, levels: Sequence[int]) -> float:
        """Silence that is no part of the clip."""
        pairs = zip(self.factors[1:], levels, strict=True)
        return sum(float(factor.levels[level]) for factor, level in pairs if factor.name == "leading_silence_s")

    def as_json(self) -> str:
        """One clip and one run a line."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            "date": self.date,
            "plan": self.plan,
            "n_planned": self.n_planned,
            "clip_ids": self.clip_ids,
            "set": self.set_name,
            "normalizer": self.normalizer,
            "wall_s": round(self.wall_s, 1),
            "factors": [asdict(factor) for factor in self.factors],
            "models": self.models,
            "engines": self.engines,
        }
        lines = [f" {_json(name)}: {_json(value)}" for name, value in head.items()]
        for name, rows in (("clips", self.clips), ("runs", self.runs)):
            lines.append(f" {_json(name)}: [\n  " + ",\n  ".join(_json(asdict(row)) for row in rows) + "\n ]")
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def of_json(cls, text: bytes | str, name: str) -> Self:
        """What `as_json` wrote. Raises AccuracyError; name: of the file."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise AccuracyError(f"{name}: expected the report of an ablation, JSON, found none; {MAKE_ONE}") from error
        if not isinstance(value, dict) or (value.get("format"), value.get("version")) != (FORMAT, VERSION):
            raise AccuracyError(f"{name}: expected the report of an ablation, found something else; {MAKE_ONE}")
        fields = Fields(value, name)
        factors = tuple(_factor(Fields(*item)) for item in fields.items("factors"))
        clips = [_clip(Fields(*item)) for item in fields.items("clips")]
        models, engines = fields.items("models"), fields.items("engines")
        n_models = len(factors[0].levels) if factors else 0
        for each in ("models", "engines"):
            if len(fields.items(each)) != n_models:
                raise mistake(f"{name}.{each}", f"a list of {n_models}, one for each type of weights", value[each])
        return cls(
            plan=fields.text("plan"),
            set_name=fields.text("set"),
            normalizer=fields.text("normalizer"),
            factors=factors,
            clip_ids=fields.texts("clip_ids"),
            n_planned=fields.count("n_planned"),
            models=[_model(Fields(*item)) for item in models],
            engines=[asdict(EngineFacts.of(Fields(*item))) for item in engines],
            clips=clips,
            runs=[_run(Fields(*item), factors, clips) for item in fields.items("runs")],
            wall_s=fields.number("wall_s", 0),
            date=fields.text("date"),
        )


def _described(model: Mapping[str, Any]) -> str:
    return f"{model['name']} of {model['parameters']:,} parameters"


# -- what a file may hold -----------------------------------------------------------------------------
def _factor(fields: Fields) -> Factor:
    name = fields.text("name")
    read = text if name == WEIGHTS.name else _number_or_flag
    levels = tuple(read(*item) for item in fields.items("levels"))
    reference = _number_below(*fields.take("reference"), max(1, len(levels)))
    return Factor(name, fields.text("title"), levels, reference, fields.flag("is_choice"))


def _number_or_flag(value: Any, where: str) -> float | int | bool:
    return value if isinstance(value, bool | int) and abs(value) < MOST else number(value, where)


def _model(fields: Fields) -> dict[str, Any]:
    sha256, _ = fields.take("sha256")
    return {
        "name": fields.text("name"),
        "sha256": None if sha256 is None else fields.text("sha256"),
        "weight_type": fields.text("weight_type"),
        "parameters": fields.count("parameters"),
    }


def _clip(fields: Fields) -> HeardClip:
    errors = [_errors(*item) for item in fields.items("errors")]
    heard = list(fields.texts("heard"))
    if len(heard) != len(errors):
        raise mistake(fields.take("errors")[1], f"{len(heard)} times three numbers", errors)
    names = ("id", "group", "speaker", "reference")
    audio_s, n_words = fields.number("audio_s", 0), fields.count("n_words")
    return HeardClip(
        **{name: fields.text(name) for name in names}, audio_s=audio_s, n_words=n_words, heard=heard, errors=errors
    )


def _errors(value: Any, where: str) -> Errors:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise mistake(where, "three numbers", value)
    substitutions, deletions, insertions = (int(number(each, where, 0)) for each in value)
    return substitutions, deletions, insertions


def _run(fields: Fields, factors: Sequence[Factor], clips: Sequence[HeardClip]) -> Run:
    shape = [len(factor.levels) for factor in factors]
    levels, numbers, heard = (fields.items(name) for name in ("levels", "clips", "heard"))
    if len(levels) != len(shape):
        raise mistake(fields.take("levels")[1], f"{len(shape)} numbers", levels)
    if len(numbers) != len(heard):
        raise mistake(fields.take("heard")[1], f"{len(numbers)} numbers", heard)
    of_clips = tuple(_number_below(*item, len(clips)) for item in numbers)
    return Run(
        tuple(_number_below(*item, n) for item, n in zip(levels, shape, strict=True)),
        of_clips,
        tuple(_number_below(*item, len(clips[i].heard)) for item, i in zip(heard, of_clips, strict=True)),
        tuple(int(number(*item)) for item in fields.items("latencies_ms")),
    )


def _number_below(value: Any, where: str, n: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n:
        raise mistake(where, f"a whole number below {n}", value)
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
