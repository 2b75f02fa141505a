/**
 * Wires the page: events of the transcriber and gestures of the person change `state`, the view shows it.
 * Knows neither elements (view.js) nor workers (transcriber.js).
 */

import { createAutosave } from "./autosave.js";
import { writeClipboard } from "./clipboard.js";
import { createDock } from "./dock.js";
import { createEntries } from "./entries.js";
import { createExport } from "./export.js";
import { createHistory } from "./history_list.js";
import { isModelFile } from "./model_sources.js";
import { createModels } from "./models.js";
import { RemoteTranscriber } from "./remote_transcriber.js";
import { createServers } from "./servers.js";
import { DEFAULTS, isGood, loadSettings, saveSettings, SECOND_PASS_DELAY_MS } from "./settings.js";
import { Transcriber } from "./transcriber.js";
import { createView } from "./view.js";

const TICK_MS = 250;
const PREPARE_MS = 600; // after the last touch of the delay

const state = {
  phase: "loading", // loading, ready, failed
  stages: {}, // stage → {done, total, at, first: {done, at}}, at: performance.now()
  engine: null, // the `ready` event
  isNumpyAsked: false,
  failure: null, // sentence; the engine is gone
  refusal: null, // the `refused` event: no model, but the engine would take another
  hasOtherThanDemo: false, // the address asks for more than the page does by itself
  alerts: [], // [{id, sentence, isNews}]; news are good
  isSilent: null, // seconds without a word from the engine that owes one
  settings: loadSettings(),
  delayMs: null, // of the next recording: what the address asks for, else the setting
};

let lastId = 0;
const transcript = createEntries({
  hearer: ({ server }) => (server ? remote : voxtral),
  isGone: () => state.failure !== null,
  about,
  keepsAudio: () => state.settings.keepAudio,
  change,
  warn,
  writeClipboard,
  onOver: () => autosave.saveAll(),
});
state.transcript = transcript.state;
const earlier = createHistory({ entries: transcript, engine: () => voxtral, change, warn, onRoom: () => autosave.resume() });
state.history = earlier.state;
const autosave = createAutosave({ entries: () => transcript.state.entries, warn, onSaved: earlier.refresh });
const keeping = createExport({
  engine: () => voxtral,
  entries: () => transcript.state.entries,
  limits: () => state.settings.subtitleLimits,
  copy: transcript.actions.copy,
  copyAll: transcript.actions.copyAll,
  warn,
});
const dock = createDock({
  transcript,
  options: () => heardBy({ delayMs: state.delayMs, hasSecondPass: state.settings.hasSecondPass }),
  settings: () => state.settings,
  change,
  set,
  say: (sentence) => warn(sentence, true),
});
state.dock = dock.state;
let preparing = 0; // timer
let accuracy = null; // what ?bench=accuracy shows, which takes what is dropped
const models = createModels({
  engine: () => voxtral,
  change,
  warn,
  load: (wanted, address) => loadAgain(address, wanted),
  hasText: () => transcript.state.entries.length > 0,
});
state.models = models.state;
const remote = new RemoteTranscriber(onEvent);
const servers = createServers({
  change,
  leave: (address) => remote.leave(address),
  onUse: () => servers.state.used || loadRemembered(),
  isBusy: transcript.isWorking,
});
state.servers = servers.state;
// What is, or is to be, loaded: beside a server the demo will do, for its Python.
let target = { model: new URLSearchParams(location.search).get("model") ?? (servers.state.used ? null : models.remembered()) };
const view = createView({
  dock: { ...dock.actions, stop: transcript.actions.stop },
  settings: { set, setLimit, reset, redraw: () => view.render(state) },
  addFiles,
  addSample,
  dismiss: (alert) => change(() => (state.alerts = state.alerts.filter((other) => other !== alert))),
  escape,
  reload: () => location.reload(),
  useDemo,
  tryAgain: () => loadAgain({}),
  insist: () => loadAgain({ backend: "webgpu" }),
  models: { ...models.actions, addFiles },
  servers: { ...servers.actions, redraw: () => view.render(state), take: takeOffer },
  transcript: { ...transcript.actions, exportChoices: keeping.exportChoices },
  history: { ...earlier.actions, exportChoices: (session) => keeping.sessionChoices(session, earlier.actions.documentOf) },
});

const asked = readOptions(new URLSearchParams(location.search));
const voxtral = new Transcriber({ ...asked, onEvent });
window.voxtral = voxtral; // for scripts and tests
voxtral.listModels();
earlier.begin();
servers.begin();

