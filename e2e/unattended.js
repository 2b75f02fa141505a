// For machines without Playwright: runs the calls its address lists one by one in the harness's worker, and posts each
// answer to the server. See unattended.py.
import "./harness.js";

const post = (answer) => fetch("../answers", { method: "POST", body: JSON.stringify(answer) });

window.addEventListener("unhandledrejection", ({ reason }) => post({ error: String(reason) }));

for (const { module, name, args, files } of JSON.parse(new URLSearchParams(location.search).get("calls"))) {
  try {
    await post({ name, args, result: await window.harness.run(module, name, args, files) });
  } catch (error) {
    await post({ name, args, error: String(error.message ?? error) });
  }
}
await post({ finished: true });
