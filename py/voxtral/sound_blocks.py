"""Samples in blocks out of a file or a pipe, however long: nothing holds all of it.

    WavBlocks    a WAV file, also one whose header lies (wav.py)
    RawBlocks    16-bit PCM, little-endian, without a header
    AvBlocks     whatever PyAV decodes
    Pipe         bytes that come once, of which the first can be looked at

Each has sample_rate, n_channels and duration_s (None: not known), gives float32 [n_channels, n] in [-1, 1] when
iterated, and has `notices` then: sentences about what was odd. All raise AudioError for what holds no sound.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.errors import AudioError
from voxtral.wav import (
    PCM,
    SIZE_UNKNOWN,
    Format,
    decode,
    find_chunks,
    is_chunk,
    length_notices,
    no_samples,
    read_header,
)

HEAD_BYTES = 1 << 16  # of a WAV file, in which its samples usually begin
MOST_HEAD_BYTES = 1 << 26
BLOCK_BYTES = 1 << 18

LENGTH_IS_DECLARED = ("flac", "mp4", "webm")  # of other formats FFmpeg only guesses how long they are
LENGTH_TOLERANCE_S = 0.5


class Blocks(Protocol):
    """Sound on its way out of a file."""

    sample_rate: int
    n_channels: int
    duration_s: float | None
    notices: list[str]

    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...


class Readable(Protocol):
    """Where bytes come from; may give fewer than asked for, and none at the end only."""

    def read(self, n_bytes: int, /) -> bytes: ...


class Pipe:
    """A stream that cannot go back; `peek` looks ahead."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", stream.read)  # what is there already, without waiting for more
        self._head = b""

    def peek(self, n_bytes: int) -> bytes:
        """The next n_bytes, or all there are, which stay to be read."""
        while len(self._head) < n_bytes and (more := self._read(n_bytes - len(self._head))):
            self._head += more
        return self._head[:n_bytes]

    def read(self, n_bytes: int, /) -> bytes:
        if not self._head:
            return bytes(self._read(n_bytes))
        head, self._head = self._head[:n_bytes], self._head[n_bytes:]
        return head


class RawFormat(NamedTuple):
    """Of PCM without a header."""

    sample_rate: int = SAMPLE_RATE
    n_channels: int = 1


class RawBlocks:
    """PCM of 16 bits that comes without a header."""

    def __init__(self, stream: Readable, raw: RawFormat, name: str) -> None:
        self.sample_rate, self.n_channels = raw
        self.duration_s: float | None = None
        self.notices: list[str] = []
        self._stream, self._name = stream, name

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        form = Format(PCM, self.n_channels, self.sample_rate, sample_bytes=2)
        n_read = 0
        for data in _whole_frames(self._stream, b"", form.frame_bytes, SIZE_UNKNOWN):
            n_read += len(data)
            if whole := len(data) // form.frame_bytes * form.frame_bytes:
                yield _samples(data[:whole], form)
        if n_read < form.frame_bytes:
            raise AudioError(
                f"{self._name}: expected sound, found {n_read} bytes; see that the command before it works"
            )


class WavBlocks:
    """A WAV file. is_endless: it comes out of a pipe, where no writer can know the length when it writes the header."""

    def __init__(self, stream: Readable, name: str, is_endless: bool = False) -> None:
        self._stream, self._name, self._is_endless = stream, name, is_endless
        head, n_wanted = b"", HEAD_BYTES
        while len(head) < n_wanted and (more := stream.read(n_wanted - len(head))):
            head += more
            if len(head) == n_wanted < MOST_HEAD_BYTES and find_chunks(head).data_start < 0:
                n_wanted *= 2
        chunks, self._format = read_header(head, name)
        self._n_claimed = chunks.n_claimed
        self._claims_nothing = chunks.n_claimed == 0 and not is_chunk(head, chunks.data_start)
        self._first = head[chunks.data_start :]
        self.sample_rate, self.n_channels = self._format.sample_rate, self._format.n_channels
        is_told = not is_endless and self._n_claimed not in (0, SIZE_UNKNOWN)
        self.duration_s = self._n_claimed / (self._format.frame_bytes * self.sample_rate) if is_told else None
        self.notices: list[str] = []

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        form, n_read = self._format, 0
        n_wanted = SIZE_UNKNOWN if self._claims_nothing else self._n_claimed
        for data in _whole_frames(self._stream, self._first, form.frame_bytes, n_wanted):
            n_read += len(data)
            if whole := len(data) // form.frame_bytes * form.frame_bytes:
                yield _samples(data[:whole], form)
        if n_read < form.frame_bytes:
            raise no_samples(self._name)
        if not self._is_endless:
            self.notices = length_notices(self._n_claimed, n_read, self._claims_nothing, form, self._name)


