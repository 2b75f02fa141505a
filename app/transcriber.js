/**
 * Speech to text in this tab: the client of the Python engine, and the only file that knows that the
 * engine lives in a worker. Other pages may import it; it touches no elements.
 *
 *   const transcriber = new Transcriber({ onEvent: console.log });
 *   await transcriber.ready;
 *   const { text } = await transcriber.transcribeFile(file);
 *
 * Callbacks get the worker's events (protocol.js) as they come, and a few more from this side:
 *   {type: "progress", stage: "runtime", done, total}  bytes of the Python runtime
 *   {type: "started", session}                         a file's turn has come
 *   {type: "level", session, rms, peak}                of 80 ms of the microphone, 0…1
 *   {type: "unplugged", session}                       the microphone went away; call stop()
 *   {type: "silent", seconds}                          the engine has not answered for that long
 * Models are kept and listed by the methods from listModels() on; what becomes of that comes as events.
 */

import { readAudioFile } from "./audio_file.js";
import { openMicrophone } from "./microphone.js";
import { isEvent, request } from "./protocol.js";
import { prefetch } from "./runtime_progress.js";

const ROOT = new URL("..", import.meta.url).href;
export const SITE = ROOT.replace(/\/v-[0-9a-f]+\/$/, "/"); // an exported app lies in a folder of its version
const ENGINE = "app/engine.py";
const INTERPRETER = "app/interpreter.mjs";
const TAPE = "app/tape.js";
const WHEEL = "dist/voxtral-0.1.0-py3-none-any.whl";
const DEMO_MODEL = `${ROOT}static/model/voxtral-demo-q4_0.gguf`;
const START_LIMIT_S = 180;
const SILENCE_LIMIT_S = 30;

/** A request that was cancelled; promises reject with it. */
export class Cancelled extends Error {
  name = "Cancelled";
}

export class Transcriber {
  #worker = null;
  #started; // promise of the worker
  #onEvent;
  #loaded = null; // resolvers of `ready`
  #isLoading = false;
  #hasAnswered = false;
  #failure = null;
  #jobs = new Map(); // session → job
  #waiting = []; // file jobs, in order
  #current = null; // the one job the engine works on
  #lastSession = 0;
  #silence = 0; // timer

  /**
   * model: "hub", URL of a folder or a .gguf relative to the page's root, or "stored:KEY"; backend: "webgpu",
   * "numpy" or null for the best there is; delayMs and leftPadTokens: null for the defaults; onEvent: called with
   * every event, those of sessions included.
   */
  constructor({ onEvent = () => {}, ...options } = {}) {
    this.#onEvent = onEvent;
    this.#expect();
    this.#started = this.#start();
    this.#started.then(() => this.#load(options)).catch((error) => this.#fail(error.message));
  }

  /** Promise of the worker's `ready` event; rejects with an Error whose message is a sentence. */
  get ready() {
    return this.#loaded.promise;
  }

  /**
   * Loads another model, after the last one was `refused` or in its place, when the recordings on their way are done.
   * The options of the constructor, and files: the File objects of a model. `ready` is a new promise then.
   */
  load(options = {}) {
    this.#expect();
    this.#load(options);
  }

  /**
   * Transcribes one File; several wait for each other. Returns a promise of the result {file, text, words,
   * audio_s, wall_s, rtf, tokens} that also has the property `session`. It rejects with an Error whose
   * message is a sentence, or with Cancelled.
   */
  transcribeFile(file, onEvent = () => {}) {
    const job = this.#open(onEvent);
    job.file = file;
    this.#waiting.push(job);
    this.#next();
    return Object.assign(job.promise, { session: job.session });
  }

