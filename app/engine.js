/**
 * The Python engine behind its protocol, kept alive: when its worker crashes, or does not answer for long while it
 * owes an answer, another one is started and given the same model.
 */

import { isEvent, request } from "./protocol.js";
import { lastLine, startPython } from "./python_worker.js";

const SILENCE_LIMIT_S = 30;
const N_SILENCES = 6; // of that length, without even an answer to a simple question: a crash
const N_CRASHES = 3; // in a row
const SOUND_S = 120; // a crash after that long is the first of a row
const ANSWERS = ["rendered", "set_read", "reports_read"]; // to questions, which have an id

export class Engine {
  #on;
  #started; // promise of the worker
  #worker = null;
  #options = null; // of the last load
  #isLoading = false;
  #hasAnswered = false;
  #failure = null;
  #isRecovering = false;
  #nCrashes = 0;
  #recoveredAt = 0; // performance.now()
  #silence = 0; // timer
  #nSilences = 0;
  #questions = new Map(); // id → {type, fields, resolve, reject}
  #lastQuestion = 0;
  #inspections = []; // resolve

  /** The `ready` event of the model that is loaded, or was before a crash. */
  ready = null;

  /**
   * on: onEvent(event), of the worker, answers of ask and inspect left out; onRecovering(sentence) after a crash and
   * onRecovered(sentence) when another engine has the model; onFailure(sentence), once, when there is none and will be
   * none; isOwed(): whether the session on its way waits for an answer.
   */
  constructor(on) {
    this.#on = on;
    this.#start();
  }

  /** Fields of the `load` request. */
  load(fields) {
    this.#options = fields;
    this.#isLoading = true;
    this.post("load", fields);
  }

  /** Sends a request once the worker has started. */
  post(type, fields, transfer = []) {
    const message = request(type, fields);
    this.#started.then((worker) => worker?.postMessage(message, transfer));
    this.#watch();
  }

  /** Promise of the text; limits: of subtitles, {lineLength, nLines, charactersPerS}, or null. */
  async render({ document, format, limits }) {
    const { content } = await this.ask("render", { document, format, limits: limits && engineLimits(limits) });
    return content;
  }

  /** Promise of the event that answers a request with an id; rejects with an Error whose message is its sentence. */
  ask(type, fields) {
    const id = ++this.#lastQuestion;
    const { promise, resolve, reject } = Promise.withResolvers();
    if (this.#failure) reject(new Error(this.#failure));
    else this.#questions.set(id, { type, fields, resolve, reject });
    this.post(type, { id, ...fields });
    return promise;
  }

  /** Promise of the fields of the `inspected` event. */
  inspect() {
    const { promise, resolve } = Promise.withResolvers();
    this.#inspections.push(resolve);
    this.post("inspect", {});
    return promise;
  }

  /** Ends the worker for good, whatever it does; `sentence` is told to everybody who waits for it. */
  dispose(sentence) {
    this.#fail(sentence);
  }

  #start() {
    this.#hasAnswered = false;
    const tell = (done, total) => this.#on.onEvent({ type: "progress", stage: "runtime", done, total });
    this.#started = startPython(tell).then(
      (worker) => {
        if (this.#failure) return worker.terminate();
        this.#worker = worker;
        // Not by worker.on…, which PyScript has taken for itself.
        const on = (type, act) => worker.addEventListener(type, (event) => worker === this.#worker && act(event));
        on("message", ({ data }) => isEvent(data) && this.#receive(data));
        on("error", ({ error, message }) => this.#crash(lastLine(error ?? message ?? "no reason given")));
        on("messageerror", () => this.#crash("it sent what cannot be read"));
        this.#watch();
        return worker;
      },
      (error) => this.#fail(error.message),
    );
  }

  #receive(event) {
    this.#hasAnswered = true;
    this.#nSilences = 0;
    if (ANSWERS.includes(event.type)) this.#answer(event);
    else if (event.type === "inspected") this.#inspections.shift()?.(fieldsOf(event));
    else if (event.type === "error" && event.fatal) this.#fail(event.sentence);
    else this.#pass(event);
    this.#watch();
  }

  #pass(event) {
    if (event.type === "ready") this.ready = event;
    if (event.type === "ready" || event.type === "refused") this.#isLoading = false;
    if (event.type === "done") this.#nCrashes = 0;
    this.#on.onEvent(event);
    if (this.#isLoading || !this.#isRecovering) return;
    this.#isRecovering = false;
    this.#recoveredAt = performance.now();
    if (event.type === "ready") this.#on.onRecovered("The engine runs again and goes on where it was.");
  }

  #answer({ id, sentence, ...event }) {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    if (sentence !== null) question?.reject(new Error(sentence));
    else question?.resolve(event);
  }

  #crash(reason) {
    if (this.#failure) return;
    this.#end();
    if (!this.ready) return this.#fail(`The engine crashed (${reason}); reload the page to start it again.`);
    if (performance.now() - this.#recoveredAt > SOUND_S * 1000) this.#nCrashes = 0;
    if (++this.#nCrashes > N_CRASHES) {
      return this.#fail(`The engine crashed ${this.#nCrashes} times in a row (${reason}); reload the page to start it again.`);
    }
    this.#isRecovering = true;
    this.#on.onRecovering(
      `The engine crashed (${reason}) and is being started again; sound that comes meanwhile is kept, nothing is lost.`,
    );
    this.#start();
    this.load(this.#options);
    for (const [id, { type, fields }] of this.#questions) this.post(type, { id, ...fields });
    for (const _ of this.#inspections) this.post("inspect", {});
  }

  #fail(sentence) {
    if (this.#failure) return;
    this.#failure = sentence;
    this.#end();
    for (const { reject } of this.#questions.values()) reject(new Error(sentence));
    this.#questions.clear();
    this.#on.onFailure(sentence);
  }

  #end() {
    clearTimeout(this.#silence);
    this.#nSilences = 0;
    this.#worker?.terminate();
    this.#worker = null;
  }

  /** An engine that owes an answer and says nothing for long: slow after its first word, dead before it. */
  #watch() {
    clearTimeout(this.#silence);
    if (this.#worker) this.#silence = setTimeout(() => this.#onSilence(), SILENCE_LIMIT_S * 1000);
  }

  #onSilence() {
    if (!this.#isLoading && !this.#on.isOwed()) return this.#watch();
    if (!this.#hasAnswered) {
      return this.#isRecovering
        ? this.#crash("it did not start")
        : this.#fail(`The engine did not answer within ${SILENCE_LIMIT_S} s of its start; reload the page.`);
    }
    if (++this.#nSilences >= N_SILENCES) return this.#crash(`no answer for ${N_SILENCES * SILENCE_LIMIT_S} s`);
    this.#on.onEvent({ type: "silent", seconds: this.#nSilences * SILENCE_LIMIT_S });
    this.inspect(); // a slow one answers, a dead one does not
  }
}

/** As py/voxtral/subtitles.py calls them. */
const engineLimits = ({ lineLength, nLines, charactersPerS }) =>
  ({ max_line_chars: lineLength, max_lines: nLines, max_chars_per_s: charactersPerS });

const fieldsOf = ({ type, ...fields }) => fields;