def _whole_frames(stream: Readable, first: bytes, frame_bytes: int, n_wanted: int) -> Iterator[bytes]:
    """Bytes up to n_wanted, SIZE_UNKNOWN: all, in blocks of whole frames but for what is left over in the end."""
    rest, n_left = b"", None if n_wanted == SIZE_UNKNOWN else n_wanted
    while data := first or stream.read(BLOCK_BYTES):
        first = b""
        data = rest + (data if n_left is None else data[:n_left])
        if n_left is not None:
            n_left -= len(data) - len(rest)
        n_whole = len(data) // frame_bytes * frame_bytes
        rest = data[n_whole:]
        if n_whole:
            yield data[:n_whole]
        if n_left == 0:
            break
    if rest:
        yield rest


def _samples(data: bytes, form: Format) -> NDArray[np.float32]:
    return decode(memoryview(data), form).reshape(-1, form.n_channels).T


class AvBlocks:
    """Every packet that can be decoded; a notice says if some could not, or if the file claims to be longer."""

    def __init__(self, stream: Any, name: str) -> None:
        self._av = _import_av(name)
        self._name = name
        self._failure: Exception | None = None
        self._claimed_s = 0.0
        self._kind: tuple[int, int] | None = None  # sample rate and number of channels, those of the first frame
        self.duration_s: float | None = None
        self.notices: list[str] = []
        self.sample_rate = self.n_channels = 0
        self._blocks = self._decode(stream)
        self._first = next(self._blocks, None)
        if self._kind is None or self._first is None:
            reason = getattr(self._failure, "strerror", None) or "no sound in it"
            raise AudioError(
                f"{name}: expected WAV, MP3, M4A, Ogg, Opus, FLAC or WebM, found nothing that can be decoded "
                f"({reason}); check that it is a sound file and complete"
            ) from self._failure
        self.sample_rate, self.n_channels = self._kind

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        assert self._first is not None
        n_samples = self._first.shape[1]
        yield self._first
        for block in self._blocks:
            n_samples += block.shape[1]
            yield block
        present_s = n_samples / self.sample_rate
        if present_s < self._claimed_s - LENGTH_TOLERANCE_S:
            self.notices.append(
                f"{self._name}: its header claims {self._claimed_s:.2f} s of sound; the {present_s:.2f} s that are "
                "there were read."
            )
        elif self._failure is not None:
            self.notices.append(
                f"{self._name}: parts of it are damaged and were left out; {present_s:.2f} s were read."
            )

    def _decode(self, stream: Any) -> Iterator[NDArray[np.float32]]:
        av = self._av
        interleave = av.AudioResampler(format="flt")  # PyAV 18 crashes on eight and more planes
        try:
            with av.open(stream, mode="r") as container:
                sound = container.streams.audio[0]
                self.duration_s = container.duration / 1e6 if container.duration else None  # microseconds
                if any(format in container.format.name for format in LENGTH_IS_DECLARED):
                    self._claimed_s = self.duration_s or 0.0
                for packet in container.demux(sound):
                    yield from self._frames(packet, interleave)
        except (av.FFmpegError, IndexError, ValueError) as error:
            self._failure = error

    def _frames(self, packet: Any, interleave: Any) -> Iterator[NDArray[np.float32]]:
        try:
            for frame in packet.decode():
                self._kind = self._kind or (frame.sample_rate, frame.layout.nb_channels)
                if (frame.sample_rate, frame.layout.nb_channels) != self._kind:
                    raise ValueError("a damaged frame claims another rate or other channels")
                for part in interleave.resample(frame):
                    yield np.ascontiguousarray(part.to_ndarray().reshape(-1, self._kind[1]).T, np.float32)
        except (self._av.FFmpegError, ValueError) as error:
            self._failure = error


def _import_av(name: str) -> Any:
    try:
        import av
    except (ImportError, OSError) as error:
        raise AudioError(
            f"{name}: formats other than WAV need PyAV, which does not load ({error}); run `pip install av`, or "
            "convert it to WAV"
        ) from error
    return av
