// Light or dark as the person chose (settings.js), before the first pixel; without a choice the system decides.
// A classic script, since modules wait for the whole page.
try {
  const { theme } = JSON.parse(localStorage.getItem("voxtral-settings")) ?? {};
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // nothing kept, or nothing readable
}
