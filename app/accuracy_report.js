/** Shows a report (py/voxtral/accuracy/report.py): figures, a table of the groups, and every clip, the worst first. */

import { groupName, lineOf, sentenceCase, setName } from "./accuracy_view.js";
import { clock } from "./amounts.js";
import { writeClipboard } from "./clipboard.js";
import { make } from "./elements.js";

const N_SHOWN = 40; // clips at once
const COPIED_MS = 1500;
const MINUS = "−";

/**
 * player: {has(id), toggle(id, onChange)} where the sound is there, else null; actions: {again(), compare(file),
 * compareBefore() or null}. Returns elements.
 */
export function reportElements(report, player, actions) {
  const { summary, set } = report;
  const title = `${setName(set.name)}${set.is_complete ? "" : ", stopped early"}`;
  return [
    make("h2", { textContent: title }),
    figures(summary.overall),
    buttons(report, actions),
    scrolling("Groups", groupsTable(summary)),
    facts(report),
    ...oddities(report),
    clipsElement(report, player),
  ];
}

// -- figures ----------------------------------------------------------------------------------------

function figures({ wer, cer, false_words_per_min, latency, rtf, n_words, n_clips, audio_s }) {
  const shown = [
    wer && ["Words wrong", percent(wer.value), `95 %: ${range(wer, 100)} %`],
    cer && ["Characters wrong", percent(cer.value), `95 %: ${range(cer, 100)} %`],
    false_words_per_min && ["False words", `${number(false_words_per_min.value, 1)} a minute`, `95 %: ${range(false_words_per_min, 1)}`],
    latency && ["A word is there after", `${Math.round(1000 * latency.median_s)} ms`, `95 % within ${Math.round(1000 * latency.p95_s)} ms`],
    rtf !== null && ["Computing time", `${number(rtf, 2)} ×`, `the sound: ${count(n_clips, "clip")}, ${clock(audio_s)}, ${count(n_words, "word")}`],
  ];
  const list = make("dl", { className: "figures" });
  for (const [name, value, about] of shown.filter(Boolean)) {
    list.append(make("div", {}, [
      make("dt", { textContent: name }),
      make("dd", {}, [make("strong", { textContent: value }), make("span", { textContent: about })]),
    ]));
  }
  return list;
}

function groupsTable({ overall, groups }) {
  const rows = Object.entries(groups).map(([name, of]) => [sentenceCase(groupName(name)), of]);
  if (rows.length > 1) rows.push(["All", overall]);
  const columns = [
    ["clips", ({ n_clips }) => [number(n_clips)]],
    ["words", ({ n_words }) => [number(n_words)]],
    ["WER", ({ wer }) => rate(wer, 100, " %")],
    ["CER", ({ cer }) => rate(cer, 100, " %")],
    ["false words a minute", ({ false_words_per_min }) => rate(false_words_per_min, 1, "")],
    ["words are there after", ({ latency }) => (latency ? [`${Math.round(1000 * latency.median_s)} ms`, `95 %: ${Math.round(1000 * latency.p95_s)}`] : [])],
    ["RTF", ({ rtf }) => (rtf === null ? [] : [number(rtf, 3)])],
  ].filter(([, cell]) => rows.some(([, of]) => cell(of).length));
  const lines = rows.map(([name, of]) => [[name], ...columns.map(([, cell]) => cell(of))]);
  const table = tableOf("Groups, with 95 % intervals", ["group", ...columns.map(([name]) => name)], lines);
  table.classList.toggle("has-total", rows.length > 1);
  return table;
}

const rate = (found, factor, unit) => (found ? [`${number(factor * found.value, factor === 100 ? 1 : 2)}${unit}`, range(found, factor)] : []);
const range = ({ low, high }, factor) => `${number(factor * low, 1)}–${number(factor * high, 1)}`;

