/**
 * Shows where words come from: the choice beside the microphone, and, while a server is used, what says so in the page.
 * Where servers are named and allowed: servers_sheet.js.
 */

import { $, setText } from "./elements.js";
import { createServersSheet } from "./servers_sheet.js";
import { nameOf } from "./server_address.js";
import { openSheet } from "./sheets.js";

const HERE = "here"; // values of the choice that are no addresses
const ANOTHER = "another";

/** actions: of servers.js, and redraw(). Returns {draw(state)}. */
export function createServersView(actions) {
  const sheet = createServersSheet(actions);
  const showAdding = () => {
    openSheet($("settings"), $("server-address"));
    actions.redraw();
  };
  $("source").addEventListener("change", ({ target }) => {
    const { value } = target;
    if (value === ANOTHER) showAdding();
    else actions.choose(value === HERE ? null : value);
    actions.redraw(); // the choice shows what is, not what was asked for
  });
  $("elsewhere").querySelector("button").addEventListener("click", () => actions.stop(stopped.address));
  $("offer").querySelector(".take").addEventListener("click", actions.take);
  $("offer").querySelector(".decline").addEventListener("click", actions.decline);
  for (const button of document.querySelectorAll("[data-action=useServer]")) button.addEventListener("click", showAdding);
  let stopped = null; // the server that the line beside the microphone speaks of
  return {
    draw(state) {
      const { servers, transcript, dock } = state;
      drawChoice(servers, transcript.live !== null);
      const running = transcript.entries.find(({ status, options }) => status === "running" && options.server);
      const busy = transcript.live?.entry.options.server ?? running?.options.server ?? null;
      drawUse(busy ?? servers.used, busy && (dock.recovery === null ? "sending" : "waiting"));
      stopped = busy ?? servers.used;
      drawOffer(servers.offered, servers.used);
      sheet.draw(servers);
      if (!servers.isAdding) return;
      servers.isAdding = false;
      showAdding();
    },
  };
}

function drawChoice({ servers, used }, isListening) {
  const select = $("source");
  const wanted = [
    { text: "On this machine", value: HERE },
    ...servers.map(({ address }) => ({ text: nameOf(address), value: address })),
    { text: servers.length ? "Another server…" : "A server…", value: ANOTHER },
  ];
  const isSame = wanted.length === select.options.length && wanted.every(({ text, value }, i) => select.options[i].text === text && select.options[i].value === value);
  if (!isSame) select.replaceChildren(...wanted.map(({ text, value }) => new Option(text, value)));
  const value = used?.address ?? HERE;
  if (select.value !== value) select.value = value;
  select.disabled = isListening;
  const icon = select.closest("label").querySelector("use");
  const href = icon.getAttribute("href"); // an exported page has the file elsewhere
  const shown = href.replace(/#.*/, used ? "#server" : "#chip");
  if (href !== shown) icon.setAttribute("href", shown);
}

/** A server hears, or will: unmistakably, in words. */
function drawUse(used, sound) {
  const name = used && nameOf(used.address);
  const what = {
    sending: `Sound is being sent to ${name}.`,
    waiting: `Sound is kept here until ${name} answers again.`,
  }[sound] ?? `Sound will be sent to ${name}.`;
  document.body.classList.toggle("uses-server", used !== null);
  $("elsewhere").hidden = !used;
  for (const id of ["lead-here", "privacy-here", "leaves-nothing"]) $(id).hidden = used !== null;
  for (const id of ["lead-server", "privacy-server", "leaves-sound"]) $(id).hidden = !used;
  setText($("lead-server"), used ? `Live captions and transcripts, by a recogniser that runs on ${name}.` : "");
  setText($("elsewhere").querySelector(".sentence"), used ? what : "");
  setText($("privacy-server").querySelector(".sentence"), used ? `What you say and the sound files you choose go to ${name}, which turns them into text; the text stays here.` : "");
  setText($("leaves-sound").querySelector(".sentence"), used ? `What you say and the sound files you choose, with their names, go to ${name}, as you allowed.` : "");
  setText($("captions").querySelector(".from"), used ? `heard by ${name}` : "");
}

function drawOffer(offered, used) {
  $("offer").hidden = !offered || offered.address === used?.address;
  if (!offered) return;
  const name = nameOf(offered.address);
  const sentence = {
    page: `The server of this page (${name}) can turn speech into text, too, with its own machine; nothing is sent unless you say yes.`,
    address: `The address of this page proposes that ${name} turns speech into text; nothing is sent unless you say yes.`,
  }[offered.reason];
  setText($("offer").querySelector(".sentence"), sentence);
}
