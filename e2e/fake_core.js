// Takes the place of PyScript's core.js in tests of the page alone: see fake_engine.js.
export const PyWorker = async () => {
  const worker = new Worker("/e2e/fake_engine.js");
  worker.addEventListener("message", ({ data }) => data.nth && (window.lastTold = data.nth));
  return worker;
};
