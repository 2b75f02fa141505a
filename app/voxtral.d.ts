/**
 * Types and contract of voxtral.js, which says how to put it on a site. Times are seconds, those of words counted from
 * the first sample of the recording. Errors are Errors whose message is one sentence for a person; a call that was
 * aborted rejects with the signal's reason.
 */

/** What the recogniser held possible instead of a word. */
export interface Alternative {
  /** "" for nothing at all. */
  text: string;
  /** 0…1 */
  probability: number;
}

export interface Word {
  text: string;
  start: number;
  end: number;
  /** How sure the recogniser is, 0…1; below 0.5 it is worth showing that it is not. */
  probability: number;
  /** Best first, the word itself not among them. */
  alternatives: Alternative[];
  /** It follows the word before it without a space, as in Chinese and Japanese. */
  joins: boolean;
}

/** A whole recording; `text` is that of the words. */
export interface Transcript {
  text: string;
  words: Word[];
  /** Length of the recording. */
  audioS: number;
  /** Time that the engine computed. */
  wallS: number;
}

export interface Progress {
  /** runtime: bytes of Python; weights, memory: bytes of the model; gpu: programs compiled */
  stage: "runtime" | "weights" | "memory" | "gpu" | "ready";
  done: number;
  total: number;
  /** Of everything, 0…1; it never falls. */
  fraction: number;
}

export interface LoadOptions {
  /**
   * Where the model is: nothing for the demo model, which hears digits and six phrases; "hub" for Voxtral Mini 4B
   * (2.5 GB, got at every load); "hub:OWNER/REPO"; an address, relative to your page, of a .gguf with tekken.json
   * beside it, or of a folder with manifest.json or shards; "stored:KEY" for one that the app has stored for this origin.
   */
  model?: string;
  /** The files of a model, instead. */
  files?: Iterable<File> | null;
  /** null: WebGPU, or the CPU where there is none. Models of billions of parameters need WebGPU. */
  backend?: "webgpu" | "numpy" | null;
  /** How long the model waits before it commits to a word, 80 to 1200 in steps of 80, or 2400; null: the model's, 480. */
  delayMs?: number | null;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface ModelInfo {
  model: string;
  description: string;
  /** The words it knows, null for an open vocabulary. */
  vocabulary: string[] | null;
  backend: "webgpu" | "numpy";
  /** Name of the GPU, or "CPU (numpy)". */
  adapter: string;
  /** The GPU is a CPU pretending. */
  isSoftware: boolean;
  delayMs: number;
  leftPadTokens: number;
}

export interface HearingOptions {
  /** As for load, for this recording. */
  delayMs?: number | null;
  /** Passages that are over are heard again with more delay, when the machine has time; `revised` tells. */
  hasSecondPass?: boolean;
  /** What sentences call the recording. */
  name?: string;
  /** Of samples, in Hz, 1000 to 768000; 16000 spares the conversion. */
  sampleRate?: number;
  signal?: AbortSignal;
}

export interface TranscribeOptions extends HearingOptions {
  /** totalS is null where the file does not say how long it is; text is what was heard so far. */
  onProgress?: (progress: { heardS: number; totalS: number | null; text: string }) => void;
}

/** Mono blocks as Float32Arrays that come on a port, one of length 0 last, which close() sees to. */
export interface Sound {
  port: MessagePort;
  sampleRate: number;
  close(): Promise<void>;
}

export interface StreamOptions extends HearingOptions {
  /**
   * What to hear, from now on; without it you feed the stream. A media element is heard whatever its volume (in Safari:
   * as loud as it is). A MediaStream's tracks stay yours, the microphone is let go when the stream is over.
   */
  input?: "microphone" | HTMLMediaElement | MediaStream | Sound | null;
  /** Which microphone, null for the browser's default. */
  deviceId?: string | null;
}

export interface SubtitleLimits {
  lineLength: number;
  nLines: number;
  charactersPerS: number;
}

/** An engine with its model: a Web Worker with Python, and what it keeps on the GPU. An EventTarget of VoxtralEvents. */
export class Voxtral {
  private constructor();

