/**
 * Speech to text in the tab, for pages of your own: one module, no build step, nothing leaves the machine.
 *
 *   import { Voxtral } from "./voxtral.js";
 *
 *   const voxtral = await Voxtral.load({ onProgress: ({ fraction }) => (bar.value = fraction) });
 *   const { text, words } = await voxtral.transcribe(file);
 *
 *   const stream = voxtral.stream({ input: "microphone", delayMs: 480 });
 *   stream.addEventListener("word", ({ detail }) => console.log(detail.text, detail.start));
 *   await stream.finish();
 *   voxtral.dispose();
 *
 * voxtral.d.ts says what each method, option and event means; voxtral_captions.js has captions as an element.
 *
 * One engine works on one recording at a time, in the order of the calls; what is fed or heard meanwhile is kept.
 * Errors are Errors whose message is one sentence for a person, but for a call that was aborted: that rejects with the
 * signal's reason.
 *
 * Put it on your site: copy the folder that `serve.py --export DIR` writes, and import DIR/voxtral.js, an address that
 * stays the same from version to version. From another site it works where the host sends Access-Control-Allow-Origin
 * with every file. Your page's Content-Security-Policy, if it has one, must allow
 *   script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; worker-src blob:; connect-src 'self'
 * with the address of the folder instead of 'self' if it is elsewhere, and in connect-src also where the model is. The
 * microphone needs https or localhost.
 */

import { requireSamples } from "./fed_sound.js";
import { Transcriber } from "./transcriber.js";
import { transcriptOf, VoxtralStream } from "./voxtral_stream.js";

export { VoxtralStream };

const SAMPLE_RATE = 16_000;
const DISPOSED = "This Voxtral was disposed of; load another with Voxtral.load().";
// Where each stage of loading ends on the way to 1, by its usual share of the time
const STAGE_ENDS = { runtime: [0, 0.4], weights: [0.4, 0.8], memory: [0.8, 0.9], gpu: [0.9, 1] };

export class Voxtral extends EventTarget {
  #engine;
  #info;
  #turn = Promise.resolve(); // of the last recording that was asked for
  #isDisposed = false;

  static async load({ model, files = null, backend = null, delayMs = null, onProgress = () => {}, signal } = {}) {
    signal?.throwIfAborted();
    const voxtral = new Voxtral();
    let fraction = 0;
    const onEvent = (event) => {
      if (event.type === "progress") {
        fraction = Math.max(fraction, fractionOf(event));
        onProgress({ stage: event.stage, done: event.done, total: event.total, fraction });
      }
      voxtral.#hear(event);
    };
    const engine = (voxtral.#engine = new Transcriber({ model: addressOf(model), files, backend, delayMs, onEvent }));
    try {
      voxtral.#info = infoOf(await unlessAborted(engine.ready, signal));
    } catch (error) {
      voxtral.dispose();
      throw error;
    }
    onProgress({ stage: "ready", done: 1, total: 1, fraction: 1 });
    return voxtral;
  }

  get info() {
    return this.#info;
  }

  async transcribe(sound, options = {}) {
    const { sampleRate = SAMPLE_RATE, name = "sound", onProgress, signal } = options;
    const { delayMs = null, hasSecondPass = false } = options;
    this.#require();
    signal?.throwIfAborted();
    const file = fileOf(sound, sampleRate, name);
    const work = async () => {
      if (signal?.aborted) return null;
      let text = "";
      const onEvent = (event) => {
        if (event.type === "words") text += event.text;
        if (event.type === "heard") onProgress?.({ heardS: event.heard_s, totalS: event.total_s, text });
      };
      const result = this.#engine.transcribeFile(file, onEvent, { delayMs, hasSecondPass });
      const abort = () => this.#engine.cancel(result.session);
      signal?.addEventListener("abort", abort);
      return result.finally(() => signal?.removeEventListener("abort", abort));
    };
    return transcriptOf(await unlessAborted(this.#inTurn(work), signal));
  }

  stream({ input = null, deviceId = null, sampleRate = SAMPLE_RATE, signal, ...options } = {}) {
    this.#require();
    signal?.throwIfAborted();
    const { name = "stream", delayMs = null, hasSecondPass = false } = options;
    return new VoxtralStream({
      engine: this.#engine,
      inTurn: (work) => this.#inTurn(work),
      input,
      deviceId,
      sampleRate,
      signal,
      options: { name, delayMs, hasSecondPass },
    });
  }

  async render({ text, words, audioS }, format, { title = "Transcript", limits = null } = {}) {
    this.#require();
    const { model, delayMs, leftPadTokens, backend, adapter } = this.#info;
    const document = {
      format: "voxtral-transcript",
      version: 1,
      id: crypto.randomUUID?.() ?? String(Date.now()), // absent where the page is not https
      title,
      created_at: new Date().toISOString(),
      source: "file",
      audio_s: audioS,
      text,
      words: words.map((word) => ({ heard: null, ...word })),
      model,
      settings: { delay_ms: delayMs, left_pad_tokens: leftPadTokens, second_pass: false, backend, adapter },
    };
    return this.#engine.render(document, format, limits);
  }

  dispose() {
    this.#isDisposed = true;
    this.#engine.dispose(DISPOSED);
  }

  #require() {
    if (this.#isDisposed) throw new Error(DISPOSED);
  }

  /** Runs work() once everything asked for before is over, however that ended. */
  #inTurn(work) {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {}); // whoever asked for it is told
    return turn;
  }

  #hear(event) {
    const isOfAll = event.session == null;
    if (["notice", "recovering", "recovered"].includes(event.type) && isOfAll) this.#tell("notice", event.sentence);
    if (event.type === "error" && event.fatal && !this.#isDisposed) this.#tell("failed", event.sentence);
  }

  #tell(type, sentence) {
    this.dispatchEvent(new CustomEvent(type, { detail: { sentence } }));
  }
}

/** Models are named as a page names things, by addresses relative to itself. */
const addressOf = (model) => (model === undefined || model === "hub" ? model : new URL(model, document.baseURI).href);

function fractionOf({ stage, done, total }) {
  const [start, end] = STAGE_ENDS[stage];
  return start + (end - start) * (total > 0 ? Math.min(1, done / total) : 0);
}

const infoOf = (ready) => ({
  model: ready.model,
  description: ready.description,
  vocabulary: ready.vocabulary,
  backend: ready.backend,
  adapter: ready.adapter,
  isSoftware: ready.is_software,
  delayMs: ready.delay_ms,
  leftPadTokens: ready.left_pad_tokens,
});

/** What the engine's reader of files takes: the file itself, or samples behind the header of a WAV file of floats. */
function fileOf(sound, sampleRate, name) {
  if (sound instanceof File) return sound;
  if (sound instanceof Blob) return new File([sound], name);
  requireSamples(sound);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + sound.byteLength, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // length of what follows, before "data"
  header.setUint16(20, 3, true); // IEEE float
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 4 * sampleRate, true); // bytes a second
  header.setUint16(32, 4, true);
  header.setUint16(34, 32, true); // bits
  text(36, "data");
  header.setUint32(40, sound.byteLength, true);
  return new File([header, sound], name);
}

/** Settles as the promise does, or rejects with the signal's reason as soon as it is aborted. */
async function unlessAborted(promise, signal) {
  if (!signal) return promise;
  const aborted = Promise.withResolvers();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener("abort", abort));
}
