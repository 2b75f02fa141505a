/** A tour whose steps are words: voxtral.js hears them, speech.js answers. The rest is buttons that do the same. */

import { Voxtral } from "../voxtral.js";
import { isOwnVoice, localVoice, say } from "./speech.js";

const $ = (id) => document.getElementById(id);
const DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

const STEPS = [
  { phrases: ["smart mirror"], does: "wakes it", answer: "Good morning. I am awake, and I only listen in this tab." },
  { phrases: DIGITS, shown: "a digit", press: "eight", does: "sets the light", answer: "The light is as you like it." },
  { phrases: ["view glass"], does: "makes it clear", answer: "The glass is clear. Look outside." },
  { phrases: ["snowboy"], does: "tells the weather", answer: "It is going to snow. Wear something warm." },
  { phrases: ["jarvis"], does: "ends the tour", answer: "That was the tour. All of it happened on your own machine." },
];
const done = new Set();

for (const step of STEPS) {
  const [phrase] = step.phrases;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "word" });
  button.dataset.phrase = step.press ?? phrase;
  button.textContent = step.shown ?? phrase;
  step.element = document.createElement("li");
  step.element.append(button, ` ${step.does}`);
  $("steps").append(step.element);
}
for (const button of document.querySelectorAll("[data-phrase]")) {
  button.addEventListener("click", () => act(button.dataset.phrase));
}
showNext();

// -- hearing ------------------------------------------------------------------------------------

let voxtral = null;
let stream = null;

$("start").addEventListener("click", async () => {
  if (stream) return void stream.finish().catch(() => {}); // its events tell
  if (!$("loading").hidden) return; // it loads already; a disabled button would lose the focus
  $("loading").hidden = false;
  try {
    voxtral ??= await Voxtral.load({ onProgress: ({ fraction }) => ($("loading").value = fraction) });
    listen();
  } catch (error) {
    tell(error.message);
  }
  $("loading").hidden = true;
});

function listen() {
  stream = voxtral.stream({ input: "microphone", delayMs: 480 });
  let began = 0;
  stream.addEventListener("level", ({ detail }) => {
    began ||= performance.now() - 80; // the first block lasted 80 ms
    $("level").value = Math.min(1, 3 * detail.rms);
  });
  stream.addEventListener("word", ({ detail }) => {
    $("heard").textContent = stream.words.slice(-6).map(({ text }) => text).join(" ");
    if (isOwnVoice(began + 1000 * detail.start, began + 1000 * detail.end)) return;
    const lastTwo = stream.words.slice(-2).map(({ text }) => text).join(" ");
    act(lastTwo) || act(detail.text);
  });
  stream.addEventListener("error", ({ detail }) => tell(detail.error.message));
  stream.addEventListener("state", ({ detail }) => detail.state === "over" && showListening(false));
  showListening(true);
}

function showListening(isOn) {
  if (!isOn) stream = null;
  $("level").hidden = !isOn;
  $("start").textContent = isOn ? "Stop listening" : "Start listening";
  $("voice").textContent = localVoice() ? "" : "This browser has no voice of its own here, so answers are written only.";
}

// -- acting -------------------------------------------------------------------------------------

/** Does what a phrase asks for; whether there was something. */
function act(phrase) {
  if (phrase === "computer") return answer(nextHint());
  const step = STEPS.find(({ phrases }) => phrases.includes(phrase));
  if (!step) return false;
  const mirror = $("mirror");
  if (phrase === "smart mirror") mirror.dataset.awake = "";
  if (phrase === "view glass") mirror.dataset.clear = "";
  if (phrase === "snowboy") mirror.dataset.snow = "";
  if (DIGITS.includes(phrase)) mirror.style.setProperty("--light", DIGITS.indexOf(phrase) / 9);
  done.add(step);
  showNext();
  mirror.ariaLabel = `A mirror, ${STEPS.filter((other) => done.has(other)).map(({ does }) => STATES[does]).join(", ")}`;
  return answer(step.answer);
}

const STATES = {
  "wakes it": "awake",
  "sets the light": "lit",
  "makes it clear": "clear as a window",
  "tells the weather": "showing snow",
  "ends the tour": "at the end of the tour",
};

function nextHint() {
  const next = STEPS.find((step) => !done.has(step));
  return next ? `Say ${next.shown ?? next.phrases[0]}.` : "You have seen it all.";
}

function showNext() {
  const next = STEPS.find((step) => !done.has(step));
  for (const step of STEPS) {
    step.element.classList.toggle("is-done", done.has(step));
    if (step === next) step.element.setAttribute("aria-current", "step");
    else step.element.removeAttribute("aria-current");
  }
}

function answer(text) {
  tell(text);
  say(text);
  return true;
}

function tell(text) {
  $("answer").textContent = text;
}
