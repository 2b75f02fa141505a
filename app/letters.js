/** What a page that is asked to (?report) tells the server that runs it: py/tools/chromium.py reads it. */

const ADDRESS = "report";

/** A server that is gone must not spoil what the page shows. */
export const sendLetter = (message) => fetch(ADDRESS, { method: "POST", body: JSON.stringify(message) }).catch(() => {});
