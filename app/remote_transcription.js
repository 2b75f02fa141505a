/**
 * A file by POST /audio/transcriptions, as OpenAI-compatible servers take it: the very bytes of the file go there, and
 * words with times come back (verbose_json); where a server knows none, its text (json), whose words get estimated times.
 */

import { BUSY, errorOf, Refused, Unreachable } from "./server_errors.js";
import { headersFor } from "./server_address.js";

const NO_VERBOSE = new Set([400, 415, 422]); // what servers say that do not know verbose_json

/**
 * server: {address, key, model}; onSent(sent, total): bytes; signal: aborts. Resolves with {text, words, audioS,
 * notices, estimates}: words with start and end, or null; audioS: or null; notices: sentences; estimates: fields of words
 * that nobody said. Rejects with Refused, Busy or Unreachable, or with the signal's reason.
 */
export async function transcribeRemotely(server, file, onSent, signal) {
  const verbose = { response_format: "verbose_json", "timestamp_granularities[]": "word" };
  const first = await post(server, file, verbose, onSent, signal);
  const answer = NO_VERBOSE.has(first.status) ? await post(server, file, { response_format: "json" }, onSent, signal) : first;
  if (answer.status !== 200) throw errorOf(server.address, answer.status, answer.text, answer.retryAfter, "transcription of files");
  return read(server, answer.text);
}

/** Not by fetch, which does not tell how much was sent. */
function post({ address, key, model }, file, fields, onSent, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ model, ...fields })) form.append(name, value);
  form.append("file", file, file.name);
  const { promise, resolve, reject } = Promise.withResolvers();
  const request = new XMLHttpRequest();
  request.open("POST", `${address}/audio/transcriptions`);
  for (const [name, value] of Object.entries(headersFor(key))) request.setRequestHeader(name, value);
  request.upload.onprogress = ({ loaded, total }) => onSent(loaded, total);
  request.onload = () => {
    const { status, responseText: text } = request;
    resolve({ status, text, retryAfter: BUSY.has(status) ? request.getResponseHeader("retry-after") : null });
  };
  request.onerror = () => reject(new Unreachable(address));
  request.onabort = () => reject(signal.reason);
  signal.addEventListener("abort", () => request.abort(), { once: true });
  signal.throwIfAborted();
  request.send(form);
  return promise;
}

function read({ address }, body) {
  let answer;
  try {
    answer = JSON.parse(body);
  } catch {
    answer = null;
  }
  if (typeof answer?.text !== "string") throw new Refused(`${new URL(address).host} sent no transcript; try another server.`);
  const { text, words, segments, duration, usage, notices = [] } = answer;
  const audioS = positive(duration) ?? positive(usage?.seconds);
  const timed = timedWords(text, words);
  if (timed) return { text, words: timed, audioS, notices, estimates: "probability" in (words[0] ?? {}) ? [] : ["probability"] };
  const isTimed = Array.isArray(segments) && segments.length > 0 && segments.every(isSpan);
  const spread = isTimed ? segments.flatMap((segment) => spreadWords(segment.text, segment.start, segment.end)) : null;
  return { text, words: spread, audioS, notices, estimates: ["start", "end", "probability"] };
}

const positive = (value) => (Number(value) > 0 && Number.isFinite(Number(value)) ? Number(value) : null);
const isSpan = ({ text, start, end }) => typeof text === "string" && start >= 0 && end >= start;

/** Words as the page has them: `joins` is what the text between two of them says. Null where there are none. */
function timedWords(text, words) {
  if (!Array.isArray(words) || (!words.length && text.trim())) return null;
  let at = 0;
  const timed = [];
  for (const { word, start, end, probability = 1, alternatives = [], joins = null } of words) {
    const written = typeof word === "string" ? word.trim() : "";
    if (!written || !(start >= 0 && end >= start)) return null;
    const found = text.indexOf(written, at);
    const follows = found >= at && timed.length > 0 && !/\s/.test(text.slice(at, found)) && !/^\s/.test(word);
    if (found >= at) at = found + written.length;
    timed.push({ text: written, start, end, probability, alternatives, joins: joins ?? follows });
  }
  return timed;
}

/** The words of a text, spread over its time by their length. */
export function spreadWords(text, startS, endS) {
  const texts = text.split(/\s+/).filter(Boolean);
  const nCharacters = texts.reduce((sum, { length }) => sum + length + 1, 0);
  let at = startS;
  return texts.map((written) => {
    const start = at;
    at += ((endS - startS) * (written.length + 1)) / nCharacters;
    return { text: written, start: round(start), end: round(at), probability: 1, alternatives: [], joins: false };
  });
}

const round = (seconds) => Math.round(seconds * 100) / 100;
