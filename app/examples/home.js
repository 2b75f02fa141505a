// The app's page lies at the root of the site, whichever folder this version of it is in.
document.querySelector(".home").href = new URL(".", import.meta.url).href.replace(/(v-[0-9a-f]+\/)?app\/examples\/$/, "");
