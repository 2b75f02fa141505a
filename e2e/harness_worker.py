"""The worker side of the harness: fetches test modules and data, calls a function, answers in JSON.

Runs in Pyodide only. A message is JSON: {id, module, name, args, files, root}; files are addresses below
root, of which each lands under its own path in the current folder. A module is imported from tests/ or e2e/.
"""

import asyncio
import importlib
import inspect
import json
import sys
import traceback
from pathlib import Path

from js import fetch
from polyscript import xworker

sys.path[:0] = [str(Path.cwd() / "tests"), str(Path.cwd() / "e2e")]


async def load(root, address):
    path = Path(address)
    if path.exists():
        return
    response = await fetch(root + address)
    if not response.ok:
        raise FileNotFoundError(f"{root}{address}: {response.status}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((await response.arrayBuffer()).to_bytes())
    importlib.invalidate_caches()


async def answer(call):
    try:
        for address in call["files"]:
            await load(call["root"], address)
        function = getattr(importlib.import_module(call["module"]), call["name"])
        result = function(*call["args"])
        if inspect.isawaitable(result):
            result = await result
        reply = {"result": result}
    except BaseException:
        reply = {"error": traceback.format_exc()}
    xworker.postMessage(json.dumps({"id": call["id"], **reply}))


def receive(event):
    global task  # a task nobody holds may be collected before it ends
    task = asyncio.ensure_future(answer(json.loads(event.data)))


xworker.onmessage = receive
