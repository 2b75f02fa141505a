/**
 * Pyodide's loadPyodide, with the bytecode that an earlier visit left (py/voxtral/browser/bytecode.py, which describes
 * the file) put in place before Python starts. PyScript takes this module for Pyodide's own, whose address stands in
 * ?pyodide=. Whatever goes wrong with the bytecode, Python starts without it.
 */

const CACHE = "voxtral bytecode";
const pyodide = new URL(import.meta.url).searchParams.get("pyodide");
const original = await import(pyodide);

export const version = original.version;

export async function loadPyodide(options) {
  const start = (more) => original.loadPyodide({ ...options, indexURL: new URL(".", pyodide).href, ...more });
  const files = await keptFiles().catch(() => null);
  if (!files) return start({});
  const fsInit = (FS) => {
    for (const [path, data] of files) {
      FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
      FS.writeFile(path, data);
    }
  };
  const [[standardLibrary]] = files;
  try {
    return await start({ fsInit, env: { ...options?.env, PYTHONPATH: standardLibrary } });
  } catch (error) {
    console.warn("Python did not start with the bytecode that was kept:", error);
    await caches.delete(CACHE);
    return start({});
  }
}

/** [[path, bytes], …], the standard library first; null when nothing is kept, or it is damaged. */
async function keptFiles() {
  const cache = await caches.open(CACHE);
  const response = await cache.match(`${location.origin}/bytecode/${version}`);
  if (!response) return null;
  const content = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== response.headers.get("sha256")) return null;
  let start = 4 + new DataView(content).getUint32(0, true);
  const index = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, start - 4)));
  return index.map(([path, size]) => [path, new Uint8Array(content, (start += size) - size, size)]);
}
