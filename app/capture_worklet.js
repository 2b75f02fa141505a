/**
 * Runs in the audio thread: cuts a source of sound into mono blocks of 80 ms and posts them to the engine.
 *
 * Messages in (node.port):  {blocks: MessagePort} once, then "stop".
 * Blocks out (that port):   Float32Array, its buffer transferred; the last block may be shorter, and a
 *                           Float32Array of length 0 follows it to say that no more will come.
 * Messages out (node.port): {type: "level", rms, peak} for each block, 0…1; {type: "gap", seconds} when the machine or
 *                           the browser gave no time to hear for that long; {type: "stopped"} after the last block.
 */

const BLOCK_MS = 80;
const GAP_S = 2; // shorter ones are hiccups of a busy machine, after which the sound that waited comes
const SWITCH_RATIO = 4; // another channel takes over when it is 6 dB louder; less would make it flutter
const LOUDNESS_DECAY = 0.999; // for each render quantum: about three seconds of memory at 16 kHz

class Capture extends AudioWorkletProcessor {
  #blocks = null;
  #block = new Float32Array(Math.round((sampleRate * BLOCK_MS) / 1000));
  #filled = 0;
  #energies = [];
  #channel = 0;
  #stopped = false;
  #lastRun = Date.now();

  constructor() {
    super();
    this.port.onmessage = ({ data }) => (data === "stop" ? this.#stop() : (this.#blocks = data.blocks));
  }

  process([channels]) {
    if (this.#stopped) return false;
    this.#lookAtTheClock();
    if (this.#blocks && channels.length) this.#append(this.#loudest(channels));
    return true;
  }

  /** The clock goes on while a laptop sleeps, and while the browser suspends us; the sound does not. */
  #lookAtTheClock() {
    const now = Date.now();
    const seconds = (now - this.#lastRun) / 1000;
    this.#lastRun = now;
    if (this.#blocks && seconds > GAP_S) this.port.postMessage({ type: "gap", seconds });
  }

  /** Some devices carry the voice on one channel, or its mirror image on two: pick, never average. */
  #loudest(channels) {
    if (channels.length === 1) return channels[0];
    channels.forEach((samples, i) => {
      const energy = samples.reduce((sum, sample) => sum + sample * sample, 0);
      this.#energies[i] = (this.#energies[i] ?? 0) * LOUDNESS_DECAY + energy;
    });
    const energies = this.#energies.slice(0, channels.length);
    const loudest = energies.indexOf(Math.max(...energies));
    if (energies[loudest] > SWITCH_RATIO * (energies[this.#channel] ?? 0)) this.#channel = loudest;
    return channels[this.#channel] ?? channels[0];
  }

  #append(samples) {
    for (let taken = 0; taken < samples.length; ) {
      const n = Math.min(samples.length - taken, this.#block.length - this.#filled);
      this.#block.set(samples.subarray(taken, taken + n), this.#filled);
      this.#filled += n;
      taken += n;
      if (this.#filled === this.#block.length) this.#send();
    }
  }

  #send() {
    const block = this.#block.slice(0, this.#filled);
    let energy = 0;
    let peak = 0;
    for (const sample of block) {
      energy += sample * sample;
      peak = Math.max(peak, Math.abs(sample));
    }
    this.#filled = 0;
    this.port.postMessage({ type: "level", rms: Math.sqrt(energy / block.length), peak });
    this.#blocks.postMessage(block, [block.buffer]); // last: the block is empty once its buffer is gone
  }

  #stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    if (this.#blocks) {
      if (this.#filled) this.#send();
      this.#blocks.postMessage(new Float32Array(0));
    }
    this.port.postMessage({ type: "stopped" });
  }
}

registerProcessor("capture", Capture);
