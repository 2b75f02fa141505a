/**
 * The servers that a person named, what they allowed them, and which one hears now: the state behind servers_view.js.
 * Kept in this browser only, where app/policy.js reads it, too.
 *
 * A server:
 *   address    of its routes, https://example.org/v1
 *   key        or ""; sent to that address and nowhere else
 *   model      the name by which it is asked, of those it has; "" until it was tested
 *   hasWords   it is ours: says words, times and certainty itself, live
 *   isAllowed  the person said yes to sending it sound
 */

import { addressOf, forbiddenSentence, isForbidden, isKey, nameOf, originOf, OWN_ADDRESS } from "./server_address.js";
import { lookAt } from "./server_look.js";

const KEY = "voxtral-servers"; // in localStorage
const TO_TEST = "voxtral-server-to-test"; // in sessionStorage: added before the page was loaded again
const NEW = { key: "", model: "", hasWords: false, isAllowed: false };

/**
 * change(edit): edits the state and shows it; leave(address): ends what is on its way there;
 * onUse(): another one hears now; isBusy(): something is heard or transcribed. Returns {state, actions, begin}.
 */
export function createServers({ change, leave, onUse, isBusy }) {
  const kept = read();
  const state = {
    servers: kept.servers,
    used: kept.servers.find(({ address, isAllowed }) => isAllowed && address === kept.used) ?? null,
    offered: null, // a server that was not asked for: {address, reason: "page" or "address"}
    asking: null, // the server that a yes is asked for
    tests: {}, // address → {sentence, isGood}; isGood null: on its way
    isAdding: false, // where servers are added is to be shown; the view takes it back
    problem: null, // with what was typed
  };
  const reachable = new Set([location.origin, ...kept.servers.map(({ address }) => originOf(address)), ...named().map(originOf)]);
  const find = (address) => state.servers.find((other) => other.address === address);

  function save() {
    write({ used: state.used?.address ?? null, servers: state.servers });
  }

  function edit(work) {
    change(() => {
      work();
      save();
    });
  }

  function put(address, fields) {
    if (!find(address)) state.servers.push({ address, ...NEW });
    return Object.assign(find(address), fields);
  }

  function use(server) {
    edit(() => {
      state.used = server;
      state.asking = null;
      if (server) state.offered = null;
    });
    if (server) leaveAddress();
    onUse();
  }

  /** Another tab of this app changed them; a yes that was taken back there holds here, too. */
  function follow() {
    const { used } = state;
    change(() => {
      state.servers = read().servers;
      state.asking = null;
      if (used) state.used = find(used.address) ?? null;
    });
    if (used && !state.used?.isAllowed) {
      leave(used.address);
      change(() => (state.used = null));
      onUse();
    }
  }

  /** Whether there is a server that answers; its model and what it can are known then. */
  async function test(address) {
    change(() => (state.tests[address] = { sentence: `Asking ${nameOf(address)} …`, isGood: null }));
    const { sentence, isGood, ...found } = await lookAt(find(address));
    if (!find(address)) return false;
    edit(() => {
      state.tests[address] = { sentence, isGood };
      if (isGood) put(address, found);
    });
    return isGood;
  }

  const actions = {
    /** Where words are to come from: an address, or null for this machine. Sound goes nowhere before a yes. */
    async choose(address) {
      if (address === null) return state.used && use(null);
      const server = find(address) ?? put(address, {});
      if (server.isAllowed && server.model) return use(server);
      if (!(await test(address))) return change(() => (state.isAdding = true)); // what is wrong is said there
      if (find(address)?.isAllowed) return use(find(address));
      change(() => (state.asking = find(address)));
    },
    /** The person said yes to the server that `asking` names. */
    allow() {
      const server = state.asking;
      server.isAllowed = true;
      use(server);
    },
    refuse: () => change(() => (state.asking = null)),
    /** The yes is taken back: what is on its way there ends. */
    stop(address) {
      const server = find(address);
      if (!server) return;
      server.isAllowed = false;
      leave(address);
      if (state.used === server) use(null);
      else edit(() => {});
    },
    forget(address) {
      actions.stop(address);
      edit(() => {
        state.servers = state.servers.filter((other) => other.address !== address);
        delete state.tests[address];
      });
    },
    test,
    /** What was typed; a page that may not connect there yet is loaded again. Returns whether it was an address. */
    add(text, key) {
      const address = addressOf(text);
      const problem = problemOf(address, text, key);
      change(() => (state.problem = problem));
      if (problem) return false;
      edit(() => put(address, key ? { key, model: "" } : {}));
      if (reachable.has(originOf(address))) test(address);
      else {
        remember(address);
        location.reload();
      }
      return true;
    },
    decline() {
      const address = state.offered?.address;
      change(() => (state.offered = null));
      leaveAddress();
      if (address) decline(address);
    },
  };

  function problemOf(address, text, key) {
    if (!address) return `Expected an address like https://example.org or localhost:8000, found “${text.trim().slice(0, 80)}”.`;
    if (!isKey(key)) return "Expected a key of letters, digits and signs like - . _ ~, which is what a browser can send.";
    if (isForbidden(address)) return forbiddenSentence(address);
    if (isBusy() && !reachable.has(originOf(address))) return "The page is loaded again to let it connect there; wait for the recording first.";
    return null;
  }

  /** What the address names, what was added just now, and the server that the page came from. */
  async function begin() {
    const added = recall();
    if (added && find(added)) {
      change(() => (state.isAdding = true));
      return test(added);
    }
    const [proposed] = named();
    if (proposed && proposed !== state.used?.address) return change(() => (state.offered = { address: proposed, reason: "address" }));
    if (!navigator.onLine) return; // the page came from its cache, and a failure would only fill the console
    const own = await fetch(`${OWN_ADDRESS}/voxtral`, { cache: "no-store" }).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
    if (!own?.model) return; // a host of files
    if (!find(OWN_ADDRESS)) edit(() => put(OWN_ADDRESS, {}));
    if (!state.used && !hasDeclined(OWN_ADDRESS)) change(() => (state.offered = { address: OWN_ADDRESS, reason: "page" }));
  }

  addEventListener("storage", ({ key }) => key === KEY && follow());
  return { state, actions, begin };
}

/** The address in ?server=, in a list. */
function named() {
  const address = addressOf(new URLSearchParams(location.search).get("server") ?? "");
  return address ? [address] : [];
}

function leaveAddress() {
  const address = new URL(location.href);
  address.searchParams.delete("server");
  history.replaceState(null, "", address);
}

function read() {
  const kept = readItem(localStorage, KEY);
  const servers = Array.isArray(kept?.servers) ? kept.servers.filter(isServer).map((server) => ({ ...NEW, ...server })) : [];
  return { used: kept?.used ?? null, servers };
}

const isServer = (server) => typeof server?.address === "string" && addressOf(server.address) === server.address;

const write = (value) => writeItem(localStorage, KEY, value);
const remember = (address) => writeItem(sessionStorage, TO_TEST, address);
const decline = (address) => writeItem(sessionStorage, `${KEY}-declined`, address);
const hasDeclined = (address) => readItem(sessionStorage, `${KEY}-declined`) === address;

function recall() {
  const address = readItem(sessionStorage, TO_TEST);
  writeItem(sessionStorage, TO_TEST, null);
  return address;
}

function readItem(storage, name) {
  try {
    return JSON.parse(storage.getItem(name));
  } catch {
    return null; // nothing is kept here, or what is damaged
  }
}

function writeItem(storage, name, value) {
  try {
    storage.setItem(name, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing: the choice lasts as long as the page
  }
}
