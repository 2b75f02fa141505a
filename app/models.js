/**
 * The models a person can choose from, and what becomes of getting one: the state behind models_view.js,
 * changed by the engine's events and the person's gestures.
 *
 * A model is got by `transcriber.fetchModel` and becomes one of `stored`; until then, and as long as there is
 * something to say about it, it has a job:
 *   id        its own, for the view
 *   key       of the model, or its source until that is known
 *   source, files   where it comes from: an address or "hub", or the person's File objects; null if unknown
 *   kind      fetch or verify
 *   phase     asked, active, paused, failed, done; withdrawn, discarded: not to be seen any more
 *   news      the last `fetching` event; sentence, canStream: why it failed; isAsking: cancel, really?
 */

import { FROM_FILES, addressFor, isReachable, isSame, sourceOf } from "./model_sources.js";
import { NOWHERE, choosePlace, saveFiles } from "./save_files.js";

const REMEMBERED = "model"; // in localStorage: "stored:KEY", the model to load next time
const STORED = "stored:";

/**
 * engine: gives the Transcriber; change(edit): edits the state and shows it; warn(sentence); load(target, address):
 * loads {model} or {files}, setting options in the page's address; hasText: whether leaving the page would lose some.
 */
export function createModels({ engine, change, warn, load: loadModel, hasText }) {
  const state = {
    stored: null, // of the `models` event; null: not known yet
    offered: [],
    freeBytes: null,
    isPersistent: false, // whether the browser promised to keep what is stored
    jobs: [],
    asking: null, // key of the stored model that may be deleted
    notes: {}, // key → what there is to say of a stored model
    proposed: new URLSearchParams(location.search).get("from"), // source
    chosen: [], // File objects that wait for the person's decision
    used: null, // what is loaded: {model, files}, as given to `load`; model null: the demo
    loadedIn: null, // {nBytes, seconds}
  };
  navigator.storage?.persisted?.().then((isPersistent) => change(() => (state.isPersistent = isPersistent)));
  const exports = new Map(); // key → where to
  let lastId = 0;
  const listed = []; // resolvers of those who wait for the next list

  const job = (key) => state.jobs.find((other) => other.key === key);
  const stored = (key) => state.stored?.find((model) => model.key === key);
  const drop = (key) => (state.jobs = state.jobs.filter((other) => other.key !== key));

  function load(target, address) {
    change(() => (state.used = null)); // nothing is, until it is ready
    loadModel(target, address);
  }

  /** Opens or renews a job; whatever was said of it before is over. */
  function begin(key, fields) {
    const id = job(key)?.id ?? ++lastId;
    drop(key);
    state.jobs.push({ id, key, kind: "fetch", phase: "asked", news: null, sentence: null, canStream: false, isAsking: false, ...fields });
  }

  function askToKeep() {
    navigator.storage?.persist?.().then((isPersistent) => change(() => (state.isPersistent = isPersistent)));
  }

  /** Gets a model, or goes on with that; from elsewhere only in a page whose address names that place. */
  function get(source, key = null) {
    if (!isReachable(source)) {
      const address = addressFor(source);
      return hasText() ? open(address, "_blank", "noopener") : location.assign(address);
    }
    askToKeep();
    change(() => {
      if (state.proposed && isSame(source, state.proposed)) state.proposed = null;
      state.jobs = state.jobs.filter((other) => !other.source || !isSame(other.source, source));
      begin(key ?? source, { source });
    });
    engine().fetchModel(source);
  }

  function getFiles(files) {
    askToKeep();
    change(() => {
      state.chosen = [];
      begin(FROM_FILES, { source: null, files });
    });
    engine().fetchFiles(files);
  }

  const actions = {
    get,
    getFiles,
    /** Returns whether that was an address. */
    getTyped(text) {
      const source = sourceOf(text);
      if (source) get(source);
      return source !== null;
    },
    stream({ source, files }) {
      change(() => {
        state.jobs = state.jobs.filter((other) => (files ? other.files !== files : other.source !== source));
        if (source && state.proposed && isSame(source, state.proposed)) state.proposed = null;
        if (files) state.chosen = [];
      });
      if (files) load({ files }, { model: null, from: null });
      else load({ model: source }, { model: source, from: null });
    },
    useDemo() {
      forget();
      load({ model: null }, { model: null, from: null });
    },
    use(key) {
      change(() => drop(key));
      load({ model: STORED + key }, { model: null, from: null });
    },
    pause(key) {
      change(() => (job(key).phase = "paused"));
      engine().pauseModel(key);
    },
    /** Goes on with a job, or with what an earlier visit began. */
    resume(key) {
      const { source, files } = job(key) ?? stored(key);
      change(() => drop(key));
      if (files) getFiles(files);
      else get(source, key);
    },
    /** Asks first; the second time it is meant. */
    cancel(key) {
      const asked = job(key);
      if (asked.phase === "asked") return change(() => (asked.phase = "withdrawn"));
      if (!asked.isAsking) return change(() => (asked.isAsking = true));
      change(() => (asked.phase = "discarded"));
      engine().discardModel(key);
    },
    keep(key) {
      change(() => {
        state.asking = null;
        if (job(key)) job(key).isAsking = false;
      });
    },
    stopVerifying(key) {
      change(() => (job(key).phase = "discarded"));
      engine().pauseModel(key);
      engine().listModels();
    },
    dismiss: (key) => change(() => drop(key)),
    verify(key) {
      change(() => {
        begin(key, { kind: "verify", source: stored(key).source });
        delete state.notes[key];
      });
      engine().verifyModel(key);
    },
    /** Asks first; the second time it is meant. */
    remove(key) {
      if (state.asking !== key) return change(() => (state.asking = key));
      change(() => {
        state.asking = null;
        state.notes[key] = "Deleting …";
      });
      if (remembered() === STORED + key) forget();
      engine().deleteModel(key);
    },
    async export(key) {
      const place = await choosePlace();
      if (place === NOWHERE) return;
      change(() => (state.notes[key] = "Exporting …"));
      exports.set(key, place);
      engine().exportModel(key);
    },
    decline: () => {
      change(() => Object.assign(state, { proposed: null, chosen: [] }));
      leaveProposal();
    },
  };

  /** Files the person chose or dropped; more of them may follow before the decision. */
  function addFiles(files) {
    const isNew = (file) => !files.some(({ name }) => name === file.name);
    change(() => (state.chosen = [...state.chosen.filter(isNew), ...files]));
  }

  function onEvent(event) {
    if (event.type === "models") change(() => onList(event));
    if (event.type === "fetching") change(() => onFetching(event));
    if (event.type === "fetched") change(() => onFetched(event));
    if (event.type === "fetch_failed") change(() => onFailed(event));
    if (event.type === "verified") onVerified(event);
    if (event.type === "exported") onExported(event);
    if (event.type === "error" && event.session == null && !event.fatal) {
      change(() => (state.notes = {}));
      engine().listModels(); // what was asked for did not happen
    }
  }

  function onList({ stored: models, offered, quota_bytes: quota, used_bytes: used }) {
    const freeBytes = quota === null || used === null ? null : Math.max(0, quota - used);
    Object.assign(state, { stored: models, offered, freeBytes });
    const isOver = ({ key, phase, kind }) => {
      if (phase === "discarded") return kind === "verify" || !stored(key);
      return phase === "active" && stored(key)?.is_active === false;
    };
    state.jobs = state.jobs.filter((other) => !isOver(other));
    for (const other of state.jobs) other.source = stored(other.key)?.source ?? other.source;
    state.notes = Object.fromEntries(Object.entries(state.notes).filter(([key]) => stored(key)));
    for (const resolve of listed.splice(0)) resolve();
  }

  /** The job of a key; one that was asked for may learn its key only now. */
  function jobOf(key) {
    return job(key) ?? state.jobs.find((other) => ["asked", "withdrawn"].includes(other.phase) && !stored(other.key));
  }

  function onFetching(news) {
    const known = jobOf(news.key);
    if (known?.phase === "withdrawn") {
      Object.assign(known, { key: news.key, phase: "discarded" });
      engine().discardModel(news.key);
    }
    if (["paused", "discarded", "done"].includes(known?.phase)) return; // sent before the engine knew
    if (!known) begin(news.key, { source: stored(news.key)?.source ?? null });
    if (news.stage === "download" && known?.news?.stage !== "download") engine().listModels(); // it is begun now
    Object.assign(known ?? job(news.key), { key: news.key, phase: "active", news });
  }

  function onFetched({ key }) {
    const { id = ++lastId, news, source } = jobOf(key) ?? {};
    if (jobOf(key)) drop(jobOf(key).key);
    begin(key, { id, phase: "done", news, source });
    delete state.notes[key];
    const from = new URLSearchParams(location.search).get("from");
    if (source && from && isSame(source, from)) leaveProposal();
  }

  function onFailed({ key, source, sentence, can_stream: canStream }) {
    const isMeant = (other) => (source === null ? other.files : other.source && isSame(other.source, source));
    const failed = job(key) ?? state.jobs.find(isMeant);
    if (failed) drop(failed.key);
    if (["withdrawn", "discarded"].includes(failed?.phase)) return;
    const { id = ++lastId, files = null, news = null } = failed ?? {};
    begin(key ?? source ?? FROM_FILES, { id, phase: "failed", source, files, news, sentence, canStream });
  }

  /** Damaged files were taken out: getting the model again brings just those. */
  function onVerified({ key, problems }) {
    const { source } = job(key) ?? stored(key) ?? {};
    const count = problems.length === 1 ? "1 damaged file" : `${problems.length} damaged files`;
    change(() => {
      drop(key);
      state.notes[key] = problems.length ? `${count} found.` : "Checked: no damage found.";
    });
    for (const problem of problems) console.warn(problem);
    if (problems.length && source && source !== FROM_FILES && isReachable(source)) {
      warn(`${count} found in ${stored(key)?.title ?? key}; only that is fetched again.`);
      get(source, key);
    }
  }

  async function onExported({ key, files }) {
    try {
      await saveFiles(files, exports.get(key), (done, total) =>
        change(() => (state.notes[key] = `Exporting, ${Math.floor((100 * done) / total)} %`)),
      );
      change(() => (state.notes[key] = `Exported: ${files.map(({ name }) => name).join(", ")}.`));
    } catch (error) {
      change(() => delete state.notes[key]);
      warn(`The export stopped (${error.message}); check the room on that disk, then export again.`);
    }
  }

  /** A model is loaded. */
  function onReady(used, { weights_bytes: nBytes, weights_s: seconds }) {
    change(() => Object.assign(state, { used, loadedIn: nBytes && seconds ? { nBytes, seconds } : null }));
    remember(used);
    engine().listModels();
  }

  /** Whether a stored model that was to be loaded is whole; true of any other. */
  async function isThere({ model }) {
    if (!model?.startsWith(STORED)) return true;
    const { promise, resolve } = Promise.withResolvers();
    listed.push(resolve);
    engine().listModels();
    await promise;
    return Boolean(stored(model.slice(STORED.length))?.is_whole);
  }

  return { state, actions, onEvent, onReady, addFiles, isThere, remembered, remember, forget };
}

/** The model chosen last, as `load` takes it; null for the demo. */
function remembered() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null; // a browser that lets the page keep nothing
  }
}

function remember({ model }) {
  if (!model?.startsWith(STORED)) return;
  try {
    localStorage.setItem(REMEMBERED, model);
  } catch {
    // then the next visit begins with the demo
  }
}

function forget() {
  try {
    localStorage.removeItem(REMEMBERED);
  } catch {
    // nothing was kept either
  }
}

/** The address proposes nothing any more. */
function leaveProposal() {
  const address = new URL(location.href);
  address.searchParams.delete("from");
  history.replaceState(null, "", address);
}
