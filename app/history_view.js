/** Shows the history: what was not finished, a search, and the list of earlier sessions (history_list.js). */

import { clock } from "./amounts.js";
import { $, reconcile, setText } from "./elements.js";
import { opensMenu } from "./export_menu.js";

const N_AT_ONCE = 20;
const DRAWN_FRAMES = 60; // by then what was opened is drawn, or it is closed again

/** actions: of history_list.js, and exportChoices(session) of one. Returns {draw(state)}. */
export function createHistoryView(actions) {
  const rows = new Map(); // element → session
  let nShown = N_AT_ONCE;
  let latest = null;

  $("history-search").addEventListener("input", ({ target }) => {
    nShown = N_AT_ONCE;
    actions.type(target.value);
  });
  $("history-more").addEventListener("click", () => {
    nShown += N_AT_ONCE;
    draw(latest);
  });
  $("history-export").addEventListener("click", actions.exportAll);
  const askAll = $("history-ask-all");
  $("history-delete").addEventListener("click", () => actions.ask("all"));
  askAll.querySelector(".is-main").addEventListener("click", actions.removeAll);
  askAll.querySelector(".keep").addEventListener("click", () => actions.ask(null));
  $("lost").querySelector(".open").addEventListener("click", () => open(latest.lost));
  $("lost").querySelector(".dismiss").addEventListener("click", actions.dismissLost);

  async function open(session) {
    const entry = await actions.open(session);
    if (!entry) return;
    const frame = () => new Promise(requestAnimationFrame);
    const find = () => $("entries").querySelector(`[data-id="${entry.id}"]`);
    for (let i = 0; i < DRAWN_FRAMES && !find(); i++) await frame();
    await frame(); // the page has followed to its end
    find()?.scrollIntoView();
    find()?.querySelector(".word[tabindex]")?.focus({ preventScroll: true });
  }

  function newRow(session) {
    const row = $("session").content.cloneNode(true).firstElementChild;
    const on = (selector, act) => row.querySelector(selector).addEventListener("click", () => act(rows.get(row)));
    on(".open", open);
    on(".delete", ({ id }) => actions.ask(id));
    on(".ask .is-main", actions.remove);
    on(".ask .keep", () => actions.ask(null));
    opensMenu(row.querySelector(".export"), () => actions.exportChoices(rows.get(row)));
    const field = row.querySelector(".title");
    field.addEventListener("change", () => actions.rename(rows.get(row), field.value));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") field.value = rows.get(row).title;
      if (!["Enter", "Escape"].includes(event.key)) return;
      event.stopPropagation();
      field.blur();
    });
    rows.set(row, session);
    return row;
  }

  function draw(state) {
    latest = state;
    const { sessions, found, lost, asking, query } = state;
    $("lost").hidden = !lost;
    if (lost) setText($("lost").querySelector(".sentence"), lostSentence(lost));
    $("history").hidden = sessions.length === 0;
    if ($("history").hidden) return;
    const listed = found ? sessions.filter(({ id }) => found.includes(id)) : sessions;
    for (const row of rows.keys()) if (!row.isConnected) rows.delete(row);
    reconcile($("session-list"), listed.slice(0, nShown), newRow);
    [...$("session-list").children].forEach((row, i) => drawRow(row, listed[i], asking, rows));
    $("history-more").hidden = listed.length <= nShown;
    const isNone = found !== null && listed.length === 0;
    const some = found === null ? "" : `${counted(listed.length)} found.`;
    setText($("history-found"), isNone ? `Nothing found for “${query.trim()}”.` : some);
    askAll.hidden = asking !== "all";
    setText(askAll.querySelector(".sentence"), `Delete ${counted(sessions.length)}, sound included, from this machine?`);
    $("history-delete").hidden = $("history-export").hidden = asking === "all";
  }
  return { draw };
}

const counted = (n) => (n === 1 ? "1 transcript" : `${n} transcripts`);

function drawRow(row, session, asking, rows) {
  rows.set(row, session);
  const { id, title, created_at: createdAt, audio_s: audioS, opening, hasAudio, isFinished } = session;
  const field = row.querySelector(".title");
  if (document.activeElement !== field && field.value !== title) field.value = title;
  const when = new Date(createdAt).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const facts = [when, clock(audioS), hasAudio ? "with sound" : "text only", isFinished ? "" : "not finished"];
  setText(row.querySelector(".facts"), facts.filter(Boolean).join(" · "));
  setText(row.querySelector(".opening"), opening);
  const isAsking = asking === id;
  row.querySelector(".ask").hidden = !isAsking;
  setText(row.querySelector(".ask .sentence"), `Delete “${title}”${hasAudio ? " and its sound" : ""}?`);
  row.querySelector(":scope > .choices").hidden = isAsking;
  row.querySelector(".open").setAttribute("aria-label", `Open ${title}`);
  row.querySelector(".export").setAttribute("aria-label", `Keep ${title} as a file`);
  row.querySelector(".delete").setAttribute("aria-label", `Delete ${title}`);
}

function lostSentence({ source, title, created_at: createdAt }) {
  const time = new Date(createdAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const what = source === "file" ? `The transcript of “${title}”` : `Your recording of ${time}`;
  return `${what} was not finished; what was heard of it is kept below.`;
}
