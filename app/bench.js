/**
 * The page at ?bench: once the model is loaded it measures the engine and what a person at the page waits for, and
 * shows the report. ?bench=quick only tries whether it works, ?report posts progress and report to the server
 * (py/tools/browser_bench.py reads them).
 */

import { createBenchView } from "./bench_view.js";
import { sendLetter } from "./letters.js";
import { measureLive } from "./live_latency.js";

/** Runs it once. Failures end as one sentence on the page. */
export async function showBench(voxtral) {
  const query = new URLSearchParams(location.search);
  const post = query.has("report") ? sendLetter : async () => {};
  const view = createBenchView();
  const say = (line) => {
    view.addLine(line);
    return post({ line });
  };
  try {
    say("loading the model");
    await voxtral.ready;
    const effort = query.get("bench") || null;
    const report = await voxtral.bench(effort, ({ type, what }) => type === "measuring" && say(`measuring ${what}`));
    say("measuring a token’s way to the page");
    report.live = await measureLive(voxtral, report.effort.live_s, view.showLive);
    view.showReport(report);
    await post({ report });
  } catch (error) {
    view.showFailure(error.message);
    await post({ error: error.message });
  }
}
