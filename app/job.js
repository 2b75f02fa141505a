/**
 * One session of the transcriber: its options, the sound on its way, and what was heard of it, so that another engine
 * can go on where one crashed.
 */

import { joined } from "./documents.js";
import { Recorder } from "./recorder.js";
import { SAMPLE_RATE } from "./resampler.js";

const MAX_REWIND_S = 10; // a word is known some seconds after it was spoken, at the latest
const MAX_LAG_S = 5; // the model's delay, and what is on its way
const NO_SPACE_BEFORE = /^[\s\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{P}]/u;

export class Job {
  settled = false;
  isSent = false; // the engine knows it
  isSuspended = false; // an engine that crashed knew it
  isWhole = false; // a WAV file that the engine got in one piece
  isStopping = false;
  isLive = false;
  file = null; // of a job that is a file
  totalS = null;
  recorder = null;
  remote = null; // what remote_transcriber.js knows of it
  startedAt = null; // performance.now()
  #source = null;
  #options;
  #words = []; // complete ones of all engines
  #nBefore = 0; // how many of them are of engines before this one
  #startS = 0; // where this engine began
  #heardS = 0;
  #isFirstText = false; // after a restart

  /** options: those of Transcriber.listen; null for a measurement. */
  constructor(session, onEvent, options = null) {
    this.session = session;
    this.onEvent = onEvent;
    this.isMeasurement = options === null;
    const { name = "microphone", delayMs = null, hasSecondPass = false, recordingId = null, server = null } = options ?? {};
    this.recordingId = recordingId;
    this.server = server; // that hears it, in the place of the engine
    this.#options = { name, delay_ms: delayMs, has_second_pass: hasSecondPass };
    Object.assign(this, Promise.withResolvers());
    this.promise.catch(() => {}); // failures also come as events
  }

  /** The options as a request has them; all, or those of these names. */
  engineOptions(...names) {
    if (!names.length) return this.#options;
    return Object.fromEntries(names.map((name) => [name, this.#options[name]]));
  }

  /** What a request says about the sound. */
  sound(startS) {
    return { sample_rate: SAMPLE_RATE, is_live: this.isLive, start_s: startS, total_s: this.totalS };
  }

  /** Lets a recorder take the sound of a source. */
  record(source, onProblem) {
    this.#source = source;
    this.recorder = new Recorder(this.recordingId, source, onProblem);
    if (this.settled) this.close();
  }

  /** Whether the engine has something to do for it; who speaks may be silenced by the browser. */
  get isOwed() {
    return !this.isLive || this.isStopping || this.recorder?.durationS > this.#heardS + MAX_LAG_S;
  }

  /** The engine that knew it is gone. */
  suspend() {
    this.isSuspended ||= this.isSent;
    this.isSent = false;
  }

  /** Closes the source; resolves when its last block is on its way to the engine. */
  async finishSource() {
    const { recorder } = this;
    await this.#source?.close();
    await recorder?.end();
  }

  /** Lets go of everything. */
  async close() {
    const [source, recorder] = [this.#source, this.recorder];
    this.#source = this.recorder = null;
    await source?.close();
    await recorder?.close();
  }

  /** Takes notice of an event of the engine; returns it as it is for the page: on the clock of the whole session. */
  follow(event) {
    if (event.type === "words") {
      this.#words.push(...event.words);
      return this.#joined(event);
    }
    if (event.type === "revised") {
      const first = event.first + this.#nBefore;
      this.#words.splice(first, event.n_replaced, ...event.words);
      return { ...event, first };
    }
    if (event.type === "heard") {
      this.#heardS = event.heard_s;
      this.#source?.heard?.(event.heard_s);
      this.recorder?.heard(event.heard_s);
      return this.file ? { ...event, seconds_left: this.#secondsLeft(event) } : event;
    }
    return event.type === "done" && this.#startS ? { ...event, result: this.#whole(event.result) } : event;
  }

  /** Where another engine is to go on: behind the last word, unless that is long ago. */
  restartS() {
    if (this.isWhole) return 0;
    const endS = this.#words.at(-1)?.end ?? 0;
    return Math.max(0, Math.min(this.#heardS, Math.max(endS, this.#heardS - MAX_REWIND_S)));
  }

  /** Another engine begins there; the event by which the page takes back what that will say again. */
  restart(startS) {
    const first = this.isWhole ? 0 : this.#words.length;
    const n_replaced = this.#words.length - first;
    this.#words.length = first;
    this.#nBefore = first;
    this.#startS = this.#heardS = startS;
    this.#isFirstText = first > 0;
    return { type: "revised", first, n_replaced, words: [], reason: "restart" };
  }

  /** A new engine's first text has no space before it. */
  #joined(event) {
    if (!this.#isFirstText || !event.text) return event;
    this.#isFirstText = false;
    return NO_SPACE_BEFORE.test(event.text) ? event : { ...event, text: ` ${event.text}` };
  }

  #secondsLeft({ heard_s, total_s }) {
    const elapsedS = (performance.now() - this.startedAt) / 1000;
    return total_s && heard_s > 0 ? (elapsedS / heard_s) * Math.max(0, total_s - heard_s) : null;
  }

  /** The result of the last engine, with what those before it heard. */
  #whole(result) {
    const words = [...this.#words.slice(0, this.#nBefore), ...result.words];
    return { ...result, text: joined(words), words, audio_s: this.#startS + result.audio_s };
  }
}
