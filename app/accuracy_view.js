/**
 * The page at ?bench=accuracy: what is to be heard and how, and how far that is. Its reports are shown by
 * accuracy_report.js.
 */

import { diffElement } from "./accuracy_diff.js";
import { BUILT_IN } from "./accuracy_sets.js";
import { clock, timeLeft } from "./amounts.js";
import { make, setText, written } from "./elements.js";
import { DELAYS_MS } from "./settings.js";

const LIMITS = { "": "every clip", 5: "the first 5", 20: "the first 20", 100: "the first 100" };
const NORMALIZERS = {
  basic: "lower case, without punctuation",
  english: "Whisper’s English normaliser",
};
const N_RECENT = 3;
const SAID_EVERY = 10; // clips, between two sentences to a screen reader

const GROUPS = {
  digits: "digit strings",
  digit_words: "single digits",
  noisy_digits: "digits in noise",
  quiet_digits: "quiet digits",
  first_sample: "speech at the first sample",
  orders: "coffee orders",
  silence_noise: "silence and noise",
};

/** What a group is called by people, and a set. */
export const groupName = (name) => GROUPS[name] ?? name.replaceAll("_", " ");
export const setName = (name) => sentenceCase(name === BUILT_IN ? "built-in set" : name);
export const sentenceCase = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * actions: chooseFolder(files), useBuiltIn(), measure(choice), stop(), readReports(files). choice: {groups, limit, delayMs,
 * normalizer}. Returns {show(elements), showChoice(state), showRun(title), showDecoded(share), showHeard(progress),
 * addLine(text), tell(sentence or null), showFailure(sentence)}.
 */
export function createAccuracyView(actions) {
  document.body.classList.add("is-bench");
  document.title = `Accuracy · ${document.title}`;
  document.head.append(make("link", { rel: "stylesheet", href: "static/accuracy.css" }));
  const problem = make("div", { className: "accuracy-problem" });
  problem.setAttribute("role", "alert");
  const status = make("p", { className: "visually-hidden" });
  status.setAttribute("role", "status");
  const body = make("div", { className: "accuracy-body" });
  const lead = "How well this model hears, measured in this tab on recordings whose words are known. Nothing of them leaves it.";
  const section = make("section", { id: "accuracy", className: "bench accuracy", ariaLabel: "Accuracy" }, [
    make("h1", { textContent: "Accuracy" }),
    make("p", { className: "lead", textContent: lead }),
    problem,
    status,
    body,
  ]);
  document.querySelector("main").prepend(section);
  document.querySelector("#dropping p").textContent = "Drop recordings or reports";

  /** The first heading takes the focus where a person, and not the page, brought this. */
  const show = (elements, isAsked = true) => {
    body.replaceChildren(...elements);
    const heading = body.querySelector("h2");
    if (!isAsked || !heading) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo({ top: 0 });
  };
  const tell = (sentence) => problem.replaceChildren(...(sentence ? [make("p", { className: "sentence failure", textContent: written(sentence) })] : []));
  let run = null;
  return {
    show,
    tell,
    showChoice: (state, isAsked) => show([choiceElement(state, actions), compareElement(actions)], isAsked),
    showRun(title) {
      run = runElements(title, actions.stop);
      show([run.element]);
    },
    showDecoded: (share) => run.tell(`Decoding the sound … ${Math.floor(100 * share)} %`),
    showHeard(progress) {
      run.draw(progress);
      if (progress.n_heard % SAID_EVERY === 0) setText(status, `${progress.n_heard} of ${progress.n_clips} clips heard`);
    },
    addLine: (textContent) => body.append(make("p", { className: "bench-lines", textContent })),
    showFailure: (sentence) => tell(sentence),
  };
}

// -- what is to be heard ----------------------------------------------------------------------------

function choiceElement({ set, isReading, isReady, choice, isBuiltIn }, actions) {
  const amount = make("p", { className: "amount" });
  const form = make("form", { className: "accuracy-form" }, [
    make("fieldset", {}, [
      make("legend", { textContent: "Recordings" }),
      make("p", { className: "set-name" }, [make("strong", { textContent: set ? setName(set.name) : isReading ? "Reading …" : "None" })]),
      ...(set?.notices ?? []).map((textContent) => make("p", { className: "note", textContent })),
      groupsElement(set, choice),
      folderElement(isBuiltIn, actions),
    ]),
    make("fieldset", {}, [
      make("legend", { textContent: "How they are heard" }),
      field("Of each group", "limit", Object.entries(LIMITS), choice.limit ?? ""),
      field("Delay", "delayMs", DELAYS_MS.map((ms) => [ms, `${ms} ms`]), choice.delayMs),
      field("Texts are compared in", "normalizer", Object.entries(NORMALIZERS), choice.normalizer),
    ]),
    make("p", { className: "accuracy-go" }, [
      make("button", { type: "submit", className: "button is-main", textContent: "Measure", disabled: !set || !isReady }),
      amount,
    ]),
  ]);
  const read = () => {
    const data = new FormData(form);
    const limit = data.get("limit");
    return {
      groups: set ? data.getAll("group") : null,
      limit: limit ? Number(limit) : null,
      delayMs: Number(data.get("delayMs")),
      normalizer: data.get("normalizer"),
    };
  };
  const draw = () => {
    if (!set) return;
    const { groups } = Object.assign(choice, read());
    setText(amount, isReady ? amountOf(set, choice) : "The model is being loaded.");
    form.querySelector("[type=submit]").disabled = !isReady || !groups.length;
  };
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    actions.measure(Object.assign(choice, read()));
  });
  draw();
  return form;
}

