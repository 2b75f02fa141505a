/** The sound of a <video> or <audio> element, or of any MediaStream, as a source of sound. */

import { capture } from "./capture.js";

const taps = new WeakMap(); // media element → MediaStream, where an element can be tapped but once

/** The browser lets the page hear nothing before the person has clicked or pressed a key there. */
export class NeedsGesture extends Error {
  name = "NeedsGesture";
}

/**
 * media: an HTMLMediaElement, or a MediaStream, whose tracks stay the caller's. What the person hears of it is left as
 * it is. Callbacks and result are those of capture.js. Rejects with an Error whose message is a sentence.
 */
export async function openMediaSound(media, callbacks) {
  if (navigator.userActivation?.hasBeenActive === false) {
    throw new NeedsGesture("The browser lets this page hear nothing yet; click or press a key in it first.");
  }
  const stream = streamOf(media);
  if (!stream.getAudioTracks().length) throw new Error("The input has no sound; give one with an audio track.");
  return capture(stream, callbacks).catch((error) => {
    throw new Error("The input gives no sound; reload the page and try again.", { cause: error });
  });
}

/** A stream of its own, which may be ended. */
function streamOf(media) {
  if (media instanceof MediaStream) return media.clone();
  if (!(media instanceof HTMLMediaElement)) {
    throw new TypeError('Expected "microphone", a <video>, an <audio> or a MediaStream as the input; give one of those.');
  }
  const captureStream = media.captureStream ?? media.mozCaptureStream;
  return captureStream ? captured(media, captureStream) : tapped(media).clone();
}

/** The sound as it is in the file, whatever the volume, even muted. */
function captured(media, captureStream) {
  try {
    return captureStream.call(media);
  } catch (error) {
    throw new Error(
      "The browser does not let this page hear media from another site; serve them from this one, or with " +
        "Access-Control-Allow-Origin and the attribute crossorigin.",
      { cause: error },
    );
  }
}

/** Where elements cannot be captured (Safari): from now on they play through a context, as loud as they are. */
function tapped(media) {
  if (!taps.has(media)) {
    const context = new AudioContext();
    const source = context.createMediaElementSource(media);
    const tap = context.createMediaStreamDestination();
    source.connect(context.destination);
    source.connect(tap);
    taps.set(media, tap.stream);
  }
  return taps.get(media);
}
