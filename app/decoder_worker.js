/**
 * Decodes the sound of a file in pieces: Mediabunny finds the packets in it, reading only what it needs, WebCodecs
 * decodes them. Silence stands where the file has none, so that times are those of the file, and of its video.
 *
 * In:  {type: "open", file, port, library}  File; where mono blocks go, an empty one last; address of Mediabunny
 *      {type: "heard", heardS}              sound is decoded up to AHEAD_S beyond that
 * Out: {type: "opened", sampleRate, totalS} the first piece is decoded; totalS may be null
 *      {type: "refused", reason}            nothing can be decoded: "format", "no sound" (in a video), or "codec"
 *      {type: "mixed", channel}             channels cancel each other out, so only this one is used, from 1
 *      {type: "broken", atS}                the rest cannot be decoded
 */

import { Mixer } from "./mixer.js";

const AHEAD_S = 60;
const BLOCK_S = 0.5;
const GAP_S = 0.05; // below that it is rounding
const LONGEST_GAP_S = 3600; // beyond that it is a broken clock
const FIRST_FRAME_BYTES = 2048;
const MP3_DECODER_DELAY = 529; // samples, of any decoder

let heardS = 0;
let onHeard = () => {};

class Refused extends Error {}

/** Sends mono samples in blocks, no faster than they are heard. */
class Output {
  #port;
  #block;
  #filled = 0;
  nSent = 0;

  constructor(port, sampleRate) {
    this.#port = port;
    this.sampleRate = sampleRate;
    this.#block = new Float32Array(Math.round(BLOCK_S * sampleRate));
  }

  get atS() {
    return (this.nSent + this.#filled) / this.sampleRate;
  }

  async write(samples) {
    for (let taken = 0; taken < samples.length; ) {
      const part = samples.subarray(taken, taken + this.#block.length - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      taken += part.length;
      if (this.#filled === this.#block.length) await this.#send();
    }
  }

  async writeSilence(seconds) {
    const block = new Float32Array(this.sampleRate);
    for (let n = Math.round(seconds * this.sampleRate); n > 0; n -= block.length) await this.write(block.subarray(0, n));
  }

  async end() {
    await this.#send();
    this.#port.postMessage(new Float32Array(0));
  }

  async #send() {
    const block = this.#block.slice(0, this.#filled);
    this.nSent += this.#filled;
    this.#filled = 0;
    if (block.length) this.#port.postMessage(block, [block.buffer]);
    while (this.atS > heardS + AHEAD_S) await new Promise((resolve) => (onHeard = resolve));
  }
}

async function open({ file, port, library }) {
  let output = null;
  try {
    const { ALL_FORMATS, AudioSampleSink, BlobSource, Input, MP3 } = await import(library);
    const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
    const track = await soundOf(input);
    const nPadded = (await input.getFormat()) === MP3 ? await paddingOf(file) : 0;
    const startS = Math.max(0, await input.getFirstTimestamp()) + nPadded / (await track.getSampleRate());
    const totalS = await durationOf(input, track, startS);
    const mixer = new Mixer();
    for await (const sample of new AudioSampleSink(track).samples()) {
      if (!output) {
        output = new Output(port, sample.sampleRate);
        postMessage({ type: "opened", sampleRate: sample.sampleRate, totalS });
      }
      await write(output, sample, startS, mixer);
    }
    if (!output) throw new Refused("format");
    await output.end();
  } catch (error) {
    if (output) {
      postMessage({ type: "broken", atS: output.atS });
      await output.end();
    } else {
      postMessage({ type: "refused", reason: error instanceof Refused ? error.message : "format" });
    }
  }
}

async function soundOf(input) {
  if (!(await input.canRead())) throw new Refused("format");
  const track = await input.getPrimaryAudioTrack();
  if (!track) throw new Refused((await input.getTracks()).length ? "no sound" : "format");
  if (!(await track.canDecode())) throw new Refused("codec");
  return track;
}

/** Samples before the sound of an MP3 file: the encoder's, if the tag in the first frame tells them, and the decoder's. */
async function paddingOf(file) {
  const bytesAt = async (start, n) => new Uint8Array(await file.slice(start, start + n).arrayBuffer());
  const tag = await bytesAt(0, 10);
  const hasTag = String.fromCharCode(...tag.subarray(0, 3)) === "ID3";
  const nTag = hasTag ? tag.subarray(6).reduce((size, byte) => (size << 7) | byte, 0) + tag.length : 0;
  const frame = await bytesAt(nTag, FIRST_FRAME_BYTES);
  const at = new TextDecoder("latin1").decode(frame).search(/Xing|Info/);
  if (at < 0) return 0;
  const flags = frame[at + 7];
  const fields = [4, 4, 100, 4].filter((_, i) => flags & (1 << i)); // of the sizes that are there
  const encoder = fields.reduce((sum, size) => sum + size, at + 8);
  if (!frame[encoder]) return 0;
  return ((frame[encoder + 21] << 4) | (frame[encoder + 22] >> 4)) + MP3_DECODER_DELAY;
}

async function durationOf(input, track, startS) {
  const endS = (await input.getDurationFromMetadata([track])) ?? (await input.computeDuration([track]));
  return endS > startS ? endS - startS : null;
}

async function write(output, sample, startS, mixer) {
  if (sample.sampleRate !== output.sampleRate) throw new Refused("another rate");
  const channels = Array.from({ length: sample.numberOfChannels }, (_, planeIndex) => {
    const samples = new Float32Array(sample.numberOfFrames);
    sample.copyTo(samples, { planeIndex, format: "f32-planar" });
    return samples;
  });
  const gapS = sample.timestamp - startS - output.atS;
  sample.close();
  const wasChosen = mixer.chosen;
  const mono = mixer.mix(channels, output.sampleRate);
  if (mixer.chosen !== wasChosen) postMessage({ type: "mixed", channel: mixer.chosen });
  if (gapS > GAP_S && gapS < LONGEST_GAP_S) await output.writeSilence(gapS);
  const nEarly = sample.timestamp < startS ? Math.round((startS - sample.timestamp) * output.sampleRate) : 0;
  await output.write(mono.subarray(nEarly));
}

onmessage = ({ data }) => {
  if (data.type === "open") open(data);
  if (data.type === "heard") {
    heardS = data.heardS;
    onHeard();
  }
};
