/**
 * One connection to a server's /v1/realtime: sound from a port goes there, words come back as the events of the engine
 * (protocol.js). It speaks the messages that vLLM documents, in their order:
 *
 *   in   session.created, transcription.delta {delta}, transcription.done {text}, error {error, code}
 *   out  session.update {model}, input_audio_buffer.commit {final: false}, then
 *        input_audio_buffer.append {audio: base64 of 16-bit 16 kHz mono}, at the end commit {final: true}
 *
 * and asks for what our own server knows beyond them, which others pass over: `include: ["words"]` and `delay_ms` in
 * session.update. Its deltas have `words` and `heard_s`, there are transcription.revised and transcription.heard, and done
 * has `words`. From others, words are made of the deltas (delta_words.js).
 */

import { DeltaWords } from "./delta_words.js";
import { SAMPLE_RATE } from "./resampler.js";
import { realtimeAddress, subprotocols } from "./server_address.js";

const OPEN_LIMIT_MS = 15_000;
const ANSWER_LIMIT_MS = 30_000; // to what was sent; a server that is alone with it says something every 80 ms
const LATE_ANSWER_LIMIT_MS = 120_000; // once all was sent
const LOOK_MS = 100;
const CATCH_UP = 5; // sound that waited goes over so many times as fast as it was said
const AHEAD_S = 2;
const MOST_WAITING_BYTES = 400_000; // in the browser: some ten seconds
const PIECE_SAMPLES = SAMPLE_RATE / 2;

/** What became of a connection that broke off; kind: closed, error, silent, network, early; code: of close or error. */
class Lost extends Error {
  constructor(kind, { code = null, sentence = "", retryAfterS = null, wasOpen = false } = {}) {
    super(sentence);
    Object.assign(this, { kind, code, sentence, retryAfterS, wasOpen });
  }
}

export class RealtimeClient {
  #socket;
  #on;
  #options;
  #port;
  #words; // of deltas; null where the server says them itself
  #rich = []; // words the server said itself
  #queue = []; // Int16Arrays
  #nQueued = 0; // samples
  #nSent = 0;
  #openedAt = 0; // performance.now()
  #heardAt = 0; // when something came last
  #sentAt = 0;
  #phase = "opening"; // open, ended (all was sent), over
  #isLast = false; // the last block is in the queue
  #timer;
  #isOpened = false;
  #isRich = false;

