/** Dialogs that slide over the page. One is open at a time; Esc, the cross and a press beside it close it. */

/** Readies all of the page's sheets, which may then be given to openSheet. */
export function listenToSheets() {
  for (const sheet of document.querySelectorAll("dialog.sheet")) {
    sheet.addEventListener("click", ({ target }) => {
      if (target === sheet || target.closest("[data-closes]")) sheet.close(); // the sheet itself is what lies beside its content
    });
  }
}

/** focused: the heading or field inside that a keyboard and a screen reader begin with; by default the title. */
export function openSheet(sheet, focused = sheet.querySelector("h2")) {
  if (document.querySelector("dialog[open]")) return;
  sheet.showModal();
  focused.focus({ preventScroll: true });
  focused.scrollIntoView({ block: "start" });
}
