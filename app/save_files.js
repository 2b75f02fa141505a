/** Saves files to the person's disk: into a folder they choose, or as downloads where that cannot be asked. */

const STEP_BYTES = 64 << 20; // between two reports
const APART_MS = 300; // browsers drop downloads that begin together
const FREE_AFTER_MS = 60_000;

export const NOWHERE = Symbol("nowhere");

/**
 * files: [{name, blob}]; place: of choosePlace; tell(doneBytes, totalBytes). Rejects with an Error when the
 * disk takes no more.
 */
export async function saveFiles(files, place, tell) {
  const total = files.reduce((sum, { blob }) => sum + blob.size, 0);
  let done = 0;
  for (const { name, blob } of files) {
    if (place) await write(place, name, blob, (n) => tell((done += n), total));
    else await download(name, blob);
  }
}

/** A folder, null for the browser's downloads, or NOWHERE if the person changed their mind. Needs their gesture. */
export async function choosePlace() {
  if (!("showDirectoryPicker" in window)) return null;
  return showDirectoryPicker({ mode: "readwrite" }).catch((error) => (error.name === "AbortError" ? NOWHERE : null));
}

async function write(folder, name, blob, tell) {
  const target = await (await folder.getFileHandle(name, { create: true })).createWritable();
  for (let at = 0; at < blob.size; at += STEP_BYTES) {
    const part = blob.slice(at, at + STEP_BYTES);
    await target.write(part);
    tell(part.size);
  }
  await target.close();
}

async function download(name, blob) {
  const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" })); // or it is named .txt
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), FREE_AFTER_MS);
  await new Promise((resolve) => setTimeout(resolve, APART_MS));
}