function facts({ engine, model, normalizer, scorer, condition }) {
  const how = condition ? conditionText(condition) : "";
  const listed = [
    ["Model", `${model.name}, ${(model.parameters / 1e6).toFixed(1)} M parameters, ${model.weight_type}`],
    ["Listens with", `${model.delay_ms} ms delay, ${model.left_pad_tokens} tokens of silence before the sound${how}`],
    ["Computes with", engine.adapter ? engine.adapter.name : "numpy on the CPU"],
    ["Texts compared by", `${normalizer}, ${scorer}`],
    ["Made", `${engine.date} by version ${engine.version}; ${engine.machine.system}; Python ${engine.machine.python}`],
  ];
  const list = make("dl", { className: "facts" });
  for (const [name, value] of listed) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  return list;
}

function conditionText({ level_dbfs, normalise_peak, leading_silence_s }) {
  const parts = [
    level_dbfs === null ? "" : `peaks at ${level_dbfs} dBFS`,
    normalise_peak ? "peaks normalised" : "",
    leading_silence_s === null ? "" : `${leading_silence_s} s of silence before each clip`,
  ].filter(Boolean);
  return parts.length ? `; ${parts.join(", ")}` : "";
}

function oddities({ failures }) {
  if (!failures.length) return [];
  const items = failures.map(({ id, reason }) => make("li", { textContent: `${id}: ${reason}` }));
  return [make("details", { className: "failures" }, [
    make("summary", { textContent: `${count(failures.length, "clip")} could not be heard and ${failures.length === 1 ? "is" : "are"} in no figure` }),
    make("ul", {}, items),
  ])];
}

// -- what can be done with it -----------------------------------------------------------------------

function buttons(report, { again, compare, compareBefore }) {
  const text = JSON.stringify(report, null, 1);
  const copy = button("Copy JSON", async () => {
    copy.textContent = (await writeClipboard(text)) ? "Copied" : "Not allowed; use Download";
    setTimeout(() => (copy.textContent = "Copy JSON"), COPIED_MS);
  });
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const download = make("a", { className: "button", href, download: nameOf(report), textContent: "Download JSON" });
  const input = make("input", { type: "file", id: "other-report", className: "visually-hidden", accept: ".json,application/json" });
  input.addEventListener("change", () => input.files.length && compare(input.files[0]));
  const label = make("label", { className: "button", htmlFor: "other-report", textContent: "Compare with another" });
  const earlier = compareBefore ? [button("Compare with the run before", compareBefore)] : [];
  return make("p", { className: "bench-buttons" }, [button("Measure again", again), ...earlier, input, label, download, copy]);
}

const nameOf = ({ model, set }) => `accuracy ${set.name} ${model.delay_ms} ms.json`.replaceAll(/[^\w.-]+/g, "-");

// -- clips ------------------------------------------------------------------------------------------

function clipsElement({ clips }, player) {
  const sorted = [...clips].sort((a, b) => wrongOf(b) - wrongOf(a) || shareOf(b) - shareOf(a) || a.id.localeCompare(b.id, "en", { numeric: true }));
  const { list, more, show } = pagedList((clip) => clipElement(clip, player));
  const about = make("p", { className: "amount" });
  about.setAttribute("role", "status");
  const group = make("select", { id: "clip-group" }, [
    make("option", { value: "", textContent: "every group" }),
    ...[...new Set(clips.map(({ group }) => group))].map((name) => make("option", { value: name, textContent: groupName(name) })),
  ]);
  const onlyWrong = make("input", { type: "checkbox", id: "clip-wrong", checked: clips.some(wrongOf) });
  const draw = () => {
    const found = sorted.filter((clip) => (!group.value || clip.group === group.value) && (!onlyWrong.checked || wrongOf(clip)));
    const n = found.length;
    about.textContent = onlyWrong.checked ? `${n} with errors` : count(n, "clip");
    show(found);
  };
  group.addEventListener("change", draw);
  onlyWrong.addEventListener("change", draw);
  draw();
  return make("section", { className: "accuracy-clips", ariaLabel: "Clips" }, [
    make("h2", { textContent: "Clips, the worst first" }),
    make("div", { className: "clip-choice" }, [
      make("p", {}, [make("label", { className: "visually-hidden", htmlFor: "clip-group", textContent: "Group" }), group]),
      make("p", {}, [onlyWrong, make("label", { htmlFor: "clip-wrong", textContent: "with errors only" })]),
      about,
    ]),
    make("p", { className: "legend" }, [
      make("del", { textContent: "− left out" }), " ",
      make("ins", { textContent: "+ too many" }), " ",
      make("span", { className: "confused" }, [make("del", { textContent: "said" }), make("ins", { textContent: "heard instead" })]),
    ]),
    list,
    more,
  ]);
}

