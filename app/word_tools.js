/**
 * What a person does with single words: a press plays from there, Enter, F2 or a double press edits, the arrow keys go
 * from word to word (only one word of an entry is a stop of the Tab key), and a card says how sure the recogniser was
 * and what else it may have heard.
 */

import { clock } from "./amounts.js";
import { $, setText } from "./elements.js";
import { isUnsure, wordOf } from "./paragraphs_view.js";
import { createWordEditor } from "./word_editor.js";

const HOVER_MS = 250; // before the card of a word comes
const LEAVE_MS = 300; // before it goes; time to move into it
const GAP_PX = 6;
const UNSURE_STEPS = 10_000; // how many words are looked through for an unsure one

/**
 * container: where the entries are; viewAt(element): the EntryView around it; actions: of entries.js. Returns
 * {draw(playing), edit(view, word), undo(view)}.
 */
export function createWordTools(container, viewAt, actions) {
  const card = $("word-card");
  let shown = null; // {view, word} of the card
  let timer = 0;
  let isPlaying = false;
  const editor = createWordEditor(actions, { showCard, hideCard, focus });

  function showCard(view, word) {
    clearTimeout(timer);
    const span = view.paragraphs.spanOf(word);
    if (!span?.isConnected) return;
    hideCard();
    shown = { view, word };
    const { estimates } = view.entry;
    setText(card.querySelector(".about"), describe(word, estimates));
    card.querySelector(".readings").replaceChildren(...readingsOf(word, estimates).map(readingItem));
    card.querySelector(".edit-word").hidden = editor.isEditing(word);
    card.hidden = false;
    moveTo(span);
    span.setAttribute("aria-describedby", "word-card-about");
  }

  function hideCard() {
    clearTimeout(timer);
    if (!shown) return;
    shown.view.paragraphs.spanOf(shown.word)?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  }

  /** Below the word, or above where there is no room, and never beside the window. */
  function moveTo(span) {
    const word = span.getClientRects()[0] ?? span.getBoundingClientRect();
    const { width, height } = card.getBoundingClientRect();
    const room = document.documentElement.clientWidth - width - GAP_PX;
    const isBelow = word.bottom + GAP_PX + height < innerHeight || word.top < height + GAP_PX;
    card.style.left = `${scrollX + Math.max(GAP_PX, Math.min(word.left, room))}px`;
    card.style.top = `${scrollY + (isBelow ? word.bottom + GAP_PX : word.top - height - GAP_PX)}px`;
  }

  function focus(view, word) {
    if (word) view.paragraphs.makeCurrent(word);
  }

  function edit(view, word) {
    if (isPlaying) actions.hold();
    if (word) editor.begin(view, word);
  }

  function undo(view) {
    const word = actions.undoEdit(view.entry);
    if (word?.text) requestAnimationFrame(() => requestAnimationFrame(() => focus(view, word)));
  }

  function choose(text, isByPointer) {
    const { view, word } = shown;
    actions.editWord(view.entry, word, text);
    hideCard();
    focus(view, word);
    if (isByPointer) hideCard();
  }

  /* Pointers. */

  const at = (target) => {
    const span = target.closest?.(".word");
    const word = span && wordOf(span);
    return word ? { view: viewAt(span), word } : null;
  };
  container.addEventListener("click", (event) => {
    const found = at(event.target);
    if (!found || event.target.localName === "input" || !getSelection().isCollapsed) return;
    found.view.paragraphs.makeCurrent(found.word);
    if (event.detail > 1) return; // the second press of two edits
    actions.play(found.view.entry, found.word);
    const saysNothing = event.pointerType === "mouse" && !isUnsure(found.word) && found.view.entry.hasAudio;
    if (!saysNothing) showCard(found.view, found.word);
    else hideCard();
  });
  container.addEventListener("dblclick", ({ target }) => {
    const found = at(target);
    if (!found || target.localName === "input") return;
    getSelection().removeAllRanges();
    edit(found.view, found.word);
  });
  container.addEventListener("pointerover", ({ target, pointerType }) => {
    const found = pointerType === "mouse" && at(target);
    if (!found || !isUnsure(found.word) || shown?.word === found.word || editor.isOpen()) return;
    clearTimeout(timer);
    timer = setTimeout(() => showCard(found.view, found.word), HOVER_MS);
  });
  const leave = () => {
    clearTimeout(timer);
    if (editor.isOpen() || card.contains(document.activeElement)) return;
    timer = setTimeout(hideCard, LEAVE_MS);
  };
  container.addEventListener("pointerout", ({ target, pointerType }) => pointerType === "mouse" && at(target) && leave());
  card.addEventListener("pointerenter", () => clearTimeout(timer));
  card.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && leave());
  addEventListener("pointerdown", ({ target }) => !card.contains(target) && !target.closest?.(".word") && hideCard());
  addEventListener("resize", hideCard);

  /* The card. */

  card.addEventListener("pointerdown", (event) => event.preventDefault()); // the field of a word keeps the keyboard
  card.addEventListener("click", ({ target, detail }) => {
    const button = target.closest("button");
    if (!button || !shown) return;
    if (editor.isOpen()) return editor.choose(button.dataset.reading);
    if (button.dataset.reading !== undefined) choose(button.dataset.reading, detail > 0);
    else edit(shown.view, shown.word);
  });
  card.addEventListener("keydown", (event) => {
    const buttons = [...card.querySelectorAll("button:not([hidden])")];
    const i = buttons.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const isBack = event.key === "Escape" || event.key === "Tab" || (step === -1 && i === 0);
    if (isBack) focus(shown.view, shown.word);
    else if (step) buttons[Math.min(buttons.length - 1, i + step)].focus();
    if (step || event.key === "Escape") event.preventDefault();
    if (event.key === "Escape") hideCard();
  });

  /* Keys. */

  container.addEventListener("focusin", ({ target }) => {
    const found = at(target);
    if (found && target.localName !== "input" && target.matches(":focus-visible")) showCard(found.view, found.word);
  });
  container.addEventListener("focusout", ({ relatedTarget }) => {
    if (!editor.isOpen() && !card.contains(relatedTarget)) hideCard();
  });

  const keys = {
    ArrowRight: ({ view, word }) => focus(view, step(view, word, isRightToLeft(view, word) ? -1 : 1)),
    ArrowLeft: ({ view, word }) => focus(view, step(view, word, isRightToLeft(view, word) ? 1 : -1)),
    ArrowDown: () => !card.hidden && card.querySelector("button:not([hidden])")?.focus(),
    Home: ({ view, word }) => focus(view, word.paragraph.words.find(({ text }) => text)),
    End: ({ view, word }) => focus(view, word.paragraph.words.findLast(({ text }) => text)),
    Enter: ({ view, word }) => edit(view, word),
    F2: ({ view, word }) => edit(view, word),
    " ": ({ view, word }) => actions.togglePlaying(view.entry, word),
    Delete: ({ view, word }) => remove(view, word, 1),
    Backspace: ({ view, word }) => remove(view, word, -1),
    n: ({ view, word }) => focus(view, unsureAfter(view, word)),
    Escape: () => hideCard(),
  };
  container.addEventListener("keydown", (event) => {
    const found = at(event.target);
    if (!found || event.target.localName === "input") return;
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey;
    const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
    const act = isUndo ? () => undo(found.view) : hasModifier ? null : keys[event.key];
    if (!act || (event.key === "Escape" && card.hidden)) return;
    event.preventDefault();
    act(found);
  });

  const step = (view, word, by) => view.entry.words.neighbour(word, by);

  function remove(view, word, by) {
    const next = step(view, word, by) ?? step(view, word, -by);
    actions.editWord(view.entry, word, "");
    focus(view, next);
  }

  function unsureAfter(view, word) {
    let next = word;
    for (let i = 0; next && i < UNSURE_STEPS; i++) {
      next = step(view, next, 1);
      if (next && isUnsure(next)) return next;
    }
    return null;
  }

  /** The card of a word that is past is in the way of those that are heard now. */
  function draw(playing) {
    isPlaying = playing !== null && !playing.isPaused;
    const isPast = isPlaying && shown && shown.word !== playing.word && !editor.isOpen();
    const isUsed = card.matches(":hover") || card.contains(document.activeElement);
    if ((isPast && !isUsed) || (shown && !shown.view.paragraphs.spanOf(shown.word)?.isConnected)) hideCard();
  }

  return { draw, edit, undo };
}

