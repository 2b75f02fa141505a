"""One layer of each half at the 4B model's widths agrees with the reference implementation; also in e2e."""

import asyncio

import full_width
import pytest
from golden_cases import GoldenSet

from voxtral.mapped_file import FileSource
from voxtral.ops.reference import ReferenceOps

ENOUGH = 45  # positions: the prompt and six different tokens


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    weights = full_width.weights_in(tmp_path_factory.getbasetemp() / "made")
    return GoldenSet({path.name: path.read_bytes() for path in full_width.FOLDER.iterdir()}, FileSource(weights))


@pytest.mark.parametrize("f32_caches", [True, False], ids=["float32 caches", "float16 caches"])
def test_every_stage_and_token_is_the_reference_s(golden: GoldenSet, ops, f32_caches: bool) -> None:
    n_positions = None if isinstance(ops, ReferenceOps) else ENOUGH  # a GPU made of software takes its time
    # What the caches hold makes the same difference to every size of chunk.
    chunk_tokens = ops.chunk_tokens if f32_caches else (1,)
    found = asyncio.run(full_width.report(golden, ops, chunk_tokens, f32_caches, n_positions))
    assert full_width.problems(found, chunk_tokens, f32_caches) == []
