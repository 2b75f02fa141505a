/**
 * A source of sound that is fed by hand, in the place of a microphone: it keeps the contract of openMicrophone
 * (microphone.js), and has feed() beside.
 */

const MIN_RATE = 1_000;
const MAX_RATE = 768_000; // Hz, those that the engine's resampler takes
const BLOCK_SAMPLES = 16_000; // what goes over at a time, so that the engine begins before a long chunk is copied

/**
 * Returns {port, sampleRate, feed(samples), close()}. feed copies a Float32Array of any length; close() says that no
 * more will come. Throws a RangeError whose message is a sentence.
 */
export function openFedSound(sampleRate) {
  if (!(sampleRate >= MIN_RATE && sampleRate <= MAX_RATE)) {
    const expected = `expected ${MIN_RATE} to ${MAX_RATE} Hz`;
    throw new RangeError(`sampleRate: ${expected}, found ${sampleRate}; give the rate of your samples.`);
  }
  const { port1, port2 } = new MessageChannel();
  let isClosed = false;

  function feed(samples) {
    requireSamples(samples);
    for (let start = 0; start < samples.length; start += BLOCK_SAMPLES) {
      const block = samples.slice(start, start + BLOCK_SAMPLES);
      port1.postMessage(block, [block.buffer]);
    }
  }

  async function close() {
    if (isClosed) return;
    isClosed = true;
    port1.postMessage(new Float32Array(0));
  }
  return { port: port2, sampleRate, feed, close };
}

/** Throws a TypeError whose message is a sentence. */
export function requireSamples(samples) {
  if (samples instanceof Float32Array) return;
  const found = Object.prototype.toString.call(samples).slice(8, -1);
  throw new TypeError(`Expected a Float32Array of mono samples from -1 to 1, found ${found}; convert it first.`);
}
