"""Microphones and shared tabs as sources of sound: which, and what is said when they fail; the wake lock meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest
from bare_page import open_bare
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.alone  # sound comes at its own pace

OpenPage = Callable[..., Page]

FLAGS = (
    "--use-fake-device-for-media-stream",  # beeps once a second
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
# Keeps what tests want to harm: the stream that was opened and the context that hears it.
WATCH = """
    const { getUserMedia } = MediaDevices.prototype;
    MediaDevices.prototype.getUserMedia = async function (wanted) {
        return (window.stream = await getUserMedia.call(this, wanted));
    };
    const Context = window.AudioContext;
    window.AudioContext = class extends Context {
        constructor(options) {
            if (window.onlyOwnRate && options.sampleRate) throw new DOMException("no", "NotSupportedError");
            super(options);
            window.context = this;
        }
    };
"""
LISTEN = """async ([module, options, recordingId]) => {
    const opened = await import(`/app/${module}.js`);
    const open = opened.openMicrophone ?? opened.openDisplayAudio;
    window.own = [];
    try {
        const openSound = (callbacks) => open({ ...callbacks, ...options });
        window.recording = await voxtral.listen((event) => own.push(event), openSound, { recordingId });
        return null;
    } catch (error) {
        return error.message;
    }
}"""
EVENTS = "(type) => own.filter((event) => event.type === type)"


def listen(
    page: Page, module: str = "microphone", options: dict[str, Any] | None = None, recording_id: str | None = None
) -> str | None:
    """The sentence, if it failed."""
    sentence: str | None = page.evaluate(LISTEN, [module, options or {}, recording_id])
    return sentence


def until(page: Page, kind: str, n: int) -> list[dict[str, Any]]:
    """The events of this kind, once there are n."""
    page.wait_for_function(f"([type, n]) => ({EVENTS})(type).length >= n", arg=[kind, n])
    events: list[dict[str, Any]] = page.evaluate(EVENTS, kind)
    return events


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    page = open_page("/e2e/fake_core.js", *FLAGS)
    page.add_init_script(WATCH)
    return open_bare(page)


def test_microphones_are_listed_and_chosen(page: Page) -> None:
    assert listen(page) is None
    levels = until(page, "level", 30)
    assert max(level["peak"] for level in levels) > 0.1
    page.evaluate("recording.stop()")
    listed = page.evaluate("import('/app/microphone.js').then(({ listMicrophones }) => listMicrophones())")
    assert len(listed) > 1
    assert all(device["label"] and device["deviceId"] for device in listed)
    for device in listed[-2:]:
        assert listen(page, options={"deviceId": device["deviceId"]}) is None
        assert page.evaluate("stream.getAudioTracks()[0].getSettings().deviceId") == device["deviceId"]
        until(page, "level", 1)
        page.evaluate("recording.cancel()")
    assert listen(page, options={"deviceId": "gone"}) is None
    (notice,) = until(page, "notice", 1)
    assert "The microphone chosen before is not there, so “" in notice["sentence"]
    until(page, "level", 1)
    n_changes = page.evaluate("""async () => {
        const { watchMicrophones } = await import("/app/microphone.js");
        let n = 0;
        const end = watchMicrophones(() => n++);
        navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
        end();
        navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
        return n;
    }""")
    assert n_changes == 1


def test_sound_that_is_held_back_is_told_and_comes_again(page: Page) -> None:
    assert listen(page) is None
    until(page, "level", 5)
    page.evaluate("stream.getAudioTracks()[0].dispatchEvent(new Event('unmute'))")  # which it is not
    page.evaluate("""async () => {
        context.resume = () => Promise.reject(new Error("not now"));
        await context.suspend();
    }""")
    (held,) = until(page, "suspended", 1)
    assert "press a key or touch the page" in held["sentence"]
    page.wait_for_timeout(1500)
    page.evaluate("delete context.resume")
    page.keyboard.press("Shift")
    _, again = until(page, "suspended", 2)
    assert again["sentence"] is None
    (notice,) = until(page, "notice", 1)
    assert notice["sentence"].startswith("Nothing was heard for ")
    n_levels = len(page.evaluate(EVENTS, "level"))
    until(page, "level", n_levels + 5)
    page.evaluate("() => { window.before = context; context.suspend(); }")  # which it mends by itself
    until(page, "level", n_levels + 20)
    assert page.evaluate("before.state") == "running"
    page.evaluate("stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    until(page, "unplugged", 1)
    assert len(page.evaluate("recording.stop()")["words"]) > 1


SLEEP = """
let n = 0;
Date.now = () => 1000 * currentTime + (++n > 100 ? 200_000 : 0); // the sound's clock: a slow machine adds nothing to it
"""
ADD = """
    const { addModule } = Worklet.prototype;
    Worklet.prototype.addModule = async function (address) {
        await addModule.call(this, "/made/sleep.js");
        await addModule.call(this, address);
    };
