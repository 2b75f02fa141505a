"""Random models have the real layout, and behave."""

import asyncio
import hashlib

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from voxtral.config import EOS_TOKEN
from voxtral.errors import ConfigError
from voxtral.model.voxtral import Voxtral
from voxtral.model_path import open_model_files
from voxtral.ops.reference import ReferenceOps
from voxtral.quant import GgmlType
from voxtral.random_model import PRESETS, TYPES, make_random
from voxtral.session import StreamingSession
from voxtral.tekken import Tekken
from voxtral.weights import TOKEN_EMBEDDINGS, check, read_config, tensor_shapes


def digest(paths):
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return make_random(PRESETS["small"], folder)


def test_the_reference_reader_agrees(small):
    (path,) = small
    tensors = {tensor.name: tuple(reversed(tensor.shape.tolist())) for tensor in GGUFReader(path).tensors}
    assert tensors == dict(tensor_shapes(PRESETS["small"]))


def test_it_reads_back_as_the_configuration_it_was_made_from(small):
    async def read():
        from voxtral.gguf import read_index

        source, tekken = open_model_files(small[0])
        index = await read_index(source)
        check(index, read_config(index))
        Tekken.from_json(tekken.read_bytes(), "tekken.json").require(PRESETS["small"].decoder.vocab_size)
        return read_config(index)

    assert asyncio.run(read()) == PRESETS["small"]


def test_the_full_model_has_711_tensors_and_the_published_size():
    shapes = dict(tensor_shapes(PRESETS["4b"]))
    assert len(shapes) == 711
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 4_429_679_360


def test_the_seed_decides_every_byte_and_shards_are_plain_cuts(small, tmp_path):
    again = make_random(PRESETS["small"], tmp_path / "again")
    other = make_random(PRESETS["small"], tmp_path / "other", seed=2)
    shards = make_random(PRESETS["small"], tmp_path / "shards", shard_bytes=1_000_003)
    assert digest(again) == digest(small) == digest(shards) != digest(other)
    assert [path.name for path in shards] == ["shard-aa", "shard-ab", "shard-ac", "shard-ad"]
    assert {path.stat().st_size for path in shards[:-1]} == {1_000_003}


def test_it_is_numerically_tame_and_its_choices_vary(small):
    stages = {}

    async def run():
        source, _ = open_model_files(small[0])
        model = await Voxtral.load(ReferenceOps(), source)
        probe = lambda name, rows: stages.setdefault(name, []).append(rows)  # noqa: E731
        session = StreamingSession(model, 480, 32, probe=probe)
        noise = np.random.default_rng(3).standard_normal(48_000).astype(np.float32) * 0.1
        return [event.token for event in await session.feed(noise) + await session.finish()]

    tokens = asyncio.run(run())
    assert len(set(tokens)) > 5
    for name in ("enc_out", "audio_embeds", "logits"):
        size = np.sqrt(np.mean(np.square(np.concatenate(stages[name]))))
        assert 0.05 < size < 20, name


@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind is not GgmlType.Q4_0])
def test_matrices_may_be_of_another_type(tmp_path, small, kind):
    """Of the same size as in Q4_0, and `</s>` is never the maximum."""
    (path,) = make_random(PRESETS["small"], tmp_path, kind=kind)
    found, quantised = GGUFReader(path).tensors, GGUFReader(small[0]).tensors
    for tensor, other in zip(found, quantised, strict=True):
        assert tensor.name == other.name
        is_matrix = len(tensor.shape) == 2
        assert tensor.tensor_type == (kind if is_matrix else GgmlType.F32)
        if is_matrix:
            weights, others = (dequantize(each.data, each.tensor_type) for each in (tensor, other))
            assert np.std(weights) == pytest.approx(np.std(others), rel=0.05)
            assert abs(np.mean(weights)) < 0.05 * np.std(weights)
            assert (tensor.name == TOKEN_EMBEDDINGS) == (not weights[EOS_TOKEN].any())
    again = make_random(PRESETS["small"], tmp_path / "again", shard_bytes=1_000_003, kind=kind)
    assert digest(again) == digest([path])


def test_weights_are_never_overwritten(small):
    with pytest.raises(ConfigError, match="already holds weights"):
        make_random(PRESETS["small"], small[0].parent)
