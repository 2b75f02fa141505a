/**
 * Keeps what is heard, as 16 kHz 16-bit PCM in the origin private file system: one file for each recording, written by
 * recorder_worker.js, which the sound passes on its way to the engine. Nothing of it leaves this machine.
 */

import { SAMPLE_RATE } from "./resampler.js";
import { startWorker } from "./workers.js";

const FOLDER = "recordings";
const SUFFIX = ".pcm";
const BYTES_PER_SAMPLE = 2;

const active = new Map(); // id → Recorder that writes it

/**
 * Takes the blocks of a source of sound (mono Float32Arrays, an empty one last), keeps them and hands them to engines.
 * What is not on the disk, without an id or without room there, is kept in memory as long as an engine may need it.
 */
export class Recorder {
  #worker = startWorker("recorder_worker.js");
  #reads = new Map(); // id → resolve
  #lastRead = 0;
  #ended = Promise.withResolvers();
  #closed = Promise.withResolvers();
  #id;
  durationS = 0;
  isKept; // in a file
  closing = null; // promise that it is closed, once it is to be

  /** id: of the recording, or null to keep no file; onProblem(sentence): no file is written, or no longer. */
  constructor(id, { port, sampleRate }, onProblem) {
    this.#id = id;
    this.isKept = id !== null;
    if (this.isKept) active.set(id, this);
    const on = {
      problem: ({ name }) => {
        this.isKept = false;
        onProblem(problem(name));
      },
      position: ({ durationS }) => (this.durationS = durationS),
      samples: ({ id, samples }) => {
        this.#reads.get(id)(samples);
        this.#reads.delete(id);
      },
      ended: () => this.#ended.resolve(),
      closed: () => this.#closed.resolve(),
    };
    this.#worker.onmessage = ({ data }) => on[data.type](data);
    this.#worker.onerror = () => {
      onProblem("What takes the sound to the recogniser broke down, and nothing more is heard; stop, and begin again.");
      this.#ended.resolve();
      this.#closed.resolve();
    };
    this.#post({ type: "open", id, source: port, sampleRate }, [port]);
  }

  /** A port for an engine: 16 kHz blocks from startS on, what was already heard first, an empty one last. */
  connect(startS) {
    const { port1, port2 } = new MessageChannel();
    this.#post({ type: "connect", port: port1, startS }, [port1]);
    return port2;
  }

  /** Lets go of sound that no engine will be given again. */
  heard(heardS) {
    this.#post({ type: "heard", heardS });
  }

  /** Promise that the source's last block has been passed on. */
  get ended() {
    return this.#ended.promise;
  }

  /** The source was closed: `ended` resolves soon. */
  end() {
    this.#post({ type: "end" });
    return this.ended;
  }

  /** Int16Array of what was heard from startS to endS. */
  read(startS, endS) {
    const id = ++this.#lastRead;
    const { promise, resolve } = Promise.withResolvers();
    this.#reads.set(id, resolve);
    this.#post({ type: "read", id, startS, endS });
    return promise;
  }

  /** The file is whole when this resolves. */
  close() {
    return (this.closing ??= this.#close());
  }

  /** The same, once the source has ended; whoever wants the recording waits for the whole of it. */
  closeAtEnd() {
    return (this.closing ??= this.#ended.promise.then(() => this.#close()));
  }

  async #close() {
    this.#post({ type: "close" });
    await this.#closed.promise;
    active.delete(this.#id);
  }

  #post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }
}

/**
 * A recording on this machine, finished or under way, or null: {durationS, wav(startS?, endS?), samples(startS, endS)};
 * wav resolves with a Blob that lies on the disk, samples with a Float32Array at 16 kHz.
 */
export async function recordingOf(id) {
  await active.get(id)?.closing;
  const source = active.get(id)?.isKept ? growing(active.get(id)) : await finished(id);
  if (!source) return null;
  const { durationS, read } = source; // read(startS, endS) → Blob or Int16Array
  return {
    durationS,
    async wav(startS = 0, endS = durationS) {
      const samples = await read(startS, endS);
      return new Blob([wavHeader(samples.size ?? samples.byteLength), samples], { type: "audio/wav" });
    },
    async samples(startS, endS) {
      const samples = await read(startS, endS);
      const whole = samples instanceof Blob ? new Int16Array(await samples.arrayBuffer()) : samples;
      return Float32Array.from(whole, (sample) => sample / 32768);
    },
  };
}

/** Gone when this resolves, if it was there. */
export async function deleteRecording(id) {
  const folder = await openFolder();
  await folder?.removeEntry(id + SUFFIX).catch(() => {});
}

/** [{id, nBytes, durationS}, …] of those on this machine. */
export async function listRecordings() {
  const folder = await openFolder();
  const found = [];
  for await (const [name, handle] of folder?.entries() ?? []) {
    if (!name.endsWith(SUFFIX)) continue;
    const { size } = await handle.getFile();
    found.push({ id: name.slice(0, -SUFFIX.length), nBytes: size, durationS: size / BYTES_PER_SAMPLE / SAMPLE_RATE });
  }
  return found;
}

const growing = (recorder) => ({ durationS: recorder.durationS, read: (startS, endS) => recorder.read(startS, endS) });

async function finished(id) {
  const folder = await openFolder();
  const handle = await folder?.getFileHandle(id + SUFFIX).catch(() => null);
  const file = await handle?.getFile();
  if (!file?.size) return null;
  const byteAt = (seconds) => BYTES_PER_SAMPLE * Math.round(Math.max(0, seconds) * SAMPLE_RATE);
  return {
    durationS: file.size / BYTES_PER_SAMPLE / SAMPLE_RATE,
    read: async (startS, endS) => file.slice(byteAt(startS), byteAt(endS)),
  };
}

/** The folder of the recordings, or null when there is none. */
async function openFolder() {
  const root = await navigator.storage?.getDirectory?.().catch(() => null);
  return (await root?.getDirectoryHandle(FOLDER).catch(() => null)) ?? null;
}

function problem(name) {
  return name === "QuotaExceededError"
    ? "There is no room left on this machine to keep the sound, so from here on it is not kept; the transcript goes on."
    : `This browser keeps no sound here (${name}), so words cannot be heard again later; the transcript goes on.`;
}

/** Of 16 kHz 16-bit mono with so many bytes of samples. */
export function wavHeader(nBytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, value) => [...value].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + nBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true);
  view.setUint32(24, SAMPLE_RATE, true);
  view.setUint32(28, SAMPLE_RATE * BYTES_PER_SAMPLE, true);
  view.setUint16(32, BYTES_PER_SAMPLE, true);
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true);
  text(36, "data");
  view.setUint32(40, nBytes, true);
  return view.buffer;
}
