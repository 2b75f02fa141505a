/**
 * Shows the models: cards for what is going on or to be decided, and the list of what there is. First it says what
 * is to be seen, as plain descriptions (cardsOf, rowsOf); then it draws those.
 *
 *   card  {id, title, sentence, isAlert, bar, amount, isAsking, buttons}; bar: 0…1, "unknown" or null
 *   row   {id, title, isUsed, about, note, isAsking, buttons}
 *   button  [label, what it does, weight]; weight: main, plain or none
 */

import { inBytes, inSeconds, ofBytes, percent, timeLeft } from "./amounts.js";
import { $, reconcile, setText, written } from "./elements.js";
import { FROM_FILES, FULL_MODEL, isFullModel, isSame, originOf, placeOf } from "./model_sources.js";

const DEMO_BYTES = 12_559_701;
const SPARE_BYTES = 16 << 20; // stay free beside a model
const SPOKEN_PERCENT = 10; // how often a screen reader hears of a download
const WEIGHTS = { main: "button is-main", plain: "button" };
const STAGES = {
  waiting: "Another tab works on this model; it goes on here when that is done.",
  listing: "Looking at what there is",
  download: "Downloading",
  verify: "Checking",
};

/** actions: those of models.js, and useDemo, addFiles. Returns {draw(state)}. */
export function createModelsView(actions) {
  $("model-files").addEventListener("change", ({ target }) => {
    actions.addFiles([...target.files]);
    target.value = "";
  });
  $("model-address").addEventListener("submit", (event) => {
    event.preventDefault();
    const isAddress = actions.getTyped($("address").value);
    $("no-address").hidden = isAddress;
    $("address").setAttribute("aria-invalid", String(!isAddress));
    if (isAddress) $("address").value = "";
    else $("address").focus();
  });

  return {
    draw({ phase, engine, models, transcript: { entries } }) {
      const cards = phase === "failed" && !models.stored ? [] : cardsOf(models, actions);
      $("jobs").hidden = cards.length === 0;
      drawItems($("jobs"), cards, "model-card", drawCard);
      setText($("models-news"), spokenNews(models));

      if (entries.length > 0 && !$("models").dataset.isFolded) $("models").open = false; // make room, once
      if (entries.length > 0) $("models").dataset.isFolded = "yes";
      $("models").hidden = !models.stored || phase === "loading";
      if ($("models").hidden) return;
      drawItems($("model-list"), rowsOf(models, engine, actions), "model-row", drawRow);
      setText($("room"), roomSentence(models));
    },
  };
}

/** Whole percents of the download on its way, or null. */
export function progressOf({ jobs }) {
  const news = jobs.find(({ phase, news }) => phase === "active" && news?.total > 0)?.news;
  return news ? percent(news.done, news.total) : null;
}

/* What is going on, or to be decided. */

function cardsOf(state, actions) {
  const jobs = state.jobs.filter(({ phase }) => !["withdrawn", "discarded"].includes(phase));
  return [
    ...(state.proposed && state.stored ? [proposalCard(state, actions)] : []),
    ...(state.chosen.length ? [chosenCard(state, actions)] : []),
    ...jobs.map((job) => ({ id: job.id, title: jobTitle(job, state), bar: null, amount: "", ...jobCard(job, state, actions) })),
  ];
}

function proposalCard({ proposed: source, stored }, actions) {
  const place = placeOf(source);
  const here = stored.find((model) => model.source && isSame(model.source, source));
  const card = { id: "proposal", title: `A model ${place}`, bar: null, amount: "" };
  const not = ["Not now", actions.decline];
  if (here?.is_whole) {
    const buttons = [["Use it now", () => actions.use(here.key), "main"], not];
    return { ...card, sentence: "The address of this page proposes it, and it is stored here already.", buttons };
  }
  const host = originOf(source) ? new URL(originOf(source)).host : source;
  const sentence = `The address of this page proposes ${source}. Only requests for its files go to ${host}.`;
  const get = here ? ["Resume", () => actions.resume(here.key), "main"] : ["Get it", () => actions.get(source), "main"];
  return { ...card, sentence, buttons: [get, ["Use without storing", () => actions.stream({ source })], not] };
}

