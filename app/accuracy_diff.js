/**
 * What was said against what was heard: words left out are struck through and begin with −, words too many are
 * underlined and begin with +, of confused ones the right word is struck through before the wrong one.
 */

import { make } from "./elements.js";

const hidden = (textContent) => make("span", { className: "visually-hidden", textContent });

/** One line; alignment: of a clip in a report, [[kind, reference words, heard words], …]. */
export function diffElement(alignment) {
  const line = make("p", { className: "diff" });
  for (const [kind, reference, heard] of alignment) line.append(...STEPS[kind](reference.join(" "), heard.join(" ")), " ");
  return line;
}

const STEPS = {
  equal: (reference) => [reference],
  delete: (reference) => [make("del", {}, [hidden("missing: "), ...signed("−", reference), hidden(",")])],
  insert: (_, heard) => [make("ins", {}, [hidden("too many: "), ...signed("+", heard), hidden(",")])],
  substitute: (reference, heard) => [
    make("span", { className: "confused" }, [
      make("del", {}, [hidden("instead of "), reference]),
      make("ins", {}, [hidden(" heard "), heard, hidden(",")]),
    ]),
  ],
};

/** The sign stays on the line of the first word. */
function signed(sign, words) {
  const [first, ...others] = words.split(" ");
  const element = make("span", { className: "sign", textContent: sign });
  element.setAttribute("aria-hidden", "true");
  return [make("span", { className: "together" }, [element, first]), others.map((word) => ` ${word}`).join("")];
}