  /** Starts an engine and loads a model. An aborted or failed load leaves nothing behind. */
  static load(options?: LoadOptions): Promise<Voxtral>;

  readonly info: ModelInfo;

  /**
   * The text of a sound: a Blob or File in any format that the browser decodes, or mono samples from -1 to 1, which are
   * copied. It waits for the recordings asked for before. Stored nowhere.
   */
  transcribe(sound: Blob | Float32Array, options?: TranscribeOptions): Promise<Transcript>;

  /**
   * Text while sound comes. One engine hears one recording at a time: further streams wait until those before are
   * over, what they are fed or hear meanwhile is kept.
   */
  stream(options?: StreamOptions): VoxtralStream;

  /** A transcript as plain text, subtitles or JSON; limits of subtitles: null for the usual ones. */
  render(
    transcript: Transcript,
    format: "txt" | "srt" | "vtt" | "json",
    options?: { title?: string; limits?: SubtitleLimits | null },
  ): Promise<string>;

  /** Ends the worker and frees its memory; what is under way rejects. */
  dispose(): void;

  addEventListener<K extends keyof VoxtralEvents>(
    type: K,
    listener: (event: VoxtralEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof VoxtralEvents>(
    type: K,
    listener: (event: VoxtralEvents[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
}

export interface VoxtralEvents {
  /** Worth a sentence, and the work goes on: the engine had to be started again, say. */
  notice: CustomEvent<{ sentence: string }>;
  /** The engine is gone for good; every call rejects with this sentence. */
  failed: CustomEvent<{ sentence: string }>;
}

/** waiting: for its turn; listening; over: finished, failed or cancelled */
export type StreamState = "waiting" | "listening" | "over";

/** A recording on its way to text, from Voxtral.stream(). An EventTarget of VoxtralStreamEvents. */
export class VoxtralStream {
  private constructor();

  readonly state: StreamState;
  /** All text so far, that of the words and then `pending`. */
  readonly text: string;
  /** The words so far that are complete; the array grows. */
  readonly words: readonly Word[];
  /** Text after the last complete word, the beginning of one or more. */
  readonly pending: string;

  /** Takes mono samples from -1 to 1, any number at any pace. They are copied: the array is yours again at once. */
  feed(samples: Float32Array): void;

  /** No more sound comes: the last words, then all of it. Rejects as the stream fails; may be called again. */
  finish(): Promise<Transcript>;

  /** Gives the stream up: finish() rejects with the reason, an AbortError if none is given. */
  cancel(reason?: unknown): void;

  addEventListener<K extends keyof VoxtralStreamEvents>(
    type: K,
    listener: (event: VoxtralStreamEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof VoxtralStreamEvents>(
    type: K,
    listener: (event: VoxtralStreamEvents[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
}

export interface VoxtralStreamEvents {
  state: CustomEvent<{ state: StreamState }>;
  /** Text to append to what there is, as soon as it is known: a word, a part of one, a comma; `word` follows. */
  token: CustomEvent<{ text: string }>;
  /** A word is complete, and its times are known. index counts the words of the stream from 0. */
  word: CustomEvent<Word & { index: number }>;
  /**
   * The words first … first + nReplaced - 1 are `words` now. reason: careful (heard again with more delay), restart
   * (the recogniser was caught in a loop, or started again: `pending` is gone, too), or continued (a complete word went
   * on after a pause).
   */
  revised: CustomEvent<{ first: number; nReplaced: number; words: Word[]; reason: "careful" | "restart" | "continued" }>;
  /** After each piece of sound: how much has become text, and how much has come and waits. More than a second: behind. */
  lag: CustomEvent<{ heardS: number; waitingS: number }>;
  /** Of each 80 ms of an input, 0…1. */
  level: CustomEvent<{ rms: number; peak: number }>;
  /** Worth a sentence, and the work goes on. */
  notice: CustomEvent<{ sentence: string }>;
  /** The stream is over, and this is all of it; once, as finish() resolves. */
  final: CustomEvent<Transcript>;
  /** The stream failed or was cancelled; once, as finish() rejects. */
  error: CustomEvent<{ error: Error }>;
}
