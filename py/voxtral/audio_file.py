"""Audio files on CPython: WAV by our own reader, everything else through PyAV when it is installed."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import AudioError
from voxtral.resample import resample
from voxtral.sound import Sound, to_mono
from voxtral.wav import is_wav, read_wav


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
    import io

    try:
        import av
    except ImportError as error:
        raise AudioError(
            f"{name}: only WAV can be read without PyAV; run `pip install 'voxtral[audio]'` or convert it to WAV"
        ) from error
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            blocks: list[NDArray[Any]] = []
            for frame in container.decode(stream):
                blocks += [part.to_ndarray() for part in resampler.resample(frame)]
            rate = stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise AudioError(f"{name}: no audio could be decoded ({error}); expected WAV, MP3, M4A, Ogg, FLAC or WebM") from error
    if not blocks:
        raise AudioError(f"{name}: holds no audio samples; check that the file is complete")
    return Sound(np.concatenate(blocks, axis=1).astype(np.float32), int(rate), [])
