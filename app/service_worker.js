/**
 * Keeps one version of the app on this machine: page, runtime, Python, demo model, samples. The server and the export
 * put the list of its files in front of this text (py/voxtral/web/precache.py):
 *
 *   const PRECACHE = { version, files: { path below the root: { sha256, size } } };   path "" is the page itself
 *
 * So every version is another service worker, and the browser sees to it that a page keeps the one it began with, until
 * all its tabs are closed or offline.js asks for `update`. Content lies in the cache under its SHA-256, hence versions
 * cannot mix, and what did not change is not fetched again. Everything that is not listed passes by untouched: other
 * origins, /models/, the list itself.
 */

const SCOPE = new URL(registration.scope);
const CACHE = `voxtral ${SCOPE.pathname}`;
const N_CONNECTIONS = 4;

addEventListener("install", (event) => event.waitUntil(complete()));
addEventListener("activate", (event) => event.waitUntil(forgetTheRest()));

addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (!["GET", "HEAD"].includes(request.method) || !url.href.startsWith(SCOPE.href)) return;
  const path = url.pathname.slice(SCOPE.pathname.length);
  const listed = path === "index.html" ? "" : path;
  if (Object.hasOwn(PRECACHE.files, listed)) event.respondWith(answer(listed, request));
});

// "update": this version takes over if one tab at most would notice; answers whether. "heal": looks through what is
// kept, and fetches again what is damaged; answers with the paths of those.
addEventListener("message", (event) => {
  const { data, ports } = event;
  const act = { update: takeOver, heal }[data];
  if (act) event.waitUntil(act().then((answer) => ports[0].postMessage(answer)));
});

/** The page has its headers from the server, which change with the version, too. */
const keyOf = (path, { sha256 }) => new URL(`precached/${path ? sha256 : PRECACHE.version}`, SCOPE).href;

/** Everything of this version is there afterwards; rejects when some of it cannot be had, what came stays. */
async function complete() {
  const cache = await caches.open(CACHE);
  const kept = new Set((await cache.keys()).map(({ url }) => url));
  const wanted = Object.entries(PRECACHE.files).filter(([path, file]) => !kept.has(keyOf(path, file)));
  const work = async () => {
    for (let next; (next = wanted.shift()); ) await store(cache, ...next);
  };
  await Promise.all(Array.from({ length: N_CONNECTIONS }, work));
}

/**
 * Fetches a file and keeps it; returns the response. The browser's own cache will do if what it has is right, but not
 * for the page: its headers may be old ones.
 */
async function store(cache, path, file) {
  for (const mode of path ? ["default", "reload"] : ["reload"]) {
    const response = await fetch(new URL(path, SCOPE), { cache: mode });
    if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
    const bytes = await response.arrayBuffer();
    if (!(await isRight(bytes, file))) continue;
    const headers = new Headers(response.headers);
    headers.delete("content-encoding"); // the bytes are decoded
    headers.set("content-length", String(bytes.byteLength));
    const stored = new Response(bytes, { headers });
    await cache.put(keyOf(path, file), stored.clone());
    return stored;
  }
  throw new Error(`${path}: the server has it from another version`);
}

async function isRight(bytes, { sha256, size }) {
  if (bytes.byteLength !== size) return false;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return sha256 === Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function answer(path, { method, headers }) {
  const file = PRECACHE.files[path];
  try {
    const cache = await caches.open(CACHE);
    const response = (await cache.match(keyOf(path, file))) ?? (await store(cache, path, file));
    if (method === "HEAD") return new Response(null, response);
    const [isPart, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.get("range")) ?? [];
    return isPart && Number(first) < file.size ? await part(response, Number(first), last) : response;
  } catch (error) {
    const sentence = `A file of this app is missing on this machine and cannot be had now (${error.message}); reload later.`;
    return new Response(sentence, { status: 503, headers: { "content-type": "text/plain; charset=utf-8" } });
  }
}

async function part(response, first, last) {
  const whole = await response.blob();
  const end = last ? Math.min(Number(last) + 1, whole.size) : whole.size;
  const headers = new Headers(response.headers);
  headers.set("content-length", String(end - first));
  headers.set("content-range", `bytes ${first}-${end - 1}/${whole.size}`);
  return new Response(whole.slice(first, end), { status: 206, headers });
}

async function forgetTheRest() {
  const cache = await caches.open(CACHE);
  const ours = new Set(Object.entries(PRECACHE.files).map((entry) => keyOf(...entry)));
  for (const request of await cache.keys()) if (!ours.has(request.url)) await cache.delete(request);
}

async function takeOver() {
  const windows = await clients.matchAll({ type: "window", includeUncontrolled: true });
  if (windows.filter(({ url }) => url.startsWith(SCOPE.href)).length > 1) return false;
  await skipWaiting();
  return true;
}

async function heal() {
  const cache = await caches.open(CACHE);
  const damaged = [];
  for (const [path, file] of Object.entries(PRECACHE.files)) {
    const kept = await cache.match(keyOf(path, file));
    if (kept && (await isRight(await kept.arrayBuffer(), file))) continue;
    damaged.push(path);
    await store(cache, path, file).catch(() => cache.delete(keyOf(path, file)));
  }
  return damaged;
}
