"""Live captions: what is shown while sound comes, and how it ends; the sound is a clip instead of a microphone's."""

import asyncio
import io
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import sounddevice
from damaged_audio import SPEECH, SPOKEN

from voxtral import cli, microphone
from voxtral.commands import listen
from voxtral.commands.listen import Captions
from voxtral.config import StreamingConfig
from voxtral.decoding import RESTART, Addition, Revision, Word
from voxtral.document import Document
from voxtral.errors import MicrophoneError
from voxtral.microphone import MicrophoneInfo, find_microphone, open_microphone
from voxtral.native_loading import EngineOptions, load_native
from voxtral.running_text import CLEAR_LINE, DIM, NORMAL, PlainLines, RunningText, ScreenLines
from voxtral.web.places import HERE

BLOCK = 1280


class Clip:
    """`SoundInput` of samples, as fast as they are read; at_end: called when there are no more."""

    name, n_lost, waiting_s = "a clip", 0, 0.0

    def __init__(self, samples, sample_rate=16_000, at_end=lambda: np.zeros(0, np.float32)):
        self.sample_rate, self._at_end = sample_rate, at_end
        self._blocks = [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]
        self.is_closed = False

    async def read(self):
        return self._blocks.pop(0) if self._blocks else self._at_end()

    def close(self):
        self.is_closed = True


@pytest.fixture(scope="module")
def loaded():
    options = EngineOptions(HERE.demo_model, "numpy")
    return asyncio.run(load_native(options, StreamingConfig(), print))


def caption(loaded, source, stream=None):
    """What is printed, and the captions."""
    stream = stream or io.StringIO()
    captions = Captions(loaded, StreamingConfig(), source, PlainLines(stream))
    asyncio.run(captions.run())
    return stream.getvalue(), captions


