/** The microphones of this machine as sources of sound. */

import { AS_IT_SOUNDS, capture } from "./capture.js";

/**
 * Opens a microphone. Needs a user gesture.
 *
 * deviceId: of listMicrophones(), null for the system's choice; one that is gone is replaced by that, with a notice.
 * The callbacks and what it resolves with are those of capture.js. Rejects with an Error whose message is a sentence
 * for the user.
 */
export async function openMicrophone({ deviceId = null, onNotice = () => {}, ...callbacks } = {}) {
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) {
    throw new Error(
      isSecureContext
        ? "This browser gives no page a microphone; drop an audio file instead, or use a current browser."
        : "Browsers give a microphone only to https and localhost pages; open http://localhost, or drop a file.",
    );
  }
  const stream = await openDevice(deviceId, onNotice).catch((error) => {
    throw new Error(refusal(error), { cause: error });
  });
  return capture(stream, { onNotice, ...callbacks }).catch((error) => {
    throw new Error("The microphone opened but gives no sound; reload the page and try again.", { cause: error });
  });
}

/** [{deviceId, label}, …]; before the person has allowed one, labels are empty and there may be fewer. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  return devices
    .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId)
    .map(({ deviceId, label }) => ({ deviceId, label }));
}

/** Calls back when a device was plugged in or out; returns a function that ends that. */
export function watchMicrophones(callback) {
  navigator.mediaDevices?.addEventListener("devicechange", callback);
  return () => navigator.mediaDevices?.removeEventListener("devicechange", callback);
}

async function openDevice(deviceId, onNotice) {
  const open = (wanted) => navigator.mediaDevices.getUserMedia({ audio: { ...AS_IT_SOUNDS, ...wanted } });
  if (deviceId === null) return open({});
  try {
    return await open({ deviceId: { exact: deviceId } });
  } catch (error) {
    if (!["OverconstrainedError", "NotFoundError"].includes(error.name)) throw error;
    const stream = await open({});
    const { label } = stream.getAudioTracks()[0];
    onNotice(`The microphone chosen before is not there, so ${label ? `“${label}”` : "another one"} is used.`);
    return stream;
  }
}

function refusal({ name }) {
  if (name === "NotAllowedError") {
    return "The microphone was not allowed; allow it in the address bar or the site settings, then try again.";
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return "No microphone was found; connect one and try again, or drop an audio file.";
  }
  if (name === "NotReadableError") {
    return "Another program or the system holds the microphone; free it and try again.";
  }
  return `The microphone could not be opened (${name}); check it and try again.`;
}
