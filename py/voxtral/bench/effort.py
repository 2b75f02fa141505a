"""How long and how often to measure: enough for a GPU to reach its clock, and no more than a CPU can bear."""

from dataclasses import dataclass

from voxtral.errors import ConfigError


@dataclass(frozen=True)
class Effort:
    """warm_up_s: of work before anything counts. pass_ms: length of a timed pass, which repeats a program until then;
    n_passes: the best of them counts. n_runs: of what is timed by the clock on the wall, the median counts."""

    warm_up_s: float
    pass_ms: float
    n_passes: int
    n_runs: int
    copy_bytes: int  # of each buffer
    audio_s: float  # of the file
    live_s: float


EFFORTS = {
    # An idle GPU takes a second to reach its clock; timestamps are 0.065 ms apart in a browser, answers take 2 ms.
    "full": Effort(1.5, 15.0, 3, 12, 128 << 20, 60.0, 12.0),
    "software": Effort(0.2, 15.0, 2, 5, 16 << 20, 20.0, 10.0),  # adapters that are the CPU, and numpy
    "quick": Effort(0.0, 1.0, 1, 1, 1 << 20, 1.0, 1.0),  # whether it works at all: for tests
}


def effort_named(name: str | None, is_software: bool) -> Effort:
    """The effort of that name, or what suits the device. Raises ConfigError."""
    if name is None:
        name = "software" if is_software else "full"
    if name not in EFFORTS:
        raise ConfigError(f"a bench can be {', '.join(EFFORTS)}, got {name!r}; leave it out for what suits the device")
    return EFFORTS[name]
