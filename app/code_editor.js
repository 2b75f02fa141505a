/**
 * A plain editor of Python in a <textarea>: Tab and Enter indent, Ctrl+Enter or ⌘+Enter runs. Tab must not be a trap:
 * after Esc it moves the focus on. Undo is the browser's own.
 */

const INDENT = "    ";

/** onRun is called by Ctrl+Enter. No key pressed here reaches the page's shortcuts. */
export function makeCodeEditor(area, onRun) {
  let isLeaving = false;
  area.addEventListener("focus", () => (isLeaving = false));
  area.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return;
    const isTab = event.key === "Tab" && !isLeaving;
    isLeaving = event.key === "Escape" || (isLeaving && ["Tab", "Shift"].includes(event.key));
    const act =
      (isTab && (event.shiftKey ? outdent : indent)) ||
      (event.key === "Enter" && (event.ctrlKey || event.metaKey ? onRun : newLine));
    if (!act) return;
    event.preventDefault();
    act(area);
  });
}

/** Types text, or deletes what is selected, so that the browser can undo it. */
function type(text) {
  if (text) document.execCommand("insertText", false, text);
  else document.execCommand("delete");
}

const startOfLine = (area, at) => area.value.lastIndexOf("\n", at - 1) + 1;

function newLine(area) {
  const line = area.value.slice(startOfLine(area, area.selectionStart), area.selectionStart);
  type(`\n${/^[ \t]*/.exec(line)[0]}${/:\s*$/.test(line) ? INDENT : ""}`);
}

function indent(area) {
  const { selectionStart: start, selectionEnd: end } = area;
  if (area.value.slice(start, end).includes("\n")) changeLines(area, (line) => (line ? INDENT + line : line));
  else type(INDENT.slice((start - startOfLine(area, start)) % INDENT.length));
}

const outdent = (area) => changeLines(area, (line) => line.replace(/^ {1,4}|^\t/, ""));

/** Every line of the selection; all of them are selected afterwards. */
function changeLines(area, change) {
  const first = startOfLine(area, area.selectionStart);
  const isAfterEnd = area.selectionEnd > first && area.value[area.selectionEnd - 1] === "\n";
  const lineEnd = area.value.indexOf("\n", area.selectionEnd - (isAfterEnd ? 1 : 0));
  const last = lineEnd < 0 ? area.value.length : lineEnd;
  const old = area.value.slice(first, last);
  const made = old.split("\n").map(change).join("\n");
  if (made === old) return;
  area.setSelectionRange(first, last);
  type(made);
  area.setSelectionRange(made.includes("\n") ? first : first + made.length, first + made.length);
}
