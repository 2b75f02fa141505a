/**
 * What is listened to and how that goes: the microphones there are, the sound of another tab, how far the recogniser
 * is behind, and what an engine that recovers says. Knows neither elements (dock_view.js) nor workers (transcriber.js).
 */

import { canCaptureDisplay, openDisplayAudio } from "./display_audio.js";
import { Lag } from "./lag.js";
import { listMicrophones, openMicrophone, watchMicrophones } from "./microphone.js";

const MUTE_RMS = 1e-3; // -60 dBFS: a microphone that is muted, or not the one that is spoken into
const MUTE_MS = 5000;
const CLIPPED_PEAK = 0.99;
const CLIPPED_MS = 6000;
const RECOVERING = "The GPU went away; the model is loaded again, and what is said meanwhile is kept.";

/**
 * transcript: of entries.js; options(): {delayMs, hasSecondPass} of the next recording; settings(): settings.js;
 * change(edit); set(name, value): of a setting; say(sentence): tells good news. Returns {state, actions, onEvent}.
 */
export function createDock({ transcript, options, settings, change, set, say }) {
  const state = {
    microphones: [], // [{deviceId, label}], those with a name
    canHearTab: canCaptureDisplay(),
    lag: null, // of the recording on its way
    recovery: null, // a sentence, while the engine recovers
    suspended: null, // a sentence, while no sound comes
    isMute: false,
    isClipped: false,
  };
  let heardAt = 0; // performance.now() when something was last loud enough
  let clippedAt = -Infinity;

  async function look() {
    const found = await listMicrophones();
    change(() => (state.microphones = found.filter(({ deviceId, label }) => label && deviceId !== "default")));
  }

  async function listen(source) {
    Object.assign(state, { lag: new Lag(), suspended: null, isMute: false, isClipped: false });
    heardAt = performance.now();
    const { deviceId = null } = chosenMicrophone(state.microphones, settings()) ?? {};
    const openChosen = (contract) => openMicrophone({ ...contract, deviceId });
    await transcript.actions.listen(source === "tab" ? openDisplayAudio : openChosen, { ...options(), source });
    look(); // names come with the permission
  }

  function onLevel({ rms, peak }) {
    const now = performance.now();
    if (rms > MUTE_RMS) heardAt = now;
    if (peak > CLIPPED_PEAK) clippedAt = now;
    state.isMute = now - heardAt > MUTE_MS;
    state.isClipped = now - clippedAt < CLIPPED_MS;
  }

  /** An engine that takes the place of a crashed one loads first: it recovers until it can hear again. */
  function onState(name) {
    if (name === "recovering") change(() => (state.recovery ??= RECOVERING));
    else if (name !== "loading") change(() => (state.recovery = null));
  }

  /** A session's events come with those of the engine. */
  function onEvent(event) {
    const isOfLive = event.session != null && event.session === transcript.state.live?.entry.session;
    if (event.type === "level") onLevel(event);
    if (event.type === "suspended") change(() => (state.suspended = event.sentence));
    if (event.type === "heard" && isOfLive) state.lag?.observe(event, performance.now() / 1000);
    if (event.type === "recovering") change(() => (state.recovery = event.sentence));
    if (event.type === "recovered") {
      change(() => (state.recovery = null));
      say(event.sentence);
    }
    if (event.type === "state") onState(event.state);
    if (event.type === "error" && event.fatal) change(() => (state.recovery = null));
  }

  watchMicrophones(look);
  look();
  /** deviceId: "" for the browser's default. */
  function choose(deviceId) {
    set("deviceId", deviceId || null);
    set("deviceLabel", state.microphones.find((other) => other.deviceId === deviceId)?.label ?? "");
  }

  const toggle = () => (transcript.state.live ? transcript.actions.stop() : listen("microphone"));
  return { state, actions: { toggle, choose, hearTab: () => listen("tab") }, onEvent };
}

/** That of the settings, if it is plugged in; undefined for the browser's default. */
export const chosenMicrophone = (microphones, { deviceId, deviceLabel }) =>
  microphones.find((other) => other.deviceId === deviceId) ?? microphones.find(({ label }) => label === deviceLabel);
