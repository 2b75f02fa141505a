/** Keyboard shortcuts: what they are, the list of them, and when a key is one. */

const IGNORED_INPUTS = ["checkbox", "radio", "range", "button", "submit", "file"]; // they take no text

/** In the order of the list; `does` names an action. */
const SHORTCUTS = [
  { keys: ["s"], shown: ["S"], does: "toggle", label: "Speak, or stop" },
  { keys: ["t"], shown: ["T"], does: "hearTab", label: "Hear a tab or the screen" },
  { keys: ["o"], shown: ["O"], does: "chooseFiles", label: "Choose files" },
  { keys: ["f"], shown: ["F"], does: "toggleCaptions", label: "Full screen captions" },
  { keys: ["+", "="], shown: ["+"], does: "larger", label: "Larger captions" },
  { keys: ["-", "−"], shown: ["−"], does: "smaller", label: "Smaller captions" },
  { keys: ["l"], shown: ["L"], does: "backToLive", label: "Back to live" },
  { keys: ["c"], shown: ["C"], does: "copyAll", label: "Copy the transcript" },
  { keys: [","], shown: [","], does: "openSettings", label: "Settings" },
  { keys: ["?"], shown: ["?"], does: "openShortcuts", label: "This list" },
  { keys: ["Escape"], shown: ["Esc"], does: "escape", label: "Leave captions; give up what is running; dismiss a message" },
];

/** actions: a function for each `does`; isOn(): whether single keys count. Esc always does. */
export function listenToKeys(actions, isOn) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.repeat || document.querySelector("dialog[open]")) return; // a dialog has its own keys
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shortcut = SHORTCUTS.find(({ keys }) => keys.includes(key));
    if (!shortcut || (key !== "Escape" && (!isOn() || takesText(event.target)))) return;
    if (key !== "Escape") event.preventDefault();
    actions[shortcut.does]();
  });
}

function takesText(element) {
  if (element.isContentEditable || element.matches("textarea, select")) return true;
  return element.matches("input") && !IGNORED_INPUTS.includes(element.type);
}

/** The list as terms and what they do. */
export function shortcutElements() {
  return SHORTCUTS.flatMap(({ shown, label }) => {
    const term = document.createElement("dt");
    term.append(...shown.map((key) => Object.assign(document.createElement("kbd"), { textContent: key })));
    return [term, Object.assign(document.createElement("dd"), { textContent: label })];
  });
}
