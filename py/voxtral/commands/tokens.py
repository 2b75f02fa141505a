"""`voxtral tokens`: an audio file to token ids, to be compared one by one."""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.audio_file import read_audio
from voxtral.config import StreamingConfig
from voxtral.errors import ConfigError
from voxtral.native_loading import EngineOptions, add_streaming_options, load_native
from voxtral.session import StreamingSession
from voxtral.terminal import say


def add_tokens_command(commands: Any) -> None:
    tokens = commands.add_parser("tokens", help="an audio file to token ids, as JSON")
    tokens.add_argument("file", type=Path, metavar="FILE")
    tokens.add_argument("--chunk", type=int, default=0, metavar="SAMPLES", help="feed so many at a time; 0: all")
    tokens.add_argument("--dump", type=Path, metavar="OUT.npz", help="also write every stage: mel, conv2, …, logits")
    EngineOptions.add_to(tokens)
    add_streaming_options(tokens)
    tokens.set_defaults(command=_tokens)


async def _tokens(options: argparse.Namespace) -> int:
    """Ends at `</s>`, as the reference implementation does."""
    streaming = StreamingConfig(options.delay_ms, options.left_pad, stop_at_eos=True)
    if options.chunk < 0:
        raise ConfigError(f"--chunk must be a number of samples, 0 or more, got {options.chunk}")
    samples, _ = read_audio(options.file)
    loaded = await load_native(EngineOptions.of(options), streaming, say, warms_up=False)
    stages: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    probe = (lambda name, rows: stages[name].append(rows)) if options.dump else None
    session = StreamingSession(loaded.model, streaming.delay_ms, streaming.left_pad_tokens, True, probe)
    events = []
    for start in range(0, len(samples), options.chunk or len(samples)):
        events += await session.feed(samples[start : start + (options.chunk or len(samples))])
    events += await session.finish()
    tokens = [event.token for event in events]
    if options.dump:
        dump: dict[str, Any] = {name: np.concatenate(rows) for name, rows in stages.items()}
        np.savez_compressed(options.dump, allow_pickle=False, **dump, tokens=np.array(tokens))
    print(json.dumps(tokens))
    return 0
