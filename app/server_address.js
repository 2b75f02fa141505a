/**
 * Addresses of servers that turn speech into text. An address is that of the OpenAI-compatible routes, as their clients
 * take it: https://example.org/v1, without a slash at its end.
 */

import { SITE } from "./transcriber.js";

const LOCAL = /^(localhost|127\.0\.0\.1)$/; // as the policies of the page have it
const SUBPROTOCOL = "realtime";
const KEY_SUBPROTOCOL = "openai-insecure-api-key."; // browsers can send no other header on a WebSocket
const KEY = /^[!#$%&'*+.^_`|~\w-]*$/; // what a subprotocol may be made of

/** The address of a person's words, or null: with or without scheme and /v1. */
export function addressOf(text) {
  const typed = text.trim();
  if (!typed || /[\s@?#]/.test(typed)) return null;
  const scheme = LOCAL.test(URL.parse(`http://${typed}`)?.hostname ?? "") ? "http" : "https";
  const url = URL.parse(/^https?:\/\//i.test(typed) ? typed : `${scheme}://${typed}`);
  if (!url?.hostname || !/^https?:$/.test(url.protocol)) return null;
  const isHost = LOCAL.test(url.hostname) || /[.:]/.test(url.hostname) || url.port || /^https?:/i.test(typed);
  if (!isHost) return null;
  const path = url.pathname.replace(/\/+$/, "");
  return `${url.origin}${/\/v\d+$/.test(path) ? path : `${path}/v1`}`;
}

/** That of the server the page came from. */
export const OWN_ADDRESS = `${SITE}v1`;

export const originOf = (address) => new URL(address).origin;

/** For people. */
export const nameOf = (address) => new URL(address).host;

export const isKey = (text) => KEY.test(text);

export const isEncrypted = (address) => address.startsWith("https:") || LOCAL.test(new URL(address).hostname);

/** Whether the page's policies do not allow it: http is for this machine, and for where the page itself came from. */
export const isForbidden = (address) => !isEncrypted(address) && originOf(address) !== location.origin;

export const forbiddenSentence = (address) =>
  `${nameOf(address)} has an http address, over which sound would go unprotected and which browsers keep https pages from; give it an https one.`;

export const realtimeAddress = (address) => `${address.replace(/^http/, "ws")}/realtime`;

/**
 * Of a WebSocket. None where there is no key, for browsers end a connection whose server takes none of those offered;
 * ours does, and then says why it refuses.
 */
export function subprotocols({ key, hasWords }) {
  if (key) return [SUBPROTOCOL, KEY_SUBPROTOCOL + key];
  return hasWords ? [SUBPROTOCOL] : [];
}

export const headersFor = (key) => (key ? { Authorization: `Bearer ${key}` } : {});