"""


def test_how_long_the_machine_slept_is_told(page: Page, server: Any) -> None:
    (server.made / "sleep.js").write_text(SLEEP)
    page.evaluate("() => {" + ADD + "}")
    assert listen(page) is None
    (notice,) = until(page, "notice", 1)
    assert notice["sentence"].startswith("Nothing was heard for 3 min 20 s: the machine slept")


def test_a_browser_that_keeps_its_own_rate_is_heard_at_16_khz(page: Page) -> None:
    page.evaluate("window.onlyOwnRate = true")
    assert listen(page, recording_id="own rate") is None
    assert page.evaluate("context.sampleRate") in (44_100, 48_000)
    until(page, "level", 25)
    page.evaluate("recording.stop()")
    n_levels = len(page.evaluate(EVENTS, "level"))
    duration_s = page.evaluate("""async () => {
        const { recordingOf } = await import("/app/recorder.js");
        return (await recordingOf("own rate")).durationS;
    }""")
    assert duration_s == pytest.approx(0.08 * n_levels, abs=0.09)


@pytest.mark.parametrize(
    ("module", "method", "name", "sentence"),
    [
        ("microphone", "getUserMedia", "NotAllowedError", "The microphone was not allowed"),
        ("microphone", "getUserMedia", "NotReadableError", "Another program or the system holds the microphone"),
        ("display_audio", "getDisplayMedia", "NotAllowedError", "Nothing was shared"),
    ],
)
def test_a_refusal_is_one_sentence(page: Page, module: str, method: str, name: str, sentence: str) -> None:
    page.evaluate(
        """([method, name]) => {
            MediaDevices.prototype[method] = async () => { throw new DOMException("no", name); };
        }""",
        [method, name],
    )
    said = listen(page, module)
    assert said is not None
    assert said.startswith(sentence)
    assert listen(page, "microphone", {"port": None}) is None or module == "microphone", "another can follow"


SHARE = """([hasSound]) => {
    MediaDevices.prototype.getDisplayMedia = async (wanted) => {
        window.wanted = wanted;
        const canvas = document.createElement("canvas");
        canvas.getContext("2d");
        const stream = canvas.captureStream(1);
        if (hasSound) {
            const tab = new AudioContext();
            const beep = new OscillatorNode(tab);
            const sound = tab.createMediaStreamDestination();
            beep.connect(sound);
            beep.start();
            for (const track of sound.stream.getTracks()) stream.addTrack(track);
        }
        return (window.shared = stream);
    };
}"""


def test_the_sound_of_a_tab_is_heard(page: Page) -> None:
    page.evaluate(SHARE, [False])
    said = listen(page, "display_audio")
    assert said == "What was shared brings no sound; share a tab, and tick the box that shares its sound, too."
    states = "shared.getTracks().map(({ readyState }) => readyState)"
    assert page.evaluate(states) == ["ended"]
    page.evaluate(SHARE, [True])
    assert listen(page, "display_audio") is None
    assert page.evaluate("wanted.audio.echoCancellation") is False
    levels = until(page, "level", 20)
    assert levels[-1]["peak"] > 0.5
    page.evaluate("shared.getAudioTracks()[0].dispatchEvent(new Event('ended'))")  # “Stop sharing”
    until(page, "unplugged", 1)
    page.evaluate("recording.stop()")
    assert page.evaluate(states) == ["ended", "ended"]
    page.evaluate("() => { MediaDevices.prototype.getDisplayMedia = undefined; }")
    assert not page.evaluate("import('/app/display_audio.js').then(({ canCaptureDisplay }) => canCaptureDisplay())")
    assert "use Chrome or Edge on a computer" in (listen(page, "display_audio") or "")


LOCKS = """
    window.locks = [];
    Object.defineProperty(navigator, "wakeLock", { value: { request: async () => {
        const lock = new EventTarget();
        lock.released = false;
        lock.release = async () => {
            if (lock.released) return;
            lock.released = true;
            lock.dispatchEvent(new Event("release"));
        };
        locks.push(lock);
        return lock;
    } } });
"""
HELD = "locks.map(({ released }) => !released)"


def test_the_screen_stays_awake_while_something_is_heard(browser: Browser, base_url: str) -> None:
    with browser.new_context(base_url=base_url, service_workers="block") as context:
        context.add_init_script(LOCKS)
        page = open_bare(context.new_page())
        page.evaluate(
            "() => { window.job = voxtral.transcribeFile(new File(['RIFF'], 'slow.wav')); job.catch(() => {}); }"
        )
        page.wait_for_function(f"() => String({HELD}) === 'true'")
        page.evaluate("locks[0].release()")  # as browsers do when the page is not seen
        page.wait_for_function(f"() => String({HELD}) === 'false,true'")
        page.evaluate("voxtral.cancel(job.session)")
        page.wait_for_function(f"() => String({HELD}) === 'false,false'")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert page.evaluate(HELD) == [False, False]
