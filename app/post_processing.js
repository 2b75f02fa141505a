/**
 * The section in which a person changes a transcript with Python of their own: an editor with examples, Run, what
 * became of the text, and the choice to use it or to go back. For the page it is three things:
 *
 *   const view = createPostProcessing(container, { getWords, onText });
 *
 *   container    an empty element, for example in a <details>; everything is built inside it
 *   getWords()   → {text, words, isUsed} of the transcript that is to be changed, as it is *before* any post-processing,
 *                words as in a document (py/voxtral/document.py); isUsed: whether a text made here is shown in its
 *                place now; null when there is no transcript
 *   onText(made) made is {text, words}: show and export these from now on, until onText(null): back to the raw ones.
 *                Words have all the fields of a document's word; `heard` is what the recogniser wrote where Python
 *                changed it, "" where that was nothing. Times are those of the words they came from, so that subtitles
 *                follow the changes. Called only when the person presses “Use this text” or “Back to the raw text”.
 *   view.update()  call it when the transcript changed or another one was chosen: what was made of the old one goes
 *
 * Nothing is loaded before the first Run: then a worker starts a Python of its own (post_processing_runner.js), which is
 * ended when a run takes longer than its time limit; the engine never notices. The code is kept in localStorage, each
 * script for itself. The page links static/post_processing.css.
 */

import { makeCodeEditor } from "./code_editor.js";
import { setText } from "./elements.js";
import { Runner, TIME_LIMIT_S } from "./post_processing_runner.js";

const STORED = "voxtral python"; // {chosen, codes: {name: text}}
const SCRIPTS = [
  { name: "glossary", title: "Glossary: names and terms your way" },
  { name: "digits", title: "Numbers to digits" },
  { name: "fillers", title: "Remove fillers" },
  { name: "own", title: "A script of your own" },
];
const STAGES = { python: "Python starts …", packages: "Packages are loaded …", running: "Running …" };

const HTML = `
  <div class="python-bar">
    <label for="python-script">Script</label>
    <select id="python-script"></select>
    <button type="button" class="text-button" data-action="restore" hidden>Restore the original</button>
  </div>
  <label for="python-code" class="visually-hidden">Python code of the script</label>
  <textarea id="python-code" class="python-code" rows="16" spellcheck="false" autocapitalize="off" autocomplete="off"
    autocorrect="off" wrap="off" aria-describedby="python-hint"></textarea>
  <p id="python-hint" class="python-hint"><code>process(words, text)</code> returns the new text, or words; each has
    <code>text</code>, <code>start</code>, <code>end</code>, <code>probability</code>. numpy is there; packages come with a
    line <code># packages: ADDRESS-OF-A-WHEEL</code>. Ctrl+Enter runs, Tab
    indents; Esc, then Tab, leaves the editor.</p>
  <div class="python-bar">
    <button type="button" class="button is-main" data-action="run">Run</button>
    <button type="button" class="button" data-action="stop" hidden>Stop</button>
    <button type="button" class="button" data-action="raw" hidden>Back to the raw text</button>
    <p class="python-status" role="status"></p>
  </div>
  <div class="python-outcome" hidden>
    <pre class="python-traceback" role="alert" tabindex="0" aria-label="What went wrong" hidden></pre>
    <p class="python-changes" dir="auto" tabindex="0" role="region" aria-label="The text as it would be"></p>
    <button type="button" class="button is-main" data-action="use">Use this text</button>
    <details class="python-printed" hidden><summary>Printed</summary><pre tabindex="0"></pre></details>
  </div>`;

