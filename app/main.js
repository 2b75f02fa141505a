/**
 * Wires the page: events of the transcriber and gestures of the person change `state`, the view shows it.
 * Knows neither elements (view.js) nor workers (transcriber.js).
 */

import { isModelFile } from "./model_sources.js";
import { createModels } from "./models.js";
import { Cancelled, Transcriber } from "./transcriber.js";
import { createView } from "./view.js";

const TICK_MS = 250;
const COPIED_MS = 1500;

/**
 * An entry of the transcript is one recording or file:
 *   status   waiting, running, done, cancelled, failed; isLive: from the microphone
 *   pieces   [{text, words}] as they came; result: the final {text, words, audio_s, wall_s}, or null
 *   notices  sentences; sentence: why it failed
 */
const state = {
  phase: "loading", // loading, ready, failed
  stages: {}, // stage → {done, total, at, first: {done, at}}, at: performance.now()
  engine: null, // the `ready` event
  isNumpyAsked: false,
  failure: null, // sentence; the engine is gone
  refusal: null, // the `refused` event: no model, but the engine would take another
  hasOtherThanDemo: false, // the address asks for more than the page does by itself
  alerts: [], // [{id, sentence}]
  entries: [],
  cleared: null, // entries that Undo brings back
  live: null, // {entry, level, phase: opening, listening, stopping}
  copied: null, // an entry's id, or "all"
  isSilent: null, // seconds without a word from the engine that owes one
};

let lastId = 0;
let recording = null;
const models = createModels({
  engine: () => voxtral,
  change,
  warn,
  load: (wanted, address) => loadAgain(address, wanted),
  hasText: () => state.entries.length > 0,
});
state.models = models.state;
let target = { model: new URLSearchParams(location.search).get("model") ?? models.remembered() }; // what is, or is to be, loaded
const view = createView({
  toggleSpeaking: () => (state.live ? stopSpeaking() : startSpeaking()),
  cancel: (entry) => voxtral.cancel(entry.session),
  addFiles,
  addSample,
  copy: (entry) => copy(entry.id, textOf(entry)),
  copyAll: () => copy("all", transcriptText()),
  clear,
  undo,
  remove: (entry) => change(() => (state.entries = state.entries.filter((other) => other !== entry))),
  dismiss: (alert) => change(() => (state.alerts = state.alerts.filter((other) => other !== alert))),
  escape,
  reload: () => location.reload(),
  useDemo,
  tryAgain: () => loadAgain({}),
  insist: () => loadAgain({ backend: "webgpu" }),
  models: { ...models.actions, addFiles },
});

const voxtral = new Transcriber({ ...readOptions(new URLSearchParams(location.search)), onEvent });
window.voxtral = voxtral; // for scripts and tests
voxtral.listModels();

const warnOfMistake = (reason) => warn(`Something went wrong in the page (${reason}); reload it if it stays so.`);
addEventListener("error", ({ message }) => warnOfMistake(message));
addEventListener("unhandledrejection", ({ reason }) => warnOfMistake(reason?.message ?? reason));
addEventListener("beforeunload", (event) => isWorking() && event.preventDefault());
setInterval(() => isWorking() && view.render(state), TICK_MS);
view.render(state);
if (new URLSearchParams(location.search).has("bench")) {
  import("./bench.js").then(({ showBench }) => showBench(voxtral));
}

function change(edit) {
  edit();
  view.render(state);
}

function warn(sentence) {
  if (state.alerts.some((other) => other.sentence === sentence)) return;
  change(() => state.alerts.push({ id: ++lastId, sentence }));
}

function isWorking() {
  return state.entries.some(({ status }) => status === "running");
}

/** What is to be loaded, and ?backend=numpy ?delay_ms=N ?left_pad=N, in the transcriber's words. */
function readOptions(query) {
  const integer = (name) => {
    if (!query.has(name) || /^\d+$/.test(query.get(name))) return query.has(name) ? Number(query.get(name)) : null;
    warn(`The address says ${name}=${query.get(name)}, expected a whole number; the default is used.`);
    return null;
  };
  const { model, files = null } = target;
  const backend = query.get("backend");
  state.isNumpyAsked = backend === "numpy";
  state.hasOtherThanDemo = Boolean(model ?? files ?? backend);
  return { model: model ?? undefined, files, backend, delayMs: integer("delay_ms"), leftPadTokens: integer("left_pad") };
}

function onEvent(event) {
  if (event.type !== "level") state.isSilent = null; // the level comes from the microphone, not from the engine
  if (event.type === "silent") change(() => (state.isSilent = event.seconds));
  if (event.type === "progress") onProgress(event);
  if (event.type === "ready") for (const sentence of event.replaced) console.warn(sentence);
  if (event.type === "ready") change(() => Object.assign(state, { phase: "ready", engine: event }));
  if (event.type === "ready") models.onReady(target, event);
  if (event.type === "refused") onRefused(event);
  models.onEvent(event);
  if (event.type === "notice" && event.session == null) warn(event.sentence);
  if (event.type === "error" && event.fatal) {
    change(() => Object.assign(state, { phase: "failed", failure: event.sentence }));
  } else if (event.type === "error" && event.session == null) warn(event.sentence);
}

