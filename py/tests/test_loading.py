"""Loading that goes wrong half-way: one sentence, nothing left on the device, and a worker that takes another model."""

import asyncio
import re
from pathlib import Path

import pytest
from fake_host import FakeHost
from test_weights import imagined
from test_worker import MODEL_URL, load

from voxtral import placement
from voxtral.config import DecoderConfig, EncoderConfig, ModelConfig
from voxtral.errors import DeviceError, MemoryRefusedError, ModelFileError, in_words
from voxtral.gpu.device import NEEDED_LIMITS, AdapterInfo, Limits, require_limits
from voxtral.gpu.recording import RecordingDevice
from voxtral.model.loader import read_header
from voxtral.model.memory import MemoryNeed
from voxtral.model.voxtral import Voxtral
from voxtral.model_path import open_model_files
from voxtral.ops.webgpu import WebGpuOps
from voxtral.quant import GgmlType
from voxtral.shards import MemorySource, ShardedCursor
from voxtral.worker import Worker

DEMO = Path(__file__).parents[2] / "static" / "model" / "voxtral-demo-q4_0.gguf"
SOFTWARE = AdapterInfo("Imagined Software", "none", is_software=True)


class BreakingSource(MemorySource):
    """Breaks off after n_good bytes; knows whether it was closed."""

    def __init__(self, data, name, n_good):
        super().__init__(data, name)
        self.n_good = n_good
        self.is_closed = False

    async def read_at(self, offset, n_bytes):
        self.is_closed = False
        if offset + n_bytes > self.n_good:
            raise ModelFileError(f"{self.name}: expected {n_bytes} bytes from byte {offset} on, found 0; try again")
        return await super().read_at(offset, n_bytes)

    def close(self):
        self.is_closed = True


class GpuHost(FakeHost):
    """Lends the devices it was given, one for each load, then none."""

    def __init__(self, *devices, n_good=None):
        super().__init__()
        self.devices = list(devices)
        self.sources = []
        self.n_good = n_good

    async def open_gpu(self):
        if not self.devices:
            raise DeviceError("the browser found no GPU")
        return self.devices.pop(0)

    async def open_source(self, url, n_bytes):
        data = await self.fetch(url)
        assert n_bytes in (None, len(data))
        self.sources.append(BreakingSource(data, url, len(data) if self.n_good is None else self.n_good))
        return self.sources[-1]


def first_answer(host, **options):
    """The `ready` or `refused` event of a load."""

    async def main():
        worker = Worker(host)
        worker.receive(load(**options))
        while not (answers := host.of("ready") + host.of("refused")):
            await asyncio.sleep(0)
        if worker._runner:
            worker._runner.cancel()
        return answers[0]

    return asyncio.run(main())


async def _no_check(*_):
    """A recording device computes nothing, so nothing right."""
    return []


@pytest.fixture(scope="module", autouse=True)
def _small_steps():
    """The demo model in many fills, as a large model is loaded, whose staging is small beside the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxtral.model.loader.FILL_BYTES", 36 * 2000)
        patch.setattr("voxtral.ops.matrices.FILL_BYTES", 36 * 2000)
        patch.setattr(WebGpuOps, "self_check", _no_check)
        yield


@pytest.fixture(scope="module")
def demo():
    """What the demo model needs, and takes on a device: (need, with all weights, ready)."""
    device = RecordingDevice()

    async def main():
        ops = WebGpuOps(device)
        source, _ = open_model_files(DEMO)
        need = MemoryNeed.of(*await read_header(source), ops.chunk_tokens[0])
        model = await Voxtral.load(ops, source)
        loaded = device.memory.now
        await model.borrow()
        return need, loaded

    need, loaded = asyncio.run(main())
    return need, loaded, device.memory.now


# -- what is needed -----------------------------------------------------------------------------


def test_the_need_is_what_loading_takes(demo):
    need, loaded, ready = demo
    assert loaded == pytest.approx(need.matrices + need.vectors, rel=0.01)
    assert need.total <= ready <= 1.4 * need.total  # the rest is scratch, of a fixed size


def test_the_need_of_the_full_model():
    config = ModelConfig(EncoderConfig(), DecoderConfig())
    need = MemoryNeed.of(imagined(config, {}), config, chunk_tokens=64)
    assert (need.matrices, need.vectors) == (2_488_393_728, 23_473_152)
    assert MemoryNeed.of(imagined(config, {}, GgmlType.BF16), config, chunk_tokens=64).matrices == 8_847_622_144
    assert need.caches == 2 * 2 * (32 * (749 + 256) * 2048 + 26 * 8192 * 1024)
    assert need.total < 3.7e9


def test_sizes_in_sentences():
    sizes = [0, 999, 1000, 9_949, 56_623_104, 2_488_393_728, 12_345_678_901]
    assert [in_words(n) for n in sizes] == ["0 bytes", "999 bytes", "1.0 kB", "9.9 kB", "57 MB", "2.5 GB", "12 GB"]


# -- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "label"),
    [
        (0.0001, "audio_language_projection"),  # matrices
        (0.3, "nibbles"),
        (0.49, "weight$|bias$|conv"),  # small tensors
        (0.7, " kv$"),
        (0.999, "scratch|logits|norm_linear|params"),
    ],
)
def test_a_device_without_room_is_given_back_and_the_sentence_says_what_was_needed(demo, share, label):
    need, _, ready = demo
    device = RecordingDevice(room_bytes=int(share * ready))
    host = GpuHost(device)
    refused = first_answer(host)
    assert refused["type"] == "refused"
    sentence = refused["sentence"]
    assert f"this model needs {in_words(need.total)} of GPU memory" in sentence
    assert f"{in_words(need.matrices + need.vectors)} for its weights" in sentence
    found = re.search(r"recording has no room for the .+ of '(.+)' beside the (.+) that it holds", sentence)
    assert re.search(label, found[1]), found[1]
    assert found[1] in {buffer.label for buffer in device.buffers}
    assert sentence.endswith("close other tabs and programs that use the GPU, then try again")
    if label.endswith("kv$"):  # programs are not recorded over rings that are not there
        assert not any(buffer.label.startswith("encode ") for buffer in device.buffers)
    assert device.destroyed
    assert device.memory.now == 0
    assert all(source.is_closed for source in host.sources)


def test_a_buffer_beyond_the_largest_is_refused_with_the_limit():
    device = RecordingDevice(limits=Limits(max_buffer_size=100_000))
    sentence = first_answer(GpuHost(device))["sentence"]
    assert "(its largest buffer is 100 kB)" in sentence
    assert device.memory.now == 0


def test_a_model_without_room_leaves_room_for_the_next(demo):
    async def main():
        host = GpuHost(RecordingDevice(room_bytes=demo[2] // 2), RecordingDevice(room_bytes=2 * demo[2]))
        worker = Worker(host)
        worker.receive(load())
        await host.until("refused")
        worker.receive(load())
        ready = await host.until("ready")
        worker._runner.cancel()
        return ready

    assert asyncio.run(main())["backend"] == "webgpu"


def test_nothing_is_written_before_all_matrices_are_there(demo):
    device = RecordingDevice(room_bytes=demo[0].matrices // 2)
    first_answer(GpuHost(device))
    assert not device.writes


# -- a broken download ----------------------------------------------------------------------------


@pytest.mark.parametrize("position", [20, 90, 120])
def test_a_download_that_breaks_names_the_tensors_and_leaves_nothing(position):
    index, _ = asyncio.run(read_header(open_model_files(DEMO)[0]))
    tensors = sorted(index.tensors.values(), key=lambda tensor: tensor.offset)
    victim = tensors[position]
    n_good = victim.offset + victim.n_bytes - 1
    device = RecordingDevice()
    host = GpuHost(device, n_good=n_good)
    sentence = first_answer(host)["sentence"]
    found = re.match(rf"tensors? '(\S+)'(?: to '(\S+)')? could not be read: {MODEL_URL}\S+ expected (\d+) ", sentence)
    first, last = index.tensors[found[1]], index.tensors[found[2] or found[1]]
    assert first.offset <= victim.offset <= last.offset
    start = int(re.search(r"from byte (\d+) on", sentence)[1])
    assert first.offset <= start <= n_good < start + int(found[3]) <= last.offset + last.n_bytes  # what the read hit
    assert sentence.endswith("found 0; try again")
    assert device.memory.peak > 10_000_000
    assert device.memory.now == 0
    assert device.destroyed
    assert all(source.is_closed for source in host.sources)


def test_a_gpu_asked_for_in_vain_is_given_back():
    device = RecordingDevice()
    sentence = first_answer(GpuHost(device), model_url=f"{MODEL_URL}nothing.gguf")["sentence"]
    assert "nothing.gguf" in sentence
    assert device.destroyed


# -- which device ---------------------------------------------------------------------------------


@pytest.fixture
def large(monkeypatch):
    """The demo counts as a model too large for a CPU."""
    monkeypatch.setattr(placement, "MAX_CPU_PARAMETERS", 1_000_000)


@pytest.mark.usefixtures("large")
def test_a_large_model_on_a_software_gpu_is_a_matter_of_insisting():
    device = RecordingDevice(info=SOFTWARE)
    refused = first_answer(GpuHost(device))
    assert "needs a GPU, but the only one here is Imagined Software, software on the CPU" in refused["sentence"]
    assert refused["can_insist"]
    assert device.destroyed
    assert not device.buffers
    assert first_answer(GpuHost(RecordingDevice(info=SOFTWARE)), backend="webgpu")["type"] == "ready"


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (None, "billion parameters and needs a GPU: the browser found no GPU"),
        ("webgpu", "billion parameters and needs a GPU: the browser found no GPU"),
        ("numpy", "needs a GPU, but numpy was asked for, which computes on the CPU; leave that out"),
    ],
)
def test_a_large_model_without_a_gpu_says_why_there_is_none(backend, expected):
    host = GpuHost()
    refused = first_answer(host, backend=backend)
    assert expected in refused["sentence"]
    assert not refused["can_insist"]
    assert not host.of("progress")  # its weights were not fetched for nothing


def test_an_adapter_below_the_defaults_says_which_limit_is_missing():
    require_limits("Tiny", NEEDED_LIMITS)
    granted = {**NEEDED_LIMITS, "maxStorageBuffersPerShaderStage": 4, "maxComputeInvocationsPerWorkgroup": 128}
    with pytest.raises(DeviceError) as error:
        require_limits("Tiny", granted)
    assert str(error.value) == (
        "Tiny is too limited a GPU, it grants maxStorageBuffersPerShaderStage 4 where 8 is needed and "
        "maxComputeInvocationsPerWorkgroup 128 where 256 is needed; use another GPU or browser"
    )


def test_a_device_counts_its_bytes(device):
    before = device.memory.now
    buffer = device.create_buffer(1 << 20, "one MiB")
    assert device.memory.now == before + (1 << 20)
    assert device.memory.peak >= device.memory.now
    device.destroy_buffer(buffer)
    assert device.memory.now == before
    with pytest.raises(MemoryRefusedError, match="has no room for the"):
        device.create_buffer(device.limits.max_buffer_size + 4, "too much")
    assert device.memory.now == before


def test_closing_a_cursor_closes_its_shards():
    shards = [BreakingSource(b"abcd", "shard-aa", 4), BreakingSource(b"efgh", "shard-ab", 4)]
    ShardedCursor(shards).close()
    assert all(shard.is_closed for shard in shards)