function groupsElement(set, { groups }) {
  const items = (set?.groups ?? []).map(({ name, n, seconds }) =>
    make("li", {}, [
      make("label", {}, [
        make("input", { type: "checkbox", name: "group", value: name, checked: groups === null || groups.includes(name) }),
        make("span", { textContent: sentenceCase(groupName(name)) }),
        make("span", { className: "amount", textContent: `${n} clip${n === 1 ? "" : "s"}${seconds === null ? "" : `, ${clock(seconds)}`}` }),
      ]),
    ]),
  );
  return make("ul", { className: "groups" }, items);
}

function folderElement(isBuiltIn, { chooseFolder, useBuiltIn }) {
  const input = make("input", { type: "file", id: "set-folder", className: "visually-hidden", webkitdirectory: true, multiple: true });
  input.addEventListener("change", () => input.files.length && chooseFolder(input.files));
  const label = make("label", { className: "button", htmlFor: "set-folder", textContent: "Choose a folder" });
  const back = make("button", { type: "button", className: "text-button", textContent: "Use the built-in set" });
  back.addEventListener("click", useBuiltIn);
  return make("div", { className: "set-folder" }, [
    input,
    label,
    ...(isBuiltIn ? [] : [back]),
    make("p", {
      className: "hint",
      textContent: "or drop one: LibriSpeech, Common Voice, or a .csv or .tsv with a column for the file and one for its text",
    }),
  ]);
}

function field(label, name, options, value) {
  const select = make("select", { name, id: `accuracy-${name}` });
  for (const [option, text] of options) select.append(make("option", { value: option, textContent: text, selected: String(option) === String(value) }));
  return make("p", { className: "field" }, [make("label", { htmlFor: select.id, textContent: label }), select]);
}

function amountOf(set, { groups, limit }) {
  const chosen = set.groups.filter(({ name }) => groups.includes(name));
  if (!chosen.length) return "Choose a group.";
  const n = chosen.reduce((sum, group) => sum + Math.min(group.n, limit ?? Infinity), 0);
  const seconds = chosen.reduce((sum, group) => sum + (group.seconds * Math.min(group.n, limit ?? Infinity)) / group.n, 0);
  const about = limit === null ? "" : "about ";
  return `${n} clip${n === 1 ? "" : "s"}${chosen.some(({ seconds }) => seconds === null) ? "" : `, ${about}${clock(seconds)} of sound`}`;
}

// -- reports from elsewhere -------------------------------------------------------------------------

function compareElement({ readReports }) {
  const input = make("input", { type: "file", id: "report-files", className: "visually-hidden", accept: ".json,application/json", multiple: true });
  input.addEventListener("change", () => input.files.length && readReports([...input.files]));
  return make("section", { className: "accuracy-compare" }, [
    make("h2", { textContent: "Reports" }),
    make("p", { className: "set-folder" }, [
      input,
      make("label", { className: "button", htmlFor: "report-files", textContent: "Open reports" }),
      make("span", { className: "hint", textContent: "one to look at, or two to compare, of this page or of voxtral wer --json; dropping them works too" }),
    ]),
  ]);
}

// -- a run ------------------------------------------------------------------------------------------

function runElements(title, stop) {
  const bar = make("progress", { value: 0, max: 1, ariaLabel: "Clips heard" });
  const count = make("p", { className: "accuracy-count", textContent: "Loading what scores …" });
  const rate = make("p", { className: "accuracy-rate" });
  const recent = make("ol", { className: "clips" });
  const button = make("button", { type: "button", className: "button", textContent: "Stop" });
  button.addEventListener("click", () => {
    button.disabled = true;
    stop();
  });
  const element = make("div", { className: "accuracy-run" }, [
    make("h2", { textContent: title }),
    bar,
    make("div", { className: "accuracy-now" }, [make("div", {}, [rate, count]), button]),
    recent,
  ]);
  const draw = ({ n_heard, n_clips, nWrong, nWords, nFalse, seconds, clip, id }) => {
    bar.value = n_heard / n_clips;
    const left = n_heard < n_clips && n_heard > 2 ? `, ${timeLeft((seconds / (n_heard - 1)) * (n_clips - n_heard))}` : "";
    setText(count, `${n_heard} of ${n_clips} clips${left}`);
    const words = nWords ? `${((100 * nWrong) / nWords).toFixed(1)} % of ${nWords} words wrong` : "";
    setText(rate, [words, nFalse ? `${nFalse} false word${nFalse === 1 ? "" : "s"}` : ""].filter(Boolean).join(", ") || "No words so far");
    recent.prepend(make("li", {}, [
      make("p", { className: "clip-name", textContent: id }),
      clip ? lineOf(clip) : make("p", { className: "note", textContent: "could not be heard" }),
    ]));
    while (recent.children.length > N_RECENT) recent.lastChild.remove();
  };
  return { element, draw, tell: (textContent) => setText(count, textContent) };
}

/** The words of a clip, or that there are none. */
export function lineOf({ alignment, hypothesis }) {
  if (alignment.length) return diffElement(alignment);
  return make("p", { className: "diff is-empty", textContent: hypothesis || "nothing said, nothing heard" });
}
