"""`voxtral listen`: what is said into this machine's microphone, as text in the terminal while it is said."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral import exit_codes
from voxtral.commands.adapters import aligned
from voxtral.config import StreamingConfig
from voxtral.decoding import Addition
from voxtral.document import FORMATS, Document, render
from voxtral.errors import ConfigError, MicrophoneError
from voxtral.interruption import Interruption
from voxtral.loading import Loaded
from voxtral.microphone import SoundInput, find_microphone, list_microphones, open_microphone
from voxtral.native_loading import EngineOptions, add_streaming_options, load_native
from voxtral.native_resampler import NativeResampler
from voxtral.running_text import Lines, RunningText, lines_for
from voxtral.sound import NOISE_PEAK, without_bad
from voxtral.terminal import Progress, say
from voxtral.transcript_output import add_subtitle_options, limits_of, write_new
from voxtral.transcription import Transcription

CHUNK_TOKENS = 16  # 1.3 s at once when sound waits
BEHIND_S = 2.0  # from here on it is told
FAR_BEHIND_S = 10.0
SILENT_S = 5.0  # without anything above noise: told once on a screen, as long as it lasts

DESCRIPTION = """Live captions of this machine's microphone. Ctrl-C ends it: what is left is heard, then --output is
written. Words that are not complete are dimmed."""


def add_listen_command(commands: Any) -> None:
    listen = commands.add_parser(
        "listen",
        help="live captions of the microphone",
        description=DESCRIPTION,
        epilog=exit_codes.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listen.add_argument("--device", metavar="NAME", help="part of a microphone's name, or its number")
    listen.add_argument("--list-devices", action="store_true", help="the microphones that --device may name")
    listen.add_argument("--output", type=Path, metavar="FILE", help="also write it there: .txt, .srt, .vtt or .json")
    listen.add_argument("--overwrite", action="store_true", help="even if --output is there already")
    EngineOptions.add_to(listen)
    add_streaming_options(listen)
    add_subtitle_options(listen)
    listen.set_defaults(command=_listen)


async def _listen(options: argparse.Namespace) -> int:
    if options.list_devices:
        return _list_devices()
    streaming = StreamingConfig(options.delay_ms, options.left_pad)
    limits = limits_of(options)
    _check_output(options.output, options.overwrite)
    info = find_microphone(options.device)
    with Progress(is_passing=True) as progress:
        loaded = await load_native(EngineOptions.of(options), streaming, say, progress.awaitable("loading"))
    source = open_microphone(info)
    captions = Captions(loaded, streaming, source, lines_for(sys.stdout))
    if sys.stdout.isatty():
        say(f"listening to {source.name}; Ctrl-C ends it")
    try:
        await captions.run()
    finally:
        source.close()
        if options.output is not None:
            content = render(captions.document().as_dict(), _format_of(options.output), limits)
            write_new(options.output, content, options.overwrite)
    return exit_codes.DONE


def _list_devices() -> int:
    microphones = list_microphones()
    if not microphones:
        raise MicrophoneError("no microphone found; plug one in, or see the system's sound settings")
    rows = [
        (
            "*" if one.is_default else "",
            str(one.number),
            one.name,
            one.system,
            str(one.n_channels),
            str(one.sample_rate),
        )
        for one in microphones
    ]
    print("\n".join(aligned([("", "no.", "name", "by", "channels", "Hz"), *rows])))
    return exit_codes.DONE


def _check_output(output: Path | None, overwrites: bool) -> None:
    """Raise ConfigError now for what would fail when everything was said."""
    if output is None:
        if overwrites:
            raise ConfigError("--overwrite is for the file of --output; add that, or leave it out")
        return
    if _format_of(output) not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"--output {output}: expected a name that ends in one of {known}; choose one")
    if not output.resolve().parent.is_dir():
        raise ConfigError(f"--output {output}: its folder does not exist; make it, or name another")
    if output.exists() and not overwrites:
        raise ConfigError(f"--output {output}: it is there already; name another, or add --overwrite")


def _format_of(output: Path) -> str:
    return output.suffix.removeprefix(".").lower()


class Captions:
    """Hears a sound input to its end, or until Ctrl-C, and shows what it says."""

    def __init__(
        self,
        loaded: Loaded,
        streaming: StreamingConfig,
        source: SoundInput,
        lines: Lines,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loaded, self._streaming, self._source, self._lines = loaded, streaming, source, lines
        self._text = RunningText()
        self._transcription = Transcription(loaded.model, loaded.tekken, streaming, keeps_tokens=False)
        self._resampler = NativeResampler(source.sample_rate, source.name)
        self._now_s, self._started_s = now_s, now_s()
        self._loud_s = 0.0  # when there was last anything to hear, on the recording's clock
        self._is_told_late = self._is_told_lost = False

    async def run(self) -> None:
        """Raises MicrophoneError when the sound broke off, DeviceError; what was heard until then is in `document`."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        with Interruption(lambda: loop.call_soon_threadsafe(over.set)):
            broken: MicrophoneError | None = None
            try:
                while not over.is_set():
                    try:
                        is_there = self._transcription.waiting_s > 0 or await self._take(over)
                    except MicrophoneError as error:
                        broken, is_there = error, False
                    if not is_there:
                        break
                    await self._step()
                await self._finish()
            except BaseException:
                self._transcription.cancel()
                raise
            finally:
                self._lines.end(self._text)
        if broken is not None:
            raise broken

    def document(self) -> Document:
        """The transcript so far."""
        result = self._transcription.result(self._source.name, self._now_s() - self._started_s)
        return replace(self._loaded.document(result, self._streaming), source="microphone")

    async def _take(self, over: asyncio.Event) -> bool:
        """Wait for sound; whether any came, and it is not over."""
        reading = asyncio.ensure_future(self._source.read())
        ending = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return False
            return self._put(reading.result())
        finally:
            for task in (reading, ending):
                task.cancel()

    def _put(self, samples: NDArray[np.float32]) -> bool:
        if len(samples) == 0:
            return False
        samples = without_bad(samples)
        if float(np.abs(samples).max()) >= NOISE_PEAK:
            self._loud_s = self._transcription.audio_s
        self._transcription.put(self._resampler.feed(samples))
        return True

    async def _step(self) -> None:
        self._show(await self._transcription.step(min(CHUNK_TOKENS, self._transcription.chunk_tokens)))
        await asyncio.sleep(0)  # let sound and Ctrl-C in

    async def _finish(self) -> None:
        self._transcription.put(self._resampler.flush())
        if self._transcription.waiting_s >= BEHIND_S:
            say(f"hearing the last {self._transcription.waiting_s:.0f} s; Ctrl-C again leaves them out")
        while self._transcription.waiting_s:
            await self._step()
        if self._transcription.audio_s:
            self._show(await self._transcription.finish())

    # -- what is told -----------------------------------------------------------------------------
    def _show(self, additions: list[Addition]) -> None:
        self._text.take(additions)
        for sentence in self._transcription.take_notices():
            say(sentence)
        behind_s = self._transcription.waiting_s + self._source.waiting_s
        if behind_s >= FAR_BEHIND_S and not self._is_told_late:
            self._is_told_late = True
            say("this machine hears more slowly than you speak; what waits is kept and heard later")
        if self._source.n_lost and not self._is_told_lost:
            self._is_told_lost = True
            say(f"sound of {self._source.name} was lost, because this machine is too busy")
        self._lines.show(self._text, self._transcription.heard_s, self._status(behind_s))

    def _status(self, behind_s: float) -> str:
        if behind_s >= BEHIND_S:
            return f"{behind_s:.0f} s behind"
        if self._transcription.audio_s - self._loud_s >= SILENT_S:
            return "no sound; is the microphone muted?"
        return ""
