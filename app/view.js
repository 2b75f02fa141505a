/** Shows the state in the page; with models_view.js the only file that touches elements. What there is to show: main.js. */

import { inBytes, ofBytes, percent, timeLeft } from "./amounts.js";
import { $, reconcile, setText } from "./elements.js";
import { createModelsView, written } from "./models_view.js";

const TITLE = document.title;
const LOADING = {
  runtime: "Loading Python",
  weights: "Loading weights",
  memory: "Reserving memory",
  gpu: "Preparing the GPU",
};
const STAGES = Object.keys(LOADING);
const IN_BYTES = ["runtime", "weights", "memory"];
const SPEAK_LABELS = { opening: "Opening", listening: "Stop", stopping: "Finishing" };
const COST = "the same words, more slowly";
const LAG_WORTH_SAYING_S = 1;
const QUIETEST_DBFS = -60; // the meter's left end
const NEAR_BOTTOM_PX = 160;
const LONG_BYTES = 100e6; // of a stage whose speed is worth saying

/**
 * actions: functions main.js gives, called for the person's gestures; `entry` and `alert` arguments are
 * the objects of the state. Returns {render(state), writeClipboard(text)}. Rendering waits for the next
 * frame, so it may be called for every event.
 */
export function createView(actions) {
  const entries = new Map(); // entry → its EntryView
  const models = createModelsView(actions.models);
  let latest = null;
  listenToGestures(actions);

  const draw = () => {
    const state = latest;
    latest = null;
    const height = document.documentElement.scrollHeight;
    const wasAtBottom = innerHeight + scrollY > height - NEAR_BOTTOM_PX;
    drawEngine(state);
    models.draw(state);
    drawTitle(models.progressOf(state.models) ?? loadedPercent(state));
    drawControls(state);
    drawAlerts(state, actions);
    drawEntries(state, entries, actions);
    const newHeight = document.documentElement.scrollHeight;
    if (wasAtBottom && newHeight > height) scrollTo(0, newHeight);
  };
  const render = (state) => {
    if (!latest) requestAnimationFrame(draw);
    latest = state;
  };
  return { render, writeClipboard };
}

function listenToGestures(actions) {
  $("speak").addEventListener("click", actions.toggleSpeaking);
  $("discard").addEventListener("click", actions.escape);
  $("copy-all").addEventListener("click", actions.copyAll);
  $("clear").addEventListener("click", actions.clear);
  $("undo").addEventListener("click", actions.undo);
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
  addEventListener("keydown", ({ key }) => key === "Escape" && actions.escape());

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
    actions.addFiles(event.dataTransfer.files);
  });
}

/** How far something long is shows in the tab, too. */
function drawTitle(share) {
  const title = share === null ? TITLE : `${share} % · ${TITLE}`;
  if (document.title !== title) document.title = title;
}

function loadedPercent({ phase, stages }) {
  const { done, total } = stages.weights ?? {};
  return phase === "loading" && total > 0 ? percent(done, total) : null;
}

/* The engine: loading, what it is, that it is gone. */

