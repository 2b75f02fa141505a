/**
 * A dropped file as sound for the engine. A WAV file goes as it is, because Python reads damaged headers better than
 * browsers do, unless it is a long one; everything else is decoded in pieces by decoder_worker.js, as the engine hears
 * it. What that cannot decode, the browser's decodeAudioData may: all at once, so only files of moderate size.
 */

import { Mixer } from "./mixer.js";
import { Recorder } from "./recorder.js";
import { Resampler, SAMPLE_RATE } from "./resampler.js";
import { runtimeFile } from "./runtime_files.js";
import { startWorker } from "./workers.js";

const WAV_MAGIC = ["RIFF", "RIFX", "RF64", "BW64"];
const LONG_WAV_BYTES = 64e6;
const WHOLE_LIMIT_BYTES = 200e6;
const DECODER = "mediabunny.min.mjs";

/**
 * Opens a File. Resolves with {bytes}, an ArrayBuffer that holds a WAV file, or with a source of sound as
 * openMicrophone gives one: {port, sampleRate, close}, and totalS, seconds or null, and heard(heardS), by which it
 * learns how far the engine is. onNotice(sentence): what was odd about the file.
 * Rejects with an Error whose message is a sentence for the user.
 */
export async function openAudioFile(file, onNotice) {
  if (!(await isWav(file))) return decodeInPieces(file, onNotice);
  if (file.size > LONG_WAV_BYTES) {
    const source = await decodeInPieces(file, onNotice).catch(() => null);
    if (source) return source;
    if (file.size > WHOLE_LIMIT_BYTES) throw new Error(tooLarge(file));
  }
  return { bytes: await read(file) };
}

/**
 * All of a File as a Float32Array, mono at 16 kHz, for who needs it before the engine does. onShare(share): how much of
 * it is decoded, where that is known. Rejects as openAudioFile.
 */
export async function samplesOf(file, onShare = () => {}) {
  const { port, sampleRate, totalS, heard, close } = await decodeInPieces(file, () => {});
  heard(Infinity);
  const resampler = new Resampler(sampleRate);
  const ended = Promise.withResolvers();
  const parts = [];
  let nDecoded = 0;
  port.onmessage = ({ data }) => {
    nDecoded += data.length;
    if (totalS) onShare(Math.min(1, nDecoded / sampleRate / totalS));
    parts.push(data.length ? resampler.feed(data) : resampler.flush());
    if (data.length === 0) ended.resolve();
  };
  await ended.promise;
  await close();
  const samples = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
  parts.reduce((at, part) => (samples.set(part, at), at + part.length), 0);
  return samples;
}

/** Records a WAV file that the engine reads by itself, if it can be decoded here, too. */
export async function keepSound(file, recordingId) {
  const source = await decodeByLibrary(file, () => {}).catch(() => null);
  if (!source) return;
  const recorder = new Recorder(recordingId, source, () => {});
  source.heard(Infinity); // nobody else hears it
  await recorder.closeAtEnd();
  await source.close();
}

async function isWav(file) {
  const magic = new TextDecoder("latin1").decode(await read(file.slice(0, 4), file.name));
  return WAV_MAGIC.includes(magic) || /\.wave?$/i.test(file.name);
}

async function decodeInPieces(file, onNotice) {
  if (file.size === 0) throw new Error(`${file.name}: expected sound, found an empty file; record or export it again`);
  try {
    return await decodeByLibrary(file, onNotice);
  } catch ({ message: reason }) {
    if (reason === "no sound") {
      throw new Error(`${file.name}: expected sound, found a video without any; choose one that has sound`);
    }
    if (file.size > WHOLE_LIMIT_BYTES) throw new Error(tooLarge(file));
    return decodeWhole(file, onNotice);
  }
}

/** Rejects with an Error whose message is the reason of decoder_worker.js, or "library". */
async function decodeByLibrary(file, onNotice) {
  const library = await runtimeFile(DECODER).catch(() => null);
  if (!library) throw new Error("library");
  const worker = startWorker("decoder_worker.js");
  const { port1, port2 } = new MessageChannel();
  const opened = Promise.withResolvers();
  const on = {
    opened: opened.resolve,
    refused: ({ reason }) => opened.reject(new Error(reason)),
    mixed: ({ channel }) => onNotice(cancelled(file, channel)),
    broken: ({ atS }) => onNotice(`${file.name}: it is damaged after ${clock(atS)}, so only the sound before was used.`),
  };
  worker.onmessage = ({ data }) => on[data.type](data);
  worker.onerror = () => opened.reject(new Error("library"));
  worker.postMessage({ type: "open", file, port: port1, library }, [port1]);
  try {
    const { sampleRate, totalS } = await opened.promise;
    return {
      port: port2,
      sampleRate,
      totalS,
      heard: (heardS) => worker.postMessage({ type: "heard", heardS }),
      close: async () => worker.terminate(),
    };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

async function decodeWhole(file, onNotice) {
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE); // its rate is what decoding resamples to
  let audio;
  try {
    audio = await context.decodeAudioData(await read(file));
  } catch (error) {
    throw new Error(
      `${file.name}: expected WAV, MP3, M4A, Ogg, Opus, FLAC, WebM or a video, found nothing this browser can decode; ` +
        "check that it is a sound file and complete",
      { cause: error },
    );
  }
  const mixer = new Mixer();
  const { port1, port2 } = new MessageChannel();
  for (let start = 0; start < audio.length; start += SAMPLE_RATE) {
    const channels = Array.from({ length: audio.numberOfChannels }, (_, i) =>
      audio.getChannelData(i).subarray(start, start + SAMPLE_RATE),
    );
    const mono = mixer.mix(channels, SAMPLE_RATE);
    port1.postMessage(mono, [mono.buffer]);
  }
  port1.postMessage(new Float32Array(0));
  if (mixer.chosen) onNotice(cancelled(file, mixer.chosen));
  return { port: port2, sampleRate: SAMPLE_RATE, totalS: audio.duration, heard: () => {}, close: async () => {} };
}

function read(blob, name = blob.name) {
  return blob.arrayBuffer().catch((error) => {
    throw new Error(
      `${name}: expected a sound file, found a folder, or a file that is gone or too large to read; drop another.`,
      { cause: error },
    );
  });
}

const cancelled = ({ name }, channel) =>
  `${name}: its channels cancel each other out, so only channel ${channel} was used.`;

const tooLarge = ({ name, size }) =>
  `${name}: this browser cannot decode it in pieces, and with ${Math.round(size / 1e6)} MB it is too large for ` +
  `decoding at once (${WHOLE_LIMIT_BYTES / 1e6} MB); convert it to MP3, M4A or FLAC, or use Chrome or Edge`;

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
