// A bare worker with the package in it: `await harness.run(module, function, args, files)` calls Python.
// The app's own client is left out on purpose, so that kernels and model are tested without the page.

const ROOT = new URL("..", import.meta.url).href;

async function start() {
  const { files } = await (await fetch(`${ROOT}static/runtime.json`)).json();
  const named = (name) => `${ROOT}static/runtime/${files.find(({ path }) => path.endsWith(`/${name}`)).path}`;
  const { PyWorker } = await import(named("core.js"));
  const wheel = new URLSearchParams(location.search).get("wheel");
  const config = {
    packages: ["numpy", `${ROOT}dist/${wheel}`],
    packages_cache: "passthrough",
    js_modules: { worker: { [`${ROOT}app/tape.js`]: "tape" } },
  };
  // PyWorker takes the interpreter's address as `version`; without it, it would ask for one from elsewhere.
  return PyWorker(`${ROOT}e2e/harness_worker.py`, { version: named("pyodide.mjs"), async: true, config });
}

let lastId = 0;
const waiting = new Map();
const worker = start().then((started) => {
  started.addEventListener("message", ({ data }) => {
    const { id, result, error } = JSON.parse(data);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(result);
  });
  return started;
});

async function run(module, name, args, files) {
  const started = await worker;
  const id = ++lastId;
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  started.postMessage(JSON.stringify({ id, module, name, args, files, root: ROOT }));
  return answer;
}

window.harness = { run };