@pytest.mark.parametrize("sample_rate", [16_000, 48_000])
def test_a_clip_is_heard_to_its_end_at_any_rate(loaded, sample_rate):
    samples = np.repeat(SPEECH, sample_rate // 16_000)
    printed, captions = caption(loaded, Clip(samples, sample_rate))
    assert printed.split() == SPOKEN.split()
    document = Document.of(captions.document().as_dict())
    assert (document.text, document.source, document.title) == (SPOKEN, "microphone", "a clip")


def test_ctrl_c_ends_it_and_what_was_said_is_kept(loaded):
    def interrupt():
        signal.raise_signal(signal.SIGINT)
        return asyncio.get_running_loop().create_future()  # no more sound, and no end

    class Endless(Clip):
        async def read(self):
            found = await super().read()
            return await found if isinstance(found, asyncio.Future) else found

    before = signal.getsignal(signal.SIGINT)
    printed, _ = caption(loaded, Endless(SPEECH, at_end=interrupt))
    assert printed.split() == SPOKEN.split()
    assert signal.getsignal(signal.SIGINT) is before


def unplugged():
    raise MicrophoneError("the microphone 'a clip' gives no more sound; see that it is still plugged in")


def test_the_command_writes_what_was_said_before_the_microphone_was_unplugged(capsys, monkeypatch, tmp_path):
    clip = Clip(SPEECH, at_end=unplugged)
    monkeypatch.setattr(listen, "find_microphone", lambda wanted: wanted)
    monkeypatch.setattr(listen, "open_microphone", lambda _info: clip)
    output = tmp_path / "said.json"
    arguments = ["listen", "--backend", "numpy", "--output", str(output)]
    assert cli.main(arguments) == 3
    captured = capsys.readouterr()
    assert captured.out.split() == SPOKEN.split()
    assert captured.err.splitlines() == [
        "voxtral: the microphone 'a clip' gives no more sound; see that it is still plugged in"
    ]
    assert json.loads(output.read_text())["text"] == SPOKEN
    assert clip.is_closed
    assert cli.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_without_portaudio_it_is_one_sentence(capsys, monkeypatch):
    def missing(name, *arguments, **keywords):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return imports(name, *arguments, **keywords)

    imports = __import__
    monkeypatch.setattr("builtins.__import__", missing)
    assert cli.main(["listen", "--list-devices"]) == 3
    error = capsys.readouterr().err
    assert "libportaudio2" in error
    assert error.count("\n") == 1


def test_a_microphone_is_found_by_number_name_or_as_the_systems(monkeypatch):
    found = [MicrophoneInfo(i, name, "ALSA", 1, 48_000, i == 4) for i, name in ((2, "Studio 4"), (4, "Webcam"))]
    monkeypatch.setattr(microphone, "list_microphones", lambda: found)
    assert [find_microphone(wanted).number for wanted in (None, "studio", "2", "4")] == [4, 2, 2, 4]
    with pytest.raises(MicrophoneError, match="no microphone is called 'x'; found: 2 'Studio 4', 4 'Webcam'"):
        find_microphone("x")


# -- lines ------------------------------------------------------------------------------------------
def words(*said):
    """Words of half a second, one a second; (text, start) otherwise."""
    timed = [one if isinstance(one, tuple) else (one, float(i)) for i, one in enumerate(said)]
    return [Word(text, start, start + 0.5) for text, start in timed]


def shown(lines_class, *steps):
    """What a stream got of running texts (words, unfinished text, heard_s), and then the end."""
    stream, text = io.StringIO(), RunningText()
    lines = lines_class(stream)
    for text.words, text.unfinished, heard_s in steps:
        lines.show(text, heard_s)
    lines.end(text)
    return stream.getvalue()


def test_running_text_is_what_additions_come_to():
    text = RunningText()
    text.take([Addition("one tw"), Addition("o three", words("one"))])
    assert ([word.text for word in text.words], text.unfinished) == (["one"], " two three")
    text.take([Addition("", [], [Revision(0, 1, [], RESTART)])])
    assert (text.words, text.unfinished) == ([], "")
    text.take([Addition("four", words("four"))])
    assert ([word.text for word in text.words], text.unfinished) == (["four"], "")


def test_plain_lines_end_with_sentences_and_pauses_and_are_never_printed_twice():
    said = words("Yes.", "No", ("late", 9.0), ("end", 10.0))
    steps = [(said[:1], "", 0.6), (said[:2], " x", 1.6), (said[:3], "", 9.6), (said, "", 10.6), (said, "", 99.0)]
    assert shown(PlainLines, *steps) == "Yes.\nNo\nlate end\n"


def test_screen_lines_are_no_wider_than_the_terminal_and_dim_what_is_unfinished(monkeypatch):
    monkeypatch.setenv("COLUMNS", "13")
    monkeypatch.delenv("NO_COLOR", raising=False)
    said = words("seven", "eight", "nine")
    printed = shown(ScreenLines, (said[:1], " ei", 1.0), (said, "", 3.0))
    assert printed == (f"{CLEAR_LINE}seven{DIM} ei{NORMAL}{CLEAR_LINE}seven eight\n{CLEAR_LINE}nine\n")


def test_no_word_can_command_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    for lines_class in (PlainLines, ScreenLines):
        assert "\x1b]0;" not in shown(lines_class, (words("a\x1b]0;owned\x07b"), "\x1b]0;x", 9.0))


# -- PortAudio --------------------------------------------------------------------------------------
HUM = MicrophoneInfo(0, "Hum", "ALSA", 2, 48_000, True)


class FakeStream:
    """`sounddevice.InputStream`, whose blocks come when the test calls; refuses those numbers of channels."""

    refused: tuple[int, ...] = ()

    def __init__(self, **options):
        if options["channels"] in self.refused:
            raise sounddevice.PortAudioError("Error opening InputStream: Invalid number of channels [-9998]", -9998)
        self.options = options

    def start(self):
        pass

    def abort(self, ignore_errors):
        del ignore_errors

    close = abort

    def give(self, n_blocks, is_late=False):
        block = np.full((self.options["blocksize"], self.options["channels"]), 0.25, np.float32)
        for _ in range(n_blocks):
            self.options["callback"](block, len(block), None, SimpleNamespace(input_overflow=is_late))


@pytest.fixture
def fake_stream(monkeypatch):
    monkeypatch.setattr(sounddevice, "InputStream", FakeStream)
    monkeypatch.setattr(FakeStream, "refused", ())
    monkeypatch.setattr(microphone, "SILENT_S", 0.05)
    return FakeStream


def test_a_microphone_that_floods_is_kept_within_bounds_and_told(fake_stream, monkeypatch):
    assert fake_stream
    monkeypatch.setattr(microphone, "MOST_WAITING_S", 10 * microphone.BLOCK_S)

    async def scenario():
        source = open_microphone(HUM)
        source._stream.give(5)
        assert (source.waiting_s, source.n_lost) == (pytest.approx(0.4), 0)
        source._stream.give(95)  # while the loop is busy, as it is while a model computes
        assert source.waiting_s == pytest.approx(0.8)
        assert source.n_lost == 90
        samples = await source.read()
        assert samples.shape == (10 * source._stream.options["blocksize"],)
        assert set(samples) == {np.float32(0.25)}
        source._stream.give(1, is_late=True)
        assert source.n_lost == 91
        assert len(await source.read()) == source._stream.options["blocksize"]
        with pytest.raises(MicrophoneError, match="'Hum' gives no more sound"):
            await source.read()
        source.close()

    asyncio.run(scenario())


def test_the_end_of_a_stream_is_told_behind_its_last_sound(fake_stream, monkeypatch):
    assert fake_stream
    monkeypatch.setattr(microphone, "SILENT_S", 600.0)

    async def scenario():
        source = open_microphone(HUM)
        reading = asyncio.ensure_future(source.read())
        await asyncio.sleep(0)
        source._stream.give(1)
        assert len(await reading) > 0
        reading = asyncio.ensure_future(source.read())
        await asyncio.sleep(0)
        source._stream.options["finished_callback"]()
        with pytest.raises(MicrophoneError, match="still plugged in"):
            await reading
        return source

    source = asyncio.run(scenario())
    source._stream.give(1)  # PortAudio's thread may be behind the loop's end


@pytest.mark.parametrize(("refused", "channels"), [((), 1), ((1,), 2)])
def test_a_driver_that_gives_all_channels_or_none_is_heard(fake_stream, monkeypatch, refused, channels):
    monkeypatch.setattr(fake_stream, "refused", refused)

    async def scenario():
        return open_microphone(HUM)._stream.options["channels"]

    assert asyncio.run(scenario()) == channels


def test_what_portaudio_refuses_is_one_sentence(fake_stream, monkeypatch):
    monkeypatch.setattr(fake_stream, "refused", (1, 2))

    async def scenario():
        open_microphone(HUM)

    with pytest.raises(MicrophoneError, match=r"'Hum' cannot be opened \(.*Invalid number of channels\); see"):
        asyncio.run(scenario())

    def broken():
        raise sounddevice.PortAudioError("Error querying device [-9999]", -9999)

    monkeypatch.setattr(sounddevice, "query_devices", broken)
    with pytest.raises(MicrophoneError, match=r"does not tell its microphones \(Error querying device\)"):
        microphone.list_microphones()
