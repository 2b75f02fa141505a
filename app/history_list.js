/**
 * The list of earlier sessions: the state behind history_view.js, and what a person does with them. What is an entry of
 * the page (entries.js) is not in the list.
 */

import { entryFields, headOf, joined } from "./documents.js";
import * as history from "./history.js";
import { deleteRecording, listRecordings } from "./recorder.js";
import { saveFiles } from "./save_files.js";
import { Words } from "./words.js";

const SEARCH_MS = 150; // after the last key
const IN_USE = "is open in another tab; close it there first.";

/**
 * entries: {state, actions} of entries.js; engine: gives the Transcriber; change(edit): edits the state and shows it;
 * warn(sentence); onRoom(): something was deleted. Returns {state, actions, refresh}.
 */
export function createHistory({ entries, engine, change, warn, onRoom }) {
  const state = {
    sessions: [], // newest first
    query: "",
    found: null, // ids of those that the query finds, or null
    lost: null, // the session that was not finished when its page went away
    asking: null, // id of the session that may be deleted, or "all"
  };
  let searching = 0; // timer
  const isHere = (id) => entries.state.entries.some((entry) => entry.id === id);

  const telling = (work) => (...given) => work(...given).catch((error) => warn(error.message));

  async function refresh() {
    const sessions = await history.listSessions();
    change(() => (state.sessions = sessions.filter(({ id }) => !isHere(id))));
    if (state.query) await search(state.query);
  }

  /** Once, at the start: what was lost, and sound whose text is gone. */
  async function begin() {
    await refresh();
    const lost = await findLost();
    change(() => (state.lost = lost));
    const recordings = await listRecordings(); // first: theirs is a lock, and then a session, while we look for those
    const locked = await history.lockedSessions();
    const known = new Set((await history.listSessions()).map(({ id }) => id));
    for (const { id } of recordings) {
      if (!known.has(id) && !locked.has(id) && !isHere(id)) await deleteRecording(id);
    }
  }

  /** Resolves with the newest session that was not finished and that no tab works on, or null. */
  async function findLost() {
    const unfinished = () => state.sessions.filter(({ isFinished }) => !isFinished);
    for (const { id } of unfinished()) {
      const release = await history.lockSession(id);
      release?.();
      const lost = unfinished().find((session) => session.id === id); // it may have been finished or opened meanwhile
      if (release && lost) return lost;
    }
    return null;
  }

  async function search(query) {
    const found = query.trim() ? await history.searchSessions(query) : null;
    if (query === state.query) change(() => (state.found = found));
  }

  function type(query) {
    change(() => (state.query = query));
    clearTimeout(searching);
    searching = setTimeout(telling(() => search(query)), SEARCH_MS);
  }

  /** Resolves with the entry it is now, or null. */
  async function open(session) {
    const release = await history.lockSession(session.id);
    if (!release) return void warn(`“${session.title}” ${IN_USE}`);
    const kept = await history.getSession(session.id).catch((error) => {
      release();
      throw error;
    });
    if (!kept) {
      release();
      return void refresh();
    }
    const words = Words.of(kept.paragraphs);
    const lock = Promise.resolve(release);
    const entry = entries.actions.open({ ...entryFields(kept.session), words, made: kept.made, lock, savedVersion: words.version });
    if (!session.isFinished) await history.changeSession(session.id, { isFinished: true });
    if (state.lost?.id === session.id) change(() => (state.lost = null));
    await refresh();
    return entry;
  }

  async function dismissLost() {
    const { id } = state.lost;
    change(() => (state.lost = null));
    await history.changeSession(id, { isFinished: true });
    await refresh();
  }

  async function rename(session, title) {
    if (!title.trim() || title === session.title) return;
    session.title = title.trim(); // seen at once
    await history.changeSession(session.id, { title: session.title });
    await refresh();
  }

  /** The sessions and their sound; what another tab works on stays. */
  async function remove(sessions) {
    change(() => (state.asking = null));
    await Promise.all(sessions.map(removeOne));
    onRoom();
    await refresh();
  }

  async function removeOne({ id, title }) {
    const release = await history.lockSession(id);
    if (!release) return warn(`“${title}” ${IN_USE}`);
    try {
      await history.removeSession(id);
      await deleteRecording(id);
    } finally {
      release();
    }
    if (state.lost?.id === id) change(() => (state.lost = null));
  }

  async function documentOf({ id }) {
    const kept = await history.getSession(id);
    if (!kept) throw new Error("This transcript is no longer kept; another tab may have deleted it.");
    const heard = kept.paragraphs.flat().filter(({ text }) => text).map(({ isInserted, ...word }) => word);
    const { text, words } = kept.made ?? { text: joined(heard), words: heard };
    const head = headOf(entryFields(kept.session));
    return { format: "voxtral-transcript", version: 1, ...head, text, words };
  }

  /** All of them in one file. */
  async function exportAll() {
    const documents = [];
    for (const session of state.sessions) documents.push((await engine().render(await documentOf(session), "json")).trim());
    const blob = new Blob([`[\n${documents.join(",\n")}\n]\n`]);
    await saveFiles([{ name: `Transcripts ${new Date().toISOString().slice(0, 10)}.json`, blob }], null, () => {});
  }

  history.onChangeElsewhere(telling(refresh));
  const actions = {
    type,
    open: telling(open),
    dismissLost: telling(dismissLost),
    rename: telling(rename),
    ask: (what) => change(() => (state.asking = what)),
    remove: telling((session) => remove([session])),
    removeAll: telling(() => remove(state.sessions)),
    exportAll: telling(exportAll),
    documentOf,
  };
  return { state, actions, begin: telling(begin), refresh: telling(refresh) };
}
