/** The files of the pinned runtime, which static/runtime.json lists. */

export const ROOT = new URL("..", import.meta.url).href;

/** [{url, size}] of those that Python needs at its start. Rejects with an Error whose message is a sentence. */
export async function filesOfStart() {
  const { packages = {}, files } = await readList();
  return files.filter((file) => !packages[file.package]?.is_later).map(({ path, size }) => ({ url: addressOf(path), size }));
}

/** Address of the file of this name; errors as above. */
export async function runtimeFile(name) {
  const { files } = await readList();
  const found = files.find(({ path }) => path.endsWith(`/${name}`));
  if (!found) throw new Error(`The runtime has no ${name}; reload, or set the app up again (serve.py, or its --export).`);
  return addressOf(found.path);
}

/** {path: address} of the files of these packages, which the page does not need at its start; errors as above. */
export async function filesOf(names) {
  const { files } = await readList();
  const wanted = files.filter((file) => names.includes(file.package));
  return Object.fromEntries(wanted.map(({ path }) => [path, addressOf(path)]));
}

async function readList() {
  const response = await fetch(new URL("static/runtime.json", ROOT)).catch(() => null);
  if (!response?.ok) {
    throw new Error("The server has no static/runtime.json; reload, or set the app up again (serve.py, or its --export).");
  }
  return response.json();
}

const addressOf = (path) => `${ROOT}static/runtime/${path}`;
