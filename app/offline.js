/**
 * Keeps the app on this machine for visits without network (service_worker.js), once it is ready, and tells of a new
 * version in one line. A page that nobody has touched yet takes the new version at once.
 */

const SERVICE_WORKER = new URL("service_worker.js", document.baseURI).href;
const HEAL_DELAY_MS = 10_000;

const line = document.querySelector("#update");
let isReady = false;
let isUpdating = false;

const query = new URLSearchParams(location.search);
const isMeasuring = query.has("report") || (query.has("bench") && query.get("bench") !== "accuracy"); // nothing beside it
if (navigator.serviceWorker && !isMeasuring) keep(navigator.serviceWorker).catch((error) => console.warn("offline:", error));

async function keep(workers) {
  window.voxtral.ready.catch(() => {}).finally(() => (isReady = true));
  let registration = await workers.getRegistration(SERVICE_WORKER);
  const isKept = Boolean(registration);
  if (isKept) {
    follow(registration);
    await refresh(registration);
  }
  await window.voxtral.ready.catch(() => {}); // what the person waits for comes first
  registration ??= await workers.register(SERVICE_WORKER, { updateViaCache: "none" });
  if (isKept) setTimeout(() => ask(registration.active, "heal"), HEAL_DELAY_MS);
  else follow(registration);
}

/** Asks the server for a new version. A server that knows of no service worker has become another site. */
async function refresh(registration) {
  try {
    await registration.update();
  } catch {
    const response = await fetch(SERVICE_WORKER, { method: "HEAD", cache: "no-store" }).catch(() => null);
    if (response?.status !== 404) return; // no network
    await registration.unregister();
    location.reload();
  }
}

function follow(registration) {
  const look = () => registration.waiting && navigator.serviceWorker.controller && offer(registration.waiting);
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", look));
  navigator.serviceWorker.addEventListener("controllerchange", () => isUpdating && location.reload());
  look();
}

function offer(worker) {
  line.querySelector("button").onclick = () => update(worker);
  if (isReady || navigator.userActivation?.hasBeenActive) line.hidden = false;
  else update(worker);
}

async function update(worker) {
  isUpdating = true;
  if (await ask(worker, "update")) return;
  isUpdating = false;
  line.hidden = false;
  line.querySelector(".sentence").textContent = "A new version is here; close the other tabs of this app to get it.";
}

/** What the service worker answers. */
function ask(worker, question) {
  const { port1, port2 } = new MessageChannel();
  worker.postMessage(question, [port2]);
  return new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
}
