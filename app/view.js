/**
 * Shows the state in the page: the engine here, the rest in the views it is made of. They are the only files that
 * touch elements. What there is to show: main.js.
 */

import { inBytes, ofBytes, percent, timeLeft } from "./amounts.js";
import { createCaptions } from "./captions.js";
import { createDockView } from "./dock_view.js";
import { $, setText, written } from "./elements.js";
import { createTranscriptView } from "./entry_view.js";
import { createFollow } from "./follow.js";
import { createHistoryView } from "./history_view.js";
import { createModelsView, progressOf } from "./models_view.js";
import { createPythonPanel } from "./python_panel.js";
import { CAPTION_SIZES } from "./settings.js";
import { nameOf } from "./server_address.js";
import { createServersView } from "./servers_view.js";
import { createSettingsView } from "./settings_view.js";
import { listenToSheets, openSheet } from "./sheets.js";
import { listenToKeys, shortcutElements } from "./shortcuts.js";

const TITLE = document.title;
const OF_OTHER_MODELS = document.querySelectorAll("[data-needs=other-than-demo]"); // looked for once: transcripts are long
const LOADING = {
  runtime: "Loading Python",
  weights: "Loading weights",
  memory: "Reserving memory",
  gpu: "Preparing the GPU",
};
const STAGES = Object.keys(LOADING);
const IN_BYTES = ["runtime", "weights", "memory"];
const COST = "the same words, more slowly";
const LONG_BYTES = 100e6; // of a stage whose speed is worth saying

/**
 * actions: functions main.js gives, called for the person's gestures; `entry` and `alert` arguments are
 * the objects of the state. Returns {render(state)}. Rendering waits for the next frame, so it may be called for every
 * event.
 */
export function createView(actions) {
  let latest = null;
  let settings = null; // those drawn last
  const resize = (step) => () => {
    const nth = CAPTION_SIZES.indexOf(settings.captionSize) + step;
    actions.settings.set("captionSize", CAPTION_SIZES[nth]);
  };
  const sizes = { larger: resize(+1), smaller: resize(-1) };
  const captions = createCaptions({ toggle: actions.dock.toggle, ...sizes });
  const transcript = createTranscriptView(actions.transcript);
  const historyView = createHistoryView(actions.history);
  const views = [
    { draw: drawEngine },
    createModelsView(actions.models),
    createDockView({ ...actions.dock, escape: actions.escape, dismiss: actions.dismiss }),
    createSettingsView(actions.settings),
    createServersView(actions.servers),
    { draw: (state) => transcript.draw(state.transcript, isRecovering(state)) },
    { draw: ({ history }) => historyView.draw(history) },
    createPythonPanel(actions.transcript),
    captions,
  ];
  const follow = createFollow();
  const draw = () => {
    const state = latest;
    latest = null;
    settings = state.settings;
    follow.around(() => views.forEach((view) => view.draw(state)), state.transcript.entries);
    drawTitle(state.transcript.live, progressOf(state.models) ?? loadedPercent(state));
  };
  const render = (state) => {
    if (!latest) requestAnimationFrame(draw);
    latest = state;
    settings ??= state.settings; // keys may come before the first frame
  };

  listenToGestures(actions);
  listenToSheets();
  const openers = listenToOpeners(captions, actions.settings.redraw);
  const escape = () => (captions.isOpen() ? captions.close() : actions.escape());
  listenToKeys({ ...sizes, ...openers, ...PRESSES, backToLive: follow.toLive, escape }, () => settings.hasShortcuts);
  return { render };
}

const press = (id) => () => $(id).click(); // does nothing while the button is disabled
const PRESSES = {
  toggle: press("speak"),
  hearTab: press("hear-tab"),
  chooseFiles: press("file-input"),
  openSettings: press("open-settings"),
  copyAll: press("copy-all"),
};

/** What covers the page is drawn once it is open. */
function listenToOpeners(captions, redraw) {
  const toggleCaptions = () => {
    if (captions.isOpen()) return captions.close();
    captions.open();
    redraw();
  };
  const openShortcuts = () => {
    openSheet($("shortcuts"));
    redraw();
  };
  $("shortcut-list").replaceChildren(...shortcutElements());
  for (const id of ["open-captions", "captions-now"]) $(id).addEventListener("click", toggleCaptions);
  $("open-shortcuts").addEventListener("click", openShortcuts);
  return { toggleCaptions, openShortcuts };
}

function listenToGestures(actions) {
  $("reload").addEventListener("click", actions.reload);
  for (const name of ["useDemo", "tryAgain", "insist"]) {
    for (const button of document.querySelectorAll(`[data-action="${name}"]`)) {
      button.addEventListener("click", actions[name]);
    }
  }
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.addEventListener("click", () => actions.addSample(button.dataset.sample));
  }
  $("file-input").addEventListener("change", ({ target }) => {
    actions.addFiles(target.files);
    target.value = ""; // so that the same file can be chosen again
  });

  let depth = 0; // dragenter and dragleave come for every element on the way
  const carriesFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  const show = (change) => {
    depth = Math.max(0, depth + change);
    $("dropping").hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && show(+1));
  addEventListener("dragleave", (event) => carriesFiles(event) && show(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(-depth);
    actions.addFiles(event.dataTransfer.files, event.dataTransfer.items);
  });
}

/** How far something long is shows in the tab, too. */
function drawTitle(live, share) {
  const title = live ? `Listening · ${TITLE}` : share === null ? TITLE : `${share} % · ${TITLE}`;
  if (document.title !== title) document.title = title;
}

