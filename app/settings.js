/**
 * The person's settings: one object, kept in this browser's localStorage and nowhere else.
 *
 *   delayMs           how long the recogniser waits before it commits to a word; one of DELAYS_MS
 *   hasSecondPass     finished passages are heard again at 2400 ms, and words replaced; files are heard so at once
 *   deviceId          the microphone, or null for the browser's default; some browsers give it another id each time,
 *   deviceLabel       which is why its name is kept, too
 *   keepAudio         what is heard is kept on this machine beside its text, so that words can be clicked and heard
 *   captionSize       in percent of the usual size, one of CAPTION_SIZES; of the transcript and of full screen captions
 *   showsUnsure       words that the recogniser may well have wrong look so
 *   theme             system, light or dark
 *   hasShortcuts      whether single keys do something; without modifiers they get in the way of speech input
 *   subtitleLimits    of SRT and WebVTT: {lineLength (characters), nLines, charactersPerS}
 *
 * app/theme.js reads `theme` before anything is drawn.
 */

export const SECOND_PASS_DELAY_MS = 2400;
export const DELAYS_MS = [...Array.from({ length: 15 }, (_, i) => 80 * (i + 1)), SECOND_PASS_DELAY_MS];
export const CAPTION_SIZES = [70, 85, 100, 120, 145, 175, 210, 250];
const THEMES = ["system", "light", "dark"];

const KEY = "voxtral-settings";
export const DEFAULTS = {
  delayMs: 480,
  hasSecondPass: false,
  deviceId: null,
  deviceLabel: "",
  keepAudio: true,
  captionSize: 100,
  showsUnsure: true,
  theme: "system",
  hasShortcuts: true,
  subtitleLimits: { lineLength: 42, nLines: 2, charactersPerS: 17 },
};

const isWithin = (least, most) => (n) => Number.isInteger(n) && n >= least && n <= most;
const isSwitch = (value) => typeof value === "boolean";
const LIMITS = { lineLength: isWithin(16, 80), nLines: isWithin(1, 4), charactersPerS: isWithin(5, 40) };
const CHECKS = {
  delayMs: (n) => DELAYS_MS.includes(n),
  hasSecondPass: isSwitch,
  deviceId: (id) => id === null || typeof id === "string",
  deviceLabel: (label) => typeof label === "string",
  keepAudio: isSwitch,
  showsUnsure: isSwitch,
  captionSize: (n) => CAPTION_SIZES.includes(n),
  theme: (name) => THEMES.includes(name),
  hasShortcuts: isSwitch,
  subtitleLimits: (limits) => Object.entries(LIMITS).every(([name, isGood]) => isGood(limits?.[name])),
};

/** A fresh object with what was saved; whatever is missing, damaged or out of range is the default. */
export function loadSettings() {
  const saved = read();
  const settings = structuredClone(DEFAULTS);
  for (const name of Object.keys(DEFAULTS)) if (isGood(name, saved[name])) settings[name] = saved[name];
  return settings;
}

/** Whether this value may stand for that setting. */
export const isGood = (name, value) => Object.hasOwn(CHECKS, name) && CHECKS[name](value);

/** Browsers that keep nothing, or have no room, lose the settings with the page; nothing else depends on it. */
export function saveSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // private windows of some browsers
  }
}

function read() {
  try {
    return Object(JSON.parse(localStorage.getItem(KEY)));
  } catch {
    return {};
  }
}