function clipElement(clip, player) {
  const { id, group, speaker, audio_s, said, notices } = clip;
  const head = make("p", { className: "clip-name" }, [make("strong", { textContent: id })]);
  head.append(make("span", { textContent: [speaker, groupName(group), `${number(audio_s, 1)} s`].filter(Boolean).join(" · ") }));
  head.append(make("span", { className: "clip-errors", textContent: errorsText(clip) }));
  const item = make("li", {}, [head, lineOf(clip)]);
  if (said) item.append(make("p", { className: "note", textContent: `Said, and not to be understood: ${said}` }));
  for (const sentence of notices) item.append(make("p", { className: "note", textContent: sentence }));
  if (player?.has(id)) item.prepend(playButton(id, player));
  return item;
}

function playButton(id, player) {
  const button = make("button", { type: "button", className: "icon-button play", title: "Play" });
  button.innerHTML = '<svg class="icon" aria-hidden="true"><use href="static/icons.svg#play"/></svg>';
  button.setAttribute("aria-label", `Play ${id}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => player.toggle(id, (isPlaying) => {
    button.querySelector("use").setAttribute("href", `static/icons.svg#${isPlaying ? "stop" : "play"}`);
    button.setAttribute("aria-pressed", String(isPlaying));
  }));
  return button;
}

/** Errors of a clip; where nothing is to be understood, words that nobody said. */
export function wrongOf({ word_counts: { hits, substitutions, deletions, insertions }, false_words }) {
  return hits + substitutions + deletions ? substitutions + deletions + insertions : false_words;
}

const nWordsOf = ({ word_counts: { hits, substitutions, deletions } }) => hits + substitutions + deletions;
const shareOf = (clip) => wrongOf(clip) / Math.max(1, nWordsOf(clip));

function errorsText(clip) {
  const [n, nWords] = [wrongOf(clip), nWordsOf(clip)];
  if (!nWords) return n ? count(n, "false word") : "nothing false heard";
  return n ? `${count(n, "error")}, ${count(nWords, "word")}` : "all right";
}

// -- two reports ------------------------------------------------------------------------------------

/** names: of the two reports; comparison: of py/voxtral/accuracy/summary.py, the second less the first. */
export function comparisonElements([first, second], names, comparison, { back }) {
  const others = comparison.n_others ? `; ${count(comparison.n_others, "clip")} in only one of them left out` : "";
  const lead = comparison.n_clips
    ? `Over the ${count(comparison.n_clips, "clip")} that both have${others}. Below 0, the second is better.`
    : "The two have no clip in common.";
  const elements = [
    make("h2", { textContent: "Two reports" }),
    make("ol", { className: "compared" }, [first, second].map((report, i) => make("li", {}, [
      make("strong", { textContent: names[i] }),
      make("span", { textContent: whereOf(report) }),
    ]))),
    make("p", { className: "note", textContent: lead }),
  ];
  if (first.normalizer !== second.normalizer) {
    elements.push(make("p", { className: "note", textContent: `Their texts were normalised differently: ${first.normalizer}, ${second.normalizer}.` }));
  }
  if (comparison.n_clips) elements.push(scrolling("Differences", differencesTable(comparison)), changedElement(first, second));
  return [...elements, make("p", { className: "bench-buttons" }, [button("Back", back)])];
}

function whereOf({ model, engine, condition }) {
  const computes = engine.adapter ? engine.adapter.name : "numpy";
  return `${model.name}, ${model.weight_type}, ${model.delay_ms} ms delay, left padding ${model.left_pad_tokens}${condition ? conditionText(condition) : ""}; ${computes}, ${engine.date}`;
}

const RATES = [["wer", "WER %", 100], ["cer", "CER %", 100], ["false_words_per_min", "false words a minute", 1]];

