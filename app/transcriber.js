/**
 * Speech to text in this tab: the client of the Python engine. Other pages may import it; it touches no elements.
 *
 *   const transcriber = new Transcriber({ onEvent: console.log });
 *   await transcriber.ready;
 *   const { text } = await transcriber.transcribeFile(file);
 *
 * Callbacks get the worker's events (protocol.js) as they come, and a few more from this side:
 *   {type: "progress", stage: "runtime", done, total}  bytes of the Python runtime
 *   {type: "started", session}                         a file's turn has come
 *   {type: "level", session, rms, peak}                of 80 ms of the microphone, 0…1
 *   {type: "unplugged", session}                       the source of sound went away; call stop()
 *   {type: "suspended", session, sentence}             no sound comes now; sentence null: it comes again
 *   {type: "silent", seconds}                          the engine has not answered for that long
 *   {type: "recovering", sentence}                     the engine crashed; another one takes its place, then:
 *   {type: "recovered", sentence}                      the session goes on from what was heard last
 * `heard` events of files have one more field: seconds_left, null while unknown.
 * Models are kept and listed by the methods from listModels() on; what becomes of that comes as events.
 */

import { keepSound, openAudioFile } from "./audio_file.js";
import { Engine } from "./engine.js";
import { ROOT } from "./runtime_files.js";
import { Sessions } from "./sessions.js";

export { Cancelled } from "./sessions.js";
export const SITE = ROOT.replace(/\/v-[0-9a-f]+\/$/, "/"); // an exported app lies in a folder of its version
const DEMO_MODEL = `${ROOT}static/model/voxtral-demo-q4_0.gguf`;

export class Transcriber {
  #engine;
  #sessions;
  #loaded = null; // resolvers of `ready`
  #failure = null;

