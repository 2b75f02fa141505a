/** How far the recogniser is behind the sound, from a session's `heard` events. Knows no clock: callers say when. */

const WINDOW_S = 10;
const BEHIND_S = 2; // of sound waiting, worth saying
const HOPELESS_S = 10; // of sound waiting, when it also grows
const STEADY_S = 0.5; // a change of this much in WINDOW_S is none
const OVERDUE_S = 1; // an engine that keeps up tells of itself far more often

export class Lag {
  #seen = []; // {at, heard_s, waiting_s}, not much older than WINDOW_S
  #isHopeless = false;

  /** Takes a `heard` event that came at the time `at`, in seconds. */
  observe({ heard_s, waiting_s }, at) {
    this.#seen.push({ at, heard_s, waiting_s });
    while (this.#seen.length > 2 && this.#seen[1].at <= at - WINDOW_S) this.#seen.shift();
    const first = this.#seen[0];
    const grown = waiting_s - first.waiting_s;
    const isLong = at - first.at >= WINDOW_S;
    this.#isHopeless = waiting_s > HOPELESS_S && isLong && grown > (this.#isHopeless ? -STEADY_S : STEADY_S);
  }

  /**
   * What is known at the time `now`: {heardS, waitingS, speed, isBehind, isHopeless}. speed: seconds of sound heard in a
   * second, null before WINDOW_S have passed. isComing: sound goes on coming, so an engine that says nothing falls behind.
   */
  at(now, isComing) {
    const last = this.#seen.at(-1);
    if (!last) return { heardS: 0, waitingS: 0, speed: null, isBehind: false, isHopeless: false };
    const overdue = isComing && now - last.at > OVERDUE_S ? now - last.at : 0;
    const waitingS = last.waiting_s + overdue;
    const [first] = this.#seen;
    const speed = now - first.at >= WINDOW_S ? (last.heard_s - first.heard_s) / (now - first.at) : null;
    return { heardS: last.heard_s, waitingS, speed, isBehind: waitingS > BEHIND_S, isHopeless: this.#isHopeless };
  }
}
