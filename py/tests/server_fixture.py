"""The engine with the demo model on numpy, for tests of voxtral.server; live_server.py serves it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from voxtral.config import StreamingConfig
from voxtral.loading import Loaded
from voxtral.native_loading import EngineOptions, load_native
from voxtral.server.engine import Engine

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "static" / "samples"
DEMO = ROOT / "static" / "model"


_loaded: list[Loaded] = []


async def load_demo() -> Loaded:
    """What an engine loads: one model for all, as sessions leave nothing in it but streams for the next."""
    if not _loaded:
        _loaded.append(await load_native(EngineOptions(DEMO, "numpy"), StreamingConfig(), warn=print))
    return _loaded[0]


def demo_engine(
    load: Callable[[], Awaitable[Loaded]] = load_demo, streaming: StreamingConfig | None = None, **options: Any
) -> Engine:
    """Not started; options are those of Engine."""
    return Engine(load, streaming or StreamingConfig(), **options)
