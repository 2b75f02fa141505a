/**
 * <voxtral-captions>: live captions of a microphone, a <video> or an <audio>, made in the tab.
 *
 *   <script type="module" src="voxtral_captions.js"></script>
 *   <video id="talk" src="talk.webm" controls></video>
 *   <voxtral-captions for="talk"></voxtral-captions>
 *
 * Attributes   for        id of the <video> or <audio>; without it, and without a source, the microphone
 *              lines      of text that are in sight, 2
 *              delay-ms   how long the model waits before it commits to a word: 80 to 1200 in steps of 80, or 2400
 *              model      as for Voxtral.load (voxtral.d.ts); without it the demo model. Elements that name the same
 *                         model share one engine, which hears one of them at a time
 *              backend    webgpu or numpy; without it the best there is
 *              preload    load the model at once, not only when it is needed
 *              placeholder  what stands there before anything was heard
 *              state      set by the element: idle, loading, listening, finishing, failed
 * Properties   source     an HTMLMediaElement or a MediaStream, or null to follow the attribute `for`
 *              engine     a Voxtral to use instead of a shared one; yours to dispose of
 *              text       everything heard since the last clear(); stream: the VoxtralStream under way, or null
 * Methods      start()    begins; resolves when it listens. The microphone needs a gesture of the person for it
 *              stop()     finishes the last words; clear() empties the captions
 * Events       token, word, revised, lag, level, notice, final: those of VoxtralStream, with the same detail, but for
 *              word, which has mediaTime, too: where it begins on the media element's clock, else null;
 *              progress: detail {stage, done, total, fraction} while loading; statechange: detail {state};
 *              error: detail {error}
 * Parts        window, captions, word (also unsure, revised), pending (of a word that is not complete), button, status
 * Styling      color and font are inherited; the parts take everything else
 *
 * A media element is captioned whenever it plays, from the first play on; what it says while the model loads is kept
 * and written later. Each pause, and each jump, ends a stream. A button is shown for the microphone and for a
 * MediaStream, and where the browser wants a gesture before it lets a page hear. Words are announced by screen readers,
 * politely, when they are complete.
 */

import { NeedsGesture, openMediaSound } from "./media_sound.js";
import { openMicrophone } from "./microphone.js";
import { Voxtral } from "./voxtral.js";

const FORWARDED = ["token", "revised", "lag", "notice", "final"];
const LABELS = {
  idle: "Start captions",
  loading: "Cancel",
  listening: "Stop captions",
  finishing: "Finishing",
  failed: "Try again",
};
const DEFAULT_LINES = 2;
const UNSURE = 0.5; // words below this probability look unsure
const MOST_WORDS = 200; // in the element; those before are out of sight
const MOST_PASSAGES = 8; // likewise
const REVISED_MS = 1500;
const LAG_WORTH_SAYING_S = 2;

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host { display: block; line-height: 1.4; }
  :host([hidden]), [hidden] { display: none !important; }
  [part~="window"] { display: flex; flex-direction: column; justify-content: flex-end; overflow: hidden; }
  [part~="captions"] { margin: 0; overflow-wrap: anywhere; unicode-bidi: plaintext; }
  [part~="captions"]:not(:has([part~="word"]))::before { content: attr(data-placeholder); opacity: 0.75; }
  [part~="pending"] { opacity: 0.75; }
  [part~="unsure"] { text-decoration: underline dotted 0.08em; text-underline-offset: 0.2em; }
  [part~="revised"] { background: color-mix(in srgb, currentcolor 22%, transparent); border-radius: 0.2em; }
  .controls { display: flex; align-items: center; gap: 0.75rem; font-size: 1rem; }
  .controls:has(> :not([hidden])) { margin-top: 0.5rem; }
  button {
    flex: none; min-height: 2.75rem; padding: 0.3em 1.1em; border: 1px solid currentcolor; border-radius: 99rem;
    background: transparent; color: inherit; font: inherit; cursor: pointer;
  }
  button:focus-visible { outline: 3px solid currentcolor; outline-offset: 2px; }
  button[aria-disabled="true"] { cursor: default; opacity: 0.6; }
  [part~="status"] { margin: 0; }
  @media (prefers-reduced-motion: no-preference) { [part~="word"] { transition: background 0.6s; } }
