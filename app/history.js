/**
 * The sessions kept in this browser (IndexedDB), and nowhere else. A session is stored in parts, so that one of hours
 * can be saved while it grows:
 *   sessions     {id, title, created_at, source, audio_s, model, settings, isFinished, savedAt, opening, nWords}: the
 *                fields of a document (py/voxtral/document.py) but its words and text; opening: its first words
 *   paragraphs   [id, index] → words, as words.js keeps them
 *   texts        [id, index] → their text, folded, which is all that a search reads; [id, "made"] → that of `made`
 *   made         id → {text, words}, what the person's Python made of the words, where that is shown in their place
 *
 * Tabs share it. Whoever works on a session holds its lock, so that two never write the same one, and what is not
 * finished and not locked was lost with its tab.
 */

const DATABASE = "voxtral-history";
const STORES = ["sessions", "paragraphs", "texts", "made"];
const PAGE_LEAVES_MS = 1500; // a page that was just reloaded may not have let go yet
const LAST_INDEX = []; // in IndexedDB's order any array comes after any number

const channel = new BroadcastChannel(DATABASE);
let opened = null; // promise of the database

/** Promise of all sessions, newest first. */
export async function listSessions() {
  const sessions = await ask("readonly", ({ sessions }) => sessions.getAll());
  return sessions.sort((a, b) => b.created_at.localeCompare(a.created_at));
}

/** Promise of the ids of those in whose title and text every word of `query` occurs; accents and case count for nothing. */
export async function searchSessions(query) {
  const wanted = folded(query).split(/\s+/).filter(Boolean);
  const [sessions, keys, texts] = await Promise.all([
    listSessions(),
    ask("readonly", ({ texts }) => texts.getAllKeys()),
    ask("readonly", ({ texts }) => texts.getAll()),
  ]);
  const missing = new Map(sessions.map(({ id, title }) => [id, wanted.filter((word) => !folded(title).includes(word))]));
  keys.forEach(([id], i) => {
    const words = missing.get(id);
    if (words?.length) missing.set(id, words.filter((word) => !texts[i].includes(word)));
  });
  return sessions.map(({ id }) => id).filter((id) => missing.get(id).length === 0);
}

/** Promise of {session, paragraphs, made}, or null; made: null where there is none. */
export async function getSession(id) {
  const session = await ask("readonly", ({ sessions }) => sessions.get(id));
  if (!session) return null;
  const [paragraphs, made = null] = await Promise.all([
    ask("readonly", ({ paragraphs }) => paragraphs.getAll(rangeOf(id))),
    ask("readonly", ({ made }) => made.get(id)),
  ]);
  return { session, paragraphs, made };
}

/**
 * Saves a session and those of its paragraphs that changed: [{index, words, text}]. madeNow: what Python made of it, null
 * for nothing, undefined for what is kept already. Rejects with an Error whose message is a sentence.
 */
export async function saveSession(session, changed, madeNow) {
  const { id } = session;
  await ask("readwrite", ({ sessions, paragraphs, texts, made }) => {
    sessions.put({ ...session, savedAt: Date.now() });
    if (madeNow) {
      made.put(madeNow, id);
      texts.put(folded(madeNow.text), [id, "made"]);
    } else if (madeNow === null) {
      made.delete(id);
      texts.delete([id, "made"]);
    }
    for (const { index, words, text } of changed) {
      paragraphs.put(words, [id, index]);
      texts.put(folded(text), [id, index]);
    }
  });
  channel.postMessage(id);
}

/** Changes fields of a session that is kept. */
export async function changeSession(id, fields) {
  const session = await ask("readonly", ({ sessions }) => sessions.get(id));
  if (session) await saveSession({ ...session, ...fields }, []);
}

export async function removeSession(id) {
  await ask("readwrite", ({ sessions, paragraphs, texts, made }) => {
    sessions.delete(id);
    made.delete(id);
    paragraphs.delete(rangeOf(id));
    texts.delete(rangeOf(id));
  });
  channel.postMessage(id);
}

/** Calls `heard` when another tab has changed something. */
export function onChangeElsewhere(heard) {
  channel.onmessage = () => heard();
}

/**
 * Takes the lock of a session; resolves with a function that gives it back, or null if another tab keeps it. Pages
 * without https have no locks.
 */
export function lockSession(id) {
  if (!navigator.locks) return Promise.resolve(() => {});
  const { promise, resolve } = Promise.withResolvers();
  const untilReleased = () => new Promise((release) => resolve(release));
  const signal = AbortSignal.timeout(PAGE_LEAVES_MS);
  navigator.locks.request(lockName(id), { signal }, untilReleased).catch(() => resolve(null));
  return promise;
}

/** Promise of the ids of sessions some tab works on. */
export async function lockedSessions() {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const start = lockName("");
  return new Set(held.map(({ name }) => name).filter((name) => name.startsWith(start)).map((name) => name.slice(start.length)));
}

const lockName = (id) => `voxtral-session-${id}`;

const rangeOf = (id) => IDBKeyRange.bound([id], [id, LAST_INDEX]);

/** Case and accents taken off. */
const folded = (text) => text.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();

/** One transaction; resolves, when it is written, with the result of the request that `work` returns. */
async function ask(mode, work) {
  opened ??= openDatabase();
  try {
    const database = await opened;
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORES, mode);
      const request = work(Object.fromEntries(STORES.map((name) => [name, transaction.objectStore(name)])));
      if (mode === "readwrite") transaction.commit(); // a page that goes away does not wait for answers
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
    });
  } catch (error) {
    opened = null; // the next one tries again
    throw new Error(sentenceOf(error), { cause: error });
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      for (const name of STORES) request.result.createObjectStore(name, name === "sessions" ? { keyPath: "id" } : {});
    };
    request.onsuccess = () => {
      request.result.onversionchange = () => {
        request.result.close();
        opened = null;
      };
      request.result.onclose = () => (opened = null);
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}

function sentenceOf({ name }) {
  return name === "QuotaExceededError"
    ? "The browser has no room left to keep transcripts; delete earlier ones, or download what you need of this one."
    : `The browser keeps no transcripts here (${name}); download what you need before you leave the page.`;
}
