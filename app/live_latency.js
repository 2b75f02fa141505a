/**
 * How long a token takes from the last sample of its chunk to the page, measured on the way the microphone's
 * blocks go: MessagePort → worker → session → message → page.
 */

const SAMPLE_RATE = 16_000;
const CHUNK_MS = 80;
const CHUNK_SAMPLES = (SAMPLE_RATE * CHUNK_MS) / 1000;
const SPEECH = new URL("../static/samples/long_60s.wav", import.meta.url).href;
const LAST_ANSWER_LIMIT_MS = 60_000;
export const HOW =
  "from posting a chunk to the microphone's port until the page's handler of the worker's answer has written it into " +
  "the document; “painted” waits for the next frame on the screen too";

/**
 * Speaks for some seconds at the pace of speech. show(text, n): writes the text so far and the number of tokens into
 * the page. Resolves with {chunks, median_ms, p95_ms, max_ms, painted_median_ms, painted_p95_ms, how}.
 */
export async function measureLive(voxtral, seconds, show) {
  const samples = await loadSpeech();
  const chunks = Math.round((seconds * 1000) / CHUNK_MS);
  const { port1, port2 } = new MessageChannel();
  const openSound = async () => ({
    port: port2,
    sampleRate: SAMPLE_RATE,
    close: async () => port1.postMessage(new Float32Array(0)),
  });
  const log = new Log(show);
  const recording = await voxtral.listen((event) => log.receive(event), openSound);
  recording.result.catch((error) => log.fail(error));
  const post = (i) => {
    const start = (i * CHUNK_SAMPLES) % (samples.length - CHUNK_SAMPLES);
    const chunk = samples.slice(start, start + CHUNK_SAMPLES);
    log.posted.push(performance.now());
    port1.postMessage(chunk, [chunk.buffer]);
  };
  post(0); // it tells how many chunks the engine holds back until it can be sure of a token
  await log.until(1);
  const began = performance.now();
  for (let i = 1; i <= chunks; i++) {
    await sleep(began + i * CHUNK_MS - performance.now());
    post(i);
  }
  await log.until(chunks + 1);
  await recording.stop();
  return { chunks, ...log.summary(), how: HOW };
}

/** What was posted and what came back; times of performance.now(). */
class Log {
  posted = [];
  #shown = []; // for each chunk
  #painted = [];
  #show;
  #text = "";
  #held = null; // chunks the engine holds back
  #waiting = [];
  #failure = null;

  constructor(show) {
    this.#show = show;
  }

  receive(event) {
    if (event.type === "words") this.#text += event.text;
    if (event.type !== "heard") return;
    const heard = Math.round((event.heard_s * 1000) / CHUNK_MS);
    this.#held ??= 1 - heard;
    const answered = Math.min(this.posted.length, heard + this.#held);
    this.#show(this.#text, answered);
    const now = performance.now();
    const first = this.#shown.length;
    while (this.#shown.length < answered) this.#shown.push(now);
    if (this.#shown.length > first) afterPaint((time) => this.#painted.push(...Array(answered - first).fill(time)));
    for (const { check } of this.#waiting) check();
  }

  fail(error) {
    this.#failure = error;
    for (const { reject } of this.#waiting) reject(error);
  }

  /** Resolves when the answers to n chunks are on the page, and painted. */
  until(n) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        const n_s = LAST_ANSWER_LIMIT_MS / 1000;
        reject(new Error(`The engine answered ${this.#shown.length} of ${n} live chunks within ${n_s} s; reload.`));
      }, LAST_ANSWER_LIMIT_MS);
      const check = () => {
        if (this.#failure) reject(this.#failure);
        if (this.#shown.length < n) return;
        clearTimeout(late);
        afterPaint(resolve);
      };
      this.#waiting.push({ check, reject });
      check();
    });
  }

  summary() {
    const delays = (times) => times.slice(1).map((time, i) => time - this.posted[i + 1]).sort((a, b) => a - b);
    const shown = delays(this.#shown);
    const painted = delays(this.#painted);
    return {
      median_ms: quantile(shown, 0.5),
      p95_ms: quantile(shown, 0.95),
      max_ms: quantile(shown, 1),
      painted_median_ms: quantile(painted, 0.5),
      painted_p95_ms: quantile(painted, 0.95),
    };
  }
}

/** Calls back when the frame after this one's changes has been drawn. */
function afterPaint(callback) {
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => callback(performance.now());
    port2.postMessage(null);
  });
}

async function loadSpeech() {
  const response = await fetch(SPEECH).catch(() => null);
  if (!response?.ok) throw new Error(`The server has no ${SPEECH} to speak from; set the app up again.`);
  const audio = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await response.arrayBuffer());
  return audio.getChannelData(0);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Of sorted values, in hundredths. */
const quantile = (sorted, q) => {
  const value = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))];
  return Math.round(value * 100) / 100;
};
