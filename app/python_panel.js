/** The place of the person's own Python (post_processing.js): it works on the last transcript that is complete. */

import { joined } from "./documents.js";
import { $, setText } from "./elements.js";
import { isOver } from "./entries.js";

/** actions: {use} of entries.js. Returns {draw(state)}. What it shows is loaded when it is opened first. */
export function createPythonPanel({ use }) {
  const panel = $("python");
  let entry = null;
  let version = null; // of its words
  let section = null; // promise of what fills the panel

  async function fill() {
    const { createPostProcessing } = await import("./post_processing.js");
    return createPostProcessing($("python-place"), { getWords, onText: (made) => use(entry, made) });
  }

  function getWords() {
    const words = entry?.words.plain();
    return words ? { text: joined(words), words, isUsed: entry.made !== null } : null;
  }

  panel.addEventListener("toggle", () => panel.open && (section ??= fill()));
  return {
    draw({ transcript: { entries } }) {
      const last = entries.findLast((other) => isOver(other) && !other.words.isEmpty) ?? null;
      panel.hidden = !last;
      if (last === entry && last?.words.version === version) return;
      [entry, version] = [last, last?.words.version];
      setText($("python-entry"), last ? `Works on “${last.title}”, the last complete transcript, on this machine like all else.` : "");
      section?.then(({ update }) => update());
    },
  };
}
