/** A transcript as the one document in which it is exported and kept; py/voxtral/document.py describes it. */

const LONGEST_NAME = 80; // characters of a file's name

/** The document of an entry (entries.js), with what the person or their Python made of it. */
export function documentOf(entry) {
  const words = entry.made?.words ?? entry.words.plain();
  return { format: "voxtral-transcript", version: 1, ...headOf(entry), text: entry.made?.text ?? joined(words), words };
}

/** The fields of an entry's document but its words and text. */
export function headOf({ id, title, createdAt, source, audioS, model, settings, estimates = [] }) {
  const head = { id, title, created_at: createdAt, source, audio_s: audioS, model, settings };
  return estimates.length ? { ...head, estimates } : head; // fields of words that nobody said
}

/** The same, read. */
export function entryFields({ id, title, created_at: createdAt, source, audio_s: audioS, model, settings, estimates = [] }) {
  return { id, title, createdAt, source, audioS, model, settings, estimates };
}

/** The text of words, as the engine joins them; before: the text they follow. */
export function joined(words, before = "") {
  let text = "";
  for (const word of words) text += word.joins || !(before || text) ? word.text : ` ${word.text}`;
  return text;
}

/** "talk 2026-11-23.srt": what a file is called that holds this document. */
export function fileName({ title, created_at: createdAt }, extension) {
  const day = new Date(createdAt);
  const date = [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((n) => String(n).padStart(2, "0")).join("-");
  const stem = title.replace(/\.[a-z0-9]{2,4}$/i, "").replace(/(\d):(\d)/g, "$1.$2");
  const safe = stem.replace(/[\\/:*?"<>|\p{Cc}]+/gu, " ").replace(/\s+/g, " ").trim().replace(/^\.+/, "");
  return `${[...safe].slice(0, LONGEST_NAME).join("") || "Transcript"} ${date}.${extension}`;
}