function chosenCard({ chosen, freeBytes }, actions) {
  const nBytes = chosen.reduce((sum, { size }) => sum + size, 0);
  const names = chosen.map(({ name }) => name).sort();
  const shown = names.length > 4 ? `${names.slice(0, 2).join(", ")} … ${names.slice(-2).join(", ")}` : names.join(", ");
  const hasTokenizer = names.includes("tekken.json");
  const hasWeights = names.some((name) => !name.endsWith(".json"));
  const missing = hasTokenizer ? (hasWeights ? "" : "the .gguf file, or all its shards") : "tekken.json";
  const card = { id: "chosen", title: "Model files", bar: null, amount: "" };
  const cancel = ["Cancel", actions.decline];
  if (missing) return { ...card, sentence: `${shown}: choose or drop ${missing} as well.`, buttons: [cancel] };
  const stream = ["Use without storing", () => actions.stream({ files: chosen }), fits(nBytes, freeBytes) ? "plain" : "main"];
  if (!fits(nBytes, freeBytes)) return { ...card, sentence: `${shown}. ${tooLarge(nBytes, freeBytes)}`, buttons: [stream, cancel] };
  const sentence = `${shown}: ${inBytes(nBytes)}. Stored, it is there without the files the next time. ${freeOf(freeBytes)}`;
  return { ...card, sentence, buttons: [["Store", () => actions.getFiles(chosen), "main"], stream, cancel] };
}

function jobCard(job, state, actions) {
  const { key, kind, phase, source, files, news, isAsking } = job;
  const { stage = "listing", done = 0, total = 0 } = news ?? {};
  const bar = total > 0 ? done / total : "unknown";
  const cancel = ["Cancel", () => actions.cancel(key)];
  if (isAsking) {
    const sentence = done ? `Stop, and delete the ${inBytes(done)} that have come?` : "Stop?";
    return { sentence, bar, isAsking, buttons: [["Delete", () => actions.cancel(key)], ["Keep it", () => actions.keep(key), "main"]] };
  }
  if (phase === "failed") {
    const again = ["Try again", () => actions.resume(key), "main"];
    const stream = job.canStream ? [["Use without storing", () => actions.stream({ source, files })]] : [];
    return { sentence: written(job.sentence), isAlert: true, buttons: [again, ...stream, ["Close", () => actions.dismiss(key)]] };
  }
  if (phase === "done") {
    const model = state.stored?.find((other) => other.key === key);
    const sentence = model ? `Stored and checked, ${inBytes(model.n_bytes)}.` : "Stored and checked.";
    return { sentence, buttons: [["Use it now", () => actions.use(key), "main"], ["Close", () => actions.dismiss(key)]] };
  }
  if (phase === "paused") {
    const sentence = "Paused. What has come is kept, also when you close the page.";
    const amount = total > 0 ? ofBytes(done, total) : "";
    return { sentence, bar: total > 0 ? bar : null, amount, buttons: [["Resume", () => actions.resume(key), "main"], cancel] };
  }
  const sentence = stage === "download" && files ? "Copying" : STAGES[phase === "asked" ? "listing" : stage];
  const amount = total > 0 ? amountOf(news) : "";
  if (phase === "asked") return { sentence, bar, amount, buttons: kind === "verify" ? [] : [cancel] };
  if (kind === "verify") return { sentence, bar, amount, buttons: [["Stop", () => actions.stopVerifying(key)]] };
  return { sentence, bar, amount, buttons: [["Pause", () => actions.pause(key)], cancel] };
}

function amountOf({ done, total, bytes_per_s: pace, seconds_left: left }) {
  const parts = [ofBytes(done, total)];
  if (pace) parts.push(`${inBytes(pace)}/s`);
  if (left !== null && done < total) parts.push(timeLeft(left));
  return parts.join(" · ");
}

function jobTitle({ key, source, news, files }, { stored }) {
  if (source && isFullModel(source)) return FULL_MODEL.name;
  const model = stored?.find((other) => other.key === key);
  const told = news?.title === key ? null : news?.title; // a key is no name
  return model?.title ?? told ?? (files ? "Model files" : source ? `A model ${placeOf(source)}` : key);
}

