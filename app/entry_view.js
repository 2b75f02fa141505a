/** Shows the transcript, which entries.js describes: the frame of each entry. Its words: paragraphs_view.js. */

import { clock, ofBytes, timeLeft } from "./amounts.js";
import { $, ended, reconcile, setText } from "./elements.js";
import { isOver } from "./entries.js";
import { opensMenu } from "./export_menu.js";
import { ParagraphsView } from "./paragraphs_view.js";
import { nameOf } from "./server_address.js";
import { createWordTools } from "./word_tools.js";

/**
 * actions: of entries.js and export.js, called for the person's gestures. Returns {draw(state, isRecovering)},
 * isRecovering: the engine is, and so is the session at work.
 */
export function createTranscriptView(actions) {
  const views = new Map(); // entry → its EntryView
  const tools = createWordTools($("entries"), (element) => viewOf(views, element), actions);
  $("copy-all").addEventListener("click", actions.copyAll);
  $("clear").addEventListener("click", actions.clear);
  $("undo").addEventListener("click", actions.undo);
  $("cancel-files").addEventListener("click", actions.cancelFiles);
  opensMenu($("export-all"), () => actions.exportChoices(null));

  const draw = (state, isRecovering) => {
    const { entries, cleared, copied, playing } = state;
    $("transcript").hidden = entries.length === 0;
    $("clear").disabled = !entries.some(isOver);
    $("copy-all").disabled = $("export-all").disabled = !entries.some(hasText);
    setText($("copy-all").querySelector("span"), copied === "all" ? "Copied" : "Copy all");
    $("cleared").hidden = !cleared;
    drawQueue(entries);
    for (const entry of views.keys()) if (!entries.includes(entry)) views.delete(entry);
    reconcile($("entries"), entries, (entry) => {
      views.set(entry, new EntryView(entry, actions, tools));
      return views.get(entry).element;
    });
    for (const entry of entries) views.get(entry).draw(state, isRecovering && entry.status === "running");
    tools.draw(playing);
  };
  return { draw };
}

const hasText = ({ words, made }) => Boolean(made?.text) || !words.isEmpty;

function viewOf(views, element) {
  const article = element.closest("article.entry");
  for (const view of views.values()) if (view.element === article) return view;
  return null;
}

/** Several files: how many there are still, and a way to give all of them up. */
function drawQueue(entries) {
  const left = entries.filter((entry) => !entry.isLive && !isOver(entry));
  $("queue").hidden = left.length < 2;
  setText($("queue").querySelector("span"), `${left.length} files to go`);
}

export class EntryView {
  #paragraphs;
  #nNotices = 0;
  #actions;
  #made = null;

