/**
 * Several channels as one, piece by piece, by the rule of py/voxtral/sound.py: their average, unless they cancel each
 * other out (stereo wired in opposite phase); then the loudest one.
 */

const CANCELLED = 0.01; // the average has less than this share of the loudest channel's energy: -20 dB
const MEMORY = 0.5; // of the energies, for each second

export class Mixer {
  #energies = []; // of the channels, then of their average; they fade
  #choice = null; // index of the channel that is taken instead of the average

  /** The channel that had to be taken since others cancel it out, from 1, or null. */
  chosen = null;

  /** channels: Float32Arrays of the same length; returns another one. */
  mix(channels, sampleRate) {
    if (channels.length === 1) return channels[0].slice();
    const average = new Float32Array(channels[0].length);
    for (const samples of channels) for (let i = 0; i < average.length; i++) average[i] += samples[i] / channels.length;
    const fading = MEMORY ** (average.length / sampleRate);
    this.#energies = [...channels, average].map((samples, i) => (this.#energies[i] ?? 0) * fading + energyOf(samples));
    const [energy, loudest] = [this.#energies.at(-1), Math.max(...this.#energies.slice(0, -1))];
    if (energy >= CANCELLED * loudest) this.#choice = null;
    else this.#choice ??= this.#energies.indexOf(loudest);
    if (this.#choice === null) return average;
    this.chosen ??= this.#choice + 1;
    return channels[this.#choice].slice();
  }
}

/** Around the mean, for an offset is no sound. */
function energyOf(samples) {
  let [sum, squares] = [0, 0];
  for (const sample of samples) {
    sum += sample;
    squares += sample * sample;
  }
  return Math.max(0, squares - (sum * sum) / Math.max(1, samples.length));
}
