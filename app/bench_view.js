/** Shows a bench and its report: the only file of the bench that touches elements. */

import { make } from "./elements.js";

const HEADINGS = {
  us: "µs", gb_per_s: "GB/s", percent_of_copy: "% of copy", tflop_per_s: "TFLOP/s", device_ms: "device ms",
  wall_ms: "wall ms", wall_ms_per_token: "wall ms/token", steps_at_once: "steps at once",
};
const COPIED_MS = 1500;

/** Makes room on the page. Returns {addLine(text), showLive(text, n), showReport(report), showFailure(sentence)}. */
export function createBenchView() {
  document.body.classList.add("is-bench");
  const lines = make("ol", { className: "bench-lines" });
  const live = make("p", { className: "bench-live", hidden: true });
  const section = make("section", { id: "bench", className: "bench", ariaLabel: "Bench" }, [
    make("h1", { textContent: "Bench" }),
    make("p", { className: "lead", textContent: "How fast this model runs here. Leave the tab in front until it is done." }),
    lines,
    live,
  ]);
  lines.setAttribute("role", "log");
  document.querySelector("main").prepend(section);

  const end = (...elements) => {
    lines.classList.add("is-over");
    live.hidden = true;
    section.append(...elements);
  };
  return {
    addLine: (textContent) => lines.append(make("li", { textContent })),
    showLive(text, n) {
      live.hidden = false;
      live.textContent = `${n} tokens: ${text}`;
    },
    showReport: (report) => end(buttons(report), ...reportElements(report)),
    showFailure: (textContent) => end(make("p", { className: "sentence failure", role: "alert", textContent })),
  };
}

function buttons(report) {
  const text = JSON.stringify(report, null, 1);
  const copy = make("button", { type: "button", className: "button", textContent: "Copy JSON" });
  copy.addEventListener("click", async () => {
    const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    copy.textContent = isCopied ? "Copied" : "Not allowed; use Download";
    setTimeout(() => (copy.textContent = "Copy JSON"), COPIED_MS);
  });
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const download = make("a", { className: "button", href, download: "voxtral-bench.json", textContent: "Download JSON" });
  return make("p", { className: "bench-buttons" }, [copy, download]);
}

function reportElements(report) {
  const { machine, adapter, model, load, memory, shares, file, live } = report;
  const facts = [
    ["Version", `${report.version}, ${report.date}`],
    ["System", `${machine.system}; ${machine.cpu_threads} CPU threads; Python ${machine.python}`],
    ["Computes with", adapter ? `${adapter.name}${adapter.is_software ? " (software)" : ""}` : "numpy on the CPU"],
    ["Optional features", adapter && (adapter.features.join(", ") || "none")],
    ["Kernel traits", adapter && (adapter.kernel_traits.join(", ") || "none")],
    ["Replaced kernels", adapter?.replaced.join("; ")],
    ["Limits", adapter && Object.entries(adapter.limits).map(([name, value]) => `${words(name)} ${value}`).join(", ")],
    ["Model", `${model.name}, ${millions(model.parameters)} M parameters`],
    ["Loading", `${millions(load.bytes)} MB in ${load.seconds} s, ${load.mb_per_s} MB/s; ready ${load.warm_up_s} s later`],
    ["Python’s heap", `${millions(memory.heap_bytes)} MB at most`],
    ["Loader’s buffers", `${millions(memory.loader_peak_bytes)} MB at most`],
    ["GPU memory", adapter && `${millions(memory.gpu_bytes)} MB, ${millions(memory.gpu_peak_bytes)} MB at most`],
    ["Copy bandwidth", `${report.copy_gb_per_s} GB/s, read and write`],
    ["Device times by", report.clock],
    ["A file", `${file.audio_s} s of audio in ${file.wall_s} s: real-time factor ${file.rtf}`],
    [
      "A token of a file",
      `${short(shares.wall_ms)} ms; Python ${short(shares.python_ms) || "not told from waiting"}, ` +
        `submitting ${short(shares.submit_ms)}, decoder ${short(shares.device_decode_ms)}, ` +
        `encoder ${short(shares.device_encode_ms)} (${shares.tokens} tokens at once)`,
    ],
    [
      "A spoken token",
      `${live.median_ms} ms until it is on the page (95 %: ${live.p95_ms}, most: ${live.max_ms}); ` +
        `painted after ${live.painted_median_ms} ms (95 %: ${live.painted_p95_ms}): ${live.how}`,
    ],
  ];
  const list = make("dl", { className: "facts" });
  for (const [name, value] of facts) {
    if (value) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  }
  return [
    list,
    table("Decoder step", report.decode, ["context", "device_ms", "wall_ms", "steps_at_once", "dispatches"]),
    table("Encoder call", report.encode, ["rows", "calls", "device_ms", "wall_ms", "tflop_per_s", "dispatches"]),
    table("Chunk: frames in, ids out", report.chunks, ["tokens", "wall_ms", "wall_ms_per_token"]),
    table("Kernels of the decoder", report.decoder, KERNEL_COLUMNS),
    table("Kernels of the encoder", report.encoder, KERNEL_COLUMNS),
  ];
}

const KERNEL_COLUMNS = ["kernel", "rows", "us", "gb_per_s", "percent_of_copy", "tflop_per_s"];

/** Rows of plain objects; columns without values are left out. */
function table(caption, rows, columns) {
  const shown = columns.filter((name) => rows.some((row) => row[name] !== null));
  const cells = (row) => shown.map((name) => make("td", { textContent: short(row[name]) }));
  const element = make("table", {}, [
    make("caption", { textContent: caption }),
    make("thead", {}, [make("tr", {}, shown.map((name) => make("th", { textContent: HEADINGS[name] ?? name })))]),
    make("tbody", {}, rows.map((row) => make("tr", {}, cells(row)))),
  ]);
  return make("div", { className: "table", tabIndex: 0 }, [element]);
}

/** Numbers with their thousands apart; absent ones as nothing. */
const short = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 6 }) : (value ?? ""));
const millions = (n) => (n / 1e6).toFixed(1);
const words = (name) => name.replaceAll("_", " ");
