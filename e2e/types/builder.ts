/** What a builder writes: compiled against the declarations by test_types.py, never run. */

import { Voxtral, type Transcript, type VoxtralStream, type Word } from "../../app/voxtral.js";
import "../../app/voxtral_captions.js";

export async function everything(file: File, samples: Float32Array, video: HTMLVideoElement): Promise<string> {
  const aborting = new AbortController();
  const voxtral = await Voxtral.load({
    model: "hub",
    delayMs: 480,
    onProgress: ({ stage, fraction }) => console.log(stage.toUpperCase(), fraction.toFixed(2)),
    signal: aborting.signal,
  });
  const known: string[] | null = voxtral.info.vocabulary;
  voxtral.addEventListener("failed", ({ detail }) => console.log(detail.sentence, known));

  const whole: Transcript = await voxtral.transcribe(file, { onProgress: ({ heardS }) => heardS.toFixed(1) });
  const [first]: Word[] = (await voxtral.transcribe(samples, { sampleRate: 48_000, signal: aborting.signal })).words;

  const stream: VoxtralStream = voxtral.stream({ delayMs: 240, hasSecondPass: true });
  stream.addEventListener("token", ({ detail }) => detail.text.length);
  stream.addEventListener("word", ({ detail }) => detail.index + detail.end - detail.start);
  stream.addEventListener("lag", ({ detail }) => detail.heardS + detail.waitingS);
  stream.addEventListener("final", ({ detail }) => detail.words[0]);
  stream.addEventListener("revised", ({ detail }) => detail.words.map(({ joins }) => joins));
  stream.feed(samples);
  await stream.finish();
  for (const input of ["microphone", video, new MediaStream()] as const) voxtral.stream({ input }).cancel();

  const captions = document.querySelector("voxtral-captions");
  captions?.addEventListener("statechange", ({ detail }) => detail.state === "listening");
  if (captions) captions.source = video;
  const subtitles = await voxtral.render(whole, "vtt", { limits: { lineLength: 32, nLines: 2, charactersPerS: 15 } });
  voxtral.dispose();
  return subtitles + first?.alternatives[0]?.text;
}

// Each of these is a mistake that the declarations must show.
export function mistakes(voxtral: Voxtral, stream: VoxtralStream): void {
  // @ts-expect-error: an engine is made by load()
  new Voxtral();
  // @ts-expect-error: numbers have units, and delays are in ms
  voxtral.stream({ delay: 480 });
  // @ts-expect-error: samples are floats
  stream.feed(new Int16Array(16));
  // @ts-expect-error: no such event
  stream.addEventListener("words", () => {});
  // @ts-expect-error: a word has no field `time`
  stream.addEventListener("word", ({ detail }) => detail.time);
  // @ts-expect-error: the words are the stream's own
  stream.words.push();
}
