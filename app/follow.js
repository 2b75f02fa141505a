/** The page follows the voice: it stays at the newest words until the person scrolls up, and offers the way back. */

import { $ } from "./elements.js";
import { isOver } from "./entries.js";

const NEAR_BOTTOM_PX = 160;
const AIM_MS = 1000; // from pointing at a button to pressing it
const PASSIVE = { passive: true };
const BEFORE_OTHERS = { passive: true, capture: true }; // heard even where others stop it

/** Returns {around(draw, entries), toLive()}. */
export function createFollow() {
  let isRunning = false;
  let isBusy = false; // or an entry waits its turn: a short one may be heard whole before the next frame
  let held = null; // an element that stays where it is: it is pressed, or the mouse has just come to it
  let aiming = 0; // timer
  let nEntries = 0;
  let keptAt = Infinity; // scrollY at the end; what is laid out late may move the end away from there
  const page = document.documentElement;
  const isAtBottom = () => innerHeight + scrollY > page.scrollHeight - NEAR_BOTTOM_PX;
  const offer = () => ($("to-live").hidden = !isRunning || isAtBottom());
  const keep = () => (keptAt = isAtBottom() ? scrollY : Infinity);
  const toEnd = () => {
    scrollTo(0, page.scrollHeight);
    keep();
    offer();
  };
  const stay = () => scrollY >= keptAt && !held && !isAtBottom() && toEnd();
  $("to-live").addEventListener("click", toEnd);
  addEventListener("scroll", offer, PASSIVE);
  addEventListener("resize", offer, PASSIVE);
  // Paragraphs take their height when they come into view, after the last word was drawn. Whoever touches the page then
  // ends that.
  new ResizeObserver(stay).observe(document.body);
  const touch = (element) => {
    clearTimeout(aiming);
    held = element;
    if (!isBusy) keptAt = Infinity;
  };
  const aim = ({ target, pointerType, buttons }) => {
    if (pointerType !== "mouse" || buttons) return;
    clearTimeout(aiming);
    held = target.closest("#transcript button");
    aiming = setTimeout(() => {
      held = null; // a mouse that only lies there
      stay();
    }, AIM_MS);
  };
  addEventListener("keydown", () => touch(null), PASSIVE);
  addEventListener("pointermove", aim, PASSIVE);
  addEventListener("pointerdown", ({ target, button }) => touch(button === 0 ? target : null), BEFORE_OTHERS);
  for (const end of ["pointerup", "pointercancel", "contextmenu"]) addEventListener(end, () => touch(null), BEFORE_OTHERS);
  addEventListener("blur", () => touch(null)); // of the window, where the press may end unheard

  return {
    /** Runs draw(); what it adds at the end stays in view if the end was, or if it begins a new entry. */
    around(draw, entries) {
      const heldY = held?.getBoundingClientRect().y;
      const height = page.scrollHeight;
      const wasAtBottom = isAtBottom() || scrollY >= keptAt;
      const wasBusy = isBusy;
      draw();
      isRunning = entries.some(({ status }) => status === "running");
      isBusy = !entries.every(isOver);
      const isNew = entries.length > nEntries;
      nEntries = entries.length;
      const follows = wasBusy || isBusy;
      const isWanted = isNew || (wasAtBottom && follows);
      if (held?.checkVisibility()) {
        scrollBy(0, held.getBoundingClientRect().y - heldY); // or the press would hit something else
        if (isWanted) keptAt = Math.min(keptAt, isNew ? 0 : scrollY); // so that the end is shown once it is let go
      } else {
        const hasGrown = page.scrollHeight > height || !isAtBottom();
        if (isWanted && (isNew || hasGrown)) scrollTo(0, page.scrollHeight);
        if (follows || isNew) keep();
      }
      offer();
    },
    toLive: toEnd,
  };
}
