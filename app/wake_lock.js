/** Keeps the screen, and so the machine, awake while something is listened to or transcribed. */

export class WakeLock {
  #isWanted = false;
  #lock = null; // promise of the browser's lock, or of null where it gives none

  constructor() {
    // The browser takes the lock away from a page that is not seen.
    document.addEventListener("visibilitychange", () => this.#ask());
  }

  /** From now on, as far as the browser lets us: some have no such lock, and none gives it on a low battery. */
  hold() {
    this.#isWanted = true;
    this.#ask();
  }

  async release() {
    this.#isWanted = false;
    await (await this.#lock)?.release();
  }

  #ask() {
    if (!this.#isWanted || this.#lock || !navigator.wakeLock || document.visibilityState !== "visible") return;
    this.#lock = navigator.wakeLock.request("screen").catch(() => null);
    this.#lock.then((lock) => {
      if (!lock) this.#lock = null;
      lock?.addEventListener("release", () => {
        this.#lock = null;
        this.#ask();
      });
      if (!this.#isWanted) lock?.release();
    });
  }
}