  constructor(entry, actions, tools) {
    this.entry = entry;
    this.#actions = actions;
    this.element = $("entry").content.cloneNode(true).firstElementChild;
    this.#paragraphs = new ParagraphsView(this.$(".text"));
    this.$(".progress").setAttribute("aria-label", `Progress of ${entry.title}`);
    this.$(".text").setAttribute("aria-live", entry.isOpened ? "off" : "polite");
    const on = (selector, act) => this.$(selector).addEventListener("click", act);
    on(".play", () => actions.togglePlaying(entry, this.#paragraphs.current));
    on(".edit", () => tools.edit(this, this.#paragraphs.current));
    on(".copy", () => actions.copy(entry));
    on(".remove", () => actions.remove(entry));
    on(".hear-here", () => actions.hearHere(entry));
    on(".cancel", () => actions.cancel(entry));
    on(".undo-edit", () => tools.undo(this));
    on(".back-to-heard", () => actions.use(entry, null));
    opensMenu(this.$(".export"), () => actions.exportChoices(entry));
  }

  $(selector) {
    return this.element.querySelector(selector);
  }

  get paragraphs() {
    return this.#paragraphs;
  }

  draw({ copied, playing, live }, isRecovering) {
    const { entry } = this;
    const { status, words, notices, sentence, isLive } = entry;
    const isPlaying = playing?.entry === entry;
    this.#paragraphs.draw(words, isPlaying ? playing.word : null);
    this.#drawMade(entry.made);
    for (const notice of notices.slice(this.#nNotices)) this.$(".asides").append(noticeItem(notice));
    this.#nNotices = notices.length;

    const isEmpty = !hasText(entry);
    this.element.dataset.status = status;
    this.element.classList.toggle("is-empty", isEmpty);
    this.element.classList.toggle("is-live", isLive);
    this.element.classList.toggle("is-recovering", isRecovering);
    setText(this.$(".name"), entry.title);
    setText(this.$(".sentence"), sentence ? ended(sentence) : "");
    setText(this.$(".facts"), isRecovering ? "recovering" : facts(entry, !isEmpty));
    this.$(".hear-here").hidden = !(status === "failed" && entry.options.server && entry.hasAudio);
    this.#drawTools(isEmpty, copied === entry.id, isPlaying ? playing : null, live !== null);
    this.#drawWork(entry, isRecovering);
    const { lastEdit } = words;
    this.$(".last-edit").hidden = !lastEdit;
    setText(this.$(".last-edit .what"), lastEdit ? `${lastEdit}.` : "");
  }

  #drawTools(isEmpty, isCopied, playing, isListening) {
    const { entry } = this;
    this.$(".copy").hidden = this.$(".export").hidden = isEmpty;
    this.$(".edit").hidden = isEmpty || entry.made !== null;
    this.$(".copy").classList.toggle("is-copied", isCopied);
    setText(this.$(".copy span"), isCopied ? "Copied" : "Copy");
    this.$(".play").hidden = isEmpty || !entry.hasAudio;
    this.$(".play").disabled = isListening;
    this.$(".play").classList.toggle("is-playing", playing !== null && !playing.isPaused);
    const label = playing && !playing.isPaused ? "Pause" : "Play";
    setText(this.$(".play span"), label);
    this.$(".play").title = isListening ? "When the recording is over" : label;
    const canGo = (["failed", "cancelled"].includes(entry.status) && isEmpty) || entry.isOpened;
    this.$(".remove").hidden = !canGo;
    setText(this.$(".remove span"), entry.isOpened ? "Close" : "Remove");
    this.$(".remove").title = entry.isOpened ? "Close; it stays in the history" : "Remove";
  }

  /** What the person's Python made of the words, in their place. */
  #drawMade(made) {
    if (made === this.#made) return;
    this.#made = made;
    this.$(".text").hidden = made !== null;
    this.$(".made").hidden = made === null;
    setText(this.$(".made-text"), made?.text ?? "");
  }

  /** How far a file is; a recording shows that in the dock. */
  #drawWork({ status, isLive, heard, startedAt, session, title, sending }, isRecovering) {
    this.$(".work").hidden = isLive || isOver({ status });
    if (this.$(".work").hidden) return;
    this.$(".cancel").hidden = session === null;
    this.$(".cancel").setAttribute("aria-label", `Cancel ${title}`);
    const bar = this.$(".progress");
    bar.hidden = status === "waiting";
    if (sending?.sent < sending?.total) bar.value = sending.sent / sending.total;
    else if (heard?.total_s) bar.value = Math.min(1, heard.heard_s / heard.total_s);
    else bar.removeAttribute("value");
    const spent = startedAt === null ? "" : clock((performance.now() - startedAt) / 1000);
    const total = heard?.total_s ? ` of ${clock(heard.total_s)}` : "";
    const left = heard?.seconds_left && !isRecovering ? `, ${timeLeft(heard.seconds_left)}` : "";
    const sent = sending?.sent < sending?.total ? `Sending ${ofBytes(sending.sent, sending.total)}` : `Sent; ${spent}`;
    const progress = heard ? `${clock(heard.heard_s)}${total} heard in ${spent}${left}` : sending ? sent : spent;
    setText(this.$(".amount"), status === "waiting" ? "Waiting its turn" : progress);
  }
}

/** "1:02:03", and what there is to say then. */
function noticeItem({ sentence, atS }) {
  const item = document.createElement("li");
  if (atS) item.append(Object.assign(document.createElement("time"), { textContent: clock(atS) }), " ");
  item.append(ended(sentence));
  return item;
}

/** What there is to say of it, and who heard it, if not this machine. */
function facts(entry, hasText) {
  const { backend, adapter } = entry.settings;
  const from = backend === "server" && URL.canParse(adapter) ? `heard by ${nameOf(adapter)}` : "";
  return [outcome(entry, hasText), from].filter(Boolean).join(", ");
}

function outcome({ status, isOpened, isLive, createdAt, audioS, wallS }, hasText) {
  if (status === "cancelled") return hasText ? "cancelled, text kept" : "cancelled";
  if (status === "failed") return hasText ? "stopped early" : "";
  if (status !== "done") return "";
  const sound = `${clock(audioS)} of sound`;
  if (isOpened) return `${new Date(createdAt).toLocaleDateString([], { dateStyle: "medium" })}, ${sound}`;
  return isLive || wallS === null ? sound : `${sound} in ${wallS.toFixed(1)} s`; // live, one mostly waits for the speaker
}
