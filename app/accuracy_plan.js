/**
 * Runs without a person, for ?bench=accuracy&report: what py/tools/browser_accuracy.py wants measured, in one load of
 * the model. The plan is JSON at the address that ?plan= names, on this origin:
 *
 *   {conditions: [of py/voxtral/accuracy/conditions.py, …], normalizer, set, files: [{path, address}, …]}
 *
 * set: the name of the set whose files these are, null for the built-in one. Sent home: {line} of progress, {accuracy}
 * for each condition in order, in the end {report: how many}, or {error}.
 */

import { filesAt, readBuiltIn, readSet } from "./accuracy_sets.js";
import { sendLetter } from "./letters.js";

const LINE_S = 2; // between two lines of progress, at least

/** measure(set, options, onHeard, onNotice): promise of a report; view: {addLine, showFailure}. */
export async function followPlan(voxtral, address, view, measure) {
  try {
    view.addLine("loading the model");
    await sendLetter({ line: "loading the model" });
    const plan = await read(address);
    await voxtral.ready;
    const set = plan.set === null ? await readBuiltIn(voxtral) : await readSet(voxtral, plan.set, filesAt(plan.files));
    for (const sentence of set.notices) await sendLetter({ line: sentence });
    for (const [i, condition] of plan.conditions.entries()) {
      const name = plan.conditions.length > 1 ? `condition ${i + 1} of ${plan.conditions.length}: ` : "";
      const progress = createProgress((line) => (view.addLine(line), sendLetter({ line })));
      const onHeard = ({ n_heard, n_clips }) => progress.say(`${name}${n_heard} of ${n_clips} clips`);
      const accuracy = await measure(set, { condition, normalizer: plan.normalizer }, onHeard, (line) => sendLetter({ line }));
      await progress.end();
      await sendLetter({ accuracy });
    }
    view.addLine("done");
    await sendLetter({ report: plan.conditions.length });
  } catch ({ message }) {
    view.showFailure(message);
    await sendLetter({ error: message });
  }
}

async function read(address) {
  const response = await fetch(new URL(address, document.baseURI)).catch(() => null);
  if (!response?.ok) throw new Error(`The plan at ${address} could not be loaded; name another in ?plan=.`);
  return response.json();
}

/** Lines one after the other, LINE_S apart; those between are left out, but never the last one. */
function createProgress(send) {
  let sent = Promise.resolve();
  let lastMs = -Infinity;
  let kept = null;
  const sendKept = () => {
    const line = kept;
    [kept, lastMs] = [null, performance.now()];
    sent = sent.then(() => send(line));
  };
  return {
    say(line) {
      kept = line;
      if (performance.now() - lastMs >= 1000 * LINE_S) sendKept();
    },
    /** Promise: all is sent. */
    end() {
      if (kept) sendKept();
      return sent;
    },
  };
}
