"""Audio files on CPython: WAV by our own reader, everything else through PyAV when it is installed."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import AudioError
from voxtral.resample import resample
from voxtral.sound import Sound, to_mono
from voxtral.wav import is_wav, read_wav

LENGTH_IS_DECLARED = ("flac", "mp4", "webm")  # of other formats FFmpeg only guesses how long they are
LENGTH_TOLERANCE_S = 0.5


def read_audio(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    """Mono float32 samples at 16 kHz, and sentences about what was odd. Raises AudioError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); check the name and the permissions") from error
    return samples_from_bytes(data, str(path))


def samples_from_bytes(data: bytes, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Like `read_audio`, for a file's content."""
    if is_wav(data) or name.lower().endswith((".wav", ".wave")) or not data:
        return samples_from_sound(read_wav(data, name), name)
    return samples_from_sound(_decode_with_av(data, name), name)


def samples_from_sound(sound: Sound, name: str) -> tuple[NDArray[np.float32], list[str]]:
    """Channels at any rate to mono at 16 kHz."""
    mono, notices = to_mono(sound, name)
    return resample(mono, sound.sample_rate, name), sound.notices + notices


def _decode_with_av(data: bytes, name: str) -> Sound:
    """Every packet that can be decoded; a notice says if some could not, or if the file claims to be longer."""
    try:
        import av
    except ImportError as error:
        raise AudioError(
            f"{name}: only WAV can be read without PyAV; run `pip install 'voxtral[audio]'` or convert it to WAV"
        ) from error
    blocks: list[NDArray[Any]] = []
    failure: Exception | None = None
    kind, claimed_s = None, 0.0  # kind: sample rate and number of channels, those of the first frame
    interleave = av.AudioResampler(format="flt")  # PyAV 18 crashes on eight and more planes
    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            stream = container.streams.audio[0]
            if any(format in container.format.name for format in LENGTH_IS_DECLARED):
                claimed_s = (container.duration or 0) / 1e6  # microseconds
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        kind = kind or (frame.sample_rate, frame.layout.nb_channels)
                        if (frame.sample_rate, frame.layout.nb_channels) != kind:
                            raise ValueError("a damaged frame claims another rate or other channels")
                        blocks += [part.to_ndarray().reshape(-1, kind[1]) for part in interleave.resample(frame)]
                except (av.FFmpegError, ValueError) as error:
                    failure = error
    except (av.FFmpegError, IndexError, ValueError) as error:
        failure = error
    if not blocks or kind is None:
        reason = getattr(failure, "strerror", None) or "no sound in it"
        raise AudioError(
            f"{name}: expected WAV, MP3, M4A, Ogg, Opus, FLAC or WebM, found nothing that can be decoded ({reason}); "
            "check that it is a sound file and complete"
        ) from failure
    channels = np.ascontiguousarray(np.concatenate(blocks).T, np.float32)
    rate = kind[0]
    present_s = channels.shape[1] / rate
    notices = []
    if present_s < claimed_s - LENGTH_TOLERANCE_S:
        notices.append(
            f"{name}: its header claims {claimed_s:.2f} s of sound; the {present_s:.2f} s that are there were read."
        )
    elif failure is not None:
        notices.append(f"{name}: parts of it are damaged and were left out; {present_s:.2f} s were read.")
    return Sound(channels, rate, notices)
