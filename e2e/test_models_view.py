"""What a person sees and can do about models, in each state, with a scripted engine (fake_engine.js)."""

import re
from typing import Any

import pytest
from fake_page import Director, use_fake_engine
from patience import wait_until
from playwright.sync_api import Download, Locator, Page, expect

GB = 1_000_000_000
HUB = "hub:TrevorJS/voxtral-mini-realtime-gguf"
FULL = {"key": "voxtral-1", "title": "TrevorJS/voxtral-mini-realtime-gguf", "source": HUB}
TINY = {"key": "tiny-2", "title": "tiny <b>q8_0</b>", "source": "http://localhost:9000/tiny.gguf"}
KEEP = "window.nAsked = 0; navigator.storage.persist = async () => { nAsked++; return true; };"


def stored(model: dict[str, str], n_bytes: float, total: float, **fields: Any) -> dict[str, Any]:
    sizes = {"n_bytes": int(n_bytes), "total_bytes": int(total), "is_whole": n_bytes == total}
    return {**model, **sizes, "is_active": False, "saved_at": 1_795_400_000_000, **fields}


class ModelsPage(Director):
    """The page with nothing stored, opened at an address."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        use_fake_engine(page)
        page.add_init_script(KEEP)

    def open(self, address: str = "/") -> None:
        self.page.goto(address)
        expect(self.page.get_by_role("button", name="Speak")).to_be_enabled()
        expect(self.page.locator("#models")).to_be_visible()
        self.first_load = self.asked("load")["model_url"]

    def models(self, *models: dict[str, Any], offered: Any = (), quota: float = 10.7 * GB, used: float = 0) -> None:
        room = {"quota_bytes": int(quota), "used_bytes": int(used)}
        self.say("models", stored=list(models), offered=list(offered), **room)

    def fetching(self, model: dict[str, str], stage: str, done: float = 0, total: float = 0, **fields: Any) -> None:
        known = {"key": model["key"], "title": model["title"], "bytes_per_s": None, "seconds_left": None}
        self.say("fetching", **{**known, "stage": stage, "done": int(done), "total": int(total), **fields})

    def get_full(self) -> Locator:
        """Half of the full model on its way."""
        self.press("Get the full model, 2.5 GB: Voxtral Mini 4B")
        self.fetching(FULL, "download", 1.32 * GB, 2.5 * GB, bytes_per_s=41e6, seconds_left=28.3)
        card = self.card("Voxtral Mini 4B")
        expect(card).to_contain_text("1.32 of 2.50 GB")
        return card

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def card(self, title: str) -> Locator:
        return self.page.locator(".model-card").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    def row(self, title: str) -> Locator:
        return self.page.locator(".model-row").filter(has_text=title)


@pytest.fixture
def models(page: Page) -> ModelsPage:
    return ModelsPage(page)


def expect_buttons(place: Locator, *labels: str) -> None:
    expect(place.get_by_role("button")).to_have_text(labels)


def choose(page: Page, *names: str) -> None:
    files = [{"name": name, "mimeType": "", "buffer": b"x" * 50_000} for name in names]
    page.locator("#model-files").set_input_files(files)


# -- what there is ------------------------------------------------------------------------------


def test_what_there_is_says_size_date_source_and_room(models: ModelsPage) -> None:
    models.open()
    offered = [
        {"title": "large", "source": models.page.url + "models/large/", "n_bytes": 30 * GB},
        {"title": "small.gguf", "source": models.page.url + "models/small.gguf", "n_bytes": 57_000_000},
        {"title": "mine", "source": TINY["source"], "n_bytes": 57_000_000},  # stored already: said once
    ]
    models.models(stored(TINY, 57e6, 57e6), stored(FULL, 1.32e9, 2.5e9), offered=offered, used=1.4e9)
    expect(models.page.locator(".model-row .name")).to_have_text(
        ["Demo model", "tiny <b>q8_0</b>", "Voxtral Mini 4B", "large", "small.gguf"]
    )
    expect(models.row("Demo model")).to_contain_text("In use")
    expect(models.row("Demo model")).to_contain_text("Loaded 13 MB in 0.1 s (250 MB/s).")
    expect(models.row("tiny")).to_contain_text(re.compile(r"57 MB · stored .*2026.* · from localhost:9000"))
    expect_buttons(models.row("tiny"), "Use", "Verify", "Export to files", "Delete")
    expect(models.row("Voxtral")).to_contain_text("1.32 of 2.50 GB · begun · from huggingface.co")
    expect_buttons(models.row("Voxtral"), "Resume", "Discard")
    expect(models.row("large")).to_contain_text("Too large to be stored here: the browser reports 9.3 GB free.")
    expect_buttons(models.row("large"), "Use without storing")
    expect_buttons(models.row("small"), "Get", "Use without storing")
    expect(models.page.locator("#room")).to_contain_text(
        "The browser reports 9.3 GB free for this site. When the disk runs low"
    )
    models.press("Get: small.gguf")
    assert models.asked("fetch")["source"] == offered[1]["source"]
    assert models.page.evaluate("nAsked") == 1  # the browser was asked to keep it
    expect(models.page.locator("#room")).to_contain_text("Stored models stay until you delete them.")


def test_a_chosen_model_is_used_from_now_on_until_it_is_gone(models: ModelsPage) -> None:
    models.open()
    models.models(stored(TINY, 57e6, 57e6))
    models.press("Use: tiny <b>q8_0</b>")
    assert models.asked("load")["model_url"] == "stored:tiny-2"
    expect(models.row("tiny")).to_contain_text("In use")
    expect(models.row("tiny")).to_contain_text("Loaded 13 MB in ")
    expect(models.row("Demo model").get_by_text("In use")).to_be_hidden()
    models.open()
    assert models.first_load == "stored:tiny-2"
    models.open("/?model=fake:ready")  # the address says otherwise
    assert models.first_load == "fake:ready"
    models.open()
    models.press("Use: Demo model")
    assert models.asked("load")["model_url"].endswith("voxtral-demo-q4_0.gguf")
    assert models.page.evaluate("localStorage.length") == 0

    models.page.evaluate("localStorage.setItem('model', 'stored:refused')")
    models.open()
    gone = models.page.get_by_text("The model chosen last is no longer stored here, so the demo model is used.")
    expect(gone).to_be_visible()
    expect(models.page.locator("#refusal")).to_be_hidden()
    assert models.page.evaluate("localStorage.length") == 0


def test_without_room_or_graphics_card_the_full_model_says_so_first(models: ModelsPage) -> None:
    models.open()
    expect(models.row("Voxtral")).to_contain_text("2.5 GB are fetched once from huggingface.co and stored.")
    expect(models.row("Voxtral")).to_contain_text("The browser reports 11 GB free. It takes 3.7 GB of graphics memory.")
    models.models(quota=1.2e9)
    expect(models.row("Voxtral")).to_contain_text(
        "It does not fit: 2.5 GB are needed, and the browser reports 1.2 GB free"
    )
    models.press("Use without storing: Voxtral Mini 4B")
    assert models.asked("load")["model_url"] == "hub"
    expect(models.page).to_have_url(re.compile(r"/\?model=hub$"))
    models.open("/?model=fake:software-numpy")
    expect(models.row("Voxtral")).to_contain_text("without one it would need minutes for every second of speech")


# -- a download ---------------------------------------------------------------------------------


def test_a_download_tells_how_far_it_is_pauses_and_goes_on(models: ModelsPage) -> None:
    models.open()
    title = models.page.title()
    card = models.get_full()
    assert models.asked("fetch")["source"] == "hub"
    expect(card).to_contain_text("1.32 of 2.50 GB · 41 MB/s · 30 s left")
    expect(card.get_by_role("progressbar", name="Progress of Voxtral Mini 4B")).to_have_js_property("value", 0.528)
    expect(models.page).to_have_title(f"52 % · {title}")
    news = models.page.locator("#models-news")
    expect(news).to_have_text("Voxtral Mini 4B: Downloading, 50 percent.")
    assert news.get_attribute("role") == "status"
    models.fetching(FULL, "download", 1.4e9, 2.5e9, bytes_per_s=41e6, seconds_left=26.0)
    expect(models.page).to_have_title(f"56 % · {title}")
    expect(news).to_have_text("Voxtral Mini 4B: Downloading, 50 percent.")  # seldom enough to bear it
    expect(models.row("Voxtral")).to_have_count(0)

    models.press("Pause: Voxtral Mini 4B")
    assert models.asked("pause")["key"] == FULL["key"]
    models.fetching(FULL, "download", 1.5e9, 2.5e9)  # sent before the engine knew
    expect(card).to_contain_text("Paused. What has come is kept, also when you close the page.")
    expect(models.page).to_have_title(title)
    expect(news).to_have_text("Voxtral Mini 4B: paused.")
    models.press("Resume: Voxtral Mini 4B")
    assert models.asked("fetch")["source"] == "hub"
    models.fetching(FULL, "waiting")
    expect(card).to_contain_text("Another tab works on this model")
    models.fetching(FULL, "verify", 1.4e9, 2.5e9)
    expect(card).to_contain_text("Checking")
    models.say("fetched", key=FULL["key"])
    models.models(stored(FULL, 2.5e9, 2.5e9))
    expect(card).to_contain_text("Stored and checked, 2.5 GB.")
    models.press("Use it now: Voxtral Mini 4B")
    assert models.asked("load")["model_url"] == "stored:voxtral-1"
    expect(models.row("Voxtral")).to_contain_text("In use")
    expect(models.page.locator("#jobs")).to_be_hidden()


def test_cancel_asks_once_and_deletes(models: ModelsPage) -> None:
    models.open()
    card = models.get_full()
    models.page.get_by_role("button", name="Cancel: Voxtral Mini 4B").press("Enter")
    expect(card).to_contain_text("Stop, and delete the 1.3 GB that have come?")
    expect(card.get_by_role("button", name="Keep it")).to_be_focused()
    models.page.keyboard.press("Enter")
    expect(card).to_contain_text("Downloading")
    models.press("Cancel: Voxtral Mini 4B")
    models.press("Delete: Voxtral Mini 4B")
    assert models.asked("discard")["key"] == FULL["key"]
    models.fetching(FULL, "download", 1.5e9, 2.5e9)  # sent before the engine knew
    models.models()
    expect(models.page.locator("#jobs")).to_be_hidden()
    expect(models.row("Voxtral")).to_contain_text("are fetched once")

    models.press("Get the full model, 2.5 GB: Voxtral Mini 4B")
    models.press("Cancel: Voxtral Mini 4B")  # before the engine knows what it is
    expect(models.page.locator("#jobs")).to_be_hidden()
    models.fetching(FULL, "listing")
    assert models.asked("discard")["key"] == FULL["key"]


def test_a_failure_is_one_sentence_to_try_again_or_to_stream(models: ModelsPage) -> None:
    models.open()
    card = models.get_full()
    models.asked("fetch")
    failure = {"key": FULL["key"], "source": "hub", "sentence": "shard-ab: no room is left; delete another model"}
    models.say("fetch_failed", **failure, can_stream=False)
    models.models(stored(FULL, 1.32e9, 2.5e9))
    expect(card.get_by_role("alert")).to_have_text("shard-ab: no room is left; delete another model.")
    expect_buttons(card, "Try again", "Close")
    models.press("Try again: Voxtral Mini 4B")
    assert models.asked("fetch")["source"] == HUB
    models.say("fetch_failed", **failure, can_stream=True)
    models.press("Use without storing: Voxtral Mini 4B")
    assert models.asked("load")["model_url"] == "hub"
    expect(models.page.locator("#jobs")).to_be_hidden()
    expect(models.row("Voxtral")).to_contain_text("begun")
    models.say("fetch_failed", key=None, source="hub:a/b", sentence="there is no a/b", can_stream=False)
    expect(models.card("A model from huggingface.co").get_by_role("alert")).to_have_text("There is no a/b.")
    models.press("Close: A model from huggingface.co")
    expect(models.page.locator("#jobs")).to_be_hidden()


# -- from elsewhere -----------------------------------------------------------------------------


def test_an_address_of_elsewhere_opens_a_page_that_proposes_it(models: ModelsPage) -> None:
    models.open()
    address = models.page.get_by_role("textbox", name="From elsewhere")
    for typed, source in [("mistralai/Some-GGUF", "hub:mistralai/Some-GGUF"), ("hub", "hub")]:
        address.fill(typed)
        address.press("Enter")
        assert models.asked("fetch")["source"] == source
    address.fill("no address")
    address.press("Enter")
    expect(models.page.get_by_text("Expected an address like https://example.com/model/")).to_be_visible()
    expect(address).to_be_focused()
    address.fill("models.example.org/tiny")
    address.press("Enter")
    models.page.wait_for_url("**/?from=https%3A%2F%2Fmodels.example.org%2Ftiny")
    card = models.card("A model from models.example.org")
    expect(card).to_contain_text("The address of this page proposes https://models.example.org/tiny.")
    expect(card).to_contain_text("Only requests for its files go to models.example.org.")
    assert models.page.evaluate("asked.filter(({ type }) => type === 'fetch')") == []  # not before a click
    models.press("Get it: A model from models.example.org")
    assert models.asked("fetch")["source"] == "https://models.example.org/tiny"
    model = {"key": "tiny-3", "title": "tiny", "source": "https://models.example.org/tiny/"}
    models.fetching(model, "listing")
    models.say("fetched", key="tiny-3")
    models.models(stored(model, 57e6, 57e6))
    expect(models.card("tiny")).to_contain_text("Stored and checked, 57 MB.")
    expect(models.page).to_have_url(re.compile("/$"))

    models.open("/?from=https://models.example.org/tiny")
    models.models(stored(model, 57e6, 57e6))
    models.press("Use it now: A model from models.example.org")
    assert models.asked("load")["model_url"] == "stored:tiny-3"
    models.open("/")
    models.models(stored(TINY, 1e6, 57e6))
    models.page.locator("#file-input").set_input_files([{"name": "a.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}])
    expect(models.page.locator(".entry .text")).to_have_text("one four one seven")
    models.page.locator("#models > summary").click()
    with models.page.expect_popup() as popup:  # the text here stays
        models.press("Resume: tiny <b>q8_0</b>")
    assert "from=http%3A%2F%2Flocalhost%3A9000%2Ftiny.gguf" in popup.value.url
    popup.value.close()


# -- files --------------------------------------------------------------------------------------


def test_dropped_model_files_join_and_sound_among_them_is_transcribed(models: ModelsPage) -> None:
    models.open()
    transfer = models.page.evaluate_handle(
        """() => { const transfer = new DataTransfer();
        for (const name of ["shard-ab", "a.wav", "shard-aa"]) transfer.items.add(new File(["RIFF"], name));
        return transfer; }"""
    )
    models.page.dispatch_event("h1", "dragenter", {"dataTransfer": transfer})
    expect(models.page.get_by_text("Model files join the models.")).to_be_visible()
    models.page.dispatch_event("h1", "drop", {"dataTransfer": transfer})
    expect(models.page.locator(".entry .text")).to_have_text("one four one seven")
    card = models.card("Model files")
    expect(card).to_contain_text("shard-aa, shard-ab: choose or drop tekken.json as well.")
    models.page.locator("#models > summary").click()
    choose(models.page, "tekken.json", "shard-ac", "shard-ad")
    expect(card).to_contain_text("shard-aa, shard-ab … shard-ad, tekken.json: 150 kB.")
    models.press("Store: Model files")
    assert sorted(models.asked("fetch")["names"]) == ["shard-aa", "shard-ab", "shard-ac", "shard-ad", "tekken.json"]
    sentence = "shard-ac: expected 4 bytes like the other shards, found 50,000"
    models.say("fetch_failed", key=None, source=None, sentence=sentence, can_stream=False)
    expect(card.get_by_role("alert")).to_have_text(f"{sentence}.")
    models.press("Close: Model files")

    choose(models.page, "model.gguf", "tekken.json")
    models.press("Use without storing: Model files")
    request = models.asked("load")
    assert (request["model_url"], request["names"]) == (None, ["model.gguf", "tekken.json"])
    expect(models.page.get_by_role("button", name="Speak")).to_be_enabled()


# -- what is stored -----------------------------------------------------------------------------


def test_stored_models_are_verified_mended_exported_and_deleted(models: ModelsPage) -> None:
    models.page.add_init_script("delete Window.prototype.showDirectoryPicker; delete window.showDirectoryPicker;")
    models.open("/?from=http://localhost:9000/tiny.gguf")
    models.press("Not now: A model from localhost:9000")
    expect(models.page).to_have_url(re.compile("/$"))
    models.models(stored(TINY, 57e6, 57e6))
    tiny = TINY["title"]
    models.press(f"Verify: {tiny}")
    assert models.asked("verify")["key"] == "tiny-2"
    models.fetching({"key": "tiny-2", "title": "tiny-2"}, "verify", 20e6, 57e6)
    expect_buttons(models.card(tiny), "Stop")
    models.say("verified", key="tiny-2", problems=[])
    expect(models.row(tiny)).to_contain_text("Checked: no damage found.")
    models.press(f"Verify: {tiny}")
    models.say("verified", key="tiny-2", problems=["tiny.gguf: expected another SHA-256"])
    expect(models.page.get_by_text(f"1 damaged file found in {tiny}; only that is fetched again.")).to_be_visible()
    assert models.asked("fetch")["source"] == TINY["source"]
    models.say("fetched", key="tiny-2")
    models.models(stored(TINY, 57e6, 57e6))
    models.press(f"Close: {tiny}")

    models.press(f"Export to files: {tiny}")
    assert models.asked("export")["key"] == "tiny-2"
    downloads: list[Download] = []  # in the order in which they begin; they end when they like
    models.page.on("download", lambda download: downloads.append(download))
    models.page.evaluate(
        """director.postMessage({ type: "exported", key: "tiny-2", files: [
        { name: "tekken.json", blob: new Blob(["{}"]) }, { name: "tiny.gguf", blob: new Blob(["GGUF"]) }] })"""
    )
    expect(models.row(tiny)).to_contain_text("Exported: tekken.json, tiny.gguf.")
    wait_until(models.page, lambda: len(downloads) == 2)
    saved = [(download.suggested_filename, download.path().read_text()) for download in downloads]
    assert saved == [("tekken.json", "{}"), ("tiny.gguf", "GGUF")]

    models.page.get_by_role("button", name=f"Delete: {tiny}").press("Enter")
    expect(models.row(tiny)).to_contain_text("Delete it from this browser? It would have to be fetched again.")
    expect(models.row(tiny).get_by_role("button", name="Keep it")).to_be_focused()
    models.page.keyboard.press("Enter")
    models.press(f"Delete: {tiny}")
    models.press(f"Delete: {tiny}")
    assert models.asked("delete")["key"] == "tiny-2"
    models.models()
    expect(models.row(tiny)).to_have_count(0)


def test_files_are_exported_into_a_chosen_folder(models: ModelsPage) -> None:
    models.page.add_init_script("window.showDirectoryPicker = () => navigator.storage.getDirectory();")
    models.open()
    models.models(stored(TINY, 57e6, 57e6))
    models.press(f"Export to files: {TINY['title']}")
    models.asked("export")
    files = '[{ name: "a", blob: new Blob(["x".repeat(9)]) }]'
    models.page.evaluate(f'director.postMessage({{ type: "exported", key: "tiny-2", files: {files} }})')
    expect(models.row("tiny")).to_contain_text("Exported: a.")
    read = "async () => (await (await (await navigator.storage.getDirectory()).getFileHandle('a')).getFile()).text()"
    assert models.page.evaluate(read) == "x" * 9


# -- for everybody ------------------------------------------------------------------------------


def test_models_fit_a_narrow_phone(models: ModelsPage) -> None:
    models.page.set_viewport_size({"width": 360, "height": 640})
    models.open(f"/?from=https://models.example.org/{'averylongname' * 9}/")
    long = {"key": "long-4", "title": "averylongname" * 9, "source": "https://models.example.org/"}
    models.get_full()
    models.models(stored(long, 57e6, 57e6), stored(TINY, 1e6, 57e6), quota=1e9)
    choose(models.page, f"{'averylongname' * 9}.gguf")
    models.say("fetch_failed", key=None, source="hub:a/b", sentence="x" * 200, can_stream=True)
    expect(models.page.locator(".model-card")).to_have_count(4)
    expect(models.row("averylong")).to_be_visible()
    assert models.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    heights = models.page.locator(".model-card button, .model-row button").evaluate_all(
        "buttons => buttons.map((button) => button.getBoundingClientRect().height)"
    )
    assert min(heights) >= 40
