/**
 * Recordings whose words are known: the built-in set, or a folder of the person's. The engine reads its tables
 * (py/voxtral/accuracy/sets.py); here are its files, and the sound of each clip. Nothing of them leaves the tab.
 */

import { samplesOf } from "./audio_file.js";
import { wavHeader } from "./recorder.js";
import { SAMPLE_RATE } from "./resampler.js";
import { ROOT } from "./runtime_files.js";

export const BUILT_IN = "built in"; // as `voxtral wer` calls it
const BUILT_IN_FILES = ["set.tsv", "set.ogg"].map((name) => ({ path: name, address: `${ROOT}static/accuracy/${name}` }));
const IS_TABLE = /(\.trans\.txt|\.tsv|\.csv)$/i;

/** A set; entries are those of a `set_read` event. */
export class RecordingSet {
  #files; // path → open()
  #byId;
  #streams = new Map(); // path → promise of the sound of a stream of many clips

  /** Called with the share of a stream that is decoded, for whoever waits for its first clip. */
  onDecoded = () => {};

  constructor(name, files, { entries, notices }) {
    this.name = name;
    this.entries = entries;
    this.notices = notices;
    this.#files = new Map(files.map(({ path, open }) => [path, open]));
    this.#byId = new Map(entries.map((entry) => [entry.id, entry]));
  }

  /** Groups in their order: [{name, n, seconds}], seconds null where nobody knows before it is decoded. */
  get groups() {
    const groups = new Map();
    for (const { group, n_samples } of this.entries) {
      const { n = 0, seconds = 0 } = groups.get(group) ?? {};
      groups.set(group, { name: group, n: n + 1, seconds: n_samples === null ? null : seconds + n_samples / SAMPLE_RATE });
    }
    return [...groups.values()];
  }

  has(id) {
    return this.#byId.has(id);
  }

  /** Promise of a clip, mono at 16 kHz; rejects with an Error whose message is a sentence. */
  async soundOf(id) {
    const { audio, start_sample, n_samples } = this.#byId.get(id);
    if (n_samples === null) return samplesOf(await this.#files.get(audio)());
    if (!this.#streams.has(audio)) this.#streams.set(audio, this.#decode(audio));
    const stream = await this.#streams.get(audio);
    if (start_sample + n_samples > stream.length + SAMPLE_RATE) {
      throw new Error(`${audio}: expected ${start_sample + n_samples} samples, found ${stream.length}; the file is not whole.`);
    }
    return stream.subarray(start_sample, start_sample + n_samples);
  }

  async #decode(audio) {
    return samplesOf(await this.#files.get(audio)(), (share) => this.onDecoded(share));
  }

  /** Promise of a clip as a WAV file. */
  async wavOf(id) {
    const samples = Int16Array.from(await this.soundOf(id), (sample) => 32767 * Math.max(-1, Math.min(1, sample)));
    return new Blob([wavHeader(samples.byteLength), samples], { type: "audio/wav" });
  }
}

/** Has the engine read a folder; files: [{path, open()}], open() a promise of a File. Rejects with a sentence. */
export async function readSet(voxtral, name, files) {
  const listed = await Promise.all(
    files.map(async ({ path, open }) => ({ path, text: IS_TABLE.test(path) ? await (await open()).text() : null })),
  );
  return new RecordingSet(name, files, await voxtral.readSet(name, listed));
}

export const readBuiltIn = (voxtral) => readSet(voxtral, BUILT_IN, filesAt(BUILT_IN_FILES));

/** [{path, address}] as readSet takes them. */
export const filesAt = (listed) => listed.map(({ path, address }) => ({ path, open: () => fetchFile(address, path) }));

/** {name, files} of Files chosen together; their paths begin with the folder's name if they have one. */
export function folderOf(chosen) {
  const listed = [...chosen].map((file) => ({ path: file.webkitRelativePath || file.name, open: async () => file }));
  return withoutTop(listed);
}

/** The same, as a promise, of what was dropped; to be called while the drop is handled. Rejects with a sentence. */
export async function folderOfDrop(items) {
  const dropped = [...items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  try {
    return withoutTop((await Promise.all(dropped.map(filesBelow))).flat());
  } catch ({ message }) {
    throw new Error(`What was dropped cannot be read (${message}); choose the folder instead.`);
  }
}

async function filesBelow(entry) {
  if (entry instanceof File) return [{ path: entry.name, open: async () => entry }];
  const path = entry.fullPath.slice(1);
  if (entry.isFile) return [{ path, open: () => new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  const reader = entry.createReader();
  const inside = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) inside.push(...some);
  return (await Promise.all(inside.map(filesBelow))).flat();
}

/** Paths below the one folder they have in common, which names the set. */
function withoutTop(listed) {
  const [top] = listed[0]?.path.split("/") ?? [];
  if (!top || !listed.every(({ path }) => path.startsWith(`${top}/`))) return { name: "chosen files", files: listed };
  return { name: top, files: listed.map(({ path, open }) => ({ path: path.slice(top.length + 1), open })) };
}

async function fetchFile(address, path) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) throw new Error(`${path} could not be loaded; check the connection, then try again.`);
  return new File([await response.blob()], path.split("/").at(-1));
}
