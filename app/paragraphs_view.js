/**
 * The words of an entry as elements: a <p> for each paragraph of words.js, a <span class="word"> for each word, and the
 * same for text whose words are not complete. Only paragraphs that changed are drawn again, and words already there
 * stay the same elements: a screen reader then says only what is new.
 */

const UNSURE = 0.8; // a word below it looks so
const VERY_UNSURE = 0.5;
const MARKED_MS = 4000; // how long a word that the recogniser replaced is marked

const words = new WeakMap(); // span → word
export const wordOf = (span) => words.get(span) ?? null;

/** Whether the recogniser may well be wrong about it; a person's word is sure. */
export const isUnsure = ({ probability, heard }) => heard === null && probability < UNSURE;

export class ParagraphsView {
  #container;
  #drawn = []; // [{element, version}], as the paragraphs are
  #nodes = new WeakMap(); // word → {space, span}
  #pending = []; // Text and span nodes of what is not complete
  #version = -1;
  #playing = null;
  #current = null; // the word that the Tab key reaches

  constructor(container) {
    this.#container = container;
  }

  draw(transcript, playing) {
    if (transcript.version !== this.#version) this.#drawWords(transcript);
    if (playing === this.#playing) return;
    if (this.#playing) this.spanOf(this.#playing)?.classList.remove("is-playing");
    if (playing) this.spanOf(playing)?.classList.add("is-playing");
    this.#playing = playing;
  }

  /** The element of a word, or null. */
  spanOf(word) {
    return this.#nodes.get(word)?.span ?? null;
  }

  get current() {
    return this.#current;
  }

  /** Puts the keyboard on a word; without focus, only the way there with Tab. */
  makeCurrent(word, hasFocus = true) {
    const span = this.spanOf(word);
    if (!span) return;
    if (word !== this.#current) this.spanOf(this.#current ?? {})?.removeAttribute("tabindex");
    this.#current = word;
    span.tabIndex = 0;
    if (hasFocus) span.focus();
  }

  #drawWords(transcript) {
    this.#version = transcript.version;
    const { paragraphs } = transcript;
    for (let i = 0; i < paragraphs.length; i++) {
      this.#drawn[i] ??= { element: this.#add(), version: -1 };
      if (this.#drawn[i].version === paragraphs[i].version) continue;
      this.#drawn[i].version = paragraphs[i].version;
      this.#drawParagraph(paragraphs[i].words, this.#drawn[i].element);
    }
    this.#drawPending(transcript.pending);
    if (!this.#current?.text || !this.spanOf(this.#current)?.isConnected) {
      const { first } = transcript;
      if (first) this.makeCurrent(first, false);
    }
  }

  #add() {
    const element = document.createElement("p");
    element.dir = "auto";
    if (this.#container.lastChild) this.#container.lastChild.append(" "); // for whoever copies or reads the whole text
    this.#container.append(element);
    return element;
  }

  #drawParagraph(paragraph, element) {
    const nodes = [];
    for (const word of paragraph) {
      if (!word.text) continue;
      let known = this.#nodes.get(word);
      if (!known) this.#nodes.set(word, (known = this.#adopt(word) ?? { space: null, span: wordSpan(word.text) }));
      if (nodes.length && !word.joins) nodes.push((known.space ??= new Text(" ")));
      nodes.push(known.span);
      dress(known.span, word);
    }
    if (element === this.#container.lastChild) nodes.push(...this.#pending);
    else nodes.push(new Text(" "));
    place(element, nodes);
    element.hidden = !nodes.some((node) => node.localName);
  }

  /** The element that shows the text of a word from before it was complete. */
  #adopt(word) {
    const i = this.#pending.findIndex(({ localName }) => localName);
    const text = this.#pending[i]?.textContent ?? "";
    if (!text.startsWith(word.text)) return null;
    const span = this.#pending[i];
    const before = this.#pending.splice(0, i + 1);
    if (text !== word.text) {
      span.textContent = word.text;
      this.#pending.unshift(wordSpan(text.slice(word.text.length)));
    }
    return { space: before.length > 1 ? before[0] : null, span };
  }

  /** Text is appended, also inside a word that goes on; replaced only if it became another. */
  #drawPending(text) {
    const parts = text.match(/\s+|\S+/g) ?? [];
    parts.forEach((part, i) => {
      const isWord = part.trim() !== "";
      const node = this.#pending[i];
      const shown = node && Boolean(node.localName) === isWord ? node.textContent : null;
      if (shown === part || (shown !== null && !isWord)) return;
      if (shown !== null && part.startsWith(shown)) node.append(part.slice(shown.length));
      else this.#pending[i] = isWord ? wordSpan(part) : new Text(" ");
    });
    this.#pending.length = parts.length;
    const host = this.#container.lastElementChild ?? (parts.length ? this.#open() : null);
    if (!host) return;
    const complete = [...host.childNodes].filter((node) => words.has(node) || isSpaceOfWord(node));
    place(host, [...complete, ...this.#pending]);
    if (parts.length) host.hidden = false;
  }

  /** The first paragraph, before the first word is complete. */
  #open() {
    this.#drawn[0] = { element: this.#add(), version: -1 };
    return this.#drawn[0].element;
  }
}

/** A space in front of a complete word. */
const isSpaceOfWord = (node) => node.nodeType === Node.TEXT_NODE && words.has(node.nextSibling);

const wordSpan = (text) => Object.assign(document.createElement("span"), { className: "word", textContent: text });

/** Makes a span that of a word; one that is being edited keeps its field. */
function dress(span, word) {
  words.set(span, word);
  if (!span.firstElementChild && span.textContent !== word.text) span.textContent = word.text;
  const age = word.revisedAt === null ? Infinity : performance.now() - word.revisedAt;
  const isMarked = age < MARKED_MS;
  if (isMarked) setTimeout(() => span.classList.remove("is-revised"), MARKED_MS - age);
  span.classList.toggle("is-revised", isMarked);
  span.classList.toggle("is-unsure", isUnsure(word));
  span.classList.toggle("is-very-unsure", isUnsure(word) && word.probability < VERY_UNSURE);
  span.classList.toggle("is-edited", word.heard !== null);
}

/** Makes `nodes` the children, moving none that is there already. */
function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
}
