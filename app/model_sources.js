/**
 * Where models come from, as far as the page must know: py/voxtral/sources.py reads them. Also which of
 * the files a person gives us belong to a model.
 */

import { SITE } from "./transcriber.js";

const ROOT = new URL(SITE);
const HUB = "https://huggingface.co";
const REPOSITORY = /^[\w-][\w.-]*\/[\w-][\w.-]*(@[\w./-]+)?$/;
const MODEL_FILE =
  /\.gguf$|\.part$|\.gguf[.-](part[.-]?)?([a-z]{2,4}|\d+)$|^shard-([a-z]{2,4}|\d+)$|^(tekken|manifest)\.json$/;

/** The model the app is made for. nBytes: what is fetched, to be compared with the room there is. */
export const FULL_MODEL = {
  source: "hub",
  name: "Voxtral Mini 4B",
  nBytes: 2_530_000_000,
  gpuBytes: 3_700_000_000,
};
const FULL_SOURCES = ["hub", "hub:TrevorJS/voxtral-mini-realtime-gguf"];

/** The source of a model stored from files, which only the person who has them can give again. */
export const FROM_FILES = "files";

const named = ["model", "from"].map((name) => new URLSearchParams(location.search).get(name)).filter(Boolean);
const reachable = new Set([ROOT.origin, HUB, ...named.map(originOf)]);

export const isFullModel = (source) => FULL_SOURCES.includes(source);

export const isModelFile = ({ name }) => MODEL_FILE.test(name);

/** What a person typed as a source, or null: an address, with or without https://, or OWNER/NAME on the hub. */
export function sourceOf(text) {
  const typed = text.trim();
  if (!typed || /\s/.test(typed)) return null;
  if (typed === "hub" || typed.startsWith("hub:")) return typed;
  if (REPOSITORY.test(typed) && !typed.split("/")[0].includes(".")) return `hub:${typed}`;
  const isAddress = /^https?:\/\//.test(typed);
  if (!isAddress && !/^[\w-]+(\.[\w-]+)+(:\d+)?(\/|$)|^localhost(:\d+)?(\/|$)/.test(typed)) return null;
  const scheme = /^(localhost|127\.)/.test(typed) ? "http" : "https";
  return URL.parse(isAddress ? typed : `${scheme}://${typed}`)?.href ?? null;
}

/** The origin a source is fetched from; null for files. */
export function originOf(source) {
  if (source === FROM_FILES) return null;
  if (source === "hub" || source.startsWith("hub:")) return HUB;
  return URL.parse(source, ROOT)?.origin ?? null;
}

/** Where a model comes from, for people. */
export function placeOf(source) {
  if (source === FROM_FILES) return "from files";
  const origin = originOf(source);
  if (!origin) return "from an unknown place";
  return origin === ROOT.origin ? "from this server" : `from ${new URL(origin).host}`;
}

/**
 * Whether the page's Content-Security-Policy lets it talk to where this comes from: its own server, the
 * hub, and what its address named when it was opened (app/policy.js).
 */
export const isReachable = (source) => reachable.has(originOf(source));

/** The address of this page that may talk to where a source comes from, and proposes the model. */
export function addressFor(source) {
  const address = new URL(location.href);
  address.search = "";
  address.searchParams.set("from", source);
  return address.href;
}

/** Whether two sources are one place. */
export function isSame(a, b) {
  const plain = (source) => (isFullModel(source) ? FULL_SOURCES[0] : (URL.parse(source, ROOT)?.href ?? source).replace(/\/$/, ""));
  return plain(a) === plain(b);
}
