/**
 * Recordings and files on their way to words, one after the other, whoever hears them: the engine of this machine
 * (transcriber.js) or a server (remote_transcriber.js).
 */

import { Job } from "./job.js";
import { openMicrophone } from "./microphone.js";
import { WakeLock } from "./wake_lock.js";

/** A request that was cancelled; promises reject with it. */
export class Cancelled extends Error {
  name = "Cancelled";
}

export class Sessions {
  #hearer;
  #onEvent;
  #step;
  #jobs = new Map(); // session → job
  #waiting = []; // file jobs, in order
  #current = null; // the one job that is heard
  #lastSession = 0;
  #wakeLock = new WakeLock();

  /**
   * hearer: {alive(), connect(job, startS), read(job), stop(job), cancel(job)}: alive() resolves when it can hear and
   * rejects with a sentence; connect gives it what job.recorder has from startS on, read the file of a job; what it hears
   * it tells by receive(). onEvent(event): gets every event; step: sessions are its multiples, so that two never share one.
   */
  constructor(hearer, onEvent, step = 1) {
    this.#hearer = hearer;
    this.#onEvent = onEvent;
    this.#step = step;
  }

  get current() {
    return this.#current;
  }

  /** As Transcriber.transcribeFile. */
  transcribeFile(file, onEvent = () => {}, options = {}) {
    const job = this.#open(onEvent, { name: file.name, ...options });
    job.file = file;
    this.#waiting.push(job);
    this.#next();
    return Object.assign(job.promise, { session: job.session });
  }

  /** As Transcriber.listen. */
  async listen(onEvent = () => {}, openSound = openMicrophone, options = {}) {
    const job = this.begin(onEvent, options);
    const { session } = job;
    const tell = (type, fields) => !job.settled && this.emit({ type, session, ...fields });
    try {
      await this.#hearer.alive();
      const source = await openSound({
        onLevel: (level) => tell("level", level),
        onUnplugged: () => tell("unplugged", {}),
        onSuspended: (sentence) => tell("suspended", { sentence }),
        onNotice: (sentence) => tell("notice", { sentence }),
      });
      if (job.settled) await source.close();
      else this.hear(job, source, true);
    } catch (error) {
      this.fail(job, error);
      throw error;
    }
    const stop = async () => {
      await job.finishSource();
      if (!job.isStopping) this.#hearer.stop(job);
      job.isStopping = true;
      return job.promise;
    };
    return { session, result: job.promise, stop, cancel: () => this.cancel(session) };
  }

  /** A job that is heard at once. Throws when another one is. */
  begin(onEvent, options) {
    if (this.#current) throw new Error("The engine is busy with another recording; wait for it or cancel it first.");
    return this.#hold(this.#open(onEvent, options));
  }

  /** Sound of a source goes by the recorder to the hearer. */
  hear(job, source, isLive) {
    job.isLive = isLive;
    job.totalS = source.totalS ?? null;
    job.record(source, (sentence) => this.notice(job, sentence));
    this.#hearer.connect(job, 0);
  }

  /** Gives up a session: waiting, being heard or being recorded. */
  cancel(session) {
    const job = this.#jobs.get(session);
    if (job?.isSent) this.#hearer.cancel(job);
    else if (job) this.receive({ type: "cancelled", session });
  }

  /** Takes an event of the hearer. */
  receive(received) {
    const job = this.#jobs.get(received.session);
    if (!job && received.session !== undefined && received.session !== null) return; // of a session that is over
    const event = job?.follow(received) ?? received;
    this.emit(event);
    if (event.type === "done") this.#settle(job, () => job.resolve(event.result));
    if (event.type === "cancelled") this.#settle(job, () => job.reject(new Cancelled("cancelled")));
    if (event.type === "error" && job) this.fail(job, new Error(event.sentence));
  }

  emit(event) {
    this.#jobs.get(event.session)?.onEvent(event);
    this.#onEvent(event);
  }

  notice({ session, settled }, sentence) {
    if (!settled) this.emit({ type: "notice", session, sentence });
  }

  fail(job, error) {
    this.#settle(job, () => job.reject(error));
  }

  /** Nothing of what is on its way will come. */
  giveUp(sentence) {
    this.#waiting = [];
    for (const job of [...this.#jobs.values()]) this.fail(job, new Error(sentence));
  }

  /** All jobs, in an order in which they can be cancelled without another one beginning. */
  get all() {
    return [...this.#jobs.values()].reverse();
  }

  #open(onEvent, options) {
    this.#lastSession += this.#step;
    const job = new Job(this.#lastSession, onEvent, options);
    this.#jobs.set(job.session, job);
    return job;
  }

  #hold(job) {
    this.#wakeLock.hold();
    return (this.#current = job);
  }

  async #next() {
    if (this.#current || !this.#waiting.length) return;
    const job = this.#hold(this.#waiting.shift());
    try {
      await this.#hearer.alive();
      if (job.settled) return;
      job.startedAt = performance.now();
      this.emit({ type: "started", session: job.session });
      await this.#hearer.read(job);
    } catch (error) {
      this.receive({ type: "error", session: job.session, sentence: error.message, fatal: false });
    }
  }

  #settle(job, finish) {
    job.settled = true;
    this.#jobs.delete(job.session);
    this.#waiting = this.#waiting.filter((other) => other !== job);
    job.close();
    finish();
    if (this.#current === job) {
      this.#current = null;
      this.#wakeLock.release();
    }
    this.#next();
  }
}
