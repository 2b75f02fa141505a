/** Shows the servers that the person named, in the settings, and asks for the yes that sound may go to one. */

import { $, setText } from "./elements.js";
import { nameOf, OWN_ADDRESS } from "./server_address.js";
import { warningOf } from "./server_errors.js";

/** actions: of servers.js. Returns {draw(state of servers.js)}. */
export function createServersSheet(actions) {
  const list = make("ul", { className: "server-list" });
  const here = row("this-machine", "On this machine", () => actions.choose(null));
  list.append(here);
  const problem = make("p", { id: "server-problem", className: "sentence", role: "alert", hidden: true });
  $("servers").append(list, addForm(actions, problem));
  const drawConsent = createConsent(actions);
  const rows = new Map(); // address → element
  return {
    draw({ servers, used, tests, problem: sentence, asking }) {
      drawConsent(asking);
      if (!$("settings").open) return;
      here.querySelector("input").checked = !used;
      for (const [address, element] of rows) {
        if (servers.some((server) => server.address === address)) continue;
        element.remove();
        rows.delete(address);
      }
      for (const server of servers) {
        const { address } = server;
        if (!rows.has(address)) {
          rows.set(address, serverRow(server, actions));
          list.append(rows.get(address));
        }
        drawRow(rows.get(address), server, used === server, tests[address]);
      }
      problem.hidden = !sentence;
      setText(problem, sentence ?? "");
    },
  };
}

function addForm({ add }, problem) {
  const address = make("input", {
    id: "server-address", type: "text", inputMode: "url", autocomplete: "off", autocapitalize: "none", spellcheck: false,
    placeholder: "https://example.org",
  });
  address.setAttribute("aria-describedby", "server-problem");
  const key = make("input", { id: "server-key", type: "password", autocomplete: "off" });
  const form = make(
    "form",
    { className: "server-form", noValidate: true },
    make("label", { htmlFor: "server-address", textContent: "Address of a server" }),
    address,
    make("label", { htmlFor: "server-key", textContent: "Key, if it wants one" }),
    key,
    make("button", { type: "submit", className: "button", textContent: "Add and test" }),
    problem,
    make("p", {
      className: "hint",
      textContent:
        "One that you or people you trust run: voxtral serve, vLLM, or another with OpenAI’s routes. To test it no sound is sent. " +
        "Address and key stay in this browser.",
    }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!add(address.value, key.value.trim())) return address.focus();
    address.value = key.value = "";
  });
  return form;
}

/** A choice; `about` follows it. */
function row(id, name, choose, ...about) {
  const radio = make("input", { type: "radio", name: "heard-by" });
  radio.addEventListener("change", choose);
  return make("li", { id }, make("label", { className: "server" }, radio, make("span", { className: "name", textContent: name })), ...about);
}

function serverRow({ address }, { choose, test, forget }) {
  const name = nameOf(address);
  const press = (text, act) => {
    const button = make("button", { type: "button", className: "text-button", textContent: text });
    button.setAttribute("aria-label", `${text} ${name}`);
    button.addEventListener("click", act);
    return button;
  };
  return row(
    "",
    name,
    () => choose(address),
    make("p", { className: "about" }),
    make("p", { className: "note", role: "status" }),
    make("span", { className: "choices" }, press("Test", () => test(address)), press("Forget", () => forget(address))),
  );
}

function drawRow(element, { address, key, model, isAllowed }, isUsed, test) {
  const facts = [
    address === OWN_ADDRESS ? "the server of this page" : address,
    model,
    key && "with a key",
    isAllowed ? "allowed" : "not allowed yet",
  ];
  element.querySelector("input").checked = isUsed;
  setText(element.querySelector(".about"), facts.filter(Boolean).join(" · "));
  const note = element.querySelector(".note");
  const sentence = test?.sentence ?? "";
  const isNew = sentence && note.textContent !== sentence;
  setText(note, sentence);
  note.classList.toggle("is-bad", test?.isGood === false);
  if (isNew) element.scrollIntoView({ block: "nearest" }); // the form that asked for it may fill a small window
}

/** The dialog; returns how it is drawn. */
function createConsent({ allow, refuse }) {
  const dialog = $("consent");
  const content = dialog.querySelector(".content");
  const yes = make("button", { type: "button", className: "button is-main" });
  const no = make("button", { type: "button", className: "button", textContent: "No, keep it here" });
  const title = make("h2", { id: "consent-title", tabIndex: -1 });
  const warning = make("p", { className: "warning" });
  const sent = make("ul", {}, ...["the sound of the microphone or a shared tab, while you record;", "sound and video files that you choose, whole, with their names.", ""].map((textContent) => make("li", { textContent })));
  const kept = make("ul", {}, ...["your transcripts, corrections and history;", "anything else on this machine;", "sound from before you press Speak."].map((textContent) => make("li", { textContent })));
  const about = make("p", {});
  const operator = make("p", { className: "hint" });
  content.append(
    make("header", {}, title), about, warning,
    make("h3", { textContent: "What is sent there" }), sent,
    make("h3", { textContent: "What is not" }), kept,
    operator,
    make("p", { className: "choices" }, yes, no),
  );
  yes.addEventListener("click", allow);
  no.addEventListener("click", refuse);
  dialog.addEventListener("close", () => dialog.dataset.for && refuse());
  return (asking) => {
    if ((asking?.address ?? "") === (dialog.dataset.for ?? "")) return;
    if (!asking) {
      delete dialog.dataset.for;
      return dialog.close();
    }
    const name = nameOf(asking.address);
    dialog.dataset.for = asking.address;
    title.textContent = `Send sound to ${name}?`;
    about.textContent = `${name} would turn what you say into text, with ${asking.model}.`;
    warning.textContent = warningOf(asking.address);
    warning.hidden = !warning.textContent;
    sent.lastChild.textContent = asking.key ? "the key you gave for it." : "";
    sent.lastChild.hidden = !asking.key;
    operator.textContent =
      `Whoever runs ${name} can hear and keep that; this page cannot know what they do with it. Your yes is for this server ` +
      "only. “Stop using it”, beside the microphone, takes it back and ends what is on its way there.";
    yes.textContent = `Yes, send sound to ${name}`;
    dialog.showModal();
    title.focus();
  };
}

function make(name, { role, ...fields }, ...children) {
  const element = Object.assign(document.createElement(name), fields);
  if (role) element.setAttribute("role", role);
  element.append(...children);
  return element;
}
