/** Runs a person's Python in post_processing_worker.js, and ends it when it takes too long. */

import { WHEEL } from "./python_worker.js";
import { ROOT, runtimeFile } from "./runtime_files.js";
import { startWorker } from "./workers.js";

export const TIME_LIMIT_S = 20; // for the code itself: what it needs may take longer to come

export class Runner {
  #worker = null;
  #running = null; // {resolve, reject, limit: timer} of the run on its way
  #timeLimitS;

  constructor(timeLimitS = TIME_LIMIT_S) {
    this.#timeLimitS = timeLimitS;
  }

  /**
   * Runs code over {words, text}; onStage is told python, packages, running. Resolves with the outcome that
   * py/voxtral/post_processing.py describes; rejects with an Error whose message is a sentence.
   */
  async run(code, { words, text }, onStage = () => {}) {
    if (this.#running) throw new Error("Python is still at work; wait for it, or stop it first.");
    const { promise, ...running } = Promise.withResolvers();
    this.#running = running;
    try {
      const addresses = await addressesOfPython();
      if (this.#running !== running) return promise; // stopped meanwhile
      this.#worker ??= startWorker("post_processing_worker.js");
      this.#worker.onmessage = ({ data }) => this.#receive(data, onStage);
      this.#worker.onerror = ({ message }) => this.#end(`Python crashed (${message ?? "no reason given"}); run it again.`);
      this.#worker.postMessage({ code, words, text, index: indexInAddress(), ...addresses });
    } catch (error) {
      this.#end(error.message);
    }
    return promise;
  }

  /** Ends what is running. */
  stop() {
    this.#end("Python was stopped.");
  }

  #receive({ type, stage, outcome, sentence }, onStage) {
    if (type === "failed") return this.#end(sentence); // the next run begins afresh
    if (type === "stage") onStage(stage);
    if (stage === "running") {
      const tooLong = () => this.#end(`Python was stopped: it had not come to an end after ${this.#timeLimitS} s.`);
      this.#running.limit = setTimeout(tooLong, this.#timeLimitS * 1000);
    }
    if (type === "outcome") this.#settle(({ resolve }) => resolve(outcome));
  }

  #end(sentence) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#settle(({ reject }) => reject(new Error(sentence)));
  }

  #settle(finish) {
    if (!this.#running) return;
    clearTimeout(this.#running.limit);
    finish(this.#running);
    this.#running = null;
  }
}

async function addressesOfPython() {
  const [pyodide, lock] = await Promise.all(["pyodide.mjs", "pyodide-lock.json"].map(runtimeFile));
  return { interpreter: `${ROOT}app/interpreter.mjs?pyodide=${encodeURIComponent(pyodide)}`, lock, wheel: ROOT + WHEEL };
}

/** The package index that the page's address names in ?packages=, which policy.js lets it connect to; null for none. */
function indexInAddress() {
  const address = new URLSearchParams(location.search).get("packages");
  return address && URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI).href.replace(/\/$/, "") : null;
}
