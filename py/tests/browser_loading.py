"""Loading over HTTP, called inside Chromium by e2e/test_loading_page.py: what the sources read, and what they hold."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from voxtral.errors import ModelFileError
from voxtral.model.voxtral import Voxtral
from voxtral.ops.webgpu import WebGpuOps
from voxtral.shards import ShardedCursor

DEMO = "static/model/voxtral-demo-q4_0.gguf"


def _address() -> str:
    import js

    return f"{js.location.origin}/{DEMO}"


@contextlib.contextmanager
def chunks_of_the_browsers_own() -> Iterator[None]:
    """A browser that cannot read into a given buffer."""
    import js

    prototype = js.ReadableStream.prototype
    original = prototype.getReader
    body = "return function (options) { if (options) throw new TypeError('no'); return getReader.call(this); }"
    prototype.getReader = js.Function.new("getReader", body)(original)
    try:
        yield
    finally:
        prototype.getReader = original


async def load_demo() -> dict[str, Any]:
    """Loader bytes after phase one, with the bytes reported by then; the most there were; and those after a failure."""
    from polyscript import js_modules

    from voxtral.browser import HttpSource, loader_buffers, open_browser

    loader_buffers.peak = loader_buffers.now  # other tests load, too
    source = ShardedCursor([await HttpSource.open(_address())])
    seen: list[int] = []

    async def progress(done: int, _total: int) -> None:
        seen.append(done)

    device = await open_browser(js_modules.tape.replay)
    await Voxtral.load(WebGpuOps(device), source, progress)
    report: dict[str, Any] = {"after phase one": [loader_buffers.now, source.n_bytes], "peak": loader_buffers.peak}
    assert seen == sorted(seen)
    device.destroy()
    short = HttpSource(_address(), source.n_bytes + 1000)  # promises more than there is
    try:
        await short.piece_at(source.n_bytes - 1000, 2000)
    except ModelFileError:
        report["after failure"] = loader_buffers.now
    return report


async def read_ranges(byob: bool) -> list[str]:
    """Ranges that were read wrong, of many at random."""
    from voxtral.browser import HttpSource, fetch_bytes

    with contextlib.nullcontext() if byob else chunks_of_the_browsers_own():
        return await _wrong_ranges(await HttpSource.open(_address()), await fetch_bytes(_address()))


async def _wrong_ranges(source: Any, whole: bytes) -> list[str]:
    chance = random.Random(5)
    wrong = []
    offset = 0
    for _ in range(60):
        n_bytes = min(chance.choice([0, 1, 4, 700, 300_000, 3_000_000]), len(whole) - offset)
        if chance.random() < 0.2:
            source.close()
        data = (await source.piece_at(offset, n_bytes)).data.to_bytes()
        data = data if chance.random() < 0.5 else await source.read_at(offset, n_bytes)
        if data != whole[offset : offset + n_bytes]:
            wrong.append(f"{n_bytes} at {offset}")
        offset = offset + n_bytes if chance.random() < 0.8 else chance.randrange(len(whole))
    source.close()
    return wrong
