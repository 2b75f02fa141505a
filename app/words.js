/**
 * The words of one transcript as a person has them: what the recogniser said, revised by it and edited by the person.
 *
 * They lie in paragraphs, which end at pauses and never grow long, so that whatever happens costs as much as a
 * paragraph, not as the transcript: a paragraph that changed has another `version`. A word:
 *   id            its own, for views
 *   text          "" where a person deleted it
 *   start, end    seconds on the recording's clock
 *   probability, alternatives [{text, probability}], joins   as the recogniser said (py/voxtral/decoding.py)
 *   heard         the recogniser's text where a person edited it, else null
 *   isInserted    there is nothing the recogniser said for it: a part of a word that was split
 *   revisedAt     performance.now() of the recogniser's last change to it, or null
 * Text whose words are not complete yet is `pending`.
 */

import { joined } from "./documents.js";

const PAUSE_S = 2; // ends a paragraph; this and the next as in py/voxtral/document.py
const LONG_CHARACTERS = 600; // of a paragraph, which then ends with the sentence
const LONGEST_CHARACTERS = 1200;
const SENTENCE_END = /[.!?…。！？؟।]$/;
const LONGEST_HISTORY = 200; // edits that can be undone

export class Words {
  paragraphs = []; // [{index, words, start, version, nCharacters}]; they stay where they are, empty or not
  pending = "";
  version = 0; // of everything
  #nHeard = 0; // words as the recogniser counts them
  #lastId = 0;
  #edits = []; // [{label, before: [[word, fields]], inserted: [words]}]

  get isEmpty() {
    return !this.pending.trim() && !this.paragraphs.some(({ words }) => words.some(({ text }) => text));
  }

  /** What undo() would take back, for people, or null. */
  get lastEdit() {
    return this.#edits.at(-1)?.label ?? null;
  }

  /* What the recogniser says. */

  /** `text` to append, and the words complete with it: the fields of the `words` event. */
  append(text, words) {
    this.pending += text;
    for (const word of words) {
      this.#push(word);
      this.#takeFromPending(word.text);
    }
    this.version++;
  }

  /** A `revised` event. A passage in which a person edited a word stays as they left it. */
  revise({ first, n_replaced: nReplaced, words, reason }) {
    if (reason === "restart") this.pending = "";
    const isInsertion = nReplaced === 0 && first < this.#nHeard;
    const old = this.#heardFrom(first).slice(0, isInsertion ? 1 : nReplaced);
    this.#nHeard += words.length - nReplaced;
    this.version++;
    if (isInsertion) words = [...words, { ...old[0].word }]; // one that stays says where
    if (old.some(({ word }) => word.heard !== null)) return this.#renumber(old, words);
    if (old.length === 0) for (const word of words) this.#push(word, performance.now());
    if (old.length === 0) this.#nHeard -= words.length; // #push counted them, too
    else this.#replace(old, words);
  }

