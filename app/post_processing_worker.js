/**
 * Python for the code that a person wrote to change a transcript (py/voxtral/post_processing.py), in a worker of its own:
 * post_processing_runner.js starts it, and ends it when the code does not. Its page's Content-Security-Policy holds here.
 *
 * In:  {code, words, text, index, interpreter, lock, wheel}  index: address of a package index or null; the last three
 *                                                            are addresses: app/interpreter.mjs?pyodide=, Pyodide's list
 *                                                            of packages, and the package voxtral
 * Out: {type: "stage", stage}            python, packages, running
 *      {type: "outcome", outcome}        of post_processing.run
 *      {type: "failed", sentence}        Python or a package could not be had
 */

const PACKAGES = ["numpy", "micropip"]; // those of Pyodide's list that are there

let python = null; // promise of {pyodide, module, json}
let refusedOrigin = null; // by the policy, since the last message

addEventListener("securitypolicyviolation", ({ blockedURI }) => {
  refusedOrigin = URL.canParse(blockedURI) ? new URL(blockedURI).origin : blockedURI;
});

onmessage = async ({ data }) => {
  refusedOrigin = null;
  try {
    const { pyodide, module, json } = await (python ??= start(data));
    await bringPackages(pyodide, module, data);
    tell("running");
    const words = json.loads(JSON.stringify(data.words));
    const outcome = module.run(data.code, words, data.text);
    postMessage({ type: "outcome", outcome: JSON.parse(json.dumps(outcome)) });
    for (const proxy of [words, outcome]) proxy.destroy();
  } catch (error) {
    postMessage({ type: "failed", sentence: error instanceof Failure ? error.message : `Python failed (${lastLine(error)}).` });
  }
};

/** Something the person can act on; its message is a sentence. */
class Failure extends Error {}

const tell = (stage) => postMessage({ type: "stage", stage });
const lastLine = (error) => String(error?.message ?? error).trim().split("\n").at(-1);

async function start({ interpreter, lock, wheel }) {
  tell("python");
  try {
    const [{ loadPyodide }, list] = await Promise.all([import(interpreter), fetch(lock).then((response) => response.json())]);
    list.packages = Object.fromEntries(PACKAGES.map((name) => [name, list.packages[name]]));
    const pyodide = await loadPyodide({
      lockFileContents: JSON.stringify(list),
      packageBaseUrl: new URL(".", lock).href,
    });
    await pyodide.loadPackage(wheel, QUIETLY);
    return { pyodide, module: pyodide.pyimport("voxtral.post_processing"), json: pyodide.pyimport("json") };
  } catch (error) {
    throw new Failure(`Python did not start (${lastLine(error)}); check the connection, then run it again.`);
  }
}

const QUIETLY = { messageCallback() {} };

/** What the code imports of ours, and what it asks for in `# packages:` lines. */
async function bringPackages(pyodide, module, { code, index }) {
  const list = (proxy) => {
    const names = proxy.toJs({ create_pyproxies: false });
    proxy.destroy();
    return names;
  };
  const wanted = list(module.requested_packages(code));
  const isMissing = (name) => !pyodide.loadedPackages[name];
  const ours = list(module.imports(code)).filter((name) => PACKAGES.includes(name));
  if (wanted.length) ours.push("micropip");
  if (ours.some(isMissing)) {
    tell("packages");
    await pyodide.loadPackage(ours, QUIETLY);
    const missing = ours.find(isMissing);
    if (missing) throw new Failure(`${missing} could not be loaded; check the connection, then run it again.`);
  }
  if (!wanted.length) return;
  const named = wanted.find((name) => !/^https?:/.test(name));
  if (named && !index) {
    throw new Failure(
      `“${named}” is a name, and this page knows no package index: write the address of its wheel instead, or add ` +
        "packages=INDEX, the address of an index, to the address of this page.",
    );
  }
  tell("packages");
  try {
    await pyodide.pyimport("micropip").install.callKwargs(wanted, { index_urls: index ? [index] : [] });
  } catch (error) {
    throw new Failure(
      refusedOrigin
        ? `The packages lie at ${refusedOrigin}, where this page may not connect; add packages=${refusedOrigin} to the ` +
          "address of this page and load it again to allow that."
        : `The packages could not be had (${lastLine(error)}); check their names and addresses.`,
    );
  }
}
