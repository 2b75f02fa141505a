"""WAV files, also those whose headers lie.

Reads PCM of 8, 16, 24 and 32 bits and float of 32 and 64 bits, plain or WAVE_FORMAT_EXTENSIBLE, in RIFF,
RF64 and BW64. A recorder that crashed or streamed leaves wrong sizes behind; the samples that are
there are read, and a notice says what was claimed. Other formats are for the browser to decode.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import AudioError
from voxtral.sound import Sound

__all__ = ["Sound", "is_wav", "read_wav"]

CONTAINERS = (b"RIFF", b"RF64", b"BW64")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
CODECS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC"}
SIZE_UNKNOWN = 0xFFFFFFFF  # what streaming writers leave, and RF64 whose size is in its ds64 chunk
KNOWN_CHUNKS = (b"fmt ", b"data", b"LIST", b"fact", b"ds64", b"bext", b"JUNK", b"id3 ", b"cue ", b"smpl")
HEADER = 12  # container, size, WAVE
CHUNK_HEADER = 8  # id, size


@dataclass(frozen=True)
class Format:
    codec: int
    n_channels: int
    sample_rate: int
    sample_bytes: int  # of one channel

    @property
    def frame_bytes(self) -> int:
        return self.n_channels * self.sample_bytes

    def seconds(self, n_bytes: int) -> str:
        return f"{n_bytes / (self.frame_bytes * self.sample_rate):.2f} s"


@dataclass(frozen=True)
class Chunks:
    """What was found in the file; data_start is -1 without a data chunk."""

    fmt: bytes | None
    data_start: int
    n_claimed: int  # bytes of samples; SIZE_UNKNOWN if the file does not say


def is_wav(data: bytes) -> bool:
    """Whether this begins as a WAV file does."""
    return data[:4] in CONTAINERS and data[8:12] == b"WAVE"


def read_wav(data: bytes, name: str) -> Sound:
    """The samples of a WAV file. Raises AudioError if there are none, or in no format we read."""
    chunks, form = read_header(data, name)
    n_bytes, notices = _n_sample_bytes(data, chunks, form, name)
    n_frames = n_bytes // form.frame_bytes
    if n_frames == 0:
        raise no_samples(name)
    raw = memoryview(data)[chunks.data_start : chunks.data_start + n_frames * form.frame_bytes]
    samples = decode(raw, form).reshape(n_frames, form.n_channels)
    return Sound(np.ascontiguousarray(samples.T), form.sample_rate, notices)


def read_header(data: bytes, name: str) -> tuple[Chunks, Format]:
    """Where the samples are, and in which format. Raises AudioError."""
    if not data:
        raise AudioError(f"{name}: expected sound, found an empty file; record or export it again")
    if not is_wav(data):
        raise AudioError(
            f"{name}: expected a WAV file, found one that begins with {_shown(data[:12])}; "
            "if it is sound in another format, give it that format's file extension"
        )
    chunks = find_chunks(data)
    if chunks.fmt is None:
        raise AudioError(f"{name}: expected a 'fmt ' chunk that describes the samples, found none; export it again")
    form = _read_format(chunks.fmt, name)
    if chunks.data_start < 0:
        raise AudioError(f"{name}: expected sound, found only a header of {len(data)} bytes; record or export it again")
    return chunks, form


def no_samples(name: str) -> AudioError:
    """The error for a header and nothing behind it."""
    return AudioError(f"{name}: expected sound, found a header without samples; record or export it again")


def _shown(start: bytes) -> str:
    """The first bytes of a file, as text if they are text."""
    text = " ".join(start.decode("ascii", "replace").split())
    return f"the text “{text}”" if start.isascii() and text.isprintable() and text else f"the bytes {start.hex(' ')}"


def find_chunks(data: bytes) -> Chunks:
    """Walk the chunks until both format and samples are known, or the file ends."""
    fmt: bytes | None = None
    data_start, n_claimed, n_in_ds64 = -1, 0, SIZE_UNKNOWN
    position = HEADER
    while position + CHUNK_HEADER <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        start = position + CHUNK_HEADER
        end = start + size
        if kind == b"ds64" and start + 16 <= len(data):
            (n_in_ds64,) = struct.unpack_from("<Q", data, start + 8)
        elif kind == b"fmt " and fmt is None:
            fmt = data[start:end]
        elif kind == b"data" and data_start < 0:
            data_start, n_claimed = start, n_in_ds64 if size == SIZE_UNKNOWN else size
            if size == 0 and not is_chunk(data, start):
                end = len(data)  # the samples follow all the same
        if fmt is not None and data_start >= 0:
            break
        if end % 2 and not _is_known_chunk(data, end):
            end += 1  # chunks begin at even bytes, but some writers forget
        position = end
    return Chunks(fmt, data_start, n_claimed)


def _is_known_chunk(data: bytes, position: int) -> bool:
    return data[position : position + 4] in KNOWN_CHUNKS


def is_chunk(data: bytes, position: int) -> bool:
    """Whether a chunk that fits into the file begins here."""
    if not _is_known_chunk(data, position) or position + CHUNK_HEADER > len(data):
        return False
    (size,) = struct.unpack_from("<I", data, position + 4)
    return position + CHUNK_HEADER + int(size) <= len(data) + 1


def _read_format(fmt: bytes, name: str) -> Format:
    if len(fmt) < 16:
        raise AudioError(f"{name}: expected a 'fmt ' chunk of at least 16 bytes, found {len(fmt)}; export it again")
    codec, n_channels, sample_rate, _, frame_bytes, n_bits = struct.unpack_from("<HHIIHH", fmt)
    if codec == EXTENSIBLE and len(fmt) >= 26:
        (codec,) = struct.unpack_from("<H", fmt, 24)
    if n_channels == 0:
        raise AudioError(f"{name}: expected at least 1 channel, found 0 in its header; export it again")
    if sample_rate == 0:
        raise AudioError(f"{name}: expected a sample rate such as 16000 Hz, found 0 in its header; export it again")
    sample_bytes = -(-n_bits // 8)
    if frame_bytes % n_channels == 0 and sample_bytes < frame_bytes // n_channels <= 4:
        sample_bytes = frame_bytes // n_channels  # 20 bits in 24, 24 in 32: the value fills the high bits
    if (codec, sample_bytes) not in {(PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8)}:
        found = {PCM: "PCM", FLOAT: "float"}.get(codec) or CODECS.get(codec, f"codec number {codec}")
        raise AudioError(
            f"{name}: expected PCM of 8 to 32 bits or float of 32 or 64, found {found} of {n_bits} bits; "
            "convert it to 16-bit PCM"
        )
    return Format(codec, n_channels, sample_rate, sample_bytes)


def _n_sample_bytes(data: bytes, chunks: Chunks, form: Format, name: str) -> tuple[int, list[str]]:
    """How many bytes of samples to read, and a notice if the header claims something else."""
    n_present = len(data) - chunks.data_start
    claims_nothing = chunks.n_claimed == 0 and not is_chunk(data, chunks.data_start)
    n_read = n_present if claims_nothing else min(chunks.n_claimed, n_present)
    return n_read, length_notices(chunks.n_claimed, n_read, claims_nothing, form, name)


def length_notices(n_claimed: int, n_read: int, claims_nothing: bool, form: Format, name: str) -> list[str]:
    """A notice if a header claims another number of bytes than could be read."""
    present = form.seconds(n_read)
    if n_read < form.frame_bytes:
        return []
    if claims_nothing:
        return [f"{name}: its header claims no samples; the {present} after it were read."]
    if n_claimed == SIZE_UNKNOWN:
        return [f"{name}: its header does not say how long it is; {present} were found."]
    if n_claimed > n_read:
        return [
            f"{name}: its header claims {form.seconds(n_claimed)} of sound; the {present} that are there were read."
        ]
    if n_read % form.frame_bytes:
        return [f"{name}: its last sample is cut off and was left out."]
    return []


def decode(raw: memoryview, form: Format) -> NDArray[np.float32]:
    """Samples as float32, full scale at 1; float samples stay as they are."""
    if form.codec == FLOAT:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and later silence
            return np.frombuffer(raw, f"<f{form.sample_bytes}").astype(np.float32)
    if form.sample_bytes == 1:  # the only unsigned one
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if form.sample_bytes == 3:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values: NDArray[np.int32] = padded.view("<i4")[:, 0]
        return values.astype(np.float32) / np.float32(2**31)
    samples: NDArray[np.float32] = np.frombuffer(raw, f"<i{form.sample_bytes}").astype(np.float32)
    return samples / np.float32(2 ** (8 * form.sample_bytes - 1))
