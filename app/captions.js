/**
 * Full screen captions: only the words, very large, the last lines in view. Esc leaves.
 *
 * What is seen is one text that grows; a screen reader hears from a log beside it, which gets what is added and never
 * what is put right later, so that nothing is said twice.
 */

import { clock } from "./amounts.js";
import { $, setText } from "./elements.js";

const IDLE_MS = 3000; // then the controls fade
const MOST_CHARACTERS = 4000; // more than fills any screen
const MOST_SAID = 40;
const FAR_S = 5; // of lag
const MOST_KEPT = 5 * MOST_CHARACTERS; // of the text before that is looked at with each word
// said: the text from paragraph `first` on; the screen has that `from` there on
const NOTHING = { entry: null, version: null, first: 0, said: "", from: 0 };

/** actions: {toggle, larger, smaller}. Returns {open, close, isOpen, draw(state)}. */
export function createCaptions(actions) {
  const section = $("captions");
  const others = [...document.body.children].filter((element) => element !== section && element.localName !== "script");
  const text = document.createTextNode("");
  section.querySelector(".shown").append(text);
  let shown = NOTHING;
  let focusedBefore = null;
  let lastAlert = null; // the newest there was when the captions were opened
  let idle = 0; // timer

  const isOpen = () => !section.hidden;
  const onMove = () => {
    section.classList.remove("is-idle");
    clearTimeout(idle);
    idle = setTimeout(() => section.classList.add("is-idle"), IDLE_MS);
  };

  function open() {
    focusedBefore = document.activeElement;
    lastAlert = null;
    section.hidden = false;
    for (const element of others) element.inert = true;
    section.requestFullscreen?.({ navigationUI: "hide" }).catch(() => {}); // else it fills the window
    section.focus();
    onMove();
  }

  function close() {
    if (!isOpen()) return;
    section.hidden = true;
    clearTimeout(idle);
    for (const element of others) element.inert = false;
    if (document.fullscreenElement) document.exitFullscreen();
    focusedBefore?.focus();
    shown = NOTHING;
  }

  const does = { ...actions, leave: close };
  for (const button of section.querySelectorAll("[data-does]")) {
    button.addEventListener("click", () => does[button.dataset.does]());
  }
  for (const gesture of ["pointermove", "pointerdown", "keydown"]) section.addEventListener(gesture, onMove);
  section.addEventListener("fullscreenchange", () => {
    if (!document.fullscreenElement) close(); // Esc, or the system
    else if (!isOpen()) document.exitFullscreen(); // it came after they were closed again
  });

  function draw({ transcript: { entries, live }, dock, alerts, failure }) {
    if (!isOpen()) return;
    const entry = live?.entry ?? entries.at(-1) ?? null;
    const version = entry && (entry.made ?? entry.words.version);
    if (entry !== shown.entry || version !== shown.version) drawText(entry, version);
    section.classList.toggle("is-empty", text.length === 0);
    section.classList.toggle("is-live", live !== null);
    section.querySelector(".shown").dataset.placeholder = live ? "Listening" : "Press Speak, and the words appear here.";
    const button = section.querySelector("[data-does=toggle]");
    button.disabled = $("speak").disabled;
    setText(button, $("speak").querySelector(".label").textContent);
    const spent = live?.entry.startedAt ?? null;
    setText(section.querySelector(".elapsed"), spent === null ? "" : clock((performance.now() - spent) / 1000));
    lastAlert ??= alerts.at(-1)?.id ?? 0;
    const told = alerts.findLast(({ id }) => id > lastAlert)?.sentence; // older ones wait in the page
    const trouble = failure ?? dock.recovery ?? (live && dock.suspended) ?? told;
    setText(section.querySelector(".caption-notice"), trouble ?? behind(dock, live));
  }

  /** What is the same at the beginning stays, so that lines already read do not move. */
  function drawText(entry, version) {
    const isSame = entry === shown.entry;
    const first = isSame ? shown.first : (entry?.words.indexBefore(MOST_CHARACTERS) ?? 0);
    const now = entry ? textFrom(entry, first) : "";
    const nSame = isSame ? sameLength(now, shown.said) : 0;
    const isNear = isSame && nSame >= shown.from;
    const from = isNear ? shown.from : Math.max(0, now.length - MOST_CHARACTERS / 2);
    if (isNear) text.replaceData(nSame - from, text.length, now.slice(nSame));
    else text.data = now.slice(from);
    if (isSame && now.length > shown.said.length) say(now.slice(Math.max(nSame, shown.said.length)));
    const nCut = text.length > MOST_CHARACTERS ? firstLineInView(text, section.querySelector(".screen")) : 0;
    text.deleteData(0, nCut);
    shown = { entry, version, first, said: now, from: from + nCut };
    if (now.length > MOST_KEPT) forget(entry);
  }

  /** Lets go of paragraphs that have left the screen. */
  function forget(entry) {
    const first = entry.words.indexBefore(MOST_CHARACTERS);
    const said = textFrom(entry, first);
    const from = shown.from - (shown.said.length - said.length);
    if (from >= 0) Object.assign(shown, { first, said, from });
  }

  function say(added) {
    const log = section.querySelector(".said");
    log.append(Object.assign(document.createElement("span"), { textContent: added }));
    while (log.children.length > MOST_SAID) log.firstChild.remove();
  }

  return { open, close, isOpen, draw };
}

/** In words that change seldom: a screen reader says each change. */
function behind({ lag }, live) {
  const { isBehind, isHopeless, waitingS } = lag && live ? lag.at(performance.now() / 1000, live.phase === "listening") : {};
  const far = waitingS < FAR_S ? "A few seconds" : `More than ${Math.floor(waitingS / FAR_S) * FAR_S} s`;
  if (isHopeless) return `${far} behind, and further with each moment: this machine is too slow for this model now.`;
  return isBehind ? `${far} behind` : "";
}

/** What Python made of it has no paragraphs. */
const textFrom = ({ made, words }, first) => (made?.text ?? words.textFrom(first)).replaceAll(/\s+/g, " ").trim();

/** How many characters two texts have in common at the beginning. */
function sameLength(a, b) {
  if (a.startsWith(b)) return b.length;
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  return n;
}

/** Offset of the first character of a line that can be seen: cutting there leaves the lines as they are. */
function firstLineInView(text, screen) {
  const top = screen.getBoundingClientRect().top;
  const range = document.createRange();
  const isAbove = (offset) => {
    range.setStart(text, offset);
    range.setEnd(text, offset + 1);
    return range.getBoundingClientRect().bottom < top;
  };
  let [low, high] = [0, text.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAbove(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