function drawEngine(state) {
  const { phase, stages, engine, failure, isSilent, isNumpyAsked, entries } = state;
  const hasTranscript = entries.length > 0;
  if (hasTranscript && !document.body.classList.contains("has-transcript")) $("model").open = false; // make room, once
  document.body.classList.toggle("has-transcript", hasTranscript);
  $("loading").hidden = phase !== "loading";
  if (phase === "loading") drawStages(stages);
  drawRefusal(state);
  setText($("status"), statusText(state));
  $("status").dataset.phase = isSilent ? "silent" : phase;

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
function drawRefusal({ refusal, failure, hasOtherThanDemo }) {
  const isRefused = Boolean(refusal) && !failure;
  $("refusal").hidden = !isRefused;
  document.body.classList.toggle("is-refused", isRefused);
  $("controls").hidden = isRefused;
  setText($("refusal").querySelector(".sentence"), isRefused ? written(refusal.sentence) : "");
  for (const element of document.querySelectorAll("[data-needs=other-than-demo]")) element.hidden = !hasOtherThanDemo;
  $("refusal").querySelector("[data-action=tryAgain]").hidden = Boolean(refusal?.can_insist);
  $("refusal").querySelector("[data-action=insist]").hidden = !refusal?.can_insist;
}

function statusText({ phase, stages, engine, isSilent, refusal }) {
  if (isSilent) return "No answer";
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
  setText($("slow"), why);
}

function slowness(backend, isSoftware, isNumpyAsked) {
  if (backend !== "numpy") return isSoftware ? `WebGPU runs in software here, without a graphics card: ${COST}.` : "";
  if (isNumpyAsked) return `The address asks for the CPU, so WebGPU is not used: ${COST}.`;
  if (isSoftware) return `The only GPU here is a software one, so the CPU does the work: ${COST} than on a graphics card.`;
  if (!isSecureContext) return `Only https and localhost pages get WebGPU, so the CPU does the work: ${COST}.`;
  return `This browser offers no WebGPU here, so the CPU does the work: ${COST}. A current Chrome may do better.`;
}

/* The dock: microphone and files. */

function drawControls({ phase, live, entries, cleared, copied }) {
  const isBusy = entries.some((entry) => entry !== live?.entry && ["waiting", "running"].includes(entry.status));
  const speak = $("speak");
  speak.disabled = phase !== "ready" || (!live && isBusy) || (live !== null && live.phase !== "listening");
  speak.title = phase === "ready" && !live && isBusy ? "When the files are done" : "";
  speak.classList.toggle("is-live", live !== null);
  setText(speak.querySelector(".label"), SPEAK_LABELS[live?.phase] ?? "Speak");

  $("live").hidden = !live;
  $("files").hidden = phase === "failed";
  if (live) drawLive(live);

  const isOver = ({ status }) => ["done", "cancelled", "failed"].includes(status);
  $("transcript").hidden = entries.length === 0;
  $("clear").disabled = !entries.some(isOver);
  $("copy-all").disabled = !entries.some(({ result, pieces }) => result?.text || pieces.length);
  setText($("copy-all").querySelector("span"), copied === "all" ? "Copied" : "Copy all");
  $("cleared").hidden = !cleared;
}

function drawLive({ entry, level }) {
  setText($("elapsed"), clock(entry.startedAt === null ? 0 : (performance.now() - entry.startedAt) / 1000));
  const dbfs = 20 * Math.log10(Math.max(level?.rms ?? 0, 1e-6));
  $("level").value = Math.max(0, 1 - dbfs / QUIETEST_DBFS);
  const waiting = entry.heard?.waiting_s ?? 0;
  setText($("lag"), waiting > LAG_WORTH_SAYING_S ? `${waiting.toFixed(1)} s behind` : "");
}

function drawAlerts({ alerts }, { dismiss }) {
  reconcile($("alerts"), alerts, (alert) => {
    const item = $("alert").content.cloneNode(true).firstElementChild;
    item.querySelector(".sentence").textContent = alert.sentence;
    item.querySelector(".dismiss").addEventListener("click", () => dismiss(alert));
    return item;
  });
}

/* The transcript. */

function drawEntries({ entries, copied }, views, actions) {
  for (const entry of views.keys()) if (!entries.includes(entry)) views.delete(entry);
  reconcile($("entries"), entries, (entry) => {
    views.set(entry, new EntryView(entry, actions));
    return views.get(entry).element;
  });
  for (const entry of entries) views.get(entry).draw(entry, copied === entry.id);
}

class EntryView {
  #nPieces = 0;
  #nTimedWords = 0;
  #nNotices = 0;
  #result = null;

  constructor(entry, { copy, remove, cancel }) {
    this.element = $("entry").content.cloneNode(true).firstElementChild;
    this.$(".name").textContent = entry.title;
    this.$("progress").setAttribute("aria-label", `Progress of ${entry.title}`);
    this.$(".copy").addEventListener("click", () => copy(entry));
    this.$(".remove").addEventListener("click", () => remove(entry));
    this.$(".cancel").addEventListener("click", () => cancel(entry));
  }

  $(selector) {
    return this.element.querySelector(selector);
  }

  draw(entry, isCopied) {
    const { status, pieces, notices, result, sentence } = entry;
    for (const { text, words } of pieces.slice(this.#nPieces)) {
      appendText(this.$(".text"), text);
      setTimes(this.$(".text"), words, this.#nTimedWords);
      this.#nTimedWords += words.length;
    }
    this.#nPieces = pieces.length;
    if (result && result !== this.#result) showResult(this.$(".text"), result);
    this.#result = result;
    for (const notice of notices.slice(this.#nNotices)) {
      this.$(".asides").append(Object.assign(document.createElement("li"), { textContent: notice }));
    }
    this.#nNotices = notices.length;

    const hasText = this.$(".text").textContent.trim() !== "";
    this.element.dataset.status = status;
    this.element.classList.toggle("is-empty", !hasText);
    this.element.classList.toggle("is-live", entry.isLive);
    setText(this.$(".sentence"), sentence ?? "");
    setText(this.$(".facts"), facts(entry, hasText));
    this.$(".copy").hidden = !hasText;
    this.$(".copy").classList.toggle("is-copied", isCopied);
    setText(this.$(".copy span"), isCopied ? "Copied" : "Copy");
    this.$(".remove").hidden = !["failed", "cancelled"].includes(status) || hasText;
    this.#drawWork(entry);
  }

  /** How far a file is; a recording shows that in the dock. */
  #drawWork({ status, isLive, heard, startedAt, session, title }) {
    this.$(".work").hidden = isLive || !["waiting", "running"].includes(status);
    if (this.$(".work").hidden) return;
    this.$(".cancel").hidden = session === null;
    this.$(".cancel").setAttribute("aria-label", `Cancel ${title}`);
    const bar = this.$("progress");
    bar.hidden = status === "waiting";
    if (heard) bar.value = Math.min(1, heard.heard_s / heard.total_s);
    else bar.removeAttribute("value");
    const spent = startedAt === null ? "" : clock((performance.now() - startedAt) / 1000);
    const progress = heard ? `${clock(heard.heard_s)} of ${clock(heard.total_s)} heard in ${spent}` : spent;
    setText(this.$(".amount"), status === "waiting" ? "Waiting its turn" : progress);
  }
}

function facts({ status, result, isLive }, hasText) {
  if (status === "cancelled") return hasText ? "cancelled, text kept" : "cancelled";
  if (status === "failed") return hasText ? "stopped early" : "";
  if (!result) return "";
  const sound = `${clock(result.audio_s)} of sound`;
  return isLive ? sound : `${sound} in ${result.wall_s.toFixed(1)} s`; // live, one mostly waits for the speaker
}

/**
 * Appends text with a span for each word, which is what stands between spaces; text that begins with none
 * continues the last one. Appending, never replacing: a screen reader then says only what is new.
 */
function appendText(paragraph, text) {
  for (const part of text.match(/\s+|\S+/g) ?? []) {
    const isWord = part.trim() !== "";
    if (isWord && paragraph.lastChild?.nodeType === Node.ELEMENT_NODE) paragraph.lastChild.append(part);
    else paragraph.append(isWord ? wordSpan(part) : part);
  }
}

const wordSpan = (text) => Object.assign(document.createElement("span"), { className: "word", textContent: text });

/** A word's time comes later than its text: these are those of the words from number `first` on. */
function setTimes(paragraph, words, first) {
  const spans = paragraph.getElementsByClassName("word");
  words.forEach(({ start, end }, i) => {
    if (spans[first + i]) spans[first + i].title = `${start.toFixed(2)} to ${end.toFixed(2)} s`;
  });
}

/** The final text is nearly always what is there already. */
function showResult(paragraph, { text, words }) {
  if (paragraph.textContent.trim() !== text.trim()) {
    paragraph.replaceChildren();
    appendText(paragraph, text);
  }
  setTimes(paragraph, words, 0);
}

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

/** Returns whether the text is on the clipboard. Pages without https have only the old way. */
async function writeClipboard(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return isCopied;
}