const warnOfMistake = (reason) => warn(`Something went wrong in the page (${reason}); reload it if it stays so.`);
addEventListener("error", ({ message }) => warnOfMistake(message));
addEventListener("unhandledrejection", ({ reason }) => warnOfMistake(reason?.message ?? reason));
addEventListener("beforeunload", (event) => transcript.isWorking() && event.preventDefault());
setInterval(() => transcript.isWorking() && view.render(state), TICK_MS);
view.render(state);
const bench = new URLSearchParams(location.search).get("bench");
if (bench === "accuracy") {
  import("./accuracy.js").then(({ showAccuracy }) => (accuracy = showAccuracy(voxtral, asked)));
} else if (bench !== null) {
  import("./bench.js").then(({ showBench }) => showBench(voxtral));
}

function change(edit) {
  edit();
  view.render(state);
}

function warn(sentence, isNews = false) {
  if (state.alerts.some((other) => other.sentence === sentence)) return;
  change(() => state.alerts.push({ id: ++lastId, sentence, isNews }));
}

function set(name, value) {
  if (!isGood(name, value)) return;
  state.settings[name] = value;
  saveSettings(state.settings);
  if (name === "delayMs") setDelay(value);
  view.render(state);
}

/** What was typed may be anything; what is no limit leaves the old one. */
function setLimit(name, value) {
  set("subtitleLimits", { ...state.settings.subtitleLimits, [name]: value });
  view.render(state);
}

function reset() {
  for (const [name, value] of Object.entries(structuredClone(DEFAULTS))) set(name, value);
}

function setDelay(delayMs) {
  state.delayMs = delayMs;
  const address = new URL(location.href);
  address.searchParams.delete("delay_ms");
  history.replaceState(null, "", address);
  clearTimeout(preparing);
  preparing = setTimeout(() => state.phase === "ready" && voxtral.prepare({ delayMs }), PREPARE_MS);
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
  state.delayMs = integer("delay_ms") ?? state.settings.delayMs;
  return { model: model ?? undefined, files, backend, delayMs: state.delayMs, leftPadTokens: integer("left_pad") };
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
  if (event.type === "recovering") change(() => (state.alerts = state.alerts.filter(({ isNews }) => !isNews))); // of last time
  dock.onEvent(event);
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
  transcript.actions.stop(); // what was said so far is still heard by the model in use
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

/** Model files join the models, everything else is taken for sound. items: of a drop, which may be folders. */
function addFiles(files, items) {
  if (accuracy) return accuracy.addFiles(files, items);
  const forModels = [...files].filter(isModelFile);
  if (forModels.length) models.addFiles(forModels);
  for (const file of files) if (!forModels.includes(file)) transcribe(file);
}

async function addSample(url) {
  const name = url.split("/").at(-1);
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) return warn(`The sample ${name} could not be loaded; check the connection.`);
  transcribe(new File([await response.blob()], name));
}

/** A file has time for the most delay at once. */
const fileDelayMs = () => (state.settings.hasSecondPass ? SECOND_PASS_DELAY_MS : state.delayMs);
const transcribe = (file) => transcript.actions.transcribe(file, heardBy({ delayMs: fileDelayMs() }));

/** Options of what is heard now; servers other than ours have one delay, which they do not tell. */
function heardBy(options) {
  const { used } = servers.state;
  if (!used) return options;
  const { address, key, model, hasWords } = used;
  return { delayMs: hasWords ? options.delayMs : null, server: { address, key, model, hasWords } };
}

function takeOffer() {
  const { address } = servers.state.offered;
  servers.actions.choose(address);
}

/** This machine hears again, by the model that it had. */
function loadRemembered() {
  const model = models.remembered();
  if (model && target.model === null && !target.files) loadAgain({}, { model });
}

/** What a transcript (py/voxtral/document.py) says of how an entry is heard. */
function about({ options: { delayMs, hasSecondPass = false, server } }) {
  if (server) {
    const settings = { delay_ms: delayMs, left_pad_tokens: null, second_pass: false, backend: "server", adapter: server.address };
    return { model: server.model, settings };
  }
  const { model, left_pad_tokens, backend, adapter } = state.engine;
  return { model, settings: { delay_ms: delayMs, left_pad_tokens, second_pass: hasSecondPass, backend, adapter } };
}

/** Esc gives up what is being recorded or transcribed; with nothing to give up it dismisses an error. */
function escape() {
  if (!transcript.actions.cancelRunning()) change(() => state.alerts.pop());
}
