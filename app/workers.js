/**
 * Starts a module of this folder in a worker. It begins as a blob:, for such a worker inherits the page's
 * Content-Security-Policy, narrowed by policy.js: what a sound file makes a decoder do, it connects to nowhere.
 */
export function startWorker(name) {
  const text = `import ${JSON.stringify(new URL(name, import.meta.url).href)};`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  worker.addEventListener("message", () => URL.revokeObjectURL(url), { once: true }); // it has started by then
  return worker;
}