  /** The session is over with these words, of which the last may be new. */
  finish(words) {
    this.append("", words.slice(this.#nHeard));
    this.pending = "";
  }

  /* What the person does; `word` arguments are words of this transcript. */

  /** Another text for a word: several words in it split it, none deletes it. Returns the word that is there now. */
  edit(word, text) {
    const parts = text.trim().split(/\s+/).filter(Boolean);
    const written = parts.join(" ");
    if (written === word.text) return word;
    const edit = this.#begin(written ? `“${word.text}” is “${written}” now` : `“${word.text}” is deleted`, [word]);
    const { start, end } = word;
    const heard = word.heard ?? word.text;
    const nCharacters = written.length;
    let at = start;
    parts.forEach((part, i) => {
      const until = i === parts.length - 1 ? end : at + ((end - start) * (part.length + 1)) / nCharacters;
      if (i === 0) Object.assign(word, { text: part, end: until });
      else {
        edit.inserted.push(this.#word({ ...word, text: part, start: at, end: until, joins: false, heard: "", isInserted: true }));
      }
      at = until;
    });
    if (!parts.length) word.text = "";
    word.heard = heard === word.text && parts.length <= 1 ? null : heard;
    if (edit.inserted.length) {
      const { words } = word.paragraph;
      words.splice(words.indexOf(word) + 1, 0, ...edit.inserted);
      for (const inserted of edit.inserted) inserted.paragraph = word.paragraph;
    }
    this.#touch(word.paragraph);
    return word;
  }

  /** Makes one word of it and the one before; returns that, or null where there is none. */
  joinWithPrevious(word) {
    const previous = this.neighbour(word, -1);
    if (!previous) return null;
    this.#begin(`“${previous.text}” and “${word.text}” are one word now`, [previous, word]);
    previous.heard ??= previous.text;
    word.heard ??= word.text;
    Object.assign(previous, { text: previous.text + word.text, end: Math.max(previous.end, word.end) });
    word.text = "";
    this.#touch(previous.paragraph);
    this.#touch(word.paragraph);
    return previous;
  }

  /** Takes the last edit back; returns one of its words, or null. */
  undo() {
    const edit = this.#edits.pop();
    if (!edit) return null;
    for (const inserted of edit.inserted) {
      const { words } = inserted.paragraph;
      words.splice(words.indexOf(inserted), 1);
    }
    for (const [word, fields] of edit.before) {
      Object.assign(word, fields);
      this.#touch(word.paragraph);
    }
    return edit.before[0][0];
  }

  /* Looking at it. */

  /** The next word that is there, or the one before with step -1; null at the ends. */
  neighbour(word, step) {
    let { paragraph } = word;
    let i = paragraph.words.indexOf(word) + step;
    for (;;) {
      if (paragraph.words[i]?.text) return paragraph.words[i];
      if (i >= 0 && i < paragraph.words.length) {
        i += step;
        continue;
      }
      paragraph = this.paragraphs[paragraph.index + step];
      if (!paragraph) return null;
      i = step > 0 ? 0 : paragraph.words.length - 1;
    }
  }

  /** The first word that is there, or null. */
  get first() {
    for (const { words } of this.paragraphs) for (const word of words) if (word.text) return word;
    return null;
  }

  /** The word that is said at `seconds`, or was the last before; null before the first. */
  wordAt(seconds) {
    const paragraph = this.paragraphs[lastIndex(this.paragraphs, ({ start }) => start <= seconds)];
    const words = paragraph?.words.filter(({ text }) => text) ?? [];
    return words[lastIndex(words, ({ start }) => start <= seconds)] ?? null;
  }

  get text() {
    return this.textFrom(0);
  }

  /** The text from a paragraph on, given by its index. */
  textFrom(first) {
    const pending = this.pending.trim();
    const text = this.paragraphs.slice(first).map(textOf).filter(Boolean).join("\n\n");
    return text && pending ? `${text} ${pending}` : text || pending;
  }

  /** Index of the last paragraph from which on there are as many characters; 0 where there are fewer. */
  indexBefore(nCharacters) {
    let i = this.paragraphs.length;
    for (let n = 0; i > 0 && n < nCharacters; n += textOf(this.paragraphs[i]).length) i--;
    return Math.max(0, i);
  }

  /** All words as the document has them, in order. */
  plain() {
    return this.paragraphs.flatMap(({ words }) => words.filter(({ text }) => text).map(plainWord));
  }

  /** A paragraph as history.js keeps it; deleted words stay in it. */
  static kept = ({ words }) => words.map((word) => ({ ...plainWord(word), isInserted: word.isInserted }));

  /** The transcript whose paragraphs were kept like that. */
  static of(paragraphs) {
    const whole = new Words();
    for (const words of paragraphs) {
      const paragraph = whole.#open();
      paragraph.start = words[0]?.start ?? whole.paragraphs.at(-2)?.start ?? 0;
      paragraph.words = words.map((fields) => Object.assign(whole.#word(fields), { paragraph }));
      paragraph.nCharacters = words.reduce((sum, { text }) => sum + text.length + 1, 0);
      whole.#nHeard += words.filter(({ isInserted }) => !isInserted).length;
    }
    return whole;
  }

  /* Inside. */

  #word({ text, start, end, probability = 1, alternatives = [], joins = false, heard = null, isInserted = false }) {
    const id = ++this.#lastId;
    return { id, text, start, end, probability, alternatives, joins, heard, isInserted, revisedAt: null, paragraph: null };
  }

  #open() {
    const paragraph = { index: this.paragraphs.length, words: [], start: 0, version: ++this.version, nCharacters: 0 };
    this.paragraphs.push(paragraph);
    return paragraph;
  }

  #push(fields, revisedAt = null) {
    let paragraph = this.paragraphs.at(-1) ?? this.#open();
    const last = paragraph.words.at(-1);
    const { nCharacters } = paragraph;
    const isLong = nCharacters >= LONGEST_CHARACTERS || (nCharacters >= LONG_CHARACTERS && SENTENCE_END.test(last?.text));
    if (last && (isLong || fields.start - last.end >= PAUSE_S)) paragraph = this.#open();
    if (!paragraph.words.length) paragraph.start = fields.start;
    paragraph.words.push(Object.assign(this.#word(fields), { paragraph, revisedAt }));
    paragraph.nCharacters += fields.text.length + 1;
    this.#nHeard++;
    this.#touch(paragraph);
  }

  #takeFromPending(text) {
    const rest = this.pending.trimStart();
    const at = rest.indexOf(text);
    if (at >= 0) this.pending = rest.slice(at + text.length);
  }

  /** The recogniser's words from number n on: [{word, paragraph}]. They are looked for from the end, where they are. */
  #heardFrom(n) {
    const found = [];
    let number = this.#nHeard;
    for (let i = this.paragraphs.length - 1; i >= 0 && number > n; i--) {
      const { words } = this.paragraphs[i];
      for (let j = words.length - 1; j >= 0 && number > n; j--) {
        if (words[j].isInserted) continue;
        found.push({ word: words[j], paragraph: this.paragraphs[i] });
        number--;
      }
    }
    return found.reverse();
  }

  /** Puts `words` in the place of `old`; those with the same text stay what they are, others are the same with another. */
  #replace(old, words) {
    const now = performance.now();
    let nSame = 0;
    while (nSame < Math.min(old.length, words.length) && old[nSame].word.text === words[nSame].text) nSame++;
    let nSameAtEnd = 0;
    const isSame = (n) => old.at(-n).word.text === words.at(-n).text;
    while (nSame + nSameAtEnd < Math.min(old.length, words.length) && isSame(nSameAtEnd + 1)) nSameAtEnd++;
    const nReused = Math.min(old.length, words.length) - nSameAtEnd;
    const set = ({ word }, { text, start, end, probability = 1, alternatives = [], joins = false }) => {
      if (word.text !== text) word.revisedAt = now;
      Object.assign(word, { text, start, end, probability, alternatives, joins });
    };
    for (let i = 0; i < nReused; i++) set(old[i], words[i]);
    for (let i = 1; i <= nSameAtEnd; i++) set(old.at(-i), words.at(-i));
    for (const { word, paragraph } of old.slice(nReused, old.length - nSameAtEnd)) {
      paragraph.words.splice(paragraph.words.indexOf(word), 1);
    }
    const added = words.slice(nReused, words.length - nSameAtEnd).map((fields) => this.#word(fields));
    if (added.length) {
      const { word, paragraph } = old[Math.max(0, nReused - 1)];
      paragraph.words.splice(paragraph.words.indexOf(word) + (nReused > 0 ? 1 : 0), 0, ...added);
      for (const word of added) Object.assign(word, { paragraph, revisedAt: now });
    }
    for (const paragraph of new Set(old.map(({ paragraph }) => paragraph))) this.#touch(paragraph);
  }

  /** Words of which some are the person's stay; only their count becomes that of `words`. What is taken back goes. */
  #renumber(old, words) {
    let surplus = old.length - words.length;
    for (const { word, paragraph } of old.toReversed()) {
      if (surplus-- <= 0) break;
      if (words.length === 0 && word.heard === null) paragraph.words.splice(paragraph.words.indexOf(word), 1);
      word.isInserted = true;
      this.#touch(paragraph);
    }
    const { word, paragraph } = old.at(-1);
    for (; surplus < 0; surplus++) {
      const silent = Object.assign(this.#word({ ...word, text: "", start: word.end, heard: "" }), { paragraph });
      paragraph.words.splice(paragraph.words.indexOf(word) + 1, 0, silent);
    }
  }

  #begin(label, words) {
    const before = words.map((word) => [word, { text: word.text, start: word.start, end: word.end, heard: word.heard }]);
    const edit = { label, before, inserted: [] };
    this.#edits.push(edit);
    if (this.#edits.length > LONGEST_HISTORY) this.#edits.shift();
    return edit;
  }

  #touch(paragraph) {
    paragraph.version = ++this.version;
  }
}

const texts = new WeakMap(); // paragraph → {version, text}

/** The words of a paragraph that are there, as text. */
export function textOf(paragraph) {
  const known = texts.get(paragraph);
  if (known?.version === paragraph.version) return known.text;
  const text = joined(paragraph.words.filter((word) => word.text));
  texts.set(paragraph, { version: paragraph.version, text });
  return text;
}

const plainWord = ({ text, start, end, probability, alternatives, joins, heard }) =>
  ({ text, start, end, probability, alternatives, joins, heard });

/** The index of the last item for which `isBefore` holds, in items where it holds for a first part; -1: none. */
function lastIndex(items, isBefore) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