  /**
   * model: "hub", URL of a folder or a .gguf relative to the page's root, or "stored:KEY"; backend: "webgpu", "numpy"
   * or null for the best there is; delayMs and leftPadTokens: null for the defaults; onEvent: gets every event.
   */
  constructor({ onEvent = () => {}, ...options } = {}) {
    const hearer = {
      alive: () => this.#alive(),
      connect: (job, startS) => this.#connect(job, startS),
      read: (job) => this.#read(job),
      stop: (job) => job.isSent && this.#send(job, "stop", {}),
      cancel: (job) => this.#send(job, "cancel", {}),
    };
    this.#sessions = new Sessions(hearer, onEvent);
    this.#engine = new Engine({
      onEvent: (event) => this.#receive(event),
      onRecovering: (sentence) => this.#suspend(sentence),
      onRecovered: (sentence) => this.#resume(sentence),
      onFailure: (sentence) => this.#fail(sentence),
      isOwed: () => Boolean(this.#sessions.current?.isSent && this.#sessions.current.isOwed),
    });
    this.load(options);
  }

  /** Promise of the worker's `ready` event; rejects with an Error whose message is a sentence. */
  get ready() {
    return this.#loaded.promise;
  }

  /**
   * Loads another model, after the last one was `refused` or in its place, when the recordings on their way are done.
   * The options of the constructor, and files: the File objects of a model. `ready` is a new promise then.
   */
  load({ model = DEMO_MODEL, files = null, backend = null, delayMs = null, leftPadTokens = null } = {}) {
    this.#expect();
    if (this.#failure) return this.#loaded.reject(new Error(this.#failure));
    const model_url = files ? null : absolute(model);
    this.#engine.load({ model_url, files, backend, delay_ms: delayMs, left_pad_tokens: leftPadTokens });
  }

  /**
   * Transcribes one File; several wait for each other. Returns a promise of the result {file, text, words,
   * audio_s, wall_s, rtf, tokens} that also has the property `session`. It rejects with an Error whose
   * message is a sentence, or with Cancelled. options: as for listen.
   */
  transcribeFile(file, onEvent = () => {}, options = {}) {
    return this.#sessions.transcribeFile(file, onEvent, options);
  }

  /**
   * Listens to the microphone. Needs a user gesture. Resolves, when sound flows, with {session, result,
   * stop(), cancel()}: stop() transcribes what is left and resolves with the result, as `result` does.
   * openSound: takes the place of openMicrophone (microphone.js), whose contract it keeps. options:
   *   name            what the result calls the recording
   *   delayMs         null for the model's
   *   hasSecondPass   passages that are over are heard again with more delay
   *   recordingId     the sound is kept under this id (recorder.js); null: it is not
   */
  listen(onEvent, openSound, options) {
    return this.#sessions.listen(onEvent, openSound, options);
  }

  /**
   * Measures the engine; resolves with the report that py/voxtral/bench/report.py describes. effort: a name
   * in py/voxtral/bench/effort.py, or null for what suits the device.
   */
  async bench(effort = null, onEvent = () => {}) {
    const job = this.#sessions.begin(onEvent);
    try {
      await this.#alive();
      this.#send(job, "bench", { effort });
    } catch (error) {
      this.#sessions.fail(job, error);
    }
    return job.promise;
  }

  /** Promise of {entries, notices} of a folder: files: [{path, text}], text null but for tables of transcripts. */
  readSet(name, files) {
    return this.#engine.ask("read_set", { name, files });
  }

  /** Promise of {reports, comparison} of one or two reports of `measure`, the older one first: [{name, text}]. */
  readReports(files) {
    return this.#engine.ask("read_reports", { names: files.map(({ name }) => name), texts: files.map(({ text }) => text) });
  }

  /**
   * Hears clips whose words are known. options: setName, entries (of readSet), condition
   * (py/voxtral/accuracy/conditions.py), normalizer ("basic" or "english"), modules ({path: address}, that it needs);
   * soundOf(id): promise of the clip as Float32Array at 16 kHz. Returns {result, end()}: result resolves with the report
   * that py/voxtral/accuracy/report.py describes; end() makes it one of what was heard so far.
   */
  measure({ setName, ...options }, soundOf, onEvent = () => {}) {
    const answer = async ({ session, id }) => {
      const [samples, reason] = await soundOf(id).then((sound) => [sound.slice().buffer, null], ({ message }) => [null, message]);
      this.#engine.post("clip", { session, id, samples, reason }, samples ? [samples] : []);
    };
    const job = this.#sessions.begin((event) => {
      if (event.type === "clip_wanted") answer(event);
      else onEvent(event);
    });
    const sent = this.#alive()
      .then(() => this.#send(job, "measure", { set_name: setName, ...options }))
      .catch((error) => this.#sessions.fail(job, error));
    return { result: job.promise, end: () => sent.then(() => this.#engine.post("end_measure", { session: job.session })) };
  }

  /** Makes the next recording with this delay begin at once, when there is nothing else to do. */
  prepare({ delayMs = null } = {}) {
    this.#engine.post("prepare", { delay_ms: delayMs });
  }

  /** Promise of a transcript (py/voxtral/document.py) as text; format: txt, srt, vtt or json; limits: of subtitles. */
  render(document, format, limits = null) {
    return this.#engine.render({ document, format, limits });
  }

  /** Promise of {heap_bytes, loader_bytes, gpu_bytes}. */
  inspect() {
    return this.#engine.inspect();
  }

  /** Gives up a session: waiting, being transcribed or being recorded. */
  cancel(session) {
    this.#sessions.cancel(session);
  }

  /** Asks for the `models` event. */
  listModels() {
    this.#engine.post("list_models", { server: `${SITE}models/` });
  }

  /** Keeps a model on this machine, or goes on with that: `fetching` events, then `fetched` or `fetch_failed`. */
  fetchModel(source) {
    this.#engine.post("fetch", { source: absolute(source), files: null });
  }

  /** Keeps the model in these File objects: a .gguf or all shards, and a tekken.json. */
  fetchFiles(files) {
    this.#engine.post("fetch", { source: null, files: [...files] });
  }

  /** Stops a download; fetchModel goes on with it. */
  pauseModel(key) {
    this.#engine.post("pause", { key });
  }

  /** Stops a download and deletes what has come. */
  discardModel(key) {
    this.#engine.post("discard", { key });
  }

  /** Reads a kept model again: `fetching` events of the stage verify, then `verified`. */
  verifyModel(key) {
    this.#engine.post("verify", { key });
  }

  deleteModel(key) {
    this.#engine.post("delete", { key });
  }

  /** Asks for the `exported` event, which carries the files of a kept model. */
  exportModel(key) {
    this.#engine.post("export", { key });
  }

  /** Ends the engine for good: everything on its way is rejected with this sentence, and so is what comes later. */
  dispose(sentence = "The engine was ended; make another Transcriber to go on.") {
    this.#engine.dispose(sentence);
  }

  /** Who waits for the model before, which may never come now, waits for this one. */
  #expect() {
    const before = this.#loaded;
    this.#loaded = Promise.withResolvers();
    this.#loaded.promise.then(before?.resolve, before?.reject ?? (() => {})); // who does not wait learns by an event
  }

  /** Waits for the model; rejects when there is no engine, or no longer. */
  async #alive() {
    await this.ready;
    if (this.#failure) throw new Error(this.#failure);
  }

  async #read(job) {
    const sound = await openAudioFile(job.file, (sentence) => this.#sessions.notice(job, sentence));
    if (job.settled) return sound.close?.();
    if (!sound.bytes) return this.#sessions.hear(job, sound, false);
    this.#send(job, "transcribe", { ...job.engineOptions("name", "delay_ms"), bytes: sound.bytes }, [sound.bytes]);
    if (job.recordingId !== null && !job.isWhole) keepSound(job.file, job.recordingId);
    job.isWhole = true;
  }

  #connect(job, startS) {
    const port = job.recorder.connect(startS);
    this.#send(job, "listen", { ...job.engineOptions(), ...job.sound(startS), port }, [port]);
  }

  #send(job, type, fields, transfer = []) {
    job.isSent = true;
    this.#engine.post(type, { session: job.session, ...fields }, transfer);
  }

  #receive(event) {
    this.#sessions.receive(event);
    if (event.type === "ready") this.#loaded.resolve(event);
    if (event.type === "refused") this.#giveUp(event.sentence, "No model was loaded; try again when one is.");
  }

  /** The engine cannot go on: everybody who waits is told. */
  #fail(sentence) {
    this.#failure = sentence;
    this.#sessions.emit({ type: "error", session: null, sentence, fatal: true });
    this.#giveUp(sentence, sentence);
  }

  /** No model is there, or no longer: the sentence for those who wait for it, and the one for each job. */
  #giveUp(sentence, jobSentence) {
    this.#loaded.reject(new Error(sentence));
    this.#sessions.giveUp(jobSentence);
  }

  /** The engine crashed; sound goes on into the recorder meanwhile. */
  #suspend(sentence) {
    this.#expect();
    this.#sessions.current?.suspend();
    this.#sessions.emit({ type: "recovering", sentence });
  }

  /** The new engine has the model: it goes on with the job of the one before. */
  #resume(sentence) {
    this.#sessions.emit({ type: "recovered", sentence });
    const job = this.#sessions.current;
    if (!job?.isSuspended) return;
    job.isSuspended = false;
    this.#goOn(job).catch((error) => {
      this.#receive({ type: "error", session: job.session, sentence: error.message, fatal: false });
    });
  }

  async #goOn(job) {
    if (job.isMeasurement) throw new Error("The engine crashed while it was measured; measure again.");
    const startS = job.restartS();
    this.#sessions.emit({ session: job.session, ...job.restart(startS) });
    if (job.isWhole) await this.#read(job);
    else this.#connect(job, startS);
  }
}

/** A source as the worker takes it. */
const absolute = (source) => (source === "hub" ? source : new URL(source, SITE).href);
