/**
 * Saves entries into the history as they grow: what changed since the last time, once a second and when the page may be
 * about to go. An entry's session is locked as long as the entry is there.
 */

import { headOf } from "./documents.js";
import { isOver } from "./entries.js";
import { lockSession, saveSession } from "./history.js";
import { textOf, Words } from "./words.js";

const SAVE_MS = 1000;
const RETRY_MS = 30_000; // after a failure
const OPENING_CHARACTERS = 160;

/**
 * entries(): those there are; warn(sentence); onSaved(): the history is another one now. Returns {saveAll, resume},
 * resume: there may be room again.
 */
export function createAutosave({ entries, warn, onSaved }) {
  const kept = new Map(); // entry → what is saved of it: {version, versions of paragraphs, head, made}
  let failedAt = -Infinity; // performance.now()
  let isTold = false; // that nothing is saved
  let hasAsked = false;

  async function saveAll() {
    const all = entries();
    const gone = [...kept.keys()].filter((entry) => !all.includes(entry));
    try {
      const isResting = performance.now() - failedAt < RETRY_MS;
      const saved = isResting ? [] : await Promise.all([...all, ...gone].map(save));
      if (saved.includes(true)) isTold = false;
      if (saved.includes(true) || gone.length) onSaved();
    } catch (error) {
      forget();
      failedAt = performance.now();
      if (!isTold) warn(error.message); // once; the page works on
      isTold = true;
    }
    for (const entry of gone) if (!entries().includes(entry)) letGo(entry);
  }

  /** Where the disk runs low, browsers delete what no one asked them to keep. */
  function askToKeep() {
    if (!hasAsked) navigator.storage?.persist?.();
    hasAsked = true;
  }

  function letGo(entry) {
    entry.lock.then((release) => release?.());
    entry.lock = null;
    kept.delete(entry);
  }

  /** Resolves with whether there was something to save. */
  async function save(entry) {
    if (!kept.has(entry)) kept.set(entry, begin(entry));
    const known = kept.get(entry);
    const { version, paragraphs } = entry.words;
    const head = headNow(entry);
    const { made } = entry;
    const isSaved = version === known.version && head === known.head && made === known.made;
    if (!paragraphs.length || isSaved) return false;
    const changed = [];
    for (const paragraph of paragraphs) {
      if (known.versions[paragraph.index] === paragraph.version) continue;
      known.versions[paragraph.index] = paragraph.version;
      changed.push({ index: paragraph.index, words: Words.kept(paragraph), text: textOf(paragraph) });
    }
    askToKeep();
    const madeNow = made === known.made ? undefined : made;
    Object.assign(known, { version, head, made });
    await saveSession(sessionOf(entry), changed, madeNow);
    return true;
  }

  /** An entry from the history brings the version of its words that is saved already; Undo brings one without its lock. */
  function begin(entry) {
    const { savedVersion = -1, words } = entry;
    entry.lock ??= lockSession(entry.id);
    const versions = words.paragraphs.map(({ version }) => (version <= savedVersion ? version : -1));
    return { version: savedVersion, versions, head: "", made: undefined };
  }

  /** Everything is to be saved again. */
  function forget() {
    for (const known of kept.values()) Object.assign(known, { version: -1, versions: [], made: undefined });
  }

  function resume() {
    failedAt = -Infinity;
    forget();
  }

  setInterval(saveAll, SAVE_MS);
  for (const leaving of ["beforeunload", "pagehide"]) addEventListener(leaving, saveAll);
  document.addEventListener("visibilitychange", () => document.hidden && saveAll());
  return { saveAll, resume };
}

/** Changes with what is saved of an entry beside its words. */
const headNow = (entry) => JSON.stringify([entry.title, isOver(entry), entry.hasAudio, isOver(entry) && entry.audioS]);

function sessionOf(entry) {
  const { paragraphs } = entry.words;
  const first = paragraphs.find(({ words }) => words.some(({ text }) => text));
  const opening = (entry.made?.text ?? (first ? textOf(first) : "")).slice(0, OPENING_CHARACTERS);
  return { ...headOf(entry), isFinished: isOver(entry), hasAudio: entry.hasAudio, opening };
}