/** The section; see above. */
export function createPostProcessing(container, { getWords, onText, timeLimitS = TIME_LIMIT_S }) {
  container.classList.add("python");
  container.innerHTML = HTML;
  const find = (selector) => container.querySelector(selector);
  const button = (action) => find(`[data-action="${action}"]`);
  const [script, area, status, outcome] = ["select", "textarea", ".python-status", ".python-outcome"].map(find);
  const runner = new Runner(timeLimitS);
  const kept = readKept();
  const originals = {}; // name → promise of the code it came with
  let made = null; // {of: the text it was made of, text, words, changes}, or {traceback}
  let used = null; // what of that the page shows, if it does
  let isRunning = false;

  script.append(...SCRIPTS.map(({ name, title }) => new Option(title, name)));
  script.value = kept.chosen;
  const original = (name) => (originals[name] ??= fetchOriginal(name));

  async function showScript() {
    const name = script.value;
    area.readOnly = true; // what is typed before the script is here would be lost
    const code = kept.codes[name] ?? (await original(name));
    if (script.value !== name) return;
    area.value = code;
    area.readOnly = false;
    button("restore").hidden = !(name in kept.codes);
  }

  /** What differs from the original is kept. */
  async function keep() {
    const { value: name } = script;
    const { value: code } = area;
    if (code === (await original(name))) delete kept.codes[name];
    else kept.codes[name] = code;
    button("restore").hidden = !(name in kept.codes);
    writeKept({ ...kept, chosen: name });
  }

  async function run() {
    const transcript = getWords();
    if (isRunning || !transcript) return;
    isRunning = true;
    draw();
    const { text, words } = transcript;
    try {
      made = { of: text, ...(await runner.run(area.value, { text, words }, (stage) => say(STAGES[stage]))) };
      say(made.traceback === null ? told(made) : "The script failed; the raw text stays as it is.");
    } catch (error) {
      made = null;
      say(error.message);
    }
    isRunning = false;
    draw();
  }

  function use(what) {
    used = what;
    onText(what && { text: what.text, words: what.words });
    say(what ? "The transcript shows this text now, and exports follow it." : "The transcript shows the raw text again.");
    draw();
  }

  const say = (sentence) => setText(status, sentence);

  function draw() {
    const transcript = getWords();
    button("run").disabled = isRunning || !transcript;
    button("stop").hidden = !isRunning;
    button("raw").hidden = !transcript?.isUsed;
    if (!transcript && !isRunning) say("There is no text yet; speak or drop a file first.");
    outcome.hidden = made === null;
    if (made === null) return;
    const failed = made.traceback !== null;
    find(".python-traceback").hidden = !failed;
    setText(find(".python-traceback"), made.traceback ?? "");
    find(".python-changes").hidden = failed;
    button("use").hidden = failed || (transcript?.isUsed && used === made);
    if (!failed) drawChanges(find(".python-changes"), made.changes);
    find(".python-printed").hidden = !made.printed;
    setText(find(".python-printed pre"), made.printed);
  }

  function update() {
    const transcript = getWords();
    if (isRunning || made?.of === transcript?.text) return draw();
    made = null;
    say("");
    draw();
  }

  script.addEventListener("change", () => {
    writeKept({ ...kept, chosen: script.value });
    showScript();
  });
  area.addEventListener("input", keep);
  makeCodeEditor(area, run);
  button("run").addEventListener("click", run);
  button("stop").addEventListener("click", () => runner.stop());
  button("use").addEventListener("click", () => use(made));
  button("raw").addEventListener("click", () => use(null));
  button("restore").addEventListener("click", () => {
    delete kept.codes[script.value];
    writeKept({ ...kept, chosen: script.value });
    showScript();
  });
  showScript();
  draw();
  return { update };
}

const told = ({ changes }) => {
  const n = changes.filter(({ 0: kind }, i) => kind !== "same" && changes[i - 1]?.[0] !== "removed").length;
  return n === 0 ? "The script changed nothing." : n === 1 ? "One place changed." : `${n} places changed.`;
};

/** changes: [[kind, text], …]; what was taken out is struck through, what came in is marked. */
function drawChanges(paragraph, changes) {
  const TAGS = { same: "span", removed: "del", added: "ins" };
  paragraph.replaceChildren(
    ...changes.flatMap(([kind, text]) => {
      const space = text.startsWith(" ") ? " " : ""; // outside of the mark
      return [space, Object.assign(document.createElement(TAGS[kind]), { textContent: text.slice(space.length) })];
    }),
  );
}

async function fetchOriginal(name) {
  const response = await fetch(new URL(`post_processing/${name}.py`, import.meta.url)).catch(() => null);
  return response?.ok ? response.text() : "# This script could not be loaded; check the connection and reload the page.\n";
}

function readKept() {
  try {
    const { chosen, codes } = JSON.parse(localStorage.getItem(STORED)) ?? {};
    const names = SCRIPTS.map(({ name }) => name);
    const known = Object.entries(codes ?? {}).filter(([name, code]) => names.includes(name) && typeof code === "string");
    return { chosen: names.includes(chosen) ? chosen : names[0], codes: Object.fromEntries(known) };
  } catch {
    return { chosen: SCRIPTS[0].name, codes: {} }; // not allowed to look, or not ours
  }
}

function writeKept(kept) {
  try {
    localStorage.setItem(STORED, JSON.stringify(kept));
  } catch {
    // a browser that keeps nothing keeps no scripts
  }
}