/** What a screen reader says, seldom enough to bear it. */
function spokenNews(state) {
  const job = state.jobs.find(({ phase }) => ["active", "paused", "done"].includes(phase));
  if (!job) return "";
  const title = jobTitle(job, state);
  if (job.phase === "paused") return `${title}: paused.`;
  if (job.phase === "done") return `${title}: stored and checked.`;
  const { stage, done, total } = job.news;
  const share = Math.floor(percent(done, total) / SPOKEN_PERCENT) * SPOKEN_PERCENT;
  return total > 0 ? `${title}: ${STAGES[stage]}, ${share} percent.` : `${title}: ${STAGES[stage]}`;
}

/* What there is. */

function rowsOf(state, engine, actions) {
  const { stored, offered, jobs } = state;
  const isAtWork = ({ key }) => jobs.some((job) => job.key === key && job.phase !== "done");
  const isNew = ({ source }) => ![...stored, ...jobs].some((other) => other.source && isSame(other.source, source));
  return [
    demoRow(state, actions),
    ...(isNew(FULL_MODEL) ? [fullRow(state, engine, actions)] : []),
    ...stored.filter((model) => !isAtWork(model)).map((model) => storedRow(model, state, actions)),
    ...offered.filter(isNew).map((model) => offeredRow(model, state, actions)),
  ];
}

function demoRow(state, actions) {
  const isUsed = state.used !== null && !state.used.model && !state.used.files;
  const about = `Digits, six keywords and coffee orders, spoken in English. ${inBytes(DEMO_BYTES)}, part of the app.`;
  const buttons = isUsed ? [] : [["Use", actions.useDemo, "plain"]];
  return { id: "demo", title: "Demo model", isUsed, about, note: isUsed ? loadedNote(state) : "", buttons };
}

function fullRow({ freeBytes, used, ...state }, engine, actions) {
  const { source, name, nBytes, gpuBytes } = FULL_MODEL;
  const isUsed = Boolean(used?.model) && isFullModel(used.model);
  const isSlow = engine && (engine.is_software || engine.backend === "numpy");
  const about = "Writes whatever is said, in 13 languages.";
  const warning = isSlow
    ? "No graphics card was found that a page can use here, and without one it would need minutes for every second of speech."
    : `It takes ${inBytes(gpuBytes)} of graphics memory.`;
  const row = { id: "full", title: name, isUsed, about };
  const stream = ["Use without storing", () => actions.stream({ source }), "plain"];
  if (!fits(nBytes, freeBytes)) return { ...row, note: `${tooLarge(nBytes, freeBytes)} ${warning}`, buttons: isUsed ? [] : [stream] };
  const note = `${inBytes(nBytes)} are fetched once ${placeOf(source)} and stored. ${freeOf(freeBytes)} ${warning}`;
  const get = [`Get the full model, ${inBytes(nBytes)}`, () => actions.get(source), isSlow ? "plain" : "main"];
  return { ...row, note: isUsed ? loadedNote({ used, ...state }) : note, buttons: [get] };
}

function offeredRow({ title, source, n_bytes: nBytes }, state, actions) {
  const isUsed = Boolean(state.used?.model) && isSame(state.used.model, source);
  const isLarge = nBytes !== null && !fits(nBytes, state.freeBytes);
  const about = nBytes === null ? "On this server." : `${inBytes(nBytes)}, on this server.`;
  const note = isLarge ? `Too large to be stored here: the browser reports ${inBytes(state.freeBytes)} free.` : "";
  const get = isLarge ? [] : [["Get", () => actions.get(source), "plain"]];
  const stream = isUsed ? [] : [["Use without storing", () => actions.stream({ source }), isLarge ? "plain" : "none"]];
  return { id: source, title, isUsed, about, note: isUsed ? loadedNote(state) : note, buttons: [...get, ...stream] };
}