/** first: where the stage began, by which its speed is known. */
function onProgress({ stage, done, total }) {
  const first = state.stages[stage]?.first ?? { done, at: performance.now() };
  change(() => (state.stages[stage] = { done, total, first, at: performance.now() }));
}

/** A stored model that is gone makes room for the demo; any other refusal is the person's to answer. */
async function onRefused(event) {
  if (await models.isThere(target)) return change(() => Object.assign(state, { phase: "failed", refusal: event }));
  warn("The model chosen last is no longer stored here, so the demo model is used.");
  models.actions.useDemo();
}

function useDemo() {
  models.forget();
  loadAgain({ model: null, backend: null }, { model: null });
}

/**
 * Loads what is wanted, {model} or {files}, with other options in the address, null for none: in this page, or in a
 * new one when its engine is gone.
 */
function loadAgain(options, wanted = target) {
  target = wanted;
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(options)) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  if (state.failure) {
    models.remember(target);
    return location.assign(address);
  }
  history.replaceState(null, "", address);
  const { runtime } = state.stages;
  change(() => Object.assign(state, { phase: "loading", engine: null, refusal: null, stages: { runtime } }));
  voxtral.load(readOptions(address.searchParams));
}

/** Model files join the models, everything else is taken for sound. */
function addFiles(files) {
  const forModels = [...files].filter(isModelFile);
  if (forModels.length) models.addFiles(forModels);
  for (const file of files) if (!forModels.includes(file)) transcribe(file);
}

function addEntry(title, isLive) {
  const entry = {
    id: ++lastId,
    title,
    isLive,
    session: null,
    status: "waiting",
    pieces: [],
    result: null,
    notices: [],
    sentence: null,
    startedAt: null, // performance.now()
    heard: null, // the last `heard` event
  };
  change(() => state.entries.push(entry));
  return entry;
}

/** What a session's events mean for its entry. */
function onEntryEvent(entry, event) {
  change(() => {
    if (event.type === "started") start(entry);
    if (event.type === "words") entry.pieces.push({ text: event.text, words: event.words });
    if (event.type === "heard") entry.heard = event;
    if (event.type === "notice") entry.notices.push(event.sentence);
    if (event.type === "level" && state.live?.entry === entry) state.live.level = event;
    if (event.type === "unplugged" && state.live?.entry === entry) {
      entry.notices.push("The microphone went away; this is what was heard until then.");
      stopSpeaking();
    }
  });
}

function start(entry) {
  entry.status = "running";
  entry.startedAt = performance.now();
}

/** Follows a session to its end, whatever that is. */
async function finish(entry, promise) {
  try {
    entry.result = await promise;
    entry.status = "done";
  } catch (error) {
    entry.status = error instanceof Cancelled ? "cancelled" : "failed";
    if (entry.status === "failed") entry.sentence = error.message;
  }
  change(() => {
    if (state.live?.entry === entry) state.live = recording = null;
  });
}

function transcribe(file) {
  const entry = addEntry(file.name, false);
  const promise = voxtral.transcribeFile(file, (event) => onEntryEvent(entry, event));
  entry.session = promise.session;
  finish(entry, promise);
}

async function addSample(url) {
  const name = url.split("/").at(-1);
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) return warn(`The sample ${name} could not be loaded; check the connection.`);
  transcribe(new File([await response.blob()], name));
}

async function startSpeaking() {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const entry = addEntry(`Recording, ${time}`, true);
  change(() => (state.live = { entry, level: null, phase: "opening" }));
  try {
    recording = await voxtral.listen((event) => onEntryEvent(entry, event));
  } catch (error) {
    change(() => {
      state.entries = state.entries.filter((other) => other !== entry);
      state.live = null;
    });
    if (!(error instanceof Cancelled) && !state.failure) warn(error.message);
    return;
  }
  entry.session = recording.session;
  finish(entry, recording.result);
  change(() => {
    start(entry);
    state.live.phase = "listening";
  });
}

function stopSpeaking() {
  if (state.live?.phase !== "listening") return;
  recording.stop().catch(() => {}); // finish() sees how it ends
  change(() => (state.live.phase = "stopping"));
}

/** Esc gives up what is being recorded or transcribed; with nothing to give up it dismisses an error. */
function escape() {
  const active = state.entries.find(({ status, session }) => session !== null && status === "running");
  if (active) voxtral.cancel(active.session);
  else change(() => state.alerts.pop());
}

const textOf = ({ result, pieces }) => result?.text ?? pieces.map(({ text }) => text).join("").trim();

function transcriptText() {
  const spoken = state.entries.filter(textOf);
  if (spoken.length === 1) return textOf(spoken[0]);
  return spoken.map((entry) => `${entry.title}\n${textOf(entry)}`).join("\n\n");
}

async function copy(what, text) {
  if (!(await view.writeClipboard(text))) {
    return warn("The browser did not allow copying; select the text and copy it by hand.");
  }
  change(() => (state.copied = what));
  setTimeout(() => change(() => (state.copied = null)), COPIED_MS);
}

/** Takes finished entries away; what is still being worked on stays. */
function clear() {
  const isOver = ({ status }) => ["done", "cancelled", "failed"].includes(status);
  change(() => {
    state.cleared = state.entries.filter(isOver);
    state.entries = state.entries.filter((entry) => !isOver(entry));
  });
}

function undo() {
  change(() => {
    state.entries = [...state.cleared, ...state.entries];
    state.cleared = null;
  });
}