  /**
   * options: {session, address, model, key, hasWords, delayMs, startS, totalS}; port: 16 kHz blocks, an empty one last.
   * on: {event(event), opened(isRich), lost(Lost)}: opened is called when the first sound is heard, isRich: by a server
   * that says words itself; lost once, and not after done.
   */
  constructor(options, port, on) {
    this.#options = options;
    this.#port = port;
    this.#on = on;
    this.#words = new DeltaWords(options.startS);
    port.onmessage = ({ data }) => this.#take(data);
    this.#heardAt = performance.now();
    this.#socket = new WebSocket(realtimeAddress(options.address), subprotocols(options));
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }) => this.#lose(new Lost("closed", { code, sentence: reason, wasOpen: this.#isOpen }));
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    addEventListener("offline", this.#onOffline);
  }

  /** Ends it at once: nothing more is sent, nothing more is told. */
  close() {
    if (this.#phase === "over") return;
    this.#phase = "over";
    clearInterval(this.#timer);
    removeEventListener("offline", this.#onOffline);
    this.#port.onmessage = null;
    this.#port.close();
    this.#queue = [];
    this.#socket.close();
  }

  get #isOpen() {
    return this.#phase === "open" || this.#phase === "ended";
  }

  get #sentS() {
    return this.#nSent / SAMPLE_RATE;
  }

  #onOffline = () => this.#lose(new Lost("network", { wasOpen: this.#isOpen }));

  #lose(lost) {
    if (this.#phase === "over") return;
    this.close();
    this.#on.lost(lost);
  }

  #send(type, fields) {
    if (this.#canSend) this.#socket.send(JSON.stringify({ type, ...fields }));
  }

  /** One that the server is closing says so only when that is done. */
  get #canSend() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /* Sound. */

  #take(samples) {
    if (!samples.length) this.#isLast = true;
    else {
      this.#queue.push(Int16Array.from(samples, toInt16));
      this.#nQueued += samples.length;
    }
    this.#pump();
  }

  /** Sends what may be sent now. */
  #pump() {
    if (this.#phase !== "open" || !this.#canSend) return;
    const mayBeS = AHEAD_S + (CATCH_UP * (performance.now() - this.#openedAt)) / 1000;
    while (this.#queue.length && this.#sentS < mayBeS && this.#socket.bufferedAmount < MOST_WAITING_BYTES) {
      const piece = this.#next();
      this.#send("input_audio_buffer.append", { audio: base64(piece) });
      this.#nSent += piece.length;
      this.#sentAt = performance.now();
    }
    if (this.#isLast && !this.#queue.length) this.#end();
  }

  #next() {
    const [block] = this.#queue;
    const piece = block.subarray(0, PIECE_SAMPLES);
    if (piece.length === block.length) this.#queue.shift();
    else this.#queue[0] = block.subarray(PIECE_SAMPLES);
    this.#nQueued -= piece.length;
    return piece;
  }

  #end() {
    this.#phase = "ended";
    if (this.#nSent) this.#send("input_audio_buffer.commit", { final: true });
    else this.#finish(); // servers want some sound before its end
  }

  /* Answers. */

  #receive(text) {
    if (this.#phase === "over") return;
    this.#heardAt = performance.now();
    const message = parsed(text);
    const act = {
      "session.created": () => this.#begin(),
      "transcription.delta": () => this.#onDelta(message),
      "transcription.revised": () => this.#onRevised(message),
      "transcription.heard": () => this.#tellHeard(message.heard_s, message.waiting_s),
      "transcription.done": () => this.#onDone(message),
      "error": () => this.#onError(message),
    }[message.type];
    try {
      act?.(); // what it says beyond is for others
    } catch {
      this.#lose(new Lost("error", { sentence: "it sends what cannot be read", wasOpen: this.#isOpen }));
    }
  }

  #begin() {
    const { model, delayMs } = this.#options;
    this.#send("session.update", { model, include: ["words"], ...(delayMs === null ? {} : { delay_ms: delayMs }) });
    this.#send("input_audio_buffer.commit", { final: false });
    this.#phase = "open";
    this.#openedAt = performance.now();
    this.#pump();
  }

  /** Until then it could still be refused. */
  #open(isRich) {
    if (this.#isOpened) return;
    this.#isOpened = true;
    this.#isRich = isRich;
    this.#on.opened(isRich);
  }

  #onDelta({ delta, words, heard_s: heardS }) {
    this.#open(Boolean(words));
    if (words) {
      this.#tellWords(delta, words.map(this.#shifted));
      if (heardS !== undefined) this.#tellHeard(heardS);
      return;
    }
    this.#tellWords(delta, this.#words.take(delta, this.#sentS));
    this.#tellHeard(this.#words.heardS(this.#sentS));
  }

  #tellWords(text, words) {
    if (!text && !words.length) return;
    if (this.#isRich) this.#rich.push(...words);
    this.#tell("words", { text, words });
  }

  #onRevised({ first, n_replaced, words, reason }) {
    const shifted = words.map(this.#shifted);
    this.#rich.splice(first, n_replaced, ...shifted);
    this.#tell("revised", { first, n_replaced, words: shifted, reason });
  }

  /** heardS: of this connection's sound. */
  #tellHeard(heardS, atServerS = Math.max(0, this.#sentS - heardS)) {
    this.#open(true);
    const { startS, totalS } = this.#options;
    const waitingS = this.#nQueued / SAMPLE_RATE + (this.#isRich ? atServerS : 0);
    this.#tell("heard", { heard_s: startS + heardS, waiting_s: waitingS, total_s: totalS });
  }

  #onDone({ words, notices = [] }) {
    if (this.#phase !== "ended") return this.#lose(new Lost("early", { wasOpen: true }));
    const rest = words ? words.slice(this.#rich.length).map(this.#shifted) : this.#words.finish(this.#sentS);
    this.#tellWords("", rest);
    for (const sentence of notices) this.#tell("notice", { sentence });
    this.#finish();
  }

  #onError({ error, code = null, retry_after_s: retryAfterS = null }) {
    const sentence = typeof error === "string" ? error : (error?.message ?? "");
    this.#lose(new Lost("error", { code: code ?? error?.code ?? null, sentence, retryAfterS, wasOpen: this.#isOpen }));
  }

  #finish() {
    const words = this.#isRich ? this.#rich : this.#words.all;
    this.close();
    this.#tell("done", { words, audio_s: this.#sentS });
  }

  #tell(type, fields) {
    this.#on.event({ type, session: this.#options.session, ...fields });
  }

  /** A word on the recording's clock. */
  #shifted = (word) => {
    const { startS } = this.#options;
    if (!(typeof word.text === "string" && word.start >= 0 && word.end >= word.start)) throw new TypeError("a word");
    return { ...word, start: word.start + startS, end: word.end + startS };
  };

  /** A connection may die without a word. */
  #look() {
    this.#pump();
    const now = performance.now();
    const silentMs = now - this.#heardAt;
    const isOwed = this.#sentAt > this.#heardAt || this.#socket.bufferedAmount > 0;
    const isLate = {
      opening: silentMs > OPEN_LIMIT_MS,
      open: isOwed && silentMs > ANSWER_LIMIT_MS,
      ended: silentMs > LATE_ANSWER_LIMIT_MS,
    }[this.#phase];
    if (isLate) this.#lose(new Lost("silent", { wasOpen: this.#isOpen }));
  }
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

const toInt16 = (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));

/** Of samples as little-endian bytes, which is how every machine with a browser has them. */
function base64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  return btoa(String.fromCharCode(...bytes));
}
