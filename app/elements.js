/** What every view does with elements. */

export const $ = (id) => document.getElementById(id);

/** Unchanged text is left alone: live regions would say it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with these properties and children. */
export function make(name, properties = {}, children = []) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Makes the children of `parent` those of `items`, in order, keeping the elements of items already there. */
export function reconcile(parent, items, create) {
  const old = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  items.forEach((item, i) => {
    const element = old.get(String(item.id)) ?? create(item);
    element.dataset.id = item.id;
    old.delete(String(item.id));
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
  });
  for (const element of old.values()) element.remove();
}

/** The engine's sentences begin like clauses; here they stand alone. */
export const written = (sentence) => ended(sentence.replace(/^[a-z]+(?= )/, (word) => word[0].toUpperCase() + word.slice(1)));

/** The same of those that may begin with the name of a file. */
export const ended = (sentence) => (/[.!?…]$/.test(sentence) ? sentence : `${sentence}.`);
