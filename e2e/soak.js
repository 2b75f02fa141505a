/**
 * soak.html?minutes=N&backend=numpy|webgpu[&clip=NAME][&post]: that much audio through the app's transcriber, as fast
 * as its engine hears. `soaking` is a promise of the report; with `post` it, its rows and lines are posted to the server.
 * The report: {backend, adapter, rounds, piece, shown, rows, result, notices, wall_s}; soak.py judges it.
 *   piece    text of the clip by itself
 *   shown    text of the long session as it came, result: what it was in the end
 *   rows     [{heard_s, wall_s, heap_bytes, loader_bytes, gpu_bytes}, …], the memory each minute of audio
 *   notices  sentences about what should not have happened: restarts of the recogniser, losses of the GPU, crashes
 */

import { Transcriber } from "../app/transcriber.js";

const SAMPLES = new URL("../static/samples/", import.meta.url);
const CLIP = "long_60s.wav";
const WAV_HEADER_BYTES = 44;
const RATE = 16_000;
const TOKEN = 1280; // samples
const PAUSES_S = [0.7, 2.5, 1.1, 9.0, 0.9, 4.0, 1.6]; // each at least as long as the model needs to finish its words
const AHEAD_S = 90; // of sound that the engine has not heard: it never waits for more
const ROW_S = 60;
const MIN_ROWS = 9;

async function soak(minutes, backend, clipName, tell) {
  const totalS = minutes * 60;
  const notices = [];
  const onEvent = ({ type, sentence }) => ["notice", "recovering"].includes(type) && notices.push(sentence);
  const transcriber = new Transcriber({ backend, onEvent });
  const { adapter } = await transcriber.ready;
  tell({ line: `${backend}: ${adapter}` });

  const content = await (await fetch(new URL(clipName, SAMPLES))).arrayBuffer();
  const { text: piece, wall_s } = await transcriber.transcribeFile(new File([content], clipName));
  tell({ line: `the clip by itself: ${piece.split(" ").length} words, heard in ${wall_s.toFixed(1)} s` });

  const clip = Float32Array.from(new Int16Array(content, WAV_HEADER_BYTES), (sample) => sample / 32768);
  const { port1, port2 } = new MessageChannel();
  const gauge = createGauge(transcriber, Math.min(ROW_S, totalS / MIN_ROWS), (row) => tell({ row }));
  let shown = "";
  let heardS = 0;
  let wake = () => {};
  const onSessionEvent = (event) => {
    if (event.type === "words") shown += event.text;
    if (event.type !== "heard") return;
    heardS = event.heard_s;
    gauge.heard(heardS);
    wake();
  };
  const openSound = async () => ({ port: port2, sampleRate: RATE, close: async () => {} });
  const recording = await transcriber.listen(onSessionEvent, openSound);

  let fedS = 0;
  let rounds = 0;
  for (; fedS < totalS; rounds++) {
    for (const block of blocksOf(clip, PAUSES_S[rounds % PAUSES_S.length])) {
      while (fedS > heardS + AHEAD_S) await new Promise((resolve) => (wake = resolve));
      fedS += block.length / RATE;
      port1.postMessage(block, [block.buffer]);
    }
  }
  port1.postMessage(new Float32Array(0));
  const result = await recording.stop();
  const rows = await gauge.rows();
  return { backend, adapter, rounds, piece, shown, rows, result, notices, wall_s: rows.at(-1)?.wall_s ?? 0 };
}

/**
 * One round, in seconds of sound: the clip, and a pause after which the next round begins with a token, as the clip by
 * itself does: words near the limit of being heard depend on that.
 */
function* blocksOf(clip, pauseS) {
  const length = Math.ceil((clip.length + pauseS * RATE) / TOKEN) * TOKEN;
  for (let start = 0; start < length; start += RATE) {
    const block = new Float32Array(Math.min(RATE, length - start));
    block.set(clip.subarray(start, start + block.length));
    yield block;
  }
}

/** Asks for the memory each rowS of what was heard. */
function createGauge(transcriber, rowS, onRow) {
  const started = performance.now();
  const rows = [];
  const measure = async (heard_s) => {
    const bytes = await transcriber.inspect();
    const row = { heard_s, wall_s: (performance.now() - started) / 1000, ...bytes };
    onRow(row);
    return row;
  };
  return {
    heard: (heardS) => heardS >= (rows.length + 1) * rowS && rows.push(measure(heardS)),
    rows: () => Promise.all(rows),
  };
}

const query = new URLSearchParams(location.search);
const post = (letter) => fetch("../answers", { method: "POST", body: JSON.stringify(letter) });
const tell = query.has("post") ? post : () => {};

window.soaking = soak(Number(query.get("minutes")), query.get("backend"), query.get("clip") ?? CLIP, tell);
if (query.has("post")) {
  window.soaking.then((report) => post({ report }), (error) => post({ error: error.message }));
}
