"""`voxtral transcribe`: files, patterns of files, or what comes out of a pipe, to transcripts.

A file that fails is one sentence, and the others are still transcribed. Nothing is held of a recording but its words.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voxtral import exit_codes
from voxtral.audio_file import AudioInput, open_file, open_pipe
from voxtral.config import SAMPLE_RATE, SAMPLES_PER_TOKEN, StreamingConfig
from voxtral.decoding import Addition
from voxtral.errors import AudioError, ConfigError, DeviceError, VoxtralError
from voxtral.interruption import Interruption
from voxtral.loading import Loaded
from voxtral.native_loading import EngineOptions, add_streaming_options, load_native
from voxtral.resample import MAX_RATE, MIN_RATE
from voxtral.running_text import Lines, RunningText, lines_for
from voxtral.sound_blocks import RawFormat
from voxtral.terminal import Progress, SoundProgress, say
from voxtral.transcript_output import Output, add_output_options
from voxtral.transcription import Result, Transcription, clock
from voxtral.typed_files import STDIN, expanded

MAX_CHANNELS = 64  # of PCM without a header

DESCRIPTION = """Audio and video files to text. A FILE may be a pattern such as 'talks/*.mp3', quoted or not, or - for
standard input: WAV or another format if it begins so, else PCM of 16 bits, little-endian, 16 kHz, mono. Transcripts
that are in --output-dir already are left as they are, so that a command that was interrupted goes on where it was."""


def add_transcribe_command(commands: Any) -> None:
    transcribe = commands.add_parser(
        "transcribe",
        help="audio files to text",
        description=DESCRIPTION,
        epilog=exit_codes.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    transcribe.add_argument("files", nargs="+", metavar="FILE")
    add_output_options(transcribe)
    EngineOptions.add_to(transcribe)
    add_streaming_options(transcribe)
    raw = transcribe.add_argument_group("PCM without a header, from standard input")
    raw.add_argument("--rate", type=int, metavar="HZ", help="its sample rate; default: 16000")
    raw.add_argument("--channels", type=int, metavar="N", help="default: 1")
    transcribe.set_defaults(command=_transcribe)


async def _transcribe(options: argparse.Namespace) -> int:
    streaming = StreamingConfig(options.delay_ms, options.left_pad)
    files = expanded(options.files)
    raw = _raw_format(options, files)
    output = Output(options, files)
    wanted = [file for file in files if not output.is_there(file)]
    for file in files:
        if file not in wanted:
            say(f"{file}: its transcript is there already and was left as it is; --overwrite writes it anew")
    if not wanted:
        return exit_codes.DONE
    with Progress(is_passing=True) as progress:
        loaded = await load_native(EngineOptions.of(options), streaming, say, progress.awaitable("loading"))
    return await _Work(loaded, streaming, output, raw, wanted).run()


def _raw_format(options: argparse.Namespace, files: Sequence[Path]) -> RawFormat | None:
    if options.rate is None and options.channels is None:
        return None
    if STDIN not in files:
        raise ConfigError("--rate and --channels tell what PCM on standard input is; name - as a file, or leave them")
    raw = RawFormat()
    raw = RawFormat(
        raw.sample_rate if options.rate is None else options.rate,
        raw.n_channels if options.channels is None else options.channels,
    )
    if not MIN_RATE <= raw.sample_rate <= MAX_RATE:
        raise ConfigError(f"--rate must be from {MIN_RATE} to {MAX_RATE}, got {raw.sample_rate}")
    if not 1 <= raw.n_channels <= MAX_CHANNELS:
        raise ConfigError(f"--channels must be from 1 to {MAX_CHANNELS}, got {raw.n_channels}")
    return raw


@dataclass
class _Work:
    """All files of one command, one after the other."""

    loaded: Loaded
    streaming: StreamingConfig
    output: Output
    raw: RawFormat | None
    files: list[Path]
    audio_s: float = 0.0

    async def run(self) -> int:
        """The exit code. Raises DeviceError, ConfigError: no other file would fare better."""
        n_failed, started = 0, time.perf_counter()
        for i, file in enumerate(self.files):
            try:
                if await self._transcribe_file(file, i):
                    return exit_codes.INTERRUPTED
            except (DeviceError, ConfigError):
                raise
            except VoxtralError as error:
                say(str(error))
                n_failed += 1
            except KeyboardInterrupt:
                say(f"interrupted; {i - n_failed} of {len(self.files)} files are done")
                raise
        if len(self.files) > 1 and sys.stderr.isatty():
            self._summarise(n_failed, time.perf_counter() - started)
        return exit_codes.FAILED if n_failed else exit_codes.DONE

    def _summarise(self, n_failed: int, wall_s: float) -> None:
        failed = f"; {n_failed} could not be transcribed" if n_failed else ""
        pace = f"{self.audio_s / max(wall_s, 1e-3):.1f} x real time"
        n_done = len(self.files) - n_failed
        say(f"{n_done} of {len(self.files)} files, {clock(self.audio_s)} of sound in {clock(wall_s)}, {pace}{failed}")

    async def _transcribe_file(self, file: Path, i: int) -> bool:
        """Whether Ctrl-C ended it; what came out of a pipe until then is transcribed nevertheless."""
        is_pipe = file == STDIN
        name = "standard input" if is_pipe else str(file)
        with open_pipe(sys.stdin.buffer, name, say, self.raw) if is_pipe else open_file(file, say) as audio:
            lines = self._lines(audio)
            label = f"{i + 1} of {len(self.files)}, {file.name}" if len(self.files) > 1 else file.name
            with Interruption() as interruption, _Following(lines, label, audio.duration_s) as following:
                result = await self._hear(audio, following.tell, interruption)
        if lines is None:
            self.output.put(self.loaded.document(result, self.streaming), file)
        return interruption.is_wished

    def _lines(self, audio: AudioInput) -> Lines | None:
        """Text is printed as it is heard where a person reads it, or somebody behind a pipe that may never end."""
        is_alone = len(self.files) == 1 and self.output.prints and self.output.format == "txt"
        return lines_for(sys.stdout) if is_alone and (audio.is_live or sys.stdout.isatty()) else None

    async def _hear(
        self, audio: AudioInput, tell: Callable[[Transcription, list[Addition]], None], interruption: Interruption
    ) -> Result:
        started = time.perf_counter()
        transcription = Transcription(
            self.loaded.model, self.loaded.tekken, self.streaming, keeps_tokens=not audio.is_live
        )
        chunk_s = 0.0 if audio.is_live else transcription.chunk_tokens * SAMPLES_PER_TOKEN / SAMPLE_RATE
        try:
            for piece in _pieces(audio, interruption):
                transcription.put(piece)
                while transcription.waiting_s > 0 and transcription.waiting_s >= chunk_s:
                    tell(transcription, await transcription.step(transcription.chunk_tokens))
                    await asyncio.sleep(0)
                    if interruption.is_wished and not audio.is_live:
                        raise KeyboardInterrupt
            if transcription.audio_s == 0:
                raise AudioError(f"{audio.name}: expected sound, found none; record or export it again")
            tell(transcription, await transcription.finish())
        except BaseException:
            transcription.cancel()
            raise
        for sentence in transcription.take_notices():
            say(sentence)
        self.audio_s += transcription.audio_s
        return transcription.result(audio.name, time.perf_counter() - started)


def _pieces(audio: AudioInput, interruption: Interruption) -> Iterator[NDArray[np.float32]]:
    """The sound, until it ends; where it may never end, until Ctrl-C."""
    pieces = iter(audio)
    while not (audio.is_live and interruption.is_wished):
        piece = None
        with interruption.waiting() if audio.is_live else contextlib.nullcontext():
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


class _Following:
    """What a person sees of a recording on its way: its text, or else how far it is; a context."""

    def __init__(self, lines: Lines | None, label: str, duration_s: float | None) -> None:
        self._lines, self._text = lines, RunningText()
        self._progress = None if lines else SoundProgress(label, duration_s)

    def __enter__(self) -> Self:
        return self

    def tell(self, transcription: Transcription, additions: list[Addition]) -> None:
        if self._progress:
            self._progress.tell(transcription.heard_s)
        if self._lines:
            self._text.take(additions)
            self._lines.show(self._text, transcription.heard_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.close()
        if self._lines:
            self._lines.end(self._text)
