/**
 * What lies between a source of sound and the engine: brings mono blocks to 16 kHz, keeps them, passes them on. As all
 * of it goes through here, an engine that takes the place of a crashed one can be given what the other had not heard,
 * and then what comes, without a gap.
 *
 * In:  {type: "open", id, source, sampleRate}  blocks come on the port `source`, an empty one last; id: file name in
 *                                              the origin private file system, or null to keep only what is not heard
 *      {type: "connect", port, startS}         an engine: everything from startS on, an empty block last
 *      {type: "heard", heardS}                 the engine will not ask for what lies well before that
 *      {type: "end"}                           the source is closed: the last block is here or on its way
 *      {type: "read", id, startS, endS}        answered by {type: "samples", id, samples: Int16Array}
 *      {type: "close"}                         answered by {type: "closed"}
 * Out: {type: "problem", name}                 nothing is kept any longer; the name of the DOMException
 *      {type: "position", durationS}           now and then, while sound comes
 *      {type: "ended"}                         the last block was passed on
 */

import { Resampler, SAMPLE_RATE } from "./resampler.js";

const FOLDER = "recordings";
const LAST_BLOCK_LIMIT_MS = 1000;
const KEPT_BEFORE_HEARD_S = 30;
const FLUSH_S = 5;
const PIECE_SAMPLES = SAMPLE_RATE; // of a replay

/** Samples in memory, from `first` on. */
class MemoryStore {
  #blocks = [];
  #first;
  length;

  constructor(first = 0) {
    this.#first = this.length = first;
  }

  append(samples) {
    this.#blocks.push(samples);
    this.length += samples.length;
  }

  read(start, end) {
    const samples = new Int16Array(Math.max(0, Math.min(end, this.length) - start));
    let at = this.#first;
    for (const block of this.#blocks) {
      const part = block.subarray(Math.max(0, start - at), Math.max(0, end - at));
      if (part.length) samples.set(part, Math.max(0, at - start));
      at += block.length;
    }
    return samples;
  }

  forget(before) {
    while (this.#blocks.length && this.#first + this.#blocks[0].length <= before) {
      this.#first += this.#blocks.shift().length;
    }
  }

  close() {}
}

/** Samples in a file. */
class FileStore {
  #handle;
  #nFlushed = 0;
  length = 0;

  constructor(handle) {
    this.#handle = handle;
    handle.truncate(0);
  }

  append(samples) {
    const nBytes = this.#handle.write(samples, { at: 2 * this.length });
    if (nBytes < samples.byteLength) throw new DOMException("no room", "QuotaExceededError");
    this.length += samples.length;
    if (this.length - this.#nFlushed < FLUSH_S * SAMPLE_RATE) return;
    this.#handle.flush();
    this.#nFlushed = this.length;
  }

  read(start, end) {
    const samples = new Int16Array(Math.max(0, Math.min(end, this.length) - start));
    this.#handle.read(samples, { at: 2 * start });
    return samples;
  }

  forget() {}

  close() {
    this.#handle.truncate(2 * this.length);
    this.#handle.flush();
    this.#handle.close();
  }
}

let store;
let resampler;
let engine = null; // the port of the one that listens
let heardS = 0;
let hasEnded = false;
let toldS = 0;

async function open({ id, source, sampleRate }) {
  resampler = new Resampler(Math.round(sampleRate));
  store = new MemoryStore();
  if (id !== null) {
    try {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle(FOLDER, { create: true });
      const file = await folder.getFileHandle(`${id}.pcm`, { create: true });
      store = new FileStore(await file.createSyncAccessHandle());
    } catch (error) {
      postMessage({ type: "problem", name: error.name });
    }
  }
  source.onmessage = ({ data }) => (data.length ? take(resampler.feed(data.map(finite))) : end());
}

function take(samples) {
  if (hasEnded || !samples.length) return;
  keep(Int16Array.from(samples, toInt16));
  engine?.postMessage(samples, [samples.buffer]);
  if (store.length / SAMPLE_RATE - toldS < 1) return;
  toldS = store.length / SAMPLE_RATE;
  postMessage({ type: "position", durationS: toldS });
}

function keep(samples) {
  try {
    store.append(samples);
  } catch (error) {
    const start = Math.max(0, Math.round((heardS - KEPT_BEFORE_HEARD_S) * SAMPLE_RATE));
    const recent = new MemoryStore(start);
    recent.append(store.read(start, store.length));
    recent.append(samples);
    closeStore();
    store = recent;
    postMessage({ type: "problem", name: error.name });
  }
}

/** A disk that is full may refuse even that; what it took stays there, and sound goes on all the same. */
function closeStore() {
  try {
    store.close();
  } catch {
    // said already, by the write that failed
  }
}

/** Replays what is there; as nothing else runs meanwhile, the next block follows without a gap. */
function connect({ port, startS }) {
  engine = port;
  for (let start = Math.round(startS * SAMPLE_RATE); start < store.length; start += PIECE_SAMPLES) {
    const samples = Float32Array.from(store.read(start, start + PIECE_SAMPLES), (sample) => sample / 32768);
    port.postMessage(samples, [samples.buffer]);
  }
  if (hasEnded) port.postMessage(new Float32Array(0));
}

function end() {
  if (hasEnded) return;
  take(resampler.flush());
  hasEnded = true;
  engine?.postMessage(new Float32Array(0));
  postMessage({ type: "position", durationS: store.length / SAMPLE_RATE });
  postMessage({ type: "ended" });
}

const toInt16 = (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
const finite = (sample) => (Math.abs(sample) < 1e30 ? sample : 0); // NaN compares false

const actions = {
  connect,
  heard(message) {
    heardS = message.heardS;
    store.forget((heardS - KEPT_BEFORE_HEARD_S) * SAMPLE_RATE);
  },
  end: () => setTimeout(end, LAST_BLOCK_LIMIT_MS),
  read({ id, startS, endS }) {
    const samples = store.read(Math.round(startS * SAMPLE_RATE), Math.round(endS * SAMPLE_RATE));
    postMessage({ type: "samples", id, samples }, [samples.buffer]);
  },
  close() {
    closeStore();
    postMessage({ type: "closed" });
    close();
  },
};

const { promise: opened, resolve: setOpened } = Promise.withResolvers();
onmessage = async ({ data }) => {
  if (data.type === "open") setOpened(open(data));
  await opened;
  actions[data.type]?.(data);
};