function loadedPercent({ phase, stages }) {
  const { done, total } = stages.weights ?? {};
  return phase === "loading" && total > 0 ? percent(done, total) : null;
}

/* The engine: loading, what it is, that it is gone. */

function drawEngine(state) {
  const { phase, stages, engine, failure, isSilent, isNumpyAsked, transcript } = state;
  const hasTranscript = transcript.entries.length > 0;
  if (hasTranscript && !document.body.classList.contains("has-transcript")) $("model").open = false; // make room, once
  document.body.classList.toggle("has-transcript", hasTranscript);
  $("loading").hidden = phase !== "loading" || state.servers.used !== null;
  if (phase === "loading") drawStages(stages);
  drawRefusal(state);
  setText($("status"), statusText(state));
  $("status").dataset.phase = isSilent ? "silent" : isRecovering(state) ? "recovering" : state.servers.used ? "ready" : phase;

  $("failure").hidden = !failure && !isSilent;
  setText(
    $("failure").querySelector(".sentence"),
    failure ?? (isSilent ? `The engine has not answered for ${isSilent} s; wait, or reload the page.` : ""),
  );
  if (engine && $("model").hidden) drawModel(engine, isNumpyAsked);
  $("model").hidden = !engine || phase === "failed";
}

function drawStages(stages) {
  const reached = STAGES.findLastIndex((stage) => stage in stages);
  STAGES.forEach((stage, i) => {
    const item = document.querySelector(`[data-stage="${stage}"]`);
    const { done = 0, total = 0 } = stages[stage] ?? {};
    const isDone = i < reached || (i === reached && total > 0 && done >= total && stage !== "runtime");
    const isStarting = stage === "runtime" && !isDone && total > 0 && done >= total;
    item.dataset.progress = isDone ? "done" : i <= reached ? "active" : "pending";
    const bar = item.querySelector("progress");
    if (isStarting) bar.removeAttribute("value");
    else bar.value = isDone ? 1 : total > 0 ? done / total : 0;
    setText(item.querySelector(".amount"), isStarting ? "starting" : amount(stage, isDone ? total : done, total));
  });
}

function amount(stage, done, total) {
  if (!total) return "";
  if (IN_BYTES.includes(stage)) return ofBytes(done, total);
  return done >= total ? `${total}` : `${done} of ${total}`;
}

/** No model, but an engine: what is to be said, and what can be done. */
function drawRefusal({ refusal, failure, hasOtherThanDemo, servers }) {
  const isRefused = Boolean(refusal) && !failure && !servers.used;
  $("refusal").hidden = !isRefused;
  document.body.classList.toggle("is-refused", isRefused);
  $("controls").hidden = isRefused;
  setText($("refusal").querySelector(".sentence"), isRefused ? written(refusal.sentence) : "");
  for (const element of OF_OTHER_MODELS) element.hidden = !hasOtherThanDemo;
  $("refusal").querySelector("[data-action=tryAgain]").hidden = Boolean(refusal?.can_insist);
  $("refusal").querySelector("[data-action=insist]").hidden = !refusal?.can_insist;
}

const isRecovering = ({ phase, dock, servers }) => dock.recovery !== null && (phase !== "failed" || servers.used !== null);

function statusText({ phase, stages, engine, isSilent, refusal, dock, servers }) {
  if (isSilent) return "No answer";
  if (isRecovering({ phase, dock, servers })) return "Recovering";
  if (servers.used) return `Heard by ${nameOf(servers.used.address)}`;
  if (phase === "failed") return refusal ? "No model" : "Stopped";
  if (phase === "ready") return `Ready on ${engine.backend === "numpy" ? "the CPU" : engine.adapter || "the GPU"}`;
  const stage = STAGES.findLast((name) => name in stages) ?? "runtime";
  return LOADING[stage] + pace(stages[stage]);
}

/** Of a stage that is long enough to ask for it: " · 730 MB/s · 3 s left". */
function pace({ done, total, at, first } = {}) {
  const seconds = first ? (at - first.at) / 1000 : 0;
  if (!(total >= LONG_BYTES && done < total && seconds > 1 && done > first.done)) return "";
  const perSecond = (done - first.done) / seconds;
  return ` · ${inBytes(perSecond)}/s · ${timeLeft((total - done) / perSecond)}`;
}

function drawModel({ model, description, vocabulary, backend, is_software: isSoftware }, isNumpyAsked) {
  setText($("model-description"), description || model);
  $("vocabulary").replaceChildren(
    ...(vocabulary ?? []).map((word) => Object.assign(document.createElement("li"), { textContent: word })),
  );
  $("vocabulary").hidden = !vocabulary;
  document.querySelector("[data-needs=open-vocabulary]").hidden = Boolean(vocabulary);
  const why = slowness(backend, isSoftware, isNumpyAsked);
  $("slow").hidden = !why;
  setText($("slow").querySelector(".sentence"), why);
}

function slowness(backend, isSoftware, isNumpyAsked) {
  if (backend !== "numpy") return isSoftware ? `WebGPU runs in software here, without a graphics card: ${COST}.` : "";
  if (isNumpyAsked) return `The address asks for the CPU, so WebGPU is not used: ${COST}.`;
  if (isSoftware) return `The only GPU here is a software one, so the CPU does the work: ${COST} than on a graphics card.`;
  if (!isSecureContext) return `Only https and localhost pages get WebGPU, so the CPU does the work: ${COST}.`;
  return `This browser offers no WebGPU here, so the CPU does the work: ${COST}. A current Chrome may do better.`;
}
