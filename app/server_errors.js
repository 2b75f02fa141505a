/** What can go wrong with a server, in one sentence each; and finding out what did. */

import { forbiddenSentence, headersFor, isEncrypted, isForbidden, nameOf } from "./server_address.js";

const ASK_LIMIT_MS = 10_000;
const USUAL_RETRY_S = 5;
const LONGEST_RETRY_S = 60;
export const BUSY = new Set([429, 503]);

/** A server that will not do what it was asked, whatever is tried; message: a sentence. */
export class Refused extends Error {}

/** A server that may do it later; message: a sentence. */
export class Busy extends Error {
  constructor(address, retryAfterS, isLeaving = false) {
    super(`${nameOf(address)} is ${isLeaving ? "being shut down or started anew" : "busy"}`);
    this.retryAfterS = retryAfterS;
  }
}

/** Whom one cannot reach does not say why; Error with a sentence. */
export class Unreachable extends Error {
  constructor(address) {
    super(
      isForbidden(address)
        ? forbiddenSentence(address)
        : `${nameOf(address)} cannot be reached: it is off or the address is wrong, or it does not allow this page ` +
            `(it has to name ${location.origin} among its allowed origins).`,
    );
  }
}

/** Seconds of a Retry-After header: a number or a date. */
export function retryAfterOf(value) {
  if (!value) return USUAL_RETRY_S;
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(LONGEST_RETRY_S, Math.max(1, Math.ceil(seconds))) : USUAL_RETRY_S;
}

/** The Error for an answer of that status; text: its body. */
export function errorOf(address, status, text, retryAfter = null, what = "") {
  const name = nameOf(address);
  const said = sentenceIn(text);
  if (BUSY.has(status)) return new Busy(address, retryAfterOf(retryAfter), status === 503);
  if (status === 401 || status === 403) return new Refused(`${name} wants a key, or another one; give it with the address in the settings.`);
  if (status === 404 && !said) return new Refused(`${name} has no ${what || "such route"}; is the address complete?`);
  if (status === 413) return new Refused(`${name} takes no file as large as this one${said ? `: ${said}` : "."}`);
  return new Refused(said ? `${name} says: ${said}` : `${name} answered ${status}, expected a transcript; try another server.`);
}

/** The sentence of an error in OpenAI's shape, FastAPI's or plain text; "" for none. */
function sentenceIn(text) {
  let said = "";
  try {
    const { error, detail, message } = Object(JSON.parse(text));
    said = error?.message ?? error ?? message ?? detail;
  } catch {
    return "";
  }
  return typeof said === "string" ? said.trim().slice(0, 300) : "";
}

/**
 * Asks which models a server has, which needs no sound and shows that it is there and takes the key. Resolves with their
 * names; rejects with Refused, Busy or Unreachable.
 */
export async function askModels({ address, key }) {
  if (isForbidden(address)) throw new Unreachable(address);
  const signal = AbortSignal.timeout(ASK_LIMIT_MS);
  const options = { headers: headersFor(key), cache: "no-store", credentials: "omit", signal };
  const response = await fetch(`${address}/models`, options).catch(() => null);
  if (!response) throw new Unreachable(address);
  const text = await response.text().catch(() => "");
  if (!response.ok) throw errorOf(address, response.status, text, response.headers.get("retry-after"), "list of models");
  const models = modelsIn(text);
  if (!models) throw new Refused(`${nameOf(address)} answers, but not as a transcription server does; is the address complete?`);
  return models;
}

function modelsIn(text) {
  try {
    const { data } = JSON.parse(text);
    return data.map(({ id }) => id).filter((id) => typeof id === "string" && id);
  } catch {
    return null;
  }
}

export const warningOf = (address) =>
  isEncrypted(address) ? "" : "The connection is not encrypted: whoever is on the way can listen.";
