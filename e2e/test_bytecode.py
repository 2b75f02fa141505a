"""The bytecode that a visit leaves for the next one, and that a start never depends on it."""

from typing import Any

import pytest
from playwright.sync_api import Page

KEPT = """async () => {
    await window.voxtral.ready;
    const cache = await caches.open("voxtral bytecode");
    while (!(await cache.keys()).length) await new Promise((resolve) => setTimeout(resolve, 100));
}"""
START = """async () => {  // Python in this very page, by the module that PyScript takes
    const { files } = await (await fetch("static/runtime.json")).json();
    const { path } = files.find(({ path }) => path.endsWith("/pyodide.mjs"));
    const pyodide = new URL(`static/runtime/${path}`, location).href;
    const { loadPyodide } = await import(`/app/interpreter.mjs?pyodide=${encodeURIComponent(pyodide)}`);
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    const wheel = loaded.find((name) => /voxtral-.*\\.whl$/.test(name));
    const python = await loadPyodide({ packages: ["numpy", wheel] });
    return JSON.parse(python.runPython(`
        import asyncio, json, os, numpy, voxtral.gguf
        bytecode = voxtral.gguf.__cached__ if os.path.exists(voxtral.gguf.__cached__) else None
        json.dumps({"stdlib": asyncio.__file__, "bytecode": bytecode, "sum": int(numpy.arange(5).sum())})
    `));
}"""
# edit(bytes, index) → whether the digest shall be right afterwards; index is [[path, size], …]
CHANGE = """async (edit) => {
    const cache = await caches.open("voxtral bytecode");
    const [request] = await cache.keys();
    const response = await cache.match(request);
    const headers = new Headers(response.headers);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const start = 4 + new DataView(bytes.buffer).getUint32(0, true);
    const index = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)));
    if (eval(edit)(bytes.subarray(start), index)) {
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        headers.set("sha256", Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    }
    await cache.put(request, new Response(bytes, { headers }));
}"""
A_BIT_FLIPPED = "(bytes) => { bytes[bytes.length >> 1] ^= 1; return false; }"
NO_ARCHIVE = "(bytes, index) => { bytes.fill(0, 0, index[0][1]); return true; }"
NO_CODE = """(bytes, index) => {  // behind the names of the archive's entries, which stay readable
    const name = new TextEncoder().encode("encodings/__init__.pyc");
    const at = bytes.findIndex((_, i) => name.every((byte, j) => bytes[i + j] === byte));
    bytes.fill(0xff, at + name.length + 16, at + name.length + 80);
    return true;
}"""
SAVE = """async () => {
    const cache = await caches.open("voxtral bytecode");
    const [request, ...others] = await cache.keys();
    if (others.length) throw new Error("more than one is kept");
    window.saved = [request, await cache.match(request)];
}"""
RESTORE = "async () => await (await caches.open('voxtral bytecode')).put(...window.saved)"
PLAIN = {"stdlib": "/lib/python313.zip/asyncio/__init__.py", "bytecode": None, "sum": 10}


@pytest.fixture(scope="module")
def visited(browser: Any, base_url: str) -> Any:
    """A page that was visited long enough, in one context for all tests."""
    context = browser.new_context(base_url=base_url, service_workers="block")
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto("/?backend=numpy")
    page.evaluate(KEPT)
    yield page
    context.close()


def test_what_is_kept_is_used(visited: Page) -> None:
    started = visited.evaluate(START)
    assert started["stdlib"] == "/lib/compiled.zip/asyncio/__init__.pyc"
    assert started["bytecode"].endswith("/voxtral/__pycache__/gguf.cpython-313.pyc")
    assert started["sum"] == 10


@pytest.mark.parametrize("edit", [A_BIT_FLIPPED, NO_ARCHIVE, NO_CODE], ids=["a bit", "no archive", "no code"])
def test_python_starts_without_what_is_damaged(visited: Page, edit: str) -> None:
    visited.evaluate(SAVE)
    visited.evaluate(CHANGE, edit)
    started = visited.evaluate(START)
    assert {**started, "bytecode": None} == PLAIN
    visited.evaluate(RESTORE)
