/** Plays what was recorded (recorder.js), from any second on. */

import { recordingOf } from "./recorder.js";

const GONE = "The sound of this transcript is no longer kept here, so it cannot be heard.";

export class Player {
  #audio = new Audio();
  #fromS = 0; // where in the recording the audio begins
  #turn = 0; // of the last play()
  #onTime;
  #onEnd;

  /** onTime(seconds): where it is, for each frame of the screen while it plays; onEnd(): it is over or was stopped. */
  constructor({ onTime, onEnd }) {
    this.#onTime = onTime;
    this.#onEnd = onEnd;
    this.#audio.addEventListener("ended", () => this.stop());
    this.#audio.addEventListener("playing", () => this.#follow());
  }

  /** Plays a recording from a second on, in place of whatever plays. Resolves with a sentence if it cannot. */
  async play(id, fromS) {
    const turn = ++this.#turn;
    try {
      const recording = await recordingOf(id);
      if (!recording) return GONE;
      const blob = await recording.wav(fromS);
      if (turn !== this.#turn) return null;
      this.#release();
      this.#fromS = fromS;
      this.#audio.src = URL.createObjectURL(blob);
      await this.#audio.play();
      return null;
    } catch (error) {
      if (turn !== this.#turn || error.name === "AbortError") return null; // something else plays, or it was stopped
      return `The sound could not be played (${error.name}); reload the page and try again.`;
    }
  }

  /** Holds or goes on; returns whether it is held now. */
  toggle() {
    if (this.#audio.paused) this.#audio.play().catch(() => {});
    else this.#audio.pause();
    return this.#audio.paused;
  }

  stop() {
    if (!this.#audio.src) return;
    this.#turn++;
    this.#release();
    this.#onEnd();
  }

  #follow() {
    if (this.#audio.paused) return;
    this.#onTime(this.#fromS + this.#audio.currentTime);
    requestAnimationFrame(() => this.#follow());
  }

  #release() {
    this.#audio.pause();
    if (this.#audio.src) URL.revokeObjectURL(this.#audio.src);
    this.#audio.removeAttribute("src");
  }
}
