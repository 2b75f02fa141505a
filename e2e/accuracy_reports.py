"""Reports of the accuracy bench that no model was needed for: what was said and heard, scored as ever."""

from dataclasses import asdict
from typing import Any, NamedTuple

from voxtral.accuracy.normalization import normalizer_named
from voxtral.accuracy.report import EngineFacts, ModelFacts, Report
from voxtral.accuracy.results import HeardWord
from voxtral.accuracy.run import Heard, result_of
from voxtral.accuracy.scoring import scorer_name
from voxtral.accuracy.sets import ClipEntry


class Clip(NamedTuple):
    """A clip of two seconds, and what is heard of it."""

    id: str
    group: str
    said: str
    heard: str

    @property
    def recording(self) -> ClipEntry:
        is_silent = self.group == "other_speech"
        transcript, said = ("", self.said) if is_silent else (self.said, "")
        return ClipEntry(self.id, self.group, "theo", transcript, "set.ogg", 0, 32_000, said=said)

    @property
    def entry(self) -> dict[str, Any]:
        """As a `set_read` event has it."""
        return asdict(self.recording)


CLIPS = (
    Clip("digits-1", "digits", "one two three four five", "one two three four five"),
    Clip("digits-2", "digits", "nine zero six", "nine four zero"),
    Clip("orders-1", "orders", "a large mocha with cream", "large mocha with no cream please"),
    Clip("other-1", "other_speech", "the green forest", "three"),
    Clip("other-2", "other_speech", "at the river", ""),
)


def report_of(clips: tuple[Clip, ...] = CLIPS, delay_ms: int = 480, is_complete: bool = True) -> dict[str, Any]:
    """The report of a run that heard these."""
    normalizer = normalizer_named("basic")
    machine = {"system": "a test", "cpu_threads": 2, "python": "3.13.2 on emscripten"}
    results = []
    for clip in clips:
        words = tuple(HeardWord(text, 0.4 * i + 0.4, None) for i, text in enumerate(clip.heard.split()))
        results.append(result_of(clip.recording, Heard(clip.heard, words, 2.0, 0.5, ()), normalizer))
    report = Report(
        engine=EngineFacts("0.1.0", "2026-11-23 15:00 UTC", machine, "webgpu", {"name": "Test GPU"}),
        model=ModelFacts("Voxtral demo", None, "Q4_0", 20_203_136, delay_ms, 76),
        set_name="built in",
        is_complete=is_complete,
        normalizer=normalizer.name,
        scorer=scorer_name(),
        clips=results,
    )
    return report.as_dict()
