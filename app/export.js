/** Keeping transcripts as files: what there is to choose, and what becomes of a choice. */

import { documentOf, fileName } from "./documents.js";
import { isOver, textOf } from "./entries.js";
import { recordingOf } from "./recorder.js";
import { saveFiles } from "./save_files.js";

const FORMATS = [
  { format: "txt", name: "Text", about: ".txt, in paragraphs" },
  { format: "srt", name: "Subtitles", about: ".srt, for players and editors" },
  { format: "vtt", name: "Web subtitles", about: ".vtt, for a <video>" },
  { format: "json", name: "Everything", about: ".json, words, times and certainty" },
];

/** engine: gives the Transcriber; limits(): of subtitles, as render takes them; copy(entry), copyAll(): of entries.js. */
export function createExport({ engine, entries, limits, copy, copyAll, warn }) {
  async function saveDocuments(documents, format) {
    const files = [];
    for (const document of documents) {
      const content = await engine().render(document, format, ["srt", "vtt"].includes(format) ? limits() : null);
      files.push({ name: fileName(document, format), blob: new Blob([content]) });
    }
    await saveFiles(files, null, () => {});
  }

  async function saveSound(document) {
    const recording = await recordingOf(document.id);
    if (!recording) throw new Error(`The sound of “${document.title}” is no longer kept here, so there is none to save.`);
    await saveFiles([{ name: fileName(document, "wav"), blob: await recording.wav() }], null, () => {});
  }

  const telling = (work) => () => work().catch((error) => warn(error.message));

  /** documents(): promise of those to save. */
  const formatChoices = (documents) =>
    FORMATS.map(({ format, name, about }) => ({
      name,
      about,
      act: telling(async () => saveDocuments(await documents(), format)),
    }));

  /** What can be kept of an entry, null for all: [{name, about, act}]. */
  function exportChoices(entry) {
    const chosen = entry ? [entry] : entries().filter(textOf);
    const choices = [
      { name: "Copy", about: "the text, to the clipboard", act: () => (entry ? copy(entry) : copyAll()) },
      ...formatChoices(async () => chosen.map(documentOf)),
    ];
    if (entry?.hasAudio && isOver(entry)) {
      choices.push({ name: "Sound", about: ".wav, 16 kHz", act: telling(() => saveSound(documentOf(entry))) });
    }
    return choices;
  }

  /** The same of a session of the history; documentOf(session): promise of its document. */
  function sessionChoices(session, readDocument) {
    const choices = formatChoices(async () => [await readDocument(session)]);
    const { id, title, created_at } = session;
    if (session.hasAudio) choices.push({ name: "Sound", about: ".wav, 16 kHz", act: telling(() => saveSound({ id, title, created_at })) });
    return choices;
  }

  return { exportChoices, sessionChoices };
}
