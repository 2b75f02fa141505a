/**
 * Speech to text by a server that the person named and allowed: it has the methods of Transcriber (transcriber.js) that
 * hear something, and tells the same events, and of these a few more:
 *   {type: "told", session, estimates}        fields of words that the server does not say
 *   {type: "sending", session, sent, total}   bytes of a file
 * A connection that breaks is made again, and goes on with what the recorder holds, as another engine does here.
 */

import { keepSound } from "./audio_file.js";
import { joined } from "./documents.js";
import { RealtimeClient } from "./realtime_client.js";
import { recordingOf } from "./recorder.js";
import { spreadWords, transcribeRemotely } from "./remote_transcription.js";
import { nameOf } from "./server_address.js";
import { askModels, Busy, Refused, Unreachable } from "./server_errors.js";
import { Sessions } from "./sessions.js";

const PAUSES_S = [0.5, 1, 2, 4, 8, 15]; // between attempts; the last one again and again
const PATIENCE_S = 45; // with a server that is gone, once nobody speaks any more
const N_FAILURES = 3; // of attempts in which nothing was heard
const CHARACTERS_PER_S = 14; // of speech
const BUSY_CODES = new Set(["rate_limit_exceeded", "unavailable"]);
const BUSY_CLOSES = new Set([1013]); // try again later
const LEAVING_CLOSES = new Set([1001, 1012]); // going away, restart
const KEY_CLOSES = new Set([1008, 3000, 4001, 4401]); // policy violation, unauthorised

export class RemoteTranscriber {
  #sessions;

  /** onEvent: gets every event. The `server` of options, {address, key, model}, is the one that hears. */
  constructor(onEvent) {
    const hearer = {
      alive: async () => {},
      connect: (job, startS) => this.#connect(job, startS),
      read: (job) => this.#read(job),
      stop: () => {}, // the last block says so
      cancel: (job) => this.#cancel(job),
    };
    this.#sessions = new Sessions(hearer, onEvent, -1);
  }

  /** As Transcriber.transcribeFile. */
  transcribeFile(file, onEvent, options) {
    return this.#sessions.transcribeFile(file, onEvent, options);
  }

  /** As Transcriber.listen. */
  listen(onEvent, openSound, options) {
    return this.#sessions.listen(onEvent, openSound, options);
  }

  cancel(session) {
    this.#sessions.cancel(session);
  }

  /** Nothing more goes to a server from now on. */
  leave(address) {
    for (const { session, server } of this.#sessions.all) if (server.address === address) this.cancel(session);
  }

  #begin(job) {
    job.isSent = true;
    job.startedAt ??= performance.now();
    job.remote ??= { close: () => {}, nFailures: 0, lostAt: null, wasOpen: false, isTroubled: false };
    return job.remote;
  }

