/**
 * The transcript: its entries, what the engine's events make of them, and what a person does with them. Knows neither
 * elements (entry_view.js) nor workers (transcriber.js).
 *
 * An entry is one recording or file, or a session opened from the history:
 *   id        of its session, its recording and its document
 *   status    waiting, running, done, cancelled, failed; isLive: someone speaks; isOpened: from the history
 *   words     of words.js; made: {text, words} that the person's Python made of them, or null
 *   notices   [{sentence, atS}], atS: where in the sound, or null; sentence: why it failed
 *   hasAudio  whether its sound is kept, so that words can be heard
 *   sending   {sent, total}, bytes of a file on its way to a server, or null
 * and what its document says of it (documents.js): title, createdAt, source, audioS, model, settings, estimates.
 */

import { clock } from "./amounts.js";
import { lockSession } from "./history.js";
import { Player } from "./player.js";
import { recordingOf } from "./recorder.js";
import { Cancelled } from "./sessions.js";
import { Words } from "./words.js";

const COPIED_MS = 1500;
const LOOK_MS = [0, 500, 2000, 8000];
const LEAD_S = 0.15; // what is heard before a word that was clicked
const TITLES = { microphone: "Recording", tab: "Sound of a tab" };

/**
 * hearer(options): gives the Transcriber, or the RemoteTranscriber for those with a `server`; isGone(): it failed, which the page says already; about(entry): {model, settings} of
 * its document; keepsAudio(): whether the person wants that; change(edit): edits the state and
 * shows it; warn(sentence); writeClipboard(text): resolves with whether it did;
 * onOver(): an entry will not grow any more.
 */
