/**
 * The page at ?bench=accuracy: recordings whose words are known go through the engine, and the report says how well it
 * hears. ?report lets py/tools/browser_accuracy.py say what to hear, see accuracy_plan.js.
 */

import { followPlan } from "./accuracy_plan.js";
import { comparisonElements, reportElements, wrongOf } from "./accuracy_report.js";
import { folderOf, folderOfDrop, readBuiltIn, readSet } from "./accuracy_sets.js";
import { createAccuracyView } from "./accuracy_view.js";
import { filesOf } from "./runtime_files.js";

const SCORING = ["jiwer", "rapidfuzz"]; // packages of the runtime that are fetched for this page alone
const ENGLISH = ["more-itertools", "whisper-normalizer"];

/** Returns {addFiles(files, items)}: what is dropped on the page. delayMs: what the page would hear with. */
export function showAccuracy(voxtral, { delayMs, leftPadTokens }) {
  const query = new URLSearchParams(location.search);
  const state = {
    set: null,
    isReading: true,
    isReady: false,
    isBuiltIn: true,
    isChoosing: true, // what to hear; else a run or a report is shown
    choice: { groups: null, limit: null, delayMs, normalizer: "basic" },
  };
  let run = null; // that is on its way: promise of {result, end()}
  let measured = null; // report of the last run: {set, name, text}
  const player = createPlayer(() => state.set);
  const actions = { chooseFolder: (files) => take(folderOf(files)), useBuiltIn, measure, stop: () => run.then(({ end }) => end(), () => {}), readReports };
  const view = createAccuracyView(actions);
  if (query.has("report")) {
    followPlan(voxtral, query.get("plan"), view, hear);
    return { addFiles() {} };
  }
  view.showChoice(state, false);
  voxtral.ready.then(
    () => redraw({ isReady: true }),
    ({ message }) => view.tell(message),
  );
  useBuiltIn();
  addEventListener("beforeunload", (event) => run && event.preventDefault());
  return { addFiles };

  function redraw(changes) {
    Object.assign(state, changes);
    if (state.isChoosing) view.showChoice(state, false);
  }

  function useBuiltIn() {
    return read(readBuiltIn(voxtral), { isBuiltIn: true });
  }

  /** folder: {name, files}, or a promise of that. */
  function take(folder) {
    const reading = async () => {
      const { name, files } = await folder;
      return readSet(voxtral, name, files);
    };
    return read(reading(), { isBuiltIn: false });
  }

  async function read(reading, changes) {
    redraw({ isReading: true });
    try {
      const set = await reading;
      view.tell(null);
      state.choice.groups = null;
      redraw({ set, isReading: false, ...changes });
    } catch ({ message }) {
      redraw({ isReading: false });
      view.tell(message);
    }
  }

  /** Folders and reports that were dropped, while nothing is measured. */
  function addFiles(files, items) {
    if (run) return;
    const reports = [...files].filter(({ name }) => /\.json$/i.test(name));
    if (reports.length && reports.length === files.length) return readReports(reports);
    const folder = folderOfDrop(items);
    backToChoice();
    take(folder);
  }

  async function measure(choice) {
    view.tell(null);
    view.showRun(state.isBuiltIn ? "Hearing the built-in set" : `Hearing ${state.set.name}`);
    state.isChoosing = false;
    const condition = { delay_ms: choice.delayMs, groups: choice.groups, limit: choice.limit };
    if (leftPadTokens !== null) condition.left_pad_tokens = leftPadTokens;
    state.set.onDecoded = view.showDecoded;
    let trouble = null; // sentence, of what ended it early
    let startedAt = 0; // when the first clip was heard
    const progress = { nWrong: 0, nWords: 0, nFalse: 0 };
    try {
      const onHeard = (heard) => {
        startedAt ||= performance.now();
        count(progress, heard.clip);
        view.showHeard({ ...heard, ...progress, seconds: (performance.now() - startedAt) / 1000 });
      };
      const how = { condition, normalizer: choice.normalizer };
      const report = await hear(state.set, how, onHeard, (sentence) => (trouble = sentence));
      const isNone = !report.clips.length && !report.set.is_complete; // stopped before there was anything
      if (isNone) backToChoice();
      else measured = showReport(report, player, measured);
      view.tell(trouble);
    } catch ({ message }) {
      backToChoice();
      view.tell(message);
    } finally {
      run = null;
    }
  }

  /** Promise of a report; onHeard is told each `clip_heard` event, onNotice what ends it early. */
  async function hear(set, { condition, normalizer }, onHeard, onNotice) {
    const options = { setName: set.name, entries: set.entries, condition, normalizer };
    const onEvent = (event) => {
      if (event.type === "clip_heard") onHeard(event);
      if (event.type === "notice") onNotice(event.sentence);
    };
    const files = filesOf(normalizer === "english" ? [...SCORING, ...ENGLISH] : SCORING);
    run = files.then((modules) => voxtral.measure({ ...options, modules }, (id) => set.soundOf(id), onEvent));
    return (await run).result;
  }

  /** before: {set, name, text} of an earlier run, or null. Returns the same of this one. */
  function showReport(report, itsPlayer, before = null) {
    state.isChoosing = false;
    const mine = { set: report.set.name, name: `${report.model.delay_ms} ms, ${report.engine.date}`, text: JSON.stringify(report) };
    const back = () => showReport(report, itsPlayer, before);
    view.show(reportElements(report, itsPlayer, {
      again: backToChoice,
      compare: (file) => readReports([file], [mine], back),
      compareBefore: before?.set === mine.set ? () => readReports([], [before, mine], back) : null,
    }));
    return mine;
  }

  /** Of files: one is shown, two are compared; before: {name, text} of those that are there already. */
  async function readReports(files, before = [], back = backToChoice) {
    try {
      if (files.length > 2) throw new Error("More than two reports were chosen; choose one, or two to compare.");
      const added = await Promise.all(files.map(async (file) => ({ name: file.name, text: await file.text() })));
      const texts = [...before, ...added];
      const { reports, comparison } = await voxtral.readReports(texts);
      view.tell(null);
      player.stop();
      if (!comparison) return showReport(reports[0], null);
      state.isChoosing = false;
      view.show(comparisonElements(reports, texts.map(({ name }) => name), comparison, { back }));
    } catch ({ message }) {
      view.tell(message);
    }
  }

  function backToChoice() {
    player.stop();
    view.tell(null);
    state.isChoosing = true;
    view.showChoice(state);
  }
}

function count(progress, clip) {
  if (!clip) return;
  const { hits, substitutions, deletions } = clip.word_counts;
  const nWords = hits + substitutions + deletions;
  progress.nWords += nWords;
  if (nWords) progress.nWrong += wrongOf(clip);
  else progress.nFalse += wrongOf(clip);
}

/** Plays clips of the set, one at a time. */
function createPlayer(setOf) {
  const audio = new Audio();
  let [playing, tell] = [null, () => {}];
  const stop = () => {
    audio.pause();
    if (audio.src) URL.revokeObjectURL(audio.src);
    audio.removeAttribute("src");
    tell(false);
    [playing, tell] = [null, () => {}];
  };
  audio.addEventListener("ended", stop);
  return {
    stop,
    has: (id) => setOf().has(id),
    async toggle(id, onChange) {
      const isPlaying = playing === id;
      stop();
      if (isPlaying) return;
      [playing, tell] = [id, onChange];
      onChange(true);
      const wav = await setOf().wavOf(id);
      if (playing !== id) return;
      audio.src = URL.createObjectURL(wav);
      await audio.play().catch(stop);
    },
  };
}
