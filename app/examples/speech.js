/** The browser's own voice, and only one that speaks on this machine: other voices send the text to a server. */

const ECHO_MS = 250;
let spoken = { from: Infinity, to: -Infinity }; // performance.now() of what was last said aloud

/** A voice of this machine for English, or null. */
export function localVoice() {
  const voices = globalThis.speechSynthesis?.getVoices() ?? [];
  return voices.find(({ localService, lang }) => localService && lang.startsWith("en")) ?? null;
}

/** Says it in the place of what is being said; does nothing without a local voice. */
export function say(text) {
  const voice = localVoice();
  if (!voice) return;
  const utterance = Object.assign(new SpeechSynthesisUtterance(text), { voice, lang: voice.lang });
  utterance.onstart = () => (spoken = { from: performance.now(), to: Infinity });
  utterance.onend = utterance.onerror = () => (spoken.to = performance.now() + ECHO_MS);
  speechSynthesis.cancel();
  speechSynthesis.speak(utterance);
}

/** Whether what a microphone heard between two moments of performance.now() may be that voice. */
export const isOwnVoice = (from, to) => to > spoken.from && from < spoken.to;