`);
const TEMPLATE = document.createElement("template");
TEMPLATE.innerHTML = `
  <div part="window"><p part="captions" role="log" aria-label="Captions" aria-relevant="additions"></p></div>
  <div class="controls"><button part="button" type="button"></button><p part="status" role="status"></p></div>
`;

const engines = new Map(); // model and backend → {voxtral: promise, nUsers, listeners: Set of onProgress}

export class VoxtralCaptions extends HTMLElement {
  static observedAttributes = ["for", "lines", "placeholder", "preload"];

  #window;
  #captions;
  #button;
  #status;
  #source = null; // the property
  #media = null; // the element that is followed
  #lease = null; // of a shared engine: {voxtral: promise, release()}
  #passages = []; // in order; the last is the one under way, if that is not over
  #state = "idle";
  #isBlocked = false; // until a gesture
  engine = null;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    root.append(TEMPLATE.content.cloneNode(true));
    const part = (name) => root.querySelector(`[part~="${name}"]`);
    [this.#window, this.#captions, this.#button, this.#status] = ["window", "captions", "button", "status"].map(part);
    this.#button.addEventListener("click", () => this.#press());
    this.#setLines();
  }

  connectedCallback() {
    this.#follow();
    this.#preload();
    this.#draw();
  }

  disconnectedCallback() {
    this.#unfollow();
    for (const passage of this.#passages) this.#giveUp(passage);
    this.#lease?.release();
    this.#lease = null;
    this.#enter("idle");
  }

  attributeChangedCallback(name) {
    if (name === "lines") this.#setLines();
    else if (name === "placeholder") this.#captions.dataset.placeholder = this.getAttribute(name) ?? "";
    else if (name === "for" && this.isConnected) this.#follow();
    else if (name === "preload" && this.isConnected) this.#preload();
  }

  #preload() {
    if (this.hasAttribute("preload")) this.#voxtral().catch((error) => this.#fail(error));
  }

  get source() {
    return this.#source;
  }

  set source(source) {
    if (this.#source === source) return;
    this.#source = source;
    if (this.isConnected) this.#follow();
  }

  get state() {
    return this.#state;
  }

  get text() {
    return this.#passages.map(({ stream }) => stream?.text).filter(Boolean).join(" ");
  }

  get stream() {
    return this.#current?.stream ?? null;
  }

  async start() {
    if (this.#current) return;
    const passage = new Passage(this.#open(), this.#media);
    this.#passages.push(passage);
    this.#captions.append(passage.element);
    this.#passages.at(-1 - MOST_PASSAGES)?.element.remove();
    this.#isBlocked = false;
    this.#enter("loading");
    try {
      const [sound, voxtral] = await Promise.all([passage.sound, this.#voxtral()]);
      if (passage.isOver) return;
      this.#listen(passage, voxtral.stream({ input: sound, delayMs: this.#delayMs }));
      if (passage.isStopping) passage.stream.finish().catch(() => {}); // told by its events
    } catch (error) {
      this.#giveUp(passage);
      this.#fail(error);
      throw error;
    }
  }

  async stop() {
    const passage = this.#current;
    if (!passage) return;
    passage.isStopping = true;
    this.#enter("finishing");
    await (passage.stream?.finish() ?? passage.close());
  }

  clear() {
    for (const passage of this.#passages) passage.element.remove();
    this.#passages = this.#passages.filter((passage) => !passage.isOver);
    for (const passage of this.#passages) {
      passage.forget();
      this.#captions.append(passage.element);
    }
  }

  /** The passage that is being heard; one that only finishes makes room for the next. */
  get #current() {
    const last = this.#passages.at(-1);
    return last && !last.isOver && !last.isStopping ? last : null;
  }

  get #delayMs() {
    return this.hasAttribute("delay-ms") ? Number(this.getAttribute("delay-ms")) : null;
  }

  #setLines() {
    const lines = Number(this.getAttribute("lines") ?? DEFAULT_LINES);
    this.#window.style.height = `${lines >= 1 ? lines : DEFAULT_LINES}lh`;
  }

  #open() {
    const hooks = {
      onLevel: (level) => this.#tell("level", level),
      onNotice: (sentence) => this.#tell("notice", { sentence }),
      onSuspended: (sentence) => (this.#status.textContent = sentence ?? ""),
      onUnplugged: () => this.stop().catch(() => {}), // told by the stream's events
    };
    const input = this.#media ?? this.#source;
    return input ? openMediaSound(input, hooks) : openMicrophone(hooks);
  }

  #listen(passage, stream) {
    passage.stream = stream;
    for (const type of FORWARDED) stream.addEventListener(type, ({ detail }) => this.#tell(type, detail));
    stream.addEventListener("word", ({ detail }) => {
      passage.append(detail);
      this.#tell("word", { ...detail, mediaTime: passage.mediaTimeOf(detail) });
    });
    stream.addEventListener("revised", ({ detail }) => passage.revise(detail));
    stream.addEventListener("token", () => passage.drawPending());
    stream.addEventListener("lag", ({ detail }) => passage === this.#passages.at(-1) && this.#drawLag(detail));
    stream.addEventListener("error", ({ detail }) => passage.isGivenUp || this.#fail(detail.error));
    stream.addEventListener("state", ({ detail }) => {
      if (detail.state === "over") passage.isOver = true;
      if (passage !== this.#passages.at(-1)) return;
      if (detail.state === "listening" && !passage.isStopping) this.#enter("listening");
      if (detail.state === "over") this.#enter("idle");
    });
  }

  #giveUp(passage) {
    if (passage.isOver) return;
    passage.isOver = passage.isGivenUp = true;
    passage.stream?.cancel();
    passage.close();
  }

  #press() {
    if (this.#state === "loading") {
      this.#giveUp(this.#passages.at(-1));
      this.#enter("idle");
    } else if (this.#state === "listening") {
      this.stop().catch(() => {}); // told by the stream's events
    } else if (this.#state !== "finishing") {
      this.start().catch(() => {}); // told by #fail
    }
  }

  // -- media ----------------------------------------------------------------------------------

  #onPlaying = () => {
    this.start().catch(() => {}); // told by #fail
  };

  #onPause = () => {
    this.stop().catch(() => {}); // told by the stream's events
  };

  #onRateChange = () => {
    if (!this.#current) return;
    this.#onPause();
    this.#onPlaying();
  };

  #follow() {
    this.#unfollow();
    const id = this.getAttribute("for");
    const media = this.#source ?? (id ? this.getRootNode().getElementById(id) : null);
    if (id && !this.#source && !(media instanceof HTMLMediaElement)) {
      return this.#fail(new Error(`There is no <video> or <audio> with the id “${id}”; put it before the captions.`));
    }
    if (!(media instanceof HTMLMediaElement)) return this.#draw();
    this.#media = media;
    media.addEventListener("playing", this.#onPlaying);
    for (const type of ["pause", "seeking"]) media.addEventListener(type, this.#onPause); // pause comes at the end, too
    media.addEventListener("ratechange", this.#onRateChange);
    if (!media.paused) this.#onPlaying();
    this.#draw();
  }

  #unfollow() {
    this.#media?.removeEventListener("playing", this.#onPlaying);
    for (const type of ["pause", "seeking"]) this.#media?.removeEventListener(type, this.#onPause);
    this.#media?.removeEventListener("ratechange", this.#onRateChange);
    if (this.#current) this.#onPause();
    this.#media = null;
  }

  // -- the engine -----------------------------------------------------------------------------

  async #voxtral() {
    if (this.engine) return this.engine;
    const onProgress = (progress) => {
      this.#tell("progress", progress);
      if (this.#state === "loading") this.#status.textContent = `Loading, ${Math.floor(100 * progress.fraction)} %`;
    };
    const wanted = { model: this.getAttribute("model") ?? undefined, backend: this.getAttribute("backend") };
    this.#lease ??= lease(wanted, onProgress);
    return this.#lease.voxtral.catch((error) => {
      this.#lease = null;
      throw error;
    });
  }

  // -- what is seen ---------------------------------------------------------------------------

  #fail(error) {
    if (error instanceof NeedsGesture) {
      this.#isBlocked = true;
      return this.#enter("idle");
    }
    this.#enter("failed");
    this.#status.textContent = error.message;
    this.#tell("error", { error });
  }

  #enter(state) {
    const isNew = state !== this.#state;
    this.#state = state;
    this.#draw();
    if (isNew) this.#tell("statechange", { state });
  }

  #draw() {
    this.setAttribute("state", this.#state);
    this.#button.textContent = LABELS[this.#state];
    this.#button.ariaDisabled = String(this.#state === "finishing"); // really disabled, it would lose the focus
    this.#button.hidden = this.#media !== null && !this.#isBlocked && this.#state !== "failed";
    this.#status.textContent = this.#state === "loading" ? "Loading" : "";
  }

  #drawLag({ waitingS }) {
    const text = waitingS > LAG_WORTH_SAYING_S ? `${Math.round(waitingS)} s behind` : "";
    if (this.#state !== "failed" && this.#status.textContent !== text) this.#status.textContent = text;
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** One stream of an element: its sound, and its words on the screen. */
class Passage {
  element = document.createElement("span");
  sound; // promise of what openMicrophone gives
  stream = null;
  isStopping = false;
  isOver = false;
  isGivenUp = false;
  #start = null; // {time, rate} of the media element when its sound began to flow
  #pending = document.createElement("span");
  #words = []; // elements, each with its space before it
  #nGone = 0; // words before those

  /** sound: promise of what openMicrophone gives; media: the element it is of, or null. */
  constructor(sound, media) {
    this.sound = sound;
    const begin = () => (this.#start = media && { time: media.currentTime, rate: media.playbackRate });
    sound.then(begin, () => {}); // a failure is told where the sound is waited for
    this.#pending.part = "pending";
    this.#pending.ariaHidden = "true";
    this.element.append(" ", this.#pending);
  }

  mediaTimeOf({ start }) {
    return this.#start && this.#start.time + start * this.#start.rate;
  }

  async close() {
    await this.sound.then((sound) => sound.close(), () => {});
  }

  append(word) {
    const element = wordElement(word);
    this.#words.push(element);
    this.#pending.before(element);
    if (this.#words.length > MOST_WORDS) {
      this.#words.shift().remove();
      this.#nGone++;
    }
    this.drawPending();
  }

  revise({ first, nReplaced, words }) {
    const end = first + nReplaced - this.#nGone;
    if (end <= 0) {
      this.#nGone += words.length - nReplaced;
      return;
    }
    const start = Math.max(0, first - this.#nGone);
    const elements = words.map(wordElement);
    const after = this.#words[end] ?? this.#pending;
    for (const old of this.#words.splice(start, end - start, ...elements)) old.remove();
    after.before(...elements);
    this.#nGone = Math.min(this.#nGone, first);
    for (const element of elements) element.part.add("revised");
    setTimeout(() => elements.forEach((element) => element.part.remove("revised")), REVISED_MS);
    this.drawPending();
  }

  drawPending() {
    this.#pending.textContent = this.stream.pending;
  }

  /** What was heard so far is out of sight. */
  forget() {
    this.#nGone += this.#words.length;
    for (const word of this.#words.splice(0)) word.remove();
  }
}

function wordElement({ text, joins, probability }) {
  const element = document.createElement("span");
  element.part = probability < UNSURE ? "word unsure" : "word";
  element.textContent = joins ? text : ` ${text}`;
  return element;
}

/** A share in the engine of this model: {voxtral: promise, release()}; the last one to release it ends it. */
function lease({ model, backend }, onProgress) {
  const key = JSON.stringify([model, backend]);
  if (!engines.has(key)) {
    const listeners = new Set();
    const tell = (progress) => listeners.forEach((listener) => listener(progress));
    const voxtral = Voxtral.load({ model, backend, onProgress: tell });
    voxtral.catch(() => engines.delete(key));
    engines.set(key, { voxtral, nUsers: 0, listeners });
  }
  const shared = engines.get(key);
  shared.nUsers++;
  shared.listeners.add(onProgress);
  const release = () => {
    shared.listeners.delete(onProgress);
    if (--shared.nUsers > 0) return;
    engines.delete(key);
    shared.voxtral.then((voxtral) => voxtral.dispose(), () => {}); // a failed one has ended itself
  };
  return { voxtral: shared.voxtral, release };
}

customElements.define("voxtral-captions", VoxtralCaptions);
