/** The sheet of settings, and how settings change the page's looks. What there is to set: settings.js. */

import { $, setText } from "./elements.js";
import { CAPTION_SIZES, DELAYS_MS } from "./settings.js";
import { openSheet } from "./sheets.js";

/** Word error rates on FLEURS in percent, of the full model, as its authors published them: arXiv 2602.11298. */
const PUBLISHED = [
  { delayMs: 160, average: 12.6, english: 6.46 },
  { delayMs: 240, average: 10.8, english: 5.91 },
  { delayMs: 480, average: 8.72, english: 4.9 },
  { delayMs: 960, average: 7.7, english: 4.34 },
  { delayMs: 2400, average: 6.73, english: 4.05 },
];
const RECOMMENDED_MS = 480;
const DEMO_MOST_MS = 1200;
const GROUNDS = { light: "#faf7f2", dark: "#161412" };

/** actions: {set(name, value), setLimit(name, value), reset}. Returns {draw(state)}. */
export function createSettingsView(actions) {
  fill();
  listen(actions);
  return {
    draw(state) {
      drawLooks(state.settings);
      if ($("settings").open || $("shortcuts").open) drawSheet(state);
    },
  };
}

function fill() {
  $("delay").max = DELAYS_MS.length - 1;
  $("caption-size").replaceChildren(...CAPTION_SIZES.map((size) => new Option(`${size} %`, size)));
  $("published-rows").replaceChildren(
    ...PUBLISHED.map(({ delayMs, average, english }) => {
      const row = document.createElement("tr");
      const head = Object.assign(document.createElement("th"), { scope: "row", textContent: `${delayMs} ms` });
      const cells = [average, english].map((rate) => Object.assign(document.createElement("td"), { textContent: `${rate.toFixed(2)} %` }));
      row.append(head, ...cells);
      row.dataset.delay = delayMs;
      return row;
    }),
  );
}

function listen({ set, setLimit, reset, redraw }) {
  const open = (focused) => () => {
    openSheet($("settings"), focused);
    redraw();
  };
  $("open-settings").addEventListener("click", open($("settings-title")));
  $("open-privacy").addEventListener("click", open($("privacy-title")));
  $("delay-now").addEventListener("click", open($("delay")));
  $("delay").addEventListener("input", ({ target }) => set("delayMs", DELAYS_MS[target.valueAsNumber]));
  $("second-pass").addEventListener("change", ({ target }) => set("hasSecondPass", target.checked));
  $("keep-audio").addEventListener("change", ({ target }) => set("keepAudio", target.checked));
  $("shows-unsure").addEventListener("change", ({ target }) => set("showsUnsure", target.checked));
  $("single-keys").addEventListener("change", ({ target }) => set("hasShortcuts", target.checked));
  $("caption-size").addEventListener("change", ({ target }) => set("captionSize", Number(target.value)));
  for (const radio of document.querySelectorAll("input[name=theme]")) {
    radio.addEventListener("change", ({ target }) => set("theme", target.value));
  }
  for (const input of document.querySelectorAll("[data-limit]")) {
    input.addEventListener("input", () => typed.add(input));
    for (const end of ["change", "blur"]) input.addEventListener(end, () => typed.delete(input));
    input.addEventListener("change", () => setLimit(input.dataset.limit, input.valueAsNumber));
  }
  $("reset-settings").addEventListener("click", reset);
}

const typed = new Set(); // fields in which a person is typing: what is drawn meanwhile leaves them alone
let drawnLooks = ""; // a style of the whole page is set again only when it changes: transcripts are long

function drawLooks({ theme, captionSize, showsUnsure }) {
  const looks = [theme, captionSize, showsUnsure].join();
  if (looks === drawnLooks) return;
  drawnLooks = looks;
  const page = document.documentElement;
  if (theme === "system") delete page.dataset.theme;
  else page.dataset.theme = theme;
  page.style.setProperty("--caption-scale", captionSize / 100);
  document.body.classList.toggle("hides-certainty", !showsUnsure);
  for (const meta of document.querySelectorAll("meta[name=theme-color]")) {
    const scheme = theme === "system" ? meta.dataset.scheme : theme; // of the browser's own frame
    meta.content = GROUNDS[scheme];
  }
}

function drawSheet({ settings, delayMs, engine }) {
  const nth = DELAYS_MS.indexOf(delayMs);
  $("delay").value = nth;
  $("delay").setAttribute("aria-valuetext", `${delayMs} ms`);
  setText($("delay-shown"), `${delayMs} ms${delayMs === RECOMMENDED_MS ? ", recommended" : ""}`);
  setText($("published"), `${trade(delayMs)}${engine?.vocabulary && delayMs > DEMO_MOST_MS ? " The demo model was trained for at most 1200 ms." : ""}`);
  for (const row of $("published-rows").children) row.classList.toggle("is-now", Number(row.dataset.delay) === nearest(delayMs).delayMs);
  $("second-pass").checked = settings.hasSecondPass;
  $("keep-audio").checked = settings.keepAudio;
  $("shows-unsure").checked = settings.showsUnsure;
  $("single-keys").checked = settings.hasShortcuts;
  $("caption-size").value = settings.captionSize;
  for (const radio of document.querySelectorAll("input[name=theme]")) radio.checked = radio.value === settings.theme;
  for (const input of document.querySelectorAll("[data-limit]")) {
    if (!typed.has(input)) input.value = settings.subtitleLimits[input.dataset.limit];
  }
}

/** The published row whose delay is nearest, as a ratio. */
const nearest = (delayMs) =>
  PUBLISHED.reduce((best, row) => (distance(row, delayMs) < distance(best, delayMs) ? row : best));
const distance = ({ delayMs }, wanted) => Math.abs(Math.log(delayMs / wanted));

function trade(delayMs) {
  const row = PUBLISHED.find((other) => other.delayMs === delayMs);
  if (row) return `At ${delayMs} ms: ${row.average.toFixed(2)} % of words wrong on average, ${row.english.toFixed(2)} % in English.`;
  const above = PUBLISHED.find((other) => other.delayMs > delayMs);
  const below = PUBLISHED.findLast((other) => other.delayMs < delayMs);
  if (!below) return `At ${delayMs} ms nothing was published; at ${above.delayMs} ms ${above.average.toFixed(2)} % of words were wrong on average.`;
  return (
    `Between ${below.delayMs} ms (${below.average.toFixed(2)} % of words wrong on average) ` +
    `and ${above.delayMs} ms (${above.average.toFixed(2)} %).`
  );
}
