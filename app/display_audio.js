/** The sound of a tab, a window or the whole screen as a source of sound. */

import { AS_IT_SOUNDS, capture } from "./capture.js";

// No browser shares sound without a picture; this one is not looked at, so it may be small and rare.
const LEAST_VIDEO = { width: 160, height: 90, frameRate: 1 };

/** Whether this browser may share the sound of a tab; whether it does, depends on what the person shares. */
export const canCaptureDisplay = () => Boolean(navigator.mediaDevices?.getDisplayMedia && globalThis.AudioWorkletNode);

/**
 * Lets the person choose what to share, and captures its sound. Needs a user gesture. Callbacks and result are those
 * of capture.js. Rejects with an Error whose message is a sentence for the user.
 */
export async function openDisplayAudio(callbacks) {
  if (!canCaptureDisplay()) {
    throw new Error("This browser cannot share the sound of a tab; use Chrome or Edge on a computer, or a microphone.");
  }
  const wanted = { video: LEAST_VIDEO, audio: AS_IT_SOUNDS, systemAudio: "include", selfBrowserSurface: "exclude" };
  const stream = await navigator.mediaDevices.getDisplayMedia(wanted).catch((error) => {
    throw new Error(refusal(error), { cause: error });
  });
  if (!stream.getAudioTracks().length) {
    for (const track of stream.getTracks()) track.stop();
    throw new Error("What was shared brings no sound; share a tab, and tick the box that shares its sound, too.");
  }
  return capture(stream, callbacks).catch((error) => {
    throw new Error("The shared tab gives no sound; reload the page and try again.", { cause: error });
  });
}

function refusal({ name }) {
  if (name === "NotAllowedError") return "Nothing was shared; choose a tab, and tick the box that shares its sound.";
  if (name === "NotFoundError") return "Nothing was found that could be shared; open the page with the sound in a tab.";
  return `Sharing did not start (${name}); try again, or use a microphone.`;
}
