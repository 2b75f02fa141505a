"""Weights of full precision, as Mistral, transformers and the gguf package store them, against transformers' results.

golden/precision holds what transformers computed (`py/tools/oracle_checkpoints.py`), and the index and config.json that
it wrote; the weights, 3 MB a form, are drawn again from the seed and compared with the sums of what it saved.
"""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from checkpoints import Weights, as_saved, in_halves, params_json, stored, tensors_of, write_safetensors
from golden_cases import TOLERANCES, GoldenSet, stage_report
from precision import DTYPES, GOLDEN, config_of, golden_files, weights_of, write_gguf

from voxtral.model_path import open_model_files
from voxtral.ops.reference import ReferenceOps

FORMS = ("mistral", "transformers", "gguf")
INDEX = "model.safetensors.index.json"


def digest(weights: Weights, dtype: str) -> str:
    """As the oracle sums them."""
    sums = hashlib.sha256()
    for name in sorted(weights):
        sums.update(name.encode() + b"\0" + stored(weights[name], dtype))
    return sums.hexdigest()


@pytest.fixture(scope="module", params=DTYPES)
def stored_forms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The dtype, and a folder with the network in each form."""
    dtype, folder = request.param, tmp_path_factory.mktemp("precision")
    meta = json.loads(golden_files(dtype)["meta.json"])
    config, weights = config_of(meta["config"]), weights_of(dtype)
    halves = as_saved(in_halves(weights, config))
    assert digest(weights, dtype) == meta["mistral_sha256"]
    assert digest(halves, dtype) == meta["transformers_sha256"]
    for form in FORMS:
        (folder / form).mkdir()
    write_safetensors(folder / "mistral" / "consolidated.safetensors", weights, dtype)
    (folder / "mistral" / "params.json").write_text(params_json(config))
    weight_map = json.loads((GOLDEN / INDEX).read_text())["weight_map"]
    for file in sorted(set(weight_map.values())):
        part = {name: values for name, values in halves.items() if weight_map[name] == file}
        write_safetensors(folder / "transformers" / file, part, dtype)
    for name in (INDEX, "config.json"):
        (folder / "transformers" / name).write_bytes((GOLDEN / name).read_bytes())
    write_gguf(folder / "gguf" / "model.gguf", dtype)
    return dtype, folder


def misfits(folder: Path, dtype: str, ops) -> dict[str, object]:
    """What is not as transformers has it."""
    source, _ = open_model_files(folder)
    report = asyncio.run(stage_report(GoldenSet(golden_files(dtype), source), ops))
    return {stage: error for stage, error in report.items() if not (error is True or error <= TOLERANCES[stage])}


def test_every_type_gives_the_reference_s_stages_and_tokens(stored_forms: tuple[str, Path], ops) -> None:
    dtype, folder = stored_forms
    assert misfits(folder / "transformers", dtype, ops) == {}


@pytest.mark.parametrize("form", ["mistral", "gguf"])
def test_every_form_gives_them_too(stored_forms: tuple[str, Path], form: str) -> None:
    dtype, folder = stored_forms
    assert misfits(folder / form, dtype, ReferenceOps()) == {}


def test_both_layouts_are_the_same_gguf_file_and_the_gguf_package_reads_it(
    stored_forms: tuple[str, Path], tmp_path: Path
) -> None:
    dtype, folder = stored_forms
    files = []
    for form in ("mistral", "transformers"):
        (folder / form).rename(folder / "model")  # their folder is all that names them
        source, _ = open_model_files(folder / "model")
        files.append(asyncio.run(source.read_at(0, source.n_bytes)))
        (folder / "model").rename(folder / form)
    assert files[0] == files[1]
    (tmp_path / "virtual.gguf").write_bytes(files[0])
    found, expected = tensors_of(tmp_path / "virtual.gguf"), tensors_of(folder / "gguf" / "model.gguf")
    assert found == expected
    assert {kind.name for kind, _, _ in found.values()} == {dtype, "F32"}


def test_another_type_would_be_noticed(stored_forms: tuple[str, Path]) -> None:
    """Or these tolerances would say nothing about the type."""
    dtype, folder = stored_forms
    other = "F32" if dtype == "BF16" else "BF16"
    assert "logits" in misfits(folder / "mistral", other, ReferenceOps())
