/**
 * A MediaStream as a port of mono blocks: AudioWorklet → MessagePort. The blocks never pass through the page's thread,
 * so a busy page loses no sound.
 */

import { SAMPLE_RATE } from "./resampler.js";

const RESUME_LIMIT_MS = 1000;
const LAST_BLOCK_LIMIT_MS = 1000;
const IGNORE = () => {};

/** The browser's own processing is made for calls between people; it eats soft and first syllables. */
export const AS_IT_SOUNDS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * Captures a stream. What happens to it meanwhile is told, to those who want to know:
 *   onLevel({rms, peak})    for each 80 ms block
 *   onUnplugged()           the device went away, or the person ended the sharing
 *   onSuspended(sentence)   no sound comes now, the browser or the system holds it back; null: it comes again
 *   onNotice(sentence)      how long there was none
 * Resolves with {port, sampleRate, close}: `port` carries what capture_worklet.js describes; `close()` resolves once
 * the last block is on its way, and ends the stream. Rejects, the stream ended, when it gives no sound.
 */
export async function capture(stream, { onLevel = IGNORE, onUnplugged = IGNORE, onSuspended = IGNORE, onNotice = IGNORE }) {
  const endStream = () => stream.getTracks().forEach((track) => track.stop());
  let context, node;
  try {
    // Some browsers refuse to bring a device into a context of another rate.
    ({ context, node } = await start(stream, SAMPLE_RATE).catch(() => start(stream, undefined)));
  } catch (error) {
    endStream();
    throw error;
  }
  const { port1, port2 } = new MessageChannel();
  const lastBlock = Promise.withResolvers();
  const on = {
    level: onLevel,
    gap: ({ seconds }) => onNotice(gapSentence(seconds)),
    stopped: lastBlock.resolve,
  };
  node.port.onmessage = ({ data: { type, ...fields } }) => on[type](fields);
  node.port.postMessage({ blocks: port1 }, [port1]);
  const unwatch = watch(stream, context, { onUnplugged, onSuspended });

  let closed = null;
  const close = async () => {
    unwatch();
    if (context.state === "running") {
      node.port.postMessage("stop");
      setTimeout(lastBlock.resolve, LAST_BLOCK_LIMIT_MS);
      await lastBlock.promise;
    }
    endStream();
    await context.close();
  };
  return { port: port2, sampleRate: context.sampleRate, close: () => (closed ??= close()) };
}

async function start(stream, sampleRate) {
  const context = new AudioContext({ sampleRate, latencyHint: "interactive" });
  try {
    await context.audioWorklet.addModule(new URL("capture_worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "capture", { channelCountMode: "max" });
    context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(node);
    node.connect(context.destination); // silent, but some browsers only run what is heard
    await context.resume();
    return { context, node };
  } catch (error) {
    await context.close();
    throw error;
  }
}

/** Tells what becomes of the stream, and asks for sound that is held back; returns a function that ends that. */
function watch(stream, context, { onUnplugged, onSuspended }) {
  const ended = new AbortController();
  const { signal } = ended;
  let [isMuted, wasSilent] = [false, false];
  const tell = () => {
    const isSilent = isMuted || context.state !== "running";
    if (isSilent === wasSilent || signal.aborted) return;
    wasSilent = isSilent;
    if (!isSilent) onSuspended(null);
    else if (isMuted) onSuspended("The system or another program muted the sound; nothing is heard until it is back.");
    else onSuspended("The browser holds the sound back; press a key or touch the page, and listening goes on.");
  };
  const resume = () => {
    if (signal.aborted || context.state === "running") return tell();
    context.resume().catch(() => {});
    setTimeout(tell, RESUME_LIMIT_MS);
  };
  context.addEventListener("statechange", resume, { signal });
  document.addEventListener("visibilitychange", resume, { signal });
  for (const gesture of ["pointerdown", "keydown"]) document.addEventListener(gesture, resume, { signal });
  for (const track of stream.getAudioTracks()) {
    track.addEventListener("ended", onUnplugged, { signal });
    for (const type of ["mute", "unmute"]) {
      track.addEventListener(type, () => ((isMuted = track.muted), tell()), { signal });
    }
  }
  return () => ended.abort();
}

function gapSentence(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.round(seconds % 60)];
  const duration = minutes ? `${minutes} min ${rest} s` : `${rest} s`;
  return `Nothing was heard for ${duration}: the machine slept, or the browser held the sound back.`;
}
