/** What a server is and can, found out without sending it any sound. */

import { nameOf, realtimeAddress, subprotocols } from "./server_address.js";
import { askModels, Busy } from "./server_errors.js";

const LIMIT_MS = 6000;
const MEANT = /voxtral.*realtime|voxtral/i; // the models that this page is made for, the better ones first

/**
 * Resolves with {sentence, isGood, model, models, hasWords, isLive}, hasWords: it says words itself, isLive: it takes live
 * sound. A server that is busy is a good one.
 */
export async function lookAt(server) {
  const { address } = server;
  const name = nameOf(address);
  let models;
  try {
    models = await askModels(server);
  } catch (error) {
    const when = error instanceof Busy ? "; test it again in a moment." : "";
    return { sentence: error.message + when, isGood: false };
  }
  if (!models.length) return { sentence: `${name} answers, but has no model.`, isGood: false };
  const model = models.includes(server.model) ? server.model : (models.find((id) => MEANT.test(id)) ?? models[0]);
  const { isLive, hasWords } = await tryLive({ ...server, model });
  const can = isLive ? "live captions and files" : "files only, no live captions";
  const others = models.length > 1 ? ` (of ${models.length} models)` : "";
  return { sentence: `${name} answers with ${model}${others}: ${can}.`, isGood: true, model, models, hasWords, isLive };
}

/** Opens the connection that sound would go over, and closes it again. */
async function tryLive(server) {
  const first = await converse(server, subprotocols(server));
  const isOpen = first.length > 0;
  return { isLive: isOpen, hasWords: first.includes("session.updated") };
}

/** The types of the messages with which it answers; none where the connection fails. */
function converse({ address, model }, protocols) {
  const { promise, resolve } = Promise.withResolvers();
  const said = [];
  let socket;
  try {
    socket = new WebSocket(realtimeAddress(address), protocols);
  } catch {
    return [];
  }
  const timer = setTimeout(() => socket.close(), LIMIT_MS);
  socket.onmessage = ({ data }) => {
    const { type } = parsed(data);
    if (type === "error") return socket.close();
    said.push(type);
    if (type !== "session.created") return socket.close();
    socket.send(JSON.stringify({ type: "session.update", model, include: ["words"] }));
    setTimeout(() => socket.close(), 700); // who knows nothing of words does not answer
  };
  socket.onclose = socket.onerror = () => {
    clearTimeout(timer);
    resolve(said);
  };
  return promise;
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
