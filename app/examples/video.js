/** What goes beyond <voxtral-captions>: progress, a transcript whose words lead back into the film, and full screen. */

const $ = (selector) => document.querySelector(selector);
const [film, captions, loading, list, screen] = ["#film", "voxtral-captions", "#loading", "#words", "#screen"].map($);

captions.addEventListener("progress", ({ detail }) => {
  loading.value = detail.fraction;
  loading.hidden = detail.fraction === 1;
});
captions.addEventListener("error", () => (loading.hidden = true));

captions.addEventListener("word", ({ detail: { text, mediaTime } }) => {
  while (list.lastChild?.mediaTime >= mediaTime) list.lastChild.remove(); // from here the film is heard again
  const button = Object.assign(document.createElement("button"), { textContent: text, title: `${mediaTime.toFixed(1)} s` });
  button.addEventListener("click", () => {
    film.currentTime = mediaTime;
    film.play();
  });
  const item = Object.assign(document.createElement("li"), { mediaTime });
  item.append(button);
  list.append(item);
  list.parentElement.hidden = false;
});

screen.hidden = !document.fullscreenEnabled;
screen.addEventListener("click", () => $("#cinema").requestFullscreen());
