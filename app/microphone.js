/**
 * The microphone as a port of mono blocks: getUserMedia → AudioWorklet → MessagePort.
 * The blocks never pass through the page's thread, so a busy page loses no sound.
 */

const ENGINE_SAMPLE_RATE = 16_000;
// The browser's own processing is made for calls between people; it eats soft and first syllables.
const AS_IT_SOUNDS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * Opens the default microphone. Needs a user gesture.
 *
 * onLevel({rms, peak}) is called for each 80 ms block; onUnplugged() when the device goes away.
 * Returns {port, sampleRate, close}: `port` carries what capture_worklet.js describes and is to be
 * transferred to the engine; `close()` resolves once the last block is on its way.
 * Rejects with an Error whose message is a sentence for the user.
 */
export async function openMicrophone({ onLevel, onUnplugged }) {
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) {
    throw new Error(
      isSecureContext
        ? "This browser gives no page a microphone; drop an audio file instead, or use a current browser."
        : "Browsers give a microphone only to https and localhost pages; open http://localhost, or drop a file.",
    );
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_SOUNDS }).catch((error) => {
    throw new Error(refusal(error), { cause: error });
  });
  let capture;
  try {
    capture = await startCapture(stream, ENGINE_SAMPLE_RATE).catch(() => startCapture(stream, undefined));
  } catch (error) {
    for (const track of stream.getTracks()) track.stop();
    throw new Error("The microphone opened but gives no sound; reload the page and try again.", { cause: error });
  }
  const { context, node } = capture;
  const { port1, port2 } = new MessageChannel();
  const lastBlock = Promise.withResolvers();
  node.port.onmessage = ({ data }) => (data === "stopped" ? lastBlock.resolve() : onLevel(data));
  node.port.postMessage({ blocks: port1 }, [port1]);
  for (const track of stream.getTracks()) track.addEventListener("ended", onUnplugged);

  let closed = null;
  const close = async () => {
    if (context.state === "running") {
      node.port.postMessage("stop");
      await lastBlock.promise;
    }
    for (const track of stream.getTracks()) track.stop();
    await context.close();
  };
  return { port: port2, sampleRate: context.sampleRate, close: () => (closed ??= close()) };
}

/** Some browsers refuse to bring a device into a context of another rate; then the engine resamples. */
async function startCapture(stream, sampleRate) {
  const context = new AudioContext({ sampleRate, latencyHint: "interactive" });
  try {
    await context.audioWorklet.addModule(new URL("capture_worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "capture", { channelCountMode: "max" });
    context.createMediaStreamSource(stream).connect(node);
    node.connect(context.destination); // silent, but some browsers only run what is heard
    await context.resume();
    return { context, node };
  } catch (error) {
    await context.close();
    throw error;
  }
}

function refusal({ name }) {
  if (name === "NotAllowedError") {
    return "The microphone was not allowed; allow it in the address bar or the site settings, then press Speak again.";
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return "No microphone was found; connect one and press Speak again, or drop an audio file.";
  }
  if (name === "NotReadableError") {
    return "Another program or the system holds the microphone; free it and press Speak again.";
  }
  return `The microphone could not be opened (${name}); check it and press Speak again.`;
}
