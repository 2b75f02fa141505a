/**
 * The field in which a word is changed, in the place of the word: several words split it, none deletes it, Backspace at
 * its start and Delete at its end join it with its neighbours. Enter keeps, Tab keeps and goes on, Esc gives up.
 */

/** actions: of entries.js; {showCard, hideCard, focus}: of word_tools.js. */
export function createWordEditor(actions, { showCard, hideCard, focus }) {
  let editing = null; // {view, word, span, field}

  const isOpen = () => editing !== null;
  const isEditing = (word) => editing?.word === word;

  /** caret: where in the text; by default all of it is selected. */
  function begin(view, word, caret = null) {
    if (editing) keep();
    const span = view.paragraphs.spanOf(word);
    if (!span || !word.text) return;
    const field = Object.assign(document.createElement("input"), { type: "text", value: word.text, autocomplete: "off" });
    field.setAttribute("aria-label", `Change the word ${word.text}`);
    field.setAttribute("autocapitalize", "none");
    field.enterKeyHint = "done";
    field.spellcheck = true;
    view.$(".text").setAttribute("aria-live", "off"); // what a person writes is not to be read out to them
    editing = { view, word, span, field };
    span.replaceChildren(field);
    fit(field);
    field.addEventListener("input", () => fit(field));
    field.addEventListener("keydown", onKey);
    field.addEventListener("blur", () => editing?.field === field && keep());
    field.focus();
    if (caret === null) field.select();
    else field.setSelectionRange(caret, caret);
    if (word.alternatives.length || word.heard) showCard(view, word);
    else hideCard();
  }

  /** Ends editing; the word has its text, whatever that is now. */
  function end() {
    const { word, span } = editing;
    editing = null;
    hideCard();
    span.textContent = word.text;
  }

  /** Writes what is in the field; returns the word. */
  function keep() {
    const { view, word, field } = editing;
    const next = view.entry.words.neighbour(word, 1) ?? view.entry.words.neighbour(word, -1);
    end();
    actions.editWord(view.entry, word, field.value);
    return word.text ? word : next;
  }

  function choose(text) {
    const { view, field } = editing;
    field.value = text;
    focus(view, keep());
  }

  /** Keeps, and edits a neighbour, if there is one. */
  function goOn(by) {
    const { view } = editing;
    const word = keep();
    const next = word && view.entry.words.neighbour(word, by);
    onceDrawn(() => (next ? begin(view, next) : focus(view, word)));
  }

  /** Keeps, makes one word of it and its neighbour, and goes on editing that where they meet. */
  function join(by) {
    const { view } = editing;
    const { words } = view.entry;
    const kept = keep();
    const second = by > 0 ? words.neighbour(kept, 1) : kept;
    const caret = words.neighbour(second, -1).text.length;
    const joined = actions.joinWord(view.entry, second);
    onceDrawn(() => begin(view, joined, caret));
  }

  function onKey(event) {
    if (event.isComposing) return; // Enter belongs to the input method
    const { view, word, field } = editing;
    const { selectionStart, selectionEnd, value } = field;
    const { words } = view.entry;
    const isJoinable = value.trim() !== "" && !/\s/.test(value.trim());
    const isAt = (place) => selectionStart === place && selectionEnd === place;
    const act = {
      Enter: () => focus(view, keep()),
      Escape: () => {
        end();
        focus(view, word);
      },
      Tab: () => goOn(event.shiftKey ? -1 : 1),
      ArrowDown: () => rotate(1),
      ArrowUp: () => rotate(-1),
      Backspace: isJoinable && isAt(0) && words.neighbour(word, -1) && (() => join(-1)),
      Delete: isJoinable && isAt(value.length) && words.neighbour(word, 1) && (() => join(1)),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // Esc is not for what runs
    act();
  }

  /** The next of what else the word may be, in the field. */
  function rotate(by) {
    const { word, field } = editing;
    const readings = [...new Set([word.text, word.heard, ...word.alternatives.map(({ text }) => text)])].filter(Boolean);
    const i = readings.indexOf(field.value);
    field.value = readings[(i + by + readings.length) % readings.length];
    fit(field);
  }

  return { begin, choose, isOpen, isEditing };
}

/** Words that are new have elements after the next frame. */
const onceDrawn = (work) => requestAnimationFrame(() => requestAnimationFrame(work));

const fit = (field) => (field.style.width = `${Math.max(2, field.value.length + 1)}ch`);