export function createEntries({ hearer, isGone, about, keepsAudio, change, warn, writeClipboard, onOver }) {
  const state = {
    entries: [],
    cleared: null, // entries that Undo brings back
    live: null, // {entry, level, phase: opening, listening, stopping}
    copied: null, // an entry's id, or "all"
    playing: null, // {entry, word, isPaused}
  };
  let recording = null;
  let copying = 0; // timer
  const player = new Player({ onTime, onEnd: () => change(() => (state.playing = null)) });

  function add(fields) {
    const entry = {
      id: randomId(),
      title: "",
      createdAt: new Date().toISOString(),
      source: "file",
      isLive: false,
      isOpened: false,
      options: {}, // with which it is heard
      session: null,
      status: "waiting",
      words: new Words(),
      made: null,
      audioS: 0,
      model: "",
      settings: { delay_ms: null, left_pad_tokens: null, second_pass: false, backend: null, adapter: null },
      estimates: [],
      sending: null,
      hasAudio: false,
      notices: [],
      sentence: null,
      startedAt: null, // performance.now()
      wallS: null, // how long it took
      heard: null, // the last `heard` event
      ...fields,
    };
    entry.lock ??= lockSession(entry.id); // promise; autosave.js gives it back
    change(() => state.entries.push(entry));
    return entry;
  }

  /** What a session's events mean for its entry. */
  function onEvent(entry, event) {
    change(() => {
      if (event.type === "started") start(entry);
      if (event.type === "words") entry.words.append(event.text, event.words);
      if (event.type === "revised") entry.words.revise(event);
      if (event.type === "heard") {
        entry.heard = event;
        entry.audioS = event.heard_s;
      }
      if (event.type === "told") entry.estimates = event.estimates;
      if (event.type === "sending") entry.sending = event;
      if (event.type === "notice") addNotice(entry, event.sentence);
      if (event.type === "level" && state.live?.entry === entry) state.live.level = event;
      if (event.type === "suspended" && event.sentence) addNotice(entry, event.sentence);
      if (event.type === "unplugged" && state.live?.entry === entry) {
        addNotice(entry, "The source of the sound went away; this is what was heard until then.");
        stop();
      }
    });
  }

  function start(entry) {
    entry.status = "running";
    entry.startedAt = performance.now();
    Object.assign(entry, about(entry));
    lookForAudio(entry);
  }

  /** Follows a session to its end, whatever that is. */
  async function finish(entry, promise) {
    try {
      const result = await promise;
      entry.words.finish(result.words);
      entry.audioS = result.audio_s;
      entry.wallS = result.wall_s;
      entry.status = "done";
    } catch (error) {
      entry.status = error instanceof Cancelled ? "cancelled" : "failed";
      if (entry.status === "failed") entry.sentence = error.message;
    }
    change(() => {
      if (state.live?.entry === entry) state.live = recording = null;
    });
    onOver();
    lookForAudio(entry);
  }

  /** The sound of a short file may come later than its words. */
  async function lookForAudio(entry) {
    for (const ms of LOOK_MS) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      const kept = await recordingOf(entry.id).catch(() => null);
      if (Boolean(kept) !== entry.hasAudio) change(() => (entry.hasAudio = kept !== null));
      if (kept) return;
    }
  }

  const wanted = (entry, options) => ({ ...options, recordingId: keepsAudio() ? entry.id : null });

  /** options: {delayMs, server}. */
  function transcribe(file, options = {}) {
    const entry = add({ title: file.name, options });
    const promise = hearer(options).transcribeFile(file, (event) => onEvent(entry, event), wanted(entry, options));
    entry.session = promise.session;
    finish(entry, promise);
  }

  /**
   * Records what openSound opens (the microphone, if not given); resolves when it flows, or does not.
   * options: {delayMs, hasSecondPass, server, source: "microphone" or "tab"}.
   */
  async function listen(openSound, { source = "microphone", ...options } = {}) {
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const entry = add({ title: `${TITLES[source]}, ${time}`, source, isLive: true, options });
    change(() => (state.live = { entry, level: null, phase: "opening" }));
    try {
      player.stop();
      recording = await hearer(options).listen((event) => onEvent(entry, event), openSound, wanted(entry, options));
    } catch (error) {
      change(() => {
        state.entries = state.entries.filter((other) => other !== entry);
        state.live = null;
      });
      if (!(error instanceof Cancelled) && !isGone()) warn(error.message);
      return;
    }
    entry.session = recording.session;
    finish(entry, recording.result);
    change(() => {
      start(entry);
      state.live.phase = "listening";
    });
  }

  function stop() {
    if (state.live?.phase !== "listening") return;
    recording.stop().catch(() => {}); // finish() sees how it ends
    change(() => (state.live.phase = "stopping"));
  }

  const cancel = (entry) => hearer(entry.options).cancel(entry.session);

  /** What a server did not hear any more is heard here, as an entry of its own. */
  async function hearHere(entry) {
    const kept = await recordingOf(entry.id).catch(() => null);
    if (!kept) return warn("The sound of this recording is not kept here, so the rest cannot be heard.");
    const fromS = entry.words.plain().at(-1)?.end ?? 0;
    const { server: _, ...options } = entry.options;
    transcribe(new File([await kept.wav(fromS)], `${entry.title}, from ${clock(fromS)}.wav`), options);
  }

  /** Gives up what is being recorded or transcribed; returns whether there was something. */
  function cancelRunning() {
    const active = state.entries.find(({ status, session }) => session !== null && status === "running");
    if (active) cancel(active);
    return Boolean(active);
  }

  /** Gives up all files, the one at work and those that wait. */
  function cancelFiles() {
    for (const entry of state.entries.filter((other) => !other.isLive && !isOver(other)).reverse()) cancel(entry);
  }

  /* Hearing. */

  /** From a word on, or from the start; while someone speaks, nothing: the microphone would hear it. */
  async function play(entry, word = null) {
    if (state.live || !entry.hasAudio) return;
    const from = word ? Math.max(0, word.start - LEAD_S) : 0;
    change(() => (state.playing = { entry, word, isPaused: false }));
    const problem = await player.play(entry.id, from);
    if (!problem) return;
    change(() => (state.playing = null));
    warn(problem);
  }

  /** Goes on or holds where it is; with nothing playing it begins. */
  function togglePlaying(entry, word = null) {
    if (state.playing?.entry !== entry) return play(entry, word);
    const isPaused = player.toggle();
    change(() => (state.playing.isPaused = isPaused));
  }

  const hold = () => state.playing && !state.playing.isPaused && togglePlaying(state.playing.entry);

  function onTime(seconds) {
    const { playing } = state;
    const word = playing?.entry.words.wordAt(seconds + LEAD_S);
    if (playing && word && word !== playing.word) change(() => (playing.word = word));
  }

  /* Editing: `words` changes, and what Python made of it is of the old text. */

  function edit(entry, work) {
    let word = null;
    change(() => {
      word = work(entry.words);
      entry.made = null;
    });
    return word;
  }

  const editWord = (entry, word, text) => edit(entry, (words) => words.edit(word, text));
  const joinWord = (entry, word) => edit(entry, (words) => words.joinWithPrevious(word));
  const undoEdit = (entry) => edit(entry, (words) => words.undo());
  const use = (entry, made) => change(() => (entry.made = made));

  /* The list. */

  async function copyText(what, text) {
    if (!(await writeClipboard(text))) {
      return warn("The browser did not allow copying; select the text and copy it by hand.");
    }
    change(() => (state.copied = what));
    clearTimeout(copying);
    copying = setTimeout(() => change(() => (state.copied = null)), COPIED_MS);
  }

  const silence = (isGone) => state.playing && isGone(state.playing.entry) && player.stop();

  function remove(entry) {
    silence((other) => other === entry);
    change(() => (state.entries = state.entries.filter((other) => other !== entry)));
  }

  /** Takes finished entries away; what is still being worked on stays. */
  function clear() {
    silence(isOver);
    change(() => {
      state.cleared = state.entries.filter(isOver);
      state.entries = state.entries.filter((entry) => !isOver(entry));
    });
  }

  function undo() {
    change(() => {
      const gone = state.cleared.filter(({ id }) => !state.entries.some((entry) => entry.id === id));
      state.entries = [...gone, ...state.entries];
      state.cleared = null;
    });
  }

  /** An entry for a session of the history: the fields of an entry it has. */
  function open(fields) {
    const entry = add({ ...fields, status: "done", isOpened: true });
    onOver();
    lookForAudio(entry);
    return entry;
  }

  const copy = (entry) => copyText(entry.id, textOf(entry));
  const copyAll = () => copyText("all", transcriptText(state.entries));
  const isWorking = () => state.entries.some(({ status }) => status === "running");
  const actions = {
    transcribe, listen, stop, cancel, cancelRunning, cancelFiles, open, copy, copyAll, remove, clear, undo,
    hearHere, play, togglePlaying, hold, editWord, joinWord, undoEdit, use,
  };
  return { state, actions, isWorking };
}

/** At the end of what can be heard of it now. */
function addNotice(entry, sentence) {
  const atS = entry.heard?.heard_s ?? null;
  if (!entry.notices.some((other) => other.sentence === sentence && other.atS === atS)) entry.notices.push({ sentence, atS });
}

const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");

export const isOver = ({ status }) => ["done", "cancelled", "failed"].includes(status);

export const textOf = ({ made, words }) => made?.text ?? words.text;

function transcriptText(entries) {
  const spoken = entries.filter(textOf);
  if (spoken.length === 1) return textOf(spoken[0]);
  return spoken.map((entry) => `${entry.title}\n${textOf(entry)}`).join("\n\n");
}
