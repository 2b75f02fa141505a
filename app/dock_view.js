/** Shows the dock: what to press, what is heard, how far behind it is, and sentences that ask for attention. */

import { clock, percent } from "./amounts.js";
import { chosenMicrophone } from "./dock.js";
import { $, reconcile, setText } from "./elements.js";
import { nameOf } from "./server_address.js";

const SPEAK_LABELS = { opening: "Opening", listening: "Stop", stopping: "Finishing" };
const QUIETEST_DBFS = -60; // the meter's left end
const LAG_WORTH_SAYING_S = 1;
const MUTE = "No sound comes from this microphone: is it muted, or is another one meant?";
const CLIPPED = "Too loud: some distance, or less input volume, gives better text.";

/** actions: {toggle, hearTab, choose, escape, dismiss, stop}, called for the person's gestures. Returns {draw(state)}. */
export function createDockView(actions) {
  $("speak").addEventListener("click", actions.toggle);
  $("hear-tab").addEventListener("click", actions.hearTab);
  $("discard").addEventListener("click", actions.escape);
  $("catch-up").addEventListener("click", actions.stop);
  $("device").addEventListener("change", ({ target }) => actions.choose(target.value));
  return {
    draw(state) {
      drawButtons(state);
      drawInputs(state);
      drawAlerts(state, actions);
      drawLive(state);
    },
  };
}

function drawButtons({ phase, servers, transcript: { live, entries }, dock }) {
  const isBusy = entries.some((entry) => entry !== live?.entry && ["waiting", "running"].includes(entry.status));
  const isReady = phase === "ready" || servers.used !== null;
  const isGone = phase === "failed" && !servers.used;
  const canListen = isReady && !isBusy && !live;
  const speak = $("speak");
  speak.disabled = live ? live.phase !== "listening" : !canListen;
  speak.title = isReady && !live && isBusy ? "When the files are done" : "";
  speak.classList.toggle("is-live", live !== null);
  setText(speak.querySelector(".label"), SPEAK_LABELS[live?.phase] ?? "Speak");
  $("hear-tab").hidden = !dock.canHearTab || isGone;
  $("hear-tab").disabled = !canListen;
  $("live").hidden = !live;
  $("files").hidden = isGone;
  document.body.classList.toggle("is-live", live !== null);
}

function drawInputs({ phase, transcript: { live }, servers, dock, settings, delayMs }) {
  $("inputs").classList.toggle("is-gone", phase === "failed" && !servers.used);
  const select = $("device");
  const wanted = [{ deviceId: "", label: "Default microphone" }, ...dock.microphones];
  const isSame = wanted.length === select.options.length && wanted.every(({ label }, i) => select.options[i].text === label);
  if (!isSame) select.replaceChildren(...wanted.map(({ deviceId, label }) => new Option(label, deviceId)));
  const value = chosenMicrophone(dock.microphones, settings)?.deviceId ?? "";
  if (select.value !== value) select.value = value;
  select.disabled = live !== null;
  $("delay-now").hidden = servers.used !== null && !servers.used.hasWords; // others have one delay
  setText($("delay-now"), `${delayMs} ms behind the voice${settings.hasSecondPass ? ", then a second pass" : ""}`);
}

function drawLive({ transcript: { live }, servers, dock, hasOtherThanDemo, phase, stages }) {
  const isRecovering = dock.recovery !== null && (phase !== "failed" || servers.used !== null);
  $("recovery").hidden = !isRecovering;
  setText($("recovery").querySelector(".sentence"), isRecovering ? dock.recovery + (servers.used ? "" : share(stages)) : "");

  const now = performance.now() / 1000;
  const lag = live && dock.lag?.at(now, live.phase === "listening" && !isRecovering);
  $("behind").hidden = !lag?.isHopeless || isRecovering;
  const hearer = live?.entry.options.server ? nameOf(live.entry.options.server.address) : "This machine";
  if (!$("behind").hidden) drawHopeless(lag, live, hearer, hasOtherThanDemo && !servers.used);
  else setText($("behind").querySelector(".sentence"), "");

  const sound = dock.isMute ? MUTE : dock.isClipped ? CLIPPED : "";
  setText($("hint"), live?.phase === "listening" ? (dock.suspended ?? sound) : "");
  if (!live) return;
  const { startedAt } = live.entry;
  const isOpen = live.phase === "listening";
  if (live.phase !== "stopping") setText($("elapsed"), clock(startedAt === null ? 0 : now - startedAt / 1000));
  const dbfs = 20 * Math.log10(Math.max((isOpen && live.level?.rms) || 0, 1e-6));
  $("level").value = Math.max(0, 1 - dbfs / QUIETEST_DBFS);
  $("waiting").value = Math.min(10, lag?.waitingS ?? 0);
  $("waiting").title = lag ? `${lag.waitingS.toFixed(1)} s of sound waiting, ${clock(lag.heardS)} heard` : "";
  const far = lag?.waitingS > LAG_WORTH_SAYING_S ? `${lag.waitingS.toFixed(1)} s ${isOpen ? "behind" : "left to hear"}` : "";
  setText($("lag"), far);
  $("lag").classList.toggle("is-far", Boolean(lag?.isBehind));
}

/** The numbers in it change slowly: a screen reader says it again with each change. */
function drawHopeless({ waitingS, speed }, { phase }, hearer, hasOtherThanDemo) {
  const far = Math.floor(waitingS / 10) * 10;
  const help = hasOtherThanDemo ? "use the demo model, or close other pages that use the GPU" : "or close other pages and programs";
  setText(
    $("behind").querySelector(".sentence"),
    `${hearer} now hears about ${speed.toFixed(1)} s of sound in a second, so the text is more than ${far} s behind and ` +
      `falls back further; nothing is lost: stop and let it finish, ${help}.`,
  );
  $("catch-up").hidden = phase !== "listening";
  for (const element of $("behind").querySelectorAll("[data-needs=other-than-demo]")) element.hidden = !hasOtherThanDemo;
}

const share = ({ weights }) => (weights?.total > 0 && weights.done < weights.total ? ` ${percent(weights.done, weights.total)} %` : "");

function drawAlerts({ alerts }, { dismiss }) {
  reconcile($("alerts"), alerts, (alert) => {
    const item = $("alert").content.cloneNode(true).firstElementChild;
    item.classList.toggle("is-news", Boolean(alert.isNews));
    item.querySelector(".sentence").textContent = alert.sentence;
    item.querySelector(".dismiss").addEventListener("click", () => dismiss(alert));
    return item;
  });
}
