"""Audio on CPython as the model hears it: mono float32 at 16 kHz, in pieces, from files and pipes.

open_file    a file: WAV by our own reader, everything else through PyAV
open_pipe    a stream that may never end: WAV, raw PCM, or what PyAV decodes
read_audio   all of a file at once
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import AudioError
from voxtral.native_resampler import NativeResampler
from voxtral.sound import STRETCH_S, Levels, Mixer
from voxtral.sound_blocks import AvBlocks, Blocks, Pipe, RawBlocks, RawFormat, WavBlocks
from voxtral.wav import is_wav

PIPE_STRETCH_S = 0.5  # sound that may be live is not held back for long
MAGIC_BYTES = 12
# How formats begin that PyAV decodes out of a pipe, too. PCM begins so once in some thousand million times.
MAGICS = (b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3", b"FORM", b"caff")

Notice = Callable[[str], None]


class AudioInput:
    """Iterate it once for its sound; a context. notice is called with sentences about what is odd.

    duration_s: as far as the file says, None where it does not; is_live: it may come no faster than it is spoken. What
    is live keeps its level, and what is to keep it; other recordings are as loud as `sound.Levels` makes them. Raises
    AudioError.
    """

    def __init__(
        self,
        blocks: Blocks,
        name: str,
        notice: Notice,
        is_live: bool,
        stream: BinaryIO | None,
        keeps_level: bool = False,
    ) -> None:
        self.name, self.duration_s, self.is_live = name, blocks.duration_s, is_live
        self._blocks, self._notice, self._stream = blocks, notice, stream
        self._keeps_level = is_live or keeps_level
        self._resampler = NativeResampler(blocks.sample_rate, name)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        stretch_s = PIPE_STRETCH_S if self.is_live else STRETCH_S
        mixer = Mixer(self.name, self._blocks.sample_rate, self._notice, stretch_s)
        levels = None if self._keeps_level else Levels(self.name, self._notice)
        for mono in self._mono(mixer):
            piece = levels.feed(mono) if levels else mono
            if len(piece):
                yield piece
        if levels and len(piece := levels.flush()):
            yield piece

    def _mono(self, mixer: Mixer) -> Iterator[NDArray[np.float32]]:
        for block in self._blocks:
            yield self._resampler.feed(mixer.feed(block))
        for sentence in self._blocks.notices:
            self._notice(sentence)
        yield self._resampler.feed(mixer.flush())
        yield self._resampler.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()


def open_file(path: Path, notice: Notice, keeps_level: bool = False) -> AudioInput:
    """Raises AudioError."""
    if path.is_dir():
        raise AudioError(
            f"{path}: expected a sound file, found a folder; name the files in it, as in '{path / '*.wav'}'"
        )
    try:
        stream = path.open("rb")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); check the name and the permissions") from error
    try:
        return open_stream(stream, str(path), notice, keeps_level)
    except BaseException:
        stream.close()
        raise


def open_stream(stream: BinaryIO, name: str, notice: Notice, keeps_level: bool = False) -> AudioInput:
    """A file that is open, and is closed with what this returns; `name` may tell its format. Raises AudioError."""
    source = stream if stream.seekable() else Pipe(stream)
    try:
        head = source.peek(MAGIC_BYTES) if isinstance(source, Pipe) else stream.read(MAGIC_BYTES)
        if not isinstance(source, Pipe):
            stream.seek(0)
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror}); check the disk or the connection") from error
    is_ours = is_wav(head) or name.lower().endswith((".wav", ".wave")) or not head
    blocks = WavBlocks(source, name) if is_ours else AvBlocks(source, name)
    return AudioInput(blocks, name, notice, False, stream, keeps_level)


def open_pipe(stream: BinaryIO, name: str, notice: Notice, raw: RawFormat | None = None) -> AudioInput:
    """What comes out of a pipe, which stays open. Raises AudioError.

    It is WAV or another format if it begins so, else PCM of 16 bits, little-endian, 16 kHz, mono. raw: it is PCM of
    this kind, however it begins.
    """
    pipe = Pipe(stream)
    head = b"" if raw else pipe.peek(MAGIC_BYTES)
    blocks: Blocks
    if is_wav(head):
        blocks = WavBlocks(pipe, name, is_endless=True)
    elif head.startswith(MAGICS) or head[4:8] == b"ftyp":
        blocks = AvBlocks(pipe, name)
    else:
        blocks = RawBlocks(pipe, raw or RawFormat(), name)
    return AudioInput(blocks, name, notice, True, None)


def read_audio(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    """All of a file, and sentences about what was odd. Raises AudioError."""
    notices: list[str] = []
    with open_file(path, notices.append) as audio:
        return np.concatenate([np.zeros(0, np.float32), *audio]), notices
