"""The report of one run over a set of recordings, as JSON; the page and the command write the same.

    format, version   "voxtral-accuracy", 1
    engine            version (of this program), date, machine, backend, adapter: see bench/report.py
    model             name, sha256 (model_path.weights_sha256; null: not known), weight_type, parameters, delay_ms,
                      left_pad_tokens
    set               name, is_complete (false: the run was interrupted)
    condition         how its clips were chosen and played, see conditions.py; null: not known
    normalizer        what made texts comparable, with its version; scorer: what aligned them, with its version
    clips             results.ClipResult, each; failures: id, group, reason
    summary           overall, groups: {name: n_clips, audio_s, n_words, wer, cer, false_words, false_words_per_min,
                      latency, end_error, rtf}. Rates are {value, low, high}, 95 % intervals, see summary.py; wer and
                      cer are shares, over clips that have words; false words count over those that have none.
                      latency and end_error (without its sign) are {n, median_s, p95_s} of words heard right. null: none

A summary is made from the clips whenever it is needed, so what a file says of it is not believed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from voxtral.accuracy.conditions import Condition
from voxtral.accuracy.fields import Fields
from voxtral.accuracy.results import ClipResult, Failure
from voxtral.accuracy.summary import summaries
from voxtral.bench.report import engine_facts
from voxtral.config import StreamingConfig
from voxtral.errors import AccuracyError, ConfigError
from voxtral.loading import Loaded

FORMAT: Final = "voxtral-accuracy"
VERSION: Final = 1


@dataclass(frozen=True)
class ModelFacts:
    """The model that was measured, and how it was asked to listen. sha256: None where it is not known."""

    name: str
    sha256: str | None
    weight_type: str
    parameters: int
    delay_ms: int
    left_pad_tokens: int

    @classmethod
    def of_loaded(cls, loaded: Loaded, streaming: StreamingConfig, sha256: str | None) -> "ModelFacts":
        model = loaded.model
        return cls(
            name=str(model.metadata.get("general.name", loaded.name)),
            sha256=sha256,
            weight_type=" and ".join(kind.name for kind in model.matrix_types),
            parameters=model.n_parameters,
            delay_ms=streaming.delay_ms,
            left_pad_tokens=streaming.left_pad_tokens,
        )

    @classmethod
    def of(cls, fields: Fields) -> "ModelFacts":
        sha256, _ = fields.take("sha256")
        return cls(
            name=fields.text("name"),
            sha256=None if sha256 is None else fields.text("sha256"),
            weight_type=fields.text("weight_type"),
            parameters=fields.count("parameters"),
            delay_ms=fields.count("delay_ms"),
            left_pad_tokens=fields.count("left_pad_tokens"),
        )


@dataclass(frozen=True)
class EngineFacts:
    """Where it ran. machine: system, cpu_threads, python; adapter: None for numpy, else at least its name."""

    version: str
    date: str
    machine: dict[str, Any]
    backend: str
    adapter: dict[str, Any] | None

    @classmethod
    def of_loaded(cls, loaded: Loaded, machine: dict[str, Any]) -> "EngineFacts":
        """machine: system, cpu_threads, as `voxtral.host.Host.machine` tells."""
        return cls(**engine_facts(loaded.model, machine))

    @classmethod
    def of(cls, fields: Fields) -> "EngineFacts":
        machine, adapter = fields.fields("machine"), fields.take("adapter")[0]
        machine.text("system")
        machine.text("python")
        if adapter is not None:
            fields.fields("adapter").text("name")
        return cls(
            version=fields.text("version"),
            date=fields.text("date"),
            machine=fields.plain("machine"),
            backend=fields.text("backend"),
            adapter=None if adapter is None else fields.plain("adapter"),
        )


@dataclass(frozen=True)
class Report:
    """One run: as_dict for JSON, of() to read it again."""

    engine: EngineFacts
    model: ModelFacts
    set_name: str
    is_complete: bool
    normalizer: str
    scorer: str
    clips: Sequence[ClipResult]
    failures: Sequence[Failure] = ()
    condition: Condition | None = None

    def summary(self) -> dict[str, Any]:
        """overall, and of each group."""
        return summaries(self.clips)

    def as_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "engine": asdict(self.engine),
            "model": asdict(self.model),
            "set": {"name": self.set_name, "is_complete": self.is_complete},
            "condition": self.condition and self.condition.as_dict(),
            "normalizer": self.normalizer,
            "scorer": self.scorer,
            "summary": self.summary(),
            "failures": [asdict(failure) for failure in self.failures],
            "clips": [clip.as_dict() for clip in self.clips],
        }

    def to_json(self) -> str:
        """The content of a file: a line for each clip."""
        rest = self.as_dict()
        clips = rest.pop("clips")
        head = json.dumps(rest, indent=1, ensure_ascii=False).removesuffix("\n}")
        lines = ",\n".join(f"  {json.dumps(clip, ensure_ascii=False)}" for clip in clips)
        return f'{head},\n "clips": [\n{lines}\n ]\n}}\n'

    @classmethod
    def of(cls, value: Any, name: str) -> "Report":
        """Read one from plain values; name: of the file, for the sentence. Raises AccuracyError."""
        fields = Fields(value, name)
        if value.get("format") != FORMAT:
            raise AccuracyError(f"{name}: expected a report of `voxtral wer --json` or of the page, found another file")
        if fields.take("version")[0] != VERSION:
            raise AccuracyError(f"{name}: this program reads reports of version {VERSION}, found another; update it")
        run = fields.fields("set")
        return cls(
            engine=EngineFacts.of(fields.fields("engine")),
            model=ModelFacts.of(fields.fields("model")),
            set_name=run.text("name"),
            is_complete=run.flag("is_complete"),
            normalizer=fields.text("normalizer"),
            scorer=fields.text("scorer"),
            clips=[ClipResult.of(*item) for item in fields.items("clips")],
            failures=[Failure.of(*item) for item in fields.items("failures")],
            condition=_condition(*fields.take("condition")),
        )

    @classmethod
    def of_json(cls, content: bytes | str, name: str) -> "Report":
        """Read the content of a file. Raises AccuracyError."""
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            line = f", unreadable from line {error.lineno} on" if isinstance(error, json.JSONDecodeError) else ""
            raise AccuracyError(
                f"{name}: expected a report, JSON, found what is none{line}; choose another file, or make it again"
            ) from error
        return cls.of(value, name)


def _condition(value: Any, where: str) -> Condition | None:
    try:
        return None if value is None else Condition.of(value)
    except ConfigError as error:
        raise AccuracyError(f"{where}: {error}") from error
