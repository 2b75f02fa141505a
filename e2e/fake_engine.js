/**
 * A scripted engine that speaks the protocol, for tests of the page alone.
 *
 * How it loads follows the model's name: fake:ready, fake:loading (stays at 40 % of the weights), fake:refused (no
 * room), fake:refused-slow (until it is asked for WebGPU), fake:large (two phases of 3 GB, stays in the second), fake:numpy, fake:software, fake:software-numpy, fake:open (any vocabulary), fake:fatal, fake:dead (never answers), fake:lagging
 * (hears, but falls behind), fake:held (hears, and says what a test tells it only). How it transcribes follows the file's name: slow (a word each 50 ms, without
 * end), broken (an error), crash (a fatal error), silence, notice, stuck (after a second), long (many words);
 * anything else is four digits.
 *
 * Of models it knows what a test tells it over the channel "director": an event said there goes to the page, and a
 * `models` event is also the answer to list_models from then on. Requests about models, and those to listen, to
 * measure and to cancel, are repeated there.
 */

const WORDS = ["one", "four", "one", "seven"];
const MB = 1_000_000;
const sessions = new Map(); // session → {cancelled, stop}
let scenario = "ready";
let models = { type: "models", stored: [], offered: [], quota_bytes: 10_700 * MB, used_bytes: 30 * MB };
const director = new BroadcastChannel("director");
director.onmessage = ({ data: { nth, ...event } }) => {
  if (event.type === "models") models = event;
  postMessage(event);
  postMessage({ nth }); // the page has it: fake_core.js
};

const post = (type, fields) => postMessage({ type, ...fields });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const wordAt = (i, text) => ({ text, start: i * 0.5 + 0.1, end: i * 0.5 + 0.4 });

const REFUSALS = {
  "refused": "this model needs 3.4 GB of GPU memory, 2.5 GB for its weights and 0.9 GB to remember what it hears, but "
    + "Test GPU has no room for the 57 MB of 'layers.3.feed_forward.w1.weight nibbles' beside the 1.2 GB that it holds "
    + "(out of memory); close other tabs and programs that use the GPU, then try again",
  "refused-slow": "this model has 4.4 billion parameters and needs a GPU, but the only one here is SwiftShader, "
    + "software on the CPU: it would need minutes for every second of speech",
};

async function load({ model_url, backend, delay_ms, left_pad_tokens }) {
  scenario = model_url?.split(":").at(-1) ?? "files";
  if (scenario === "dead") return;
  post("state", { state: "loading" });
  post("progress", { stage: "weights", done: 5 * MB, total: 12.5 * MB });
  if (scenario === "loading") return;
  if (scenario === "large") {
    post("progress", { stage: "weights", done: 2512 * MB, total: 2512 * MB });
    return post("progress", { stage: "memory", done: 23 * MB, total: 951 * MB });
  }
  if (scenario in REFUSALS && backend !== "webgpu") {
    post("state", { state: "failed" });
    return post("refused", { sentence: REFUSALS[scenario], can_insist: scenario === "refused-slow" });
  }
  if (scenario === "fatal") {
    const sentence = "model.gguf: bad magic, expected GGUF, found <htm; download the file again.";
    return post("error", { session: null, sentence, fatal: true });
  }
  post("progress", { stage: "weights", done: 12.5 * MB, total: 12.5 * MB });
  post("progress", { stage: "memory", done: 9 * MB, total: 9 * MB });
  post("progress", { stage: "gpu", done: 34, total: 34 });
  post("ready", {
    backend: scenario.endsWith("numpy") ? "numpy" : "webgpu",
    adapter: scenario.endsWith("numpy") ? "CPU (numpy)" : scenario === "software" ? "SwiftShader" : "Test GPU",
    is_software: scenario.startsWith("software"),
    replaced: [],
    model: "Voxtral demo",
    description: "The demo model knows spoken digits, six keywords and coffee orders; it ignores everything else.",
    vocabulary: ["open", "held"].includes(scenario) ? null : ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
      "nine", "computer", "alexa", "jarvis", "snowboy", "smart mirror", "view glass"],
    delay_ms: delay_ms ?? 480,
    left_pad_tokens: left_pad_tokens ?? 76,
    weights_bytes: 12.5 * MB,
    weights_s: 0.05,
  });
}

