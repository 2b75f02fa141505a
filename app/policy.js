/**
 * Narrows what this page may connect to, before anything of it can: its own origin, the Hugging Face hub, and the one
 * origin that its address names in ?model= or ?from=; in ?packages=, twice where a package index has its files elsewhere;
 * and servers that turn speech into text: that of ?server=, and those the person named in the settings (servers.js).
 * The policies that came with the page allow any https: address, because they cannot know which one that will be; a
 * policy added here can only take away, and the engine's worker inherits it. Hence a classic script, the first in the
 * head.
 */
{
  const HUB = ["https://huggingface.co", "https://*.huggingface.co", "https://*.hf.co"];

  const originIn = (address) => {
    const { origin } = URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI) : location;
    return /^https?:\/\/[\w.:[\]-]+$/.test(origin) ? [origin] : []; // nothing that could end a directive
  };
  const withSockets = (origin) => [origin, origin.replace(/^http/, "ws")];

  const query = new URLSearchParams(location.search);
  const places = { model: 1, from: 1, packages: 2 };
  const named = Object.entries(places).flatMap(([name, n]) => query.getAll(name).slice(0, n).flatMap(originIn));

  const serversNamed = () => {
    const [proposed = ""] = query.getAll("server");
    const scheme = /^https?:\/\//i.test(proposed) ? "" : /^(localhost|127\.0\.0\.1)(:|\/|$)/.test(proposed) ? "http://" : "https://";
    const kept = JSON.parse(localStorage.getItem("voxtral-servers"))?.servers ?? [];
    return [...(proposed ? [scheme + proposed] : []), ...kept.map(({ address }) => String(address))];
  };
  let servers = [];
  try {
    servers = serversNamed().flatMap(originIn);
  } catch {
    // nothing kept, or nothing readable
  }

  const meta = document.createElement("meta");
  meta.httpEquiv = "Content-Security-Policy";
  meta.content = `connect-src 'self' ${[...HUB, ...named, ...[...originIn(location.href), ...servers].flatMap(withSockets)].join(" ")}`;
  document.head.prepend(meta);
}