function storedRow(model, state, actions) {
  const { key, source, n_bytes: nBytes, total_bytes: total, is_whole: isWhole, saved_at: savedAt } = model;
  const title = isFullModel(source) ? FULL_MODEL.name : model.title;
  const isUsed = state.used?.model === `stored:${key}`;
  const isAsking = state.asking === key;
  const size = isWhole || total === null ? inBytes(nBytes) : ofBytes(nBytes, total);
  const date = savedAt && new Date(savedAt).toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
  const about = [size, isWhole ? date && `stored ${date}` : "begun", source && placeOf(source)].filter(Boolean).join(" · ");
  const row = { id: key, title, isUsed, about, isAsking };
  if (isAsking) {
    const note = `Delete it from this browser? ${source === FROM_FILES ? "Your own files stay." : "It would have to be fetched again."}`;
    return { ...row, note, buttons: [["Delete", () => actions.remove(key)], ["Keep it", () => actions.keep(key), "main"]] };
  }
  const remove = [isWhole ? "Delete" : "Discard", () => actions.remove(key)];
  const note = state.notes[key] || (isUsed ? loadedNote(state) : "");
  if (isWhole) {
    const use = isUsed ? [] : [["Use", () => actions.use(key), "plain"]];
    const more = [["Verify", () => actions.verify(key)], ["Export to files", () => actions.export(key)], remove];
    return { ...row, note, buttons: [...use, ...more] };
  }
  if (source === FROM_FILES) return { ...row, note: note || "Open its files again to go on.", buttons: [remove] };
  return { ...row, note, buttons: source ? [["Resume", () => actions.resume(key), "plain"], remove] : [remove] };
}

const loadedNote = ({ loadedIn }) => (loadedIn ? `Loaded ${inSeconds(loadedIn.nBytes, loadedIn.seconds)}.` : "");

/* Room. */

const fits = (nBytes, freeBytes) => freeBytes === null || nBytes + SPARE_BYTES <= freeBytes;

const freeOf = (freeBytes) => (freeBytes === null ? "How much is free the browser does not say." : `The browser reports ${inBytes(freeBytes)} free.`);

const tooLarge = (nBytes, freeBytes) =>
  `It does not fit: ${inBytes(nBytes)} are needed, and the browser reports ${inBytes(freeBytes)} free for this site. ` +
  "Make room on the disk or delete another model; or use it without storing, which fetches it at every visit.";

function roomSentence({ stored, freeBytes, isPersistent }) {
  if (freeBytes === null && stored.length === 0) return "What the browser lets this site store is not known.";
  const free = freeBytes === null ? "" : `The browser reports ${inBytes(freeBytes)} free for this site.`;
  if (stored.length === 0) return free;
  return `${free} ${isPersistent ? "Stored models stay until you delete them." : "When the disk runs low, the browser may delete stored models."}`;
}

/* Drawing. */

function drawItems(parent, items, template, draw) {
  reconcile(parent, items, () => $(template).content.cloneNode(true).firstElementChild);
  items.forEach((item, i) => {
    const element = parent.children[i];
    setText(element.querySelector(".name"), item.title);
    draw(element, item);
    drawButtons(element.querySelector(".choices"), item);
  });
}

function drawCard(element, { title, sentence, isAlert, bar, amount }) {
  const shown = element.querySelector(isAlert ? ".alert" : ".sentence");
  for (const other of element.querySelectorAll(".alert, .sentence")) setText(other, other === shown ? sentence : "");
  const progress = element.querySelector("progress");
  progress.hidden = bar === null;
  progress.setAttribute("aria-label", `Progress of ${title}`);
  if (bar === "unknown") progress.removeAttribute("value");
  else if (bar !== null) progress.value = bar;
  setText(element.querySelector(".amount"), amount);
}

function drawRow(element, { isUsed, about, note }) {
  element.querySelector(".used").hidden = !isUsed;
  setText(element.querySelector(".about"), about);
  setText(element.querySelector(".note"), note);
}

/** Keeps buttons that stay the same, and the focus near where it was. */
function drawButtons(parent, { title, buttons, isAsking }) {
  const hadFocus = parent.contains(document.activeElement);
  reconcile(parent, buttons.map(([label]) => ({ id: label })), ({ id: label }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.setAttribute("aria-label", `${label}: ${title}`);
    return button;
  });
  buttons.forEach(([, act, weight], i) => {
    parent.children[i].onclick = () => act();
    parent.children[i].className = WEIGHTS[weight] ?? "text-button";
  });
  if (hadFocus && !parent.contains(document.activeElement)) (isAsking ? parent.lastElementChild : parent.firstElementChild)?.focus();
}
