"""One layer of each half at the 4B model's widths, against the reference implementation.

The weights, 125 MB, are not kept: the oracle draws them from a seed with numpy alone, and draws them here again. What
it computed with them is kept in golden/full_width, which this makes from what the oracle wrote:

    python py/tools/oracle.py --preset realdims --seed 2 --seconds 1 --out OUT
    python py/tests/full_width.py OUT
"""

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from golden_cases import TOLERANCES, GoldenSet
from numpy.typing import NDArray

from voxtral.config import MEL_FRAMES_PER_TOKEN, N_MEL_BINS, StreamingConfig
from voxtral.model import stream
from voxtral.model.layers import AnyOps
from voxtral.model.stream import HISTORY_MEL_FRAMES

FOLDER = Path(__file__).parent / "golden" / "full_width"
STAGES = ("conv2", "enc_out", "audio_embeds", "logits")
KEPT = ("audio", "mel", *STAGES)
F32_CACHES = 1 << 30  # a limit that lets these networks have them
F16_TOLERANCE = 5e-3  # keys and values with 11 bits: measured 2.6e-3, in numpy as on a GPU


def weights_in(folder: Path) -> Path:
    """The oracle's network, made again in `folder` unless it is there."""
    path = folder / "full_width.gguf"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tools import oracle

        meta = json.loads((FOLDER / "meta.json").read_text())
        blocks, _ = oracle.quantise(oracle.make_weights(meta["config"], meta["seed"]), meta["small_dtype"])
        oracle.write_gguf(path, blocks, meta["config"])
        found = digest(path)
        if found != meta["model_sha256"]:
            path.unlink()
            raise AssertionError(f"other weights than the oracle's: SHA-256 {found}, expected {meta['model_sha256']}")
    return path


async def report(
    golden: GoldenSet,
    ops: AnyOps,
    chunk_tokens: Sequence[int],
    f32_caches: bool = True,
    n_positions: int | None = None,
) -> dict[str, Any]:
    """For each of these sizes of chunk: each stage's largest error; and whether the tokens are the reference's.

    n_positions: stop behind so many, or a chunk that goes further; default: at the end. The decoder does not see the
    size of the chunks: it runs with the smallest, 1, only.
    """
    line = await _open_stream(golden, ops, f32_caches)
    config = StreamingConfig(golden.meta["delay_ms"], golden.meta["left_pad"])
    n_positions = n_positions or golden.meta["positions"]
    mel = np.zeros((golden.meta["positions"] + line.chunk_tokens[0] + 1, MEL_FRAMES_PER_TOKEN, N_MEL_BINS), np.float32)
    mel = mel.reshape(-1, N_MEL_BINS)
    mel[HISTORY_MEL_FRAMES:][: len(golden.arrays["mel"])] = golden.arrays["mel"]
    result: dict[str, Any] = {}
    ids: list[int] = []
    for n in chunk_tokens:
        stages: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        line.start(config)
        while line.position < n_positions:
            start = line.position * MEL_FRAMES_PER_TOKEN
            chunk = mel[start : start + HISTORY_MEL_FRAMES + n * MEL_FRAMES_PER_TOKEN]
            choices = await line.advance_probed(chunk, lambda name, rows: stages[name].append(rows), decode=n == 1)  # noqa: B023
            ids += [choice[0].token for choice in choices]
        result[str(n)] = {name: _error(np.concatenate(rows), golden.arrays[name]) for name, rows in stages.items()}
    # What the network said to its prompt is nobody's token.
    expected = [*ids[: config.n_prompt_tokens - 1], *golden.meta["tokens"]]
    result["tokens"] = ids == expected[:n_positions]
    return result


def _error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference in the rows that both have."""
    n_rows = min(len(found), len(expected))
    return float(np.abs(found[:n_rows] - expected[:n_rows]).max())


async def _open_stream(golden: GoldenSet, ops: AnyOps, f32_caches: bool) -> stream.Stream:
    limit, stream.LARGEST_F32_CACHE_BYTES = stream.LARGEST_F32_CACHE_BYTES, F32_CACHES if f32_caches else 0
    try:
        return await (await golden.load_model(ops)).borrow()
    finally:
        stream.LARGEST_F32_CACHE_BYTES = limit


def problems(found: dict[str, Any], chunk_tokens: Sequence[int], f32_caches: bool = True) -> list[str]:
    """What in a report is not as it must be."""
    said = [] if found["tokens"] else ["other tokens than the reference's"]
    for n in chunk_tokens:
        for name in STAGES if n == 1 else STAGES[:-1]:
            error = found[str(n)][name]
            if not error <= (TOLERANCES[name] if f32_caches else F16_TOLERANCE):
                said.append(f"chunks of {n}: {name} is off by {error}")
    return said


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(made: Path) -> None:
    """Take from the oracle's output what the tests compare."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    meta = json.loads((made / "meta.json").read_text())
    meta["model_sha256"] = digest(made / "model.gguf")
    (FOLDER / "meta.json").write_text(json.dumps(meta, indent=1))
    with np.load(made / "golden.npz") as arrays:
        np.savez_compressed(FOLDER / "golden.npz", **{name: arrays[name] for name in KEPT})


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