function differencesTable({ groups }) {
  const rows = Object.entries(groups).flatMap(([name, of]) => RATES.filter(([key]) => of[key]).map(([key, label, factor]) => {
    const { mine, theirs, value, low, high } = of[key];
    const isClear = low > 0 || high < 0;
    const verdict = value === 0 ? "same" : isClear ? (value < 0 ? "better" : "worse") : "not clear";
    return [
      [`${sentenceCase(groupName(name))}, ${label}`],
      [number(factor * theirs, 2)],
      [number(factor * mine, 2)],
      [signed(factor * value), `${signed(factor * low)} to ${signed(factor * high)}`],
      [verdict],
    ];
  }));
  return tableOf("Second less first, 95 % intervals", ["", "first", "second", "difference", "second is"], rows);
}

/** Clips heard differently, what changed most first. */
function changedElement(first, second) {
  const before = new Map(first.clips.map((clip) => [clip.id, clip]));
  const changed = second.clips
    .map((clip) => ({ clip, was: before.get(clip.id) }))
    .filter(({ clip, was }) => was && was.reference === clip.reference && was.hypothesis !== clip.hypothesis)
    .map((pair) => ({ ...pair, change: wrongOf(pair.clip) - wrongOf(pair.was) }))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change) || b.change - a.change);
  const { list, more, show } = pagedList(({ clip, was, change }) => make("li", {}, [
    make("p", { className: "clip-name" }, [
      make("strong", { textContent: clip.id }),
      make("span", { className: "clip-errors", textContent: change === 0 ? "as many errors" : `${signed(change, 0)} error${Math.abs(change) === 1 ? "" : "s"}` }),
    ]),
    make("div", { className: "before-after" }, [lineOf(was), lineOf(clip)]),
  ]));
  show(changed);
  return make("section", { className: "accuracy-clips" }, [
    make("h2", { textContent: changed.length ? `${count(changed.length, "clip")} ${changed.length === 1 ? "was" : "were"} heard differently` : "Every clip was heard alike" }),
    list,
    more,
  ]);
}

// -- pieces -----------------------------------------------------------------------------------------

/** {list, more, show(items)}: the first N_SHOWN items of a list that may be very long, and a button for as many more. */
function pagedList(elementOf) {
  let items = [];
  const list = make("ol", { className: "clips" });
  const grow = () => {
    const first = list.children.length;
    list.append(...items.slice(first, first + N_SHOWN).map(elementOf));
    const nLeft = items.length - list.children.length;
    more.hidden = nLeft === 0;
    more.textContent = `Show ${Math.min(N_SHOWN, nLeft)} more of ${number(nLeft)}`;
    return list.children[first];
  };
  const more = button("", () => {
    const next = grow();
    next.tabIndex = -1; // reading goes on there, also where the button is gone
    next.focus({ preventScroll: true });
  });
  const show = (shown) => {
    items = shown;
    list.replaceChildren();
    grow();
  };
  return { list, more, show };
}

function button(textContent, act) {
  const element = make("button", { type: "button", className: "button", textContent });
  element.addEventListener("click", act);
  return element;
}

/** Cells are lists of lines; the first of a row heads it. */
function tableOf(caption, columns, rows) {
  const cell = (name, [value = "", below = ""], properties = {}) =>
    make(name, properties, [value, ...(below ? [make("span", { className: "below", textContent: below })] : [])]);
  return make("table", {}, [
    make("caption", { textContent: caption }),
    make("thead", {}, [make("tr", {}, columns.map((name) => make(name ? "th" : "td", name ? { scope: "col", textContent: name } : {})))]),
    make("tbody", {}, rows.map(([head, ...cells]) => make("tr", {}, [cell("th", head, { scope: "row" }), ...cells.map((lines) => cell("td", lines))]))),
  ]);
}

/** What is wider than the page is moved by keys, too. */
function scrolling(label, table) {
  const box = make("div", { className: "table", tabIndex: 0, ariaLabel: label }, [table]);
  box.setAttribute("role", "region");
  return box;
}

const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (share) => `${number(100 * share, 1)} %`;
const signed = (value, digits = 2) => `${value < 0 ? MINUS : value > 0 ? "+" : ""}${number(Math.abs(value), digits)}`;