"""A GPU that goes away in the middle of a recording: device.destroy() in the engine's worker, by somebody else."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from voxtral.protocol import EVENTS

pytestmark = pytest.mark.alone  # the GPU goes away in the middle of a recording

WATCH_READY = "() => void window.voxtral.ready.finally(() => (window.isReady = true))"
KEEP_DEVICES = """() => {
    if (!self.GPUAdapter || self.lastDevice !== undefined) return;
    self.lastDevice = null;
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...options) {
        self.lastDevice = await requestDevice.apply(this, options);
        return self.lastDevice;
    };
}"""
LOSE_DEVICE = "() => { self.lastDevice?.destroy(); return Boolean(self.lastDevice); }"
SPEAK = """async (address) => {
    const content = await (await fetch(address)).arrayBuffer();
    const samples = Float32Array.from(new Int16Array(content, 44), (sample) => sample / 32768);
    const { port1, port2 } = new MessageChannel();
    const openSound = async () => ({ port: port2, sampleRate: 16000, close: async () => {} });
    window.heard = [];
    window.recording = await voxtral.listen((event) => heard.push(event), openSound);
    window.speak = (from, to) => {
        for (let start = from * 16000; start < Math.min(to * 16000, samples.length); start += 1280)
            port1.postMessage(samples.slice(start, Math.min(start + 1280, to * 16000)));
    };
    window.stop = () => { port1.postMessage(new Float32Array(0)); return recording.stop(); };
}"""
FIRST_S, WHOLE_S = 4, 6.1
WORDS_COME = "() => heard.some(({ type }) => type === 'words')"
LIMIT_MS = 300_000


def test_a_recording_survives_the_loss_of_the_gpu(open_page: Callable[..., Page]) -> None:
    page = open_page("/?backend=webgpu")
    page.wait_for_function("() => window.voxtral")
    page.set_default_timeout(LIMIT_MS)
    page.evaluate(WATCH_READY)
    while not page.evaluate("window.isReady"):  # the engine's worker comes when it comes, and asks for a GPU much later
        for worker in page.workers:
            worker.evaluate(KEEP_DEVICES)
        page.wait_for_timeout(50)

    page.evaluate(SPEAK, "/static/samples/digits_3.wav")
    page.evaluate("(s) => speak(0, s)", FIRST_S)
    page.wait_for_function(WORDS_COME)
    lost = [worker.evaluate(LOSE_DEVICE) for worker in page.workers]
    assert any(lost)
    page.evaluate("([from, to]) => speak(from, to)", [FIRST_S, WHOLE_S])
    result = page.evaluate("() => stop()")
    events = page.evaluate("() => heard")

    assert result["text"] == "nine six seven eight zero three eight"
    notices = [event["sentence"] for event in events if event["type"] == "notice"]
    assert any("GPU went away" in sentence for sentence in notices)
    assert all(set(EVENTS[event["type"]]) <= set(event) for event in events if event["type"] in EVENTS)
    memory = page.evaluate("() => voxtral.inspect()")
    assert 0 < memory["gpu_bytes"] < 200e6  # of one device, not two