const isRightToLeft = (view, word) => getComputedStyle(view.paragraphs.spanOf(word)).direction === "rtl";

const percentOf = (share) => (share >= 0.995 && share < 1 ? "99 %" : `${Math.max(1, Math.round(100 * share))} %`);

/** estimates: fields of words that nobody said. */
function describe({ text, start, end, probability, heard }, estimates) {
  const span = start < 60 ? `${start.toFixed(2)} to ${end.toFixed(2)} s` : clock(start);
  const when = estimates.includes("start") ? `about ${span}` : span;
  if (heard === "") return `${when}, written by you`;
  if (heard !== null) return `${when}, heard as “${heard}”`;
  if (estimates.includes("probability")) return `Heard “${text}”, ${when}`;
  return `${isUnsure({ probability, heard }) ? "Unsure" : "Heard"} “${text}”, ${percentOf(probability)}, ${when}`;
}

/** What else the word may be, what the recogniser wrote first included. */
function readingsOf({ text, probability, heard, alternatives }, estimates) {
  const readings = alternatives.filter((alternative) => alternative.text && alternative.text !== text);
  const known = estimates.includes("probability") ? null : probability;
  return heard && heard !== text ? [{ text: heard, probability: known }, ...readings] : readings;
}

function readingItem({ text, probability }) {
  const item = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.dataset.reading = text;
  button.append(Object.assign(document.createElement("bdi"), { textContent: text }));
  if (probability !== null) {
    button.append(" ", Object.assign(document.createElement("span"), { className: "share", textContent: percentOf(probability) }));
  }
  item.append(button);
  return item;
}
