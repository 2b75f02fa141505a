/**
 * One recording that is turned into text while it comes: what Voxtral.stream() returns (voxtral.js). What its methods
 * and events mean stands in voxtral.d.ts.
 */

import { joined } from "./documents.js";
import { openFedSound } from "./fed_sound.js";
import { openMediaSound } from "./media_sound.js";
import { openMicrophone } from "./microphone.js";
import { Cancelled } from "./transcriber.js";

const UNPLUGGED = "The source of the sound went away; this is what was heard until then.";

export class VoxtralStream extends EventTarget {
  #transcript = new RunningTranscript();
  #state = "waiting";
  #sound; // promise of what openMicrophone gives
  #feed = null;
  #isFinishing = false;
  #recording = null; // of the transcriber, once it listens
  #outcome = Promise.withResolvers();

  /** engine: a Transcriber; inTurn(work): runs it when the engine is free; the rest: as Voxtral.stream() takes it. */
  constructor({ engine, inTurn, input, deviceId, sampleRate, signal, options }) {
    super();
    this.#outcome.promise.catch(() => {}); // told by an event, too
    this.#sound = this.#open(input, deviceId, sampleRate);
    this.#sound.catch((error) => this.#fail(error));
    const abort = () => this.cancel(signal.reason);
    signal?.addEventListener("abort", abort);
    inTurn(() => this.#run(engine, options))
      .then((result) => result && this.#succeed(result), (error) => this.#fail(error))
      .finally(() => signal?.removeEventListener("abort", abort));
  }

  get state() {
    return this.#state;
  }

  get text() {
    return this.#transcript.text;
  }

  get words() {
    return this.#transcript.words;
  }

  get pending() {
    return this.#transcript.pending;
  }

  feed(samples) {
    if (!this.#feed) throw new Error("This stream hears its input; only a stream without one is fed by hand.");
    if (this.#isFinishing || this.#state === "over") {
      throw new Error("This stream is finished and takes no more samples; open another with stream().");
    }
    this.#feed(samples);
  }

  async finish() {
    if (!this.#isFinishing && this.#state !== "over") {
      this.#isFinishing = true;
      await this.#sound.then((sound) => sound.close(), () => {}); // a refused source is told by the outcome
      this.#recording?.stop().catch(() => {});
    }
    return this.#outcome.promise;
  }

  cancel(reason = new DOMException("The stream was cancelled.", "AbortError")) {
    this.#fail(reason);
  }

  #open(input, deviceId, sampleRate) {
    const tellSentence = (sentence) => sentence && this.#tell("notice", { sentence });
    const hooks = {
      onLevel: (level) => this.#tell("level", level),
      onNotice: tellSentence,
      onSuspended: tellSentence,
      onUnplugged: () => {
        tellSentence(UNPLUGGED);
        this.finish().catch(() => {}); // the outcome tells
      },
    };
    if (input === "microphone") return openMicrophone({ deviceId, ...hooks });
    if (input?.port) return Promise.resolve(input);
    if (input) return openMediaSound(input, hooks);
    const sound = openFedSound(sampleRate);
    this.#feed = sound.feed;
    return Promise.resolve(sound);
  }

  /** The turn has come. Resolves with the engine's result, or with null when nobody waits for it any more. */
  async #run(engine, options) {
    const sound = await this.#sound;
    if (this.#state === "over") return null;
    const recording = await engine.listen((event) => this.#hear(event), async () => sound, options);
    this.#recording = recording;
    if (this.#state === "over") recording.cancel();
    else this.#enter("listening");
    if (this.#isFinishing) recording.stop().catch(() => {});
    return recording.result.catch((error) => {
      if (error instanceof Cancelled) return null;
      throw error;
    });
  }

  #hear(event) {
    if (this.#state === "over") return;
    if (event.type === "words") this.#append(event);
    if (event.type === "revised") {
      const { first, n_replaced: nReplaced, words, reason } = event;
      this.#transcript.revise(first, nReplaced, words, reason);
      this.#tell("revised", { first, nReplaced, words, reason });
    }
    if (event.type === "heard") this.#tell("lag", { heardS: event.heard_s, waitingS: event.waiting_s });
    if (event.type === "notice") this.#tell("notice", { sentence: event.sentence });
  }

  #append({ text, words }) {
    const first = this.words.length;
    this.#transcript.append(text, words);
    if (text) this.#tell("token", { text });
    words.forEach((word, i) => this.#tell("word", { index: first + i, ...word }));
  }

  #succeed(result) {
    if (this.#state === "over") return;
    const transcript = transcriptOf(result);
    this.#enter("over");
    this.#outcome.resolve(transcript);
    this.#tell("final", transcript);
  }

  #fail(error) {
    if (this.#state === "over") return;
    this.#enter("over");
    this.#sound.then((sound) => sound.close()).catch(() => {}); // its own failure is what is told here
    this.#recording?.cancel();
    this.#outcome.reject(error);
    this.#tell("error", { error });
  }

  #enter(state) {
    this.#state = state;
    this.#tell("state", { state });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The engine's result as builders get it. */
export const transcriptOf = ({ text, words, audio_s: audioS, wall_s: wallS }) => ({ text, words, audioS, wallS });

/** Text and words so far. The text may be ahead of the words by what is not yet complete. */
class RunningTranscript {
  text = "";
  words = [];
  #complete = ""; // text of the words

  get pending() {
    return this.text.slice(this.#complete.length);
  }

  append(text, words) {
    this.text += text;
    this.words.push(...words);
    this.#complete += joined(words, this.#complete);
  }

  revise(first, nReplaced, words, reason) {
    const rest = reason === "restart" ? "" : this.pending;
    this.words.splice(first, nReplaced, ...words);
    this.#complete = joined(this.words);
    this.text = this.#complete + rest;
  }
}
