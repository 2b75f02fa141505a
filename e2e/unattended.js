// For machines without Playwright: fetches the list of calls from the server, runs them one by one in the harness's
// worker, posts each answer back. See unattended.py.
import "./harness.js";

const post = (answer) => fetch("../answers", { method: "POST", body: JSON.stringify(answer) });

window.addEventListener("unhandledrejection", ({ reason }) => post({ error: String(reason) }));

const { calls } = await (await fetch("../calls")).json();
for (const { module, name, args, files } of calls) {
  try {
    await post({ name, args, result: await window.harness.run(module, name, args, files) });
  } catch (error) {
    await post({ name, args, error: String(error.message ?? error) });
  }
}
await post({ finished: true });
