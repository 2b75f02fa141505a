/** Types of voxtral_captions.js, whose first lines are the contract of <voxtral-captions>. */

import type { Progress, Voxtral, VoxtralStream, VoxtralStreamEvents, Word } from "./voxtral.js";

export type CaptionsState = "idle" | "loading" | "listening" | "finishing" | "failed";

export interface VoxtralCaptionsEvents
  extends Pick<VoxtralStreamEvents, "token" | "revised" | "lag" | "level" | "notice" | "final"> {
  /** mediaTime: where it begins on the media element's clock; null for other sources. */
  word: CustomEvent<Word & { index: number; mediaTime: number | null }>;
  progress: CustomEvent<Progress>;
  statechange: CustomEvent<{ state: CaptionsState }>;
  error: CustomEvent<{ error: Error }>;
}

export class VoxtralCaptions extends HTMLElement {
  source: HTMLMediaElement | MediaStream | null;
  engine: Voxtral | null;
  readonly state: CaptionsState;
  readonly text: string;
  readonly stream: VoxtralStream | null;

  start(): Promise<void>;
  stop(): Promise<void>;
  clear(): void;

  addEventListener<K extends keyof VoxtralCaptionsEvents>(
    type: K,
    listener: (event: VoxtralCaptionsEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "voxtral-captions": VoxtralCaptions;
  }
}
