/** Starts Python in a worker: PyScript, which starts Pyodide, which runs app/engine.py. */

import { ROOT, filesOfStart } from "./runtime_files.js";
import { prefetch } from "./runtime_progress.js";

const ENGINE = "app/engine.py";
const INTERPRETER = "app/interpreter.mjs";
const TAPE = "app/tape.js";
export const WHEEL = "dist/voxtral-0.1.0-py3-none-any.whl";
const START_LIMIT_S = 180;

/**
 * Resolves with the Worker, which speaks protocol.js; onProgress(done, total) counts bytes of the runtime.
 * Rejects with an Error whose message is a sentence for the user.
 */
export async function startPython(onProgress) {
  const runtime = await filesOfStart();
  const named = (name) => runtime.find(({ url }) => url.endsWith(`/${name}`)).url;
  const interpreter = `${ROOT}${INTERPRETER}?pyodide=${encodeURIComponent(named("pyodide.mjs"))}`;
  const own = [interpreter, ...[ENGINE, TAPE, WHEEL].map((path) => ROOT + path)];
  await prefetch([...runtime, ...own.map((url) => ({ url, size: null }))], onProgress);
  const { PyWorker } = await import(named("core.js"));
  const config = {
    packages: ["numpy", ROOT + WHEEL],
    packages_cache: "passthrough", // without it PyScript wants micropip, which it would fetch from elsewhere
    js_modules: { worker: { [ROOT + TAPE]: "tape" } },
  };
  const worker = PyWorker(ROOT + ENGINE, { version: interpreter, async: true, config });
  return within(START_LIMIT_S, worker).catch((error) => {
    throw new Error(`Python did not start (${lastLine(error)}); reload the page, and update the browser if it stays so.`, {
      cause: error,
    });
  });
}

export const lastLine = (error) => String(error?.message ?? error).trim().split("\n").at(-1);

function within(seconds, promise) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no sign of it in ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]);
}
