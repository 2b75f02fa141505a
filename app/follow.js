/** The page follows the voice: it stays at the newest words until the person scrolls up, and offers the way back. */

import { $ } from "./elements.js";

const NEAR_BOTTOM_PX = 160;

/** Returns {around(draw, nEntries, isRunning), toLive()}. */
export function createFollow() {
  let isRunning = false;
  let nEntries = 0;
  let keptAt = Infinity; // scrollY at the end; what is laid out late may move the end away from there
  const page = document.documentElement;
  const isAtBottom = () => innerHeight + scrollY > page.scrollHeight - NEAR_BOTTOM_PX;
  const offer = () => ($("to-live").hidden = !isRunning || isAtBottom());
  const toLive = () => {
    scrollTo(0, page.scrollHeight);
    offer();
  };
  $("to-live").addEventListener("click", toLive);
  addEventListener("scroll", offer, { passive: true });
  addEventListener("resize", offer, { passive: true });

  return {
    /** Runs draw(); what it adds at the end stays in view if the end was, or if it begins a new entry. */
    around(draw, entries) {
      const height = page.scrollHeight;
      const wasAtBottom = isAtBottom() || scrollY >= keptAt;
      const wasRunning = isRunning;
      draw();
      isRunning = entries.some(({ status }) => status === "running");
      const isNew = entries.length > nEntries;
      nEntries = entries.length;
      const hasGrown = page.scrollHeight > height || !isAtBottom();
      if (isNew || (wasAtBottom && hasGrown && (wasRunning || isRunning))) scrollTo(0, page.scrollHeight);
      keptAt = isAtBottom() ? scrollY : Infinity;
      offer();
    },
    toLive,
  };
}
