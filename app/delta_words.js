/**
 * Words from a server that only says text, as it comes. Where a word was said is estimated: its end when its text came,
 * by how much sound had been sent until then, less the delay that the model is made for; its start by its length.
 */

const DELAY_S = 0.48; // of Voxtral Realtime, where nobody chose another
const CHARACTERS_PER_S = 14; // of speech at a usual pace
const SHORTEST_S = 0.08;
const SCRIPT_WITHOUT_SPACES = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}]/u;

export class DeltaWords {
  all = [];
  #startS;
  #text = ""; // of the word that is not complete
  #joins = false;
  #cameS = 0; // when its last text came

  /** startS: where on the recording's clock its sound begins. */
  constructor(startS) {
    this.#startS = startS;
  }

  /** Takes text that came when sentS of sound had been sent; returns the words that are complete with it. */
  take(text, sentS) {
    const complete = [];
    for (const part of text.match(/\s+|\S+/g) ?? []) {
      if (!part.trim()) complete.push(...this.#close());
      else for (const piece of pieces(part)) complete.push(...this.#add(piece, sentS));
    }
    return complete;
  }

  /** The last word. */
  finish() {
    return this.#close();
  }

  /** How much of its sound is text. */
  heardS(sentS) {
    return Math.max(0, sentS - DELAY_S);
  }

  #add(piece, sentS) {
    const complete = this.#text && isApart(this.#text, piece) ? this.#close(true) : [];
    this.#text += piece;
    this.#cameS = sentS;
    return complete;
  }

  #close(joinsNext = false) {
    const [text, joins] = [this.#text, this.#joins];
    this.#joins = joinsNext;
    this.#text = "";
    if (!text) return [];
    const beforeS = this.all.at(-1)?.end ?? this.#startS;
    const end = Math.max(beforeS + SHORTEST_S, this.#startS + this.heardS(this.#cameS));
    const start = Math.max(beforeS, end - Math.max(SHORTEST_S, text.length / CHARACTERS_PER_S));
    const word = { text, start: inHundredths(start), end: inHundredths(end), probability: 1, alternatives: [], joins };
    this.all.push(word);
    return [word];
  }
}

/** Scripts without spaces: a character is a word; what follows it, punctuation, belongs to it. */
const pieces = (part) => (SCRIPT_WITHOUT_SPACES.test(part) ? [...part] : [part]);

const isApart = (text, piece) => SCRIPT_WITHOUT_SPACES.test(piece) || (SCRIPT_WITHOUT_SPACES.test(text) && !/^\p{P}/u.test(piece));

const inHundredths = (seconds) => Math.round(seconds * 100) / 100;