  /**
   * Listens to the microphone. Needs a user gesture. Resolves, when sound flows, with {session, result,
   * stop(), cancel()}: stop() transcribes what is left and resolves with the result, as `result` does.
   * openSound: takes the place of openMicrophone (microphone.js), whose contract it keeps.
   */
  async listen(onEvent = () => {}, openSound = openMicrophone) {
    if (this.#current) throw new Error("The engine is busy with another recording; wait for it or cancel it first.");
    const job = (this.#current = this.#open(onEvent));
    const { session } = job;
    try {
      await this.#alive();
      const microphone = await openSound({
        onLevel: (level) => this.#emit({ type: "level", session, ...level }),
        onUnplugged: () => this.#emit({ type: "unplugged", session }),
      });
      job.close = microphone.close;
      if (job.settled) await microphone.close();
      else this.#send(job, "listen", { port: microphone.port, sample_rate: microphone.sampleRate }, [microphone.port]);
    } catch (error) {
      this.#settle(job, () => job.reject(error));
      throw error;
    }
    const stop = async () => {
      await job.close();
      if (!job.settled && !job.stopping) this.#send(job, "stop", {});
      job.stopping = true;
      return job.promise;
    };
    return { session, result: job.promise, stop, cancel: () => this.cancel(session) };
  }

  /**
   * Measures the engine; resolves with the report that py/voxtral/bench/report.py describes. effort: a name
   * in py/voxtral/bench/effort.py, or null for what suits the device.
   */
  async bench(effort = null, onEvent = () => {}) {
    if (this.#current) throw new Error("The engine is busy with a recording; wait for it or cancel it first.");
    const job = (this.#current = this.#open(onEvent));
    try {
      await this.#alive();
      this.#send(job, "bench", { effort });
    } catch (error) {
      this.#settle(job, () => job.reject(error));
    }
    return job.promise;
  }

  /** Gives up a session: waiting, being transcribed or being recorded. */
  cancel(session) {
    const job = this.#jobs.get(session);
    if (!job) return;
    if (job.sent) this.#send(job, "cancel", {});
    else this.#receive({ type: "cancelled", session });
  }

  /** Asks for the `models` event. */
  listModels() {
    this.#ask("list_models", { server: `${SITE}models/` });
  }

  /** Keeps a model on this machine, or goes on with that: `fetching` events, then `fetched` or `fetch_failed`. */
  fetchModel(source) {
    this.#ask("fetch", { source: absolute(source), files: null });
  }

  /** Keeps the model in these File objects: a .gguf or all shards, and a tekken.json. */
  fetchFiles(files) {
    this.#ask("fetch", { source: null, files: [...files] });
  }

  /** Stops a download; fetchModel goes on with it. */
  pauseModel(key) {
    this.#ask("pause", { key });
  }

  /** Stops a download and deletes what has come. */
  discardModel(key) {
    this.#ask("discard", { key });
  }

  /** Reads a kept model again: `fetching` events of the stage verify, then `verified`. */
  verifyModel(key) {
    this.#ask("verify", { key });
  }

  deleteModel(key) {
    this.#ask("delete", { key });
  }

  /** Asks for the `exported` event, which carries the files of a kept model. */
  exportModel(key) {
    this.#ask("export", { key });
  }

  #ask(type, fields) {
    this.#started.then(() => this.#worker.postMessage(request(type, fields))).catch(() => {}); // told by #fail
  }

  #expect() {
    this.#loaded = Promise.withResolvers();
    this.#loaded.promise.catch(() => {}); // those who do not wait for it learn of it by an event
  }

  #load({ model = DEMO_MODEL, files = null, backend = null, delayMs = null, leftPadTokens = null }) {
    this.#isLoading = true;
    const model_url = files ? null : absolute(model);
    this.#post(request("load", { model_url, files, backend, delay_ms: delayMs, left_pad_tokens: leftPadTokens }));
  }

  async #start() {
    const runtime = await this.#runtimeFiles();
    const named = (name) => runtime.find(({ url }) => url.endsWith(`/${name}`)).url;
    const interpreter = `${ROOT}${INTERPRETER}?pyodide=${encodeURIComponent(named("pyodide.mjs"))}`;
    const own = [interpreter, ...[ENGINE, TAPE, WHEEL].map((path) => ROOT + path)];
    await prefetch(
      [...runtime, ...own.map((url) => ({ url, size: null }))],
      (done, total) => this.#emit({ type: "progress", stage: "runtime", done, total }),
    );
    const { PyWorker } = await import(named("core.js"));
    const config = {
      packages: ["numpy", ROOT + WHEEL],
      packages_cache: "passthrough", // without it PyScript wants micropip, which it would fetch from elsewhere
      js_modules: { worker: { [ROOT + TAPE]: "tape" } },
    };
    const worker = PyWorker(ROOT + ENGINE, { version: interpreter, async: true, config });
    this.#worker = await within(START_LIMIT_S, worker).catch((error) => {
      throw new Error(
        `Python did not start (${lastLine(error)}); reload the page, and update the browser if it stays so.`,
        { cause: error },
      );
    });
    this.#worker.addEventListener("message", ({ data }) => isEvent(data) && this.#receive(data));
    this.#worker.onerror = ({ error, message }) => {
      const reason = lastLine(error ?? message ?? "no reason given");
      this.#fail(`The engine crashed (${reason}); reload the page to start it again.`);
    };
  }

  async #runtimeFiles() {
    const url = new URL("static/runtime.json", ROOT);
    const response = await fetch(url).catch(() => null);
    if (!response?.ok) {
      throw new Error("The server has no static/runtime.json; reload, or set the app up again (serve.py, or its --export).");
    }
    const { files } = await response.json();
    return files.map(({ path, size }) => ({ url: `${ROOT}static/runtime/${path}`, size }));
  }

  /** Waits for the model; rejects when there is no engine, or no longer. */
  async #alive() {
    await this.ready;
    if (this.#failure) throw new Error(this.#failure);
  }

  #open(onEvent) {
    const job = { session: ++this.#lastSession, onEvent, settled: false, ...Promise.withResolvers() };
    job.promise.catch(() => {}); // failures also come as events
    this.#jobs.set(job.session, job);
    return job;
  }

  async #next() {
    if (this.#current || !this.#waiting.length) return;
    const job = (this.#current = this.#waiting.shift());
    try {
      await this.#alive();
      if (job.settled) return;
      this.#emit({ type: "started", session: job.session });
      const audio = await readAudioFile(job.file);
      if (job.settled) return;
      const buffers = audio.bytes ? [audio.bytes] : audio.channels.map(({ buffer }) => buffer);
      this.#send(job, "transcribe", { name: job.file.name, ...audio }, buffers);
    } catch (error) {
      this.#receive({ type: "error", session: job.session, sentence: error.message, fatal: false });
    }
  }

  #send(job, type, fields, transfer = []) {
    job.sent = true;
    this.#post(request(type, { session: job.session, ...fields }), transfer);
  }

  #post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
    this.#watch();
  }

  #receive(event) {
    this.#hasAnswered = true;
    const job = this.#jobs.get(event.session);
    if (event.type === "error" && event.fatal) {
      this.#fail(event.sentence);
    } else if (!job && event.session !== undefined && event.session !== null) {
      return; // late news of a session that is over
    } else {
      this.#emit(event);
      if (event.type === "ready") {
        this.#isLoading = false;
        this.#loaded.resolve(event);
      }
      if (event.type === "refused") this.#giveUp(event.sentence, "No model was loaded; try again when one is.");
      if (event.type === "done") this.#settle(job, () => job.resolve(event.result));
      if (event.type === "cancelled") this.#settle(job, () => job.reject(new Cancelled("cancelled")));
      if (event.type === "error" && job) this.#settle(job, () => job.reject(new Error(event.sentence)));
    }
    this.#watch();
  }

  #emit(event) {
    this.#jobs.get(event.session)?.onEvent(event);
    this.#onEvent(event);
  }

  #settle(job, finish) {
    job.settled = true;
    this.#jobs.delete(job.session);
    this.#waiting = this.#waiting.filter((other) => other !== job);
    job.close?.();
    finish();
    if (this.#current === job) this.#current = null;
    this.#next();
  }

  /** The engine cannot go on: everybody who waits is told. */
  #fail(sentence) {
    if (this.#failure) return;
    this.#failure = sentence;
    this.#emit({ type: "error", session: null, sentence, fatal: true });
    this.#giveUp(sentence, sentence);
  }

  /** No model is there, or no longer: the sentence for those who wait for it, and the one for each job. */
  #giveUp(sentence, jobSentence) {
    this.#isLoading = false;
    clearTimeout(this.#silence);
    this.#waiting = [];
    this.#loaded.reject(new Error(sentence));
    for (const job of [...this.#jobs.values()]) this.#settle(job, () => job.reject(new Error(jobSentence)));
  }

  /** An engine that owes an answer and says nothing for long: slow after its first word, dead before it. */
  #watch() {
    clearTimeout(this.#silence);
    const isOwed = !this.#failure && (this.#current?.sent || this.#isLoading);
    const tell = () => {
      if (this.#hasAnswered) this.#emit({ type: "silent", seconds: SILENCE_LIMIT_S });
      else this.#fail(`The engine did not answer within ${SILENCE_LIMIT_S} s of its start; reload the page.`);
    };
    if (isOwed) this.#silence = setTimeout(tell, SILENCE_LIMIT_S * 1000);
  }
}

/** A source as the worker takes it, which knows no page to start from. */
const absolute = (source) => (source === "hub" ? source : new URL(source, SITE).href);

const lastLine = (error) => String(error?.message ?? error).trim().split("\n").at(-1);

function within(seconds, promise) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`no sign of it in ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]);
}