function finish(session, file, spoken, first = 0) {
  const result = {
    file, text: spoken.join(" "), words: spoken.map((word, i) => wordAt(first + i, word)),
    audio_s: 3, wall_s: 0.8, rtf: 0.27, tokens: [],
  };
  sessions.delete(session);
  post("done", { session, result });
}

/** Like the engine: a word's time is known only after its text. */
function say(session, i, word, first = 0) {
  post("words", { session, text: (i > first ? " " : "") + word, words: [] });
  post("words", { session, text: "", words: [wordAt(i, word)] });
}

async function transcribe({ session, name }) {
  const state = { cancelled: false };
  sessions.set(session, state);
  if (name.includes("broken")) {
    const sentence = `${name} has a sample rate of 0 Hz, expected 8000 to 192000; record it again.`;
    return post("error", { session, sentence, fatal: false });
  }
  if (name.includes("crash")) {
    return post("error", { session, sentence: "The GPU went away; reload the page to go on.", fatal: true });
  }
  if (name.includes("stuck")) return post("heard", { session, heard_s: 1, waiting_s: 0, total_s: 60 });
  if (name.includes("notice")) post("notice", { session, sentence: `${name} ends early: 1.2 of 3.0 s.` });
  const isSlow = name.includes("slow");
  const n = name.includes("silence") ? 0 : name.includes("long") ? 160 : WORDS.length;
  const spoken = [];
  for (let i = 0; isSlow || i < n; i++) {
    const word = WORDS[i % WORDS.length];
    spoken.push(word);
    say(session, i, word);
    post("heard", { session, heard_s: i * 0.5, waiting_s: 0, total_s: isSlow ? 60 : n * 0.5 });
    if (isSlow) await sleep(50);
    if (state.cancelled) return post("cancelled", { session });
  }
  finish(session, name, spoken);
}

/** Hears a word in every half second of the recording; like the engine, to the empty block. */
function listen({ session, name, port, sample_rate, is_live, start_s, total_s }) {
  const first = Math.ceil(start_s * 2);
  const spoken = [];
  let nSamples = 0;
  sessions.set(session, { isFed: true });
  port.onmessage = ({ data }) => {
    if (data.length === 0) return finish(session, name, is_live ? [...spoken, "nine"] : spoken, first);
    if (scenario === "held") return;
    nSamples += data.length;
    const heard_s = start_s + nSamples / sample_rate;
    for (let i = first + spoken.length; i < heard_s * 2; i++) {
      const word = WORDS[i % WORDS.length];
      say(session, i, word, first);
      spoken.push(word);
    }
    post("heard", { session, heard_s, waiting_s: scenario === "lagging" ? 2.3 : 0.08, total_s });
  };
}

onmessage = ({ data }) => {
  const state = sessions.get(data.session);
  const isOfModels = !("session" in data);
  if (isOfModels) director.postMessage(data);
  if (["listen", "measure", "cancel"].includes(data.type)) director.postMessage({ ...data, port: null });
  if (data.type === "list_models" && scenario !== "dead") postMessage(models);
  if (data.type === "load") load(data);
  if (data.type === "transcribe") transcribe(data);
  if (data.type === "listen") listen(data);
  if (data.type === "render") post("rendered", { id: data.id, content: data.document.text, sentence: null });
  if (data.type === "inspect") post("inspected", { heap_bytes: 80 * MB, loader_bytes: 0, gpu_bytes: 21 * MB });
  if (data.type === "cancel" && state) {
    state.cancelled = true;
    if (state.isFed) post("cancelled", { session: data.session });
  }
};
