// The section of app/post_processing.js alone, for a transcript that a test may change.
import { createPostProcessing } from "../app/post_processing.js";

const said = "so um we bought twenty one smart mirror from from Alexa";
const words = said.split(" ").map((text, i) => ({
  text,
  start: i * 0.5,
  end: i * 0.5 + 0.4,
  probability: 0.9,
  alternatives: [],
  joins: false,
  heard: null,
}));

window.transcript = { text: said, words, isUsed: false };
window.used = [];
window.view = createPostProcessing(document.querySelector("#python"), {
  getWords: () => window.transcript,
  onText: (made) => {
    window.used.push(made);
    window.transcript.isUsed = made !== null;
  },
  timeLimitS: Number(new URLSearchParams(location.search).get("limit_s") ?? 20),
});
