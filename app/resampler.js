/**
 * Any sample rate to the engine's 16 kHz, as a stream, without delay: the rule of py/voxtral/resample.py, with the
 * same filter. Output m lies at input time m * rate / 16000 and is a sum of the inputs around it, weighted with a
 * Kaiser-windowed sinc that passes 0.45 of the lower rate and stops from 0.5 of it.
 */

export const SAMPLE_RATE = 16_000;
const PASSBAND = 0.45;
const STOPBAND = 0.5; // of the lower of the two rates
const STOPBAND_DB = 85;
const KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7);
const HALF_WIDTH = (STOPBAND_DB - 7.95) / (14.36 * (STOPBAND - PASSBAND)) / 2; // in samples of the lower rate
const MAX_PHASES = 640; // enough for every usual rate; others take the nearest one: no drift, but noise at -60 dB

export class Resampler {
  #nIn; // in lowest terms, so many inputs …
  #nOut; // … make so many outputs
  #nPhases = 0;
  #bank = []; // for each phase the weights of 2 * half inputs
  #half = 0;
  #pending; // inputs that outputs to come need
  #pendingStart; // input index of the first of them
  #nFed = 0;
  #nDone = 0;

  /** rateIn: in Hz, a whole number. */
  constructor(rateIn) {
    const divisor = gcd(rateIn, SAMPLE_RATE);
    [this.#nIn, this.#nOut] = [rateIn / divisor, SAMPLE_RATE / divisor];
    if (this.#nIn === this.#nOut) return;
    this.#nPhases = Math.min(this.#nOut, MAX_PHASES);
    this.#bank = filterBank(this.#nPhases, Math.min(1, this.#nOut / this.#nIn));
    this.#half = this.#bank[0].length / 2;
    this.#pendingStart = 1 - this.#half;
    this.#pending = new Float32Array(this.#half - 1);
  }

  /** Takes a Float32Array; returns the outputs whose surroundings are now known. */
  feed(samples) {
    if (!this.#nPhases) return samples;
    this.#nFed += samples.length;
    return this.#advance(samples, this.#nFed - this.#half);
  }

  /** The outputs that only lacked samples past the end; nothing can be fed after that. */
  flush() {
    return this.#nPhases ? this.#advance(new Float32Array(this.#half), this.#nFed) : new Float32Array(0);
  }

  /** Takes samples in, returns the outputs at input times before `end`. */
  #advance(samples, end) {
    const pending = new Float32Array(this.#pending.length + samples.length);
    pending.set(this.#pending);
    pending.set(samples, this.#pending.length);
    const nTotal = Math.max(this.#nDone, Math.ceil((end * this.#nOut) / this.#nIn));
    const outputs = new Float32Array(nTotal - this.#nDone);
    for (let i = 0; i < outputs.length; i++) {
      const time = (i + this.#nDone) * this.#nIn;
      const input = Math.floor(time / this.#nOut);
      const phase = Math.round(((time % this.#nOut) * this.#nPhases) / this.#nOut);
      outputs[i] = dot(this.#bank[phase], pending, input + 1 - this.#half - this.#pendingStart);
    }
    this.#nDone = nTotal;
    const keep = Math.floor((nTotal * this.#nIn) / this.#nOut) + 1 - this.#half;
    this.#pending = pending.slice(keep - this.#pendingStart);
    this.#pendingStart = keep;
    return outputs;
  }
}

/** Row p: weights of 2 * half inputs for outputs p / nPhases after input half - 1. scale: lower rate / input rate. */
function filterBank(nPhases, scale) {
  const half = Math.ceil(HALF_WIDTH / scale) + 1; // one more, as phases reach from 0 to 1
  return Array.from({ length: nPhases + 1 }, (_, phase) => {
    const row = Float64Array.from({ length: 2 * half }, (_, i) => {
      const offset = i + 1 - half - phase / nPhases;
      const x = (offset * scale) / HALF_WIDTH;
      const window = Math.abs(x) > 1 ? 0 : bessel0(KAISER_BETA * Math.sqrt(1 - x * x));
      return window * sinc((PASSBAND + STOPBAND) * scale * offset);
    });
    const sum = row.reduce((total, weight) => total + weight, 0);
    return Float32Array.from(row, (weight) => weight / sum);
  });
}

function dot(weights, samples, start) {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i] * samples[start + i];
  return sum;
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** Modified Bessel function of the first kind, order 0, by its series. */
function bessel0(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-12; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}
