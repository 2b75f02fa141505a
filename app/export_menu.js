/** The one menu of the page, which opens below the button that asked for it; on a phone, at the bottom of the screen. */

import { $ } from "./elements.js";

const GAP_PX = 4;
const PHONE = "(max-width: 36rem)";

const menu = $("export-menu");
let button = null; // that opened it

/** choices(): [{name, about, act}] of the moment, asked for at each press. */
export function opensMenu(opener, choices) {
  opener.addEventListener("click", () => open(opener, choices()));
}

const items = () => [...menu.querySelectorAll("[role=menuitem]")];

function open(opener, choices) {
  menu.replaceChildren(...choices.map((choice) => item(choice, close)));
  button = opener;
  menu.showPopover();
  place();
  button.setAttribute("aria-expanded", "true");
  items()[0].focus();
}

function close() {
  menu.hidePopover();
  button?.focus();
}

function place() {
  menu.style.left = menu.style.top = "";
  if (matchMedia(PHONE).matches) return;
  const { left, right, top, bottom } = button.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(GAP_PX, Math.min(left, innerWidth - width - GAP_PX, right - width > 0 ? right - width : left))}px`;
  const isBelow = bottom + GAP_PX + height < innerHeight || top < height + GAP_PX;
  menu.style.top = `${isBelow ? Math.min(bottom + GAP_PX, innerHeight - height - GAP_PX) : top - height - GAP_PX}px`;
}

menu.addEventListener("toggle", ({ newState }) => {
  if (newState === "closed") button?.setAttribute("aria-expanded", "false");
});
menu.addEventListener("keydown", (event) => {
  const all = items();
  const i = all.indexOf(document.activeElement);
  const to = {
    ArrowDown: () => all[(i + 1) % all.length],
    ArrowUp: () => all[(i - 1 + all.length) % all.length],
    Home: () => all[0],
    End: () => all.at(-1),
  }[event.key];
  if (to) to().focus();
  else if (event.key === "Escape") close();
  else if (event.key === "Tab") menu.hidePopover();
  else if (event.key.length === 1 && /\p{L}/u.test(event.key)) {
    const starts = (element) => element.textContent.toLowerCase().startsWith(event.key.toLowerCase());
    [...all.slice(i + 1), ...all].find(starts)?.focus();
  } else return;
  event.stopPropagation();
  if (event.key !== "Tab") event.preventDefault();
});
const follow = () => menu.matches(":popover-open") && place();
addEventListener("resize", follow, { passive: true });
addEventListener("scroll", follow, { passive: true });

function item({ name, about, act }, close) {
  const row = document.createElement("li");
  row.setAttribute("role", "none");
  const button = Object.assign(document.createElement("button"), { type: "button", tabIndex: -1 });
  button.setAttribute("role", "menuitem");
  const part = (className, textContent) => Object.assign(document.createElement("span"), { className, textContent });
  button.append(part("name", name), " ", part("about", about));
  button.addEventListener("click", () => {
    close();
    act();
  });
  row.append(button);
  return row;
}