  #cancel(job) {
    job.remote.close();
    this.#calm(job);
    this.#tell(job, "cancelled", {});
  }

  #tell(job, type, fields) {
    if (!job.settled) this.#sessions.receive({ type, session: job.session, ...fields });
  }

  #fail(job, error) {
    this.#calm(job);
    this.#tell(job, "error", { sentence: error.message, fatal: false });
  }

  /** sentence: what is wrong now, and what is done about it. */
  #trouble(job, sentence) {
    job.remote.isTroubled = true;
    this.#sessions.emit({ type: "recovering", sentence });
  }

  #calm({ remote }) {
    if (remote.isTroubled) this.#sessions.emit({ type: "recovering", sentence: null });
    remote.isTroubled = false;
  }

  /* Live. */

  #connect(job, startS) {
    const remote = this.#begin(job);
    const { delay_ms: delayMs } = job.engineOptions("delay_ms");
    const options = { session: job.session, ...job.server, delayMs, startS, totalS: job.totalS };
    const on = {
      event: (event) => this.#follow(job, event),
      opened: (isRich) => this.#onOpened(job, isRich),
      lost: (lost) => this.#onLost(job, lost).catch((error) => this.#fail(job, error)),
    };
    const client = new RealtimeClient(options, job.recorder.connect(startS), on);
    remote.close = () => client.close();
  }

  #follow(job, event) {
    if (event.type !== "done") return this.#tell(job, event.type, event);
    const { name } = job.engineOptions("name");
    this.#calm(job);
    this.#tell(job, "done", { result: resultOf(name, event.words, event.audio_s, job.startedAt) });
  }

  #onOpened(job, isRich) {
    const { remote } = job;
    this.#tell(job, "told", { estimates: isRich ? [] : ["start", "end", "probability"] });
    Object.assign(remote, { nFailures: 0, lostAt: null });
    if (!remote.isTroubled) return;
    remote.isTroubled = false;
    const sentence = `${nameOf(job.server.address)} hears again and goes on where it was.`;
    this.#sessions.emit({ type: "recovered", sentence });
  }

  /** Tries again where that may help; rejects with the sentence to end with. */
  async #onLost(job, lost) {
    const { remote } = job;
    remote.lostAt ??= performance.now();
    remote.nFailures++;
    remote.wasOpen ||= lost.wasOpen;
    const { sentence, pauseS } = await this.#judge(job, lost);
    if (job.settled) return;
    if (sentence) this.#trouble(job, sentence);
    const timer = setTimeout(() => this.#goOn(job), 1000 * pauseS);
    remote.close = () => clearTimeout(timer);
  }

  #goOn(job) {
    const startS = job.restartS();
    this.#sessions.emit({ session: job.session, ...job.restart(startS) });
    this.#connect(job, startS);
  }

  /** {sentence, pauseS}: what is said, if anything, and how long to wait; throws an Error to end with. */
  async #judge({ server, remote, isStopping }, lost) {
    const { nFailures, lostAt, wasOpen } = remote;
    if (lost.kind === "early" && nFailures < N_FAILURES) return { sentence: null, pauseS: 0 }; // its memory was full
    const trouble = await troubleOf(server, lost);
    const usualS = PAUSES_S[Math.min(nFailures, PAUSES_S.length) - 1];
    if (trouble instanceof Refused) throw trouble;
    if (trouble instanceof Busy) {
      const pauseS = Math.max(trouble.retryAfterS, usualS);
      return { sentence: `${trouble.message}; what is said is kept, and it is asked again in ${pauseS} s.`, pauseS };
    }
    if (trouble instanceof Unreachable && !wasOpen) throw trouble;
    const isHopeless = trouble === null && nFailures >= N_FAILURES;
    const isTooLong = isStopping && performance.now() - lostAt > 1000 * PATIENCE_S;
    const name = nameOf(server.address);
    if (isHopeless || isTooLong) throw new Error(goneSentence(name, lost));
    return { sentence: `The connection to ${name} broke off; what is said is kept, and it is tried again.`, pauseS: usualS };
  }

  /* Files. */

  async #read(job) {
    const { file, recordingId, server } = job;
    const remote = this.#begin(job);
    const abort = new AbortController();
    remote.close = () => abort.abort(new Error("cancelled"));
    const kept = recordingId === null ? null : keepSound(file, recordingId);
    const onSent = (sent, total) => this.#tell(job, "sending", { sent, total });
    try {
      const heard = await this.#patiently(job, () => transcribeRemotely(server, file, onSent, abort.signal));
      const audioS = heard.audioS ?? heard.words?.at(-1)?.end ?? (await durationOf(recordingId, kept));
      this.#finishFile(job, { ...heard, audioS });
    } catch (error) {
      this.#fail(job, error);
    }
  }

  /** Does it again after a while, as long as the server is only busy. */
  async #patiently(job, work) {
    for (let nth = 0; ; nth = Math.min(nth + 1, PAUSES_S.length - 1)) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Busy) || job.settled) throw error;
        const pauseS = Math.max(error.retryAfterS, PAUSES_S[nth]);
        this.#trouble(job, `${error.message}; the file is sent again in ${pauseS} s.`);
        await new Promise((resolve) => setTimeout(resolve, 1000 * pauseS));
        if (job.settled) throw error;
      }
    }
  }

  #finishFile(job, { text, words, audioS, notices, estimates }) {
    const spoken = words ?? spreadWords(text, 0, audioS || text.length / CHARACTERS_PER_S);
    this.#calm(job);
    this.#tell(job, "told", { estimates });
    for (const sentence of notices) this.#tell(job, "notice", { sentence });
    if (estimates.includes("start") && text.trim()) {
      const name = nameOf(job.server.address);
      this.#tell(job, "notice", { sentence: `${name} says no times of words, so where they were said is a rough estimate.` });
    }
    this.#tell(job, "words", { text: joined(spoken), words: spoken });
    this.#tell(job, "done", { result: resultOf(job.file.name, spoken, audioS, job.startedAt) });
  }
}

/** Of a file whose length no one told: that of the sound which is kept, or 0. */
async function durationOf(recordingId, kept) {
  await kept;
  const recording = recordingId === null ? null : await recordingOf(recordingId).catch(() => null);
  return recording?.durationS ?? 0;
}

function resultOf(file, words, audio_s, startedAt) {
  const wall_s = (performance.now() - startedAt) / 1000;
  return { file, text: joined(words), words, audio_s, wall_s, rtf: audio_s ? wall_s / audio_s : null, tokens: [] };
}

/** Why a connection was lost: Refused, Busy, Unreachable, or null where the server is there and would go on. */
async function troubleOf(server, { kind, code, sentence, retryAfterS, wasOpen }) {
  const name = nameOf(server.address);
  if (retryAfterS !== null || BUSY_CLOSES.has(code) || BUSY_CODES.has(code)) return new Busy(server.address, inSeconds(retryAfterS));
  if (LEAVING_CLOSES.has(code)) return new Busy(server.address, inSeconds(retryAfterS), true);
  if (kind === "error" && /model/.test(code ?? "")) return new Refused(said(name, sentence));
  let models;
  try {
    models = await askModels(server);
  } catch (error) {
    return error;
  }
  if (KEY_CLOSES.has(code)) return new Refused(sentence ? said(name, sentence) : `${name} refused the connection; is the key right?`);
  if (!models.includes(server.model)) return new Refused(unknownModel(server, models));
  if (!wasOpen && kind === "closed") return new Refused(noRealtime(server));
  return null;
}

const inSeconds = (seconds) => Math.min(60, Math.max(1, Math.ceil(seconds ?? 5)));

const said = (name, sentence) => `${name} says: ${sentence || "no"}`;

const unknownModel = ({ address, model }, models) =>
  `${nameOf(address)} does not have the model ${model || "that was chosen"} any more${models.length ? `, but ${models.join(", ")}` : ""}; test it in the settings.`;

const noRealtime = ({ address, key }) =>
  `${nameOf(address)} takes no live sound${key ? " with this key" : ""}, only files; drop a recording instead.`;

const goneSentence = (name, { sentence }) =>
  `${name} is gone${sentence ? ` (${sentence})` : ""}; what it wrote stays here, and what is missing can be heard on this machine.`;
