"""This machine's microphones, by PortAudio.

SoundInput         sound that comes as it is spoken; what `listen` needs, and tests imitate
list_microphones   what there is
find_microphone    one of them
open_microphone    the same, running
"""

import asyncio
import contextlib
from collections import deque
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from voxtral.errors import MicrophoneError
from voxtral.sound import without_bad

BLOCK_S = 0.08
MOST_WAITING_S = 600.0  # what comes beyond that is lost, or a machine too slow would run out of memory
SILENT_S = 3.0  # without a single block: it was unplugged, which PortAudio does not tell on every system


class SoundInput(Protocol):
    """Sound that comes as it is spoken. n_lost: blocks that came too fast to be taken; waiting_s: what was not read."""

    name: str
    sample_rate: int
    n_lost: int

    @property
    def waiting_s(self) -> float: ...

    async def read(self) -> NDArray[np.float32]:
        """What has come, mono, once there is any; nothing at the end. Raises MicrophoneError when it was unplugged."""

    def close(self) -> None: ...


class MicrophoneInfo(NamedTuple):
    """A device that hears. number: PortAudio's."""

    number: int
    name: str
    system: str  # ALSA, Core Audio, WASAPI, …
    n_channels: int
    sample_rate: int
    is_default: bool


def list_microphones() -> list[MicrophoneInfo]:
    """Raises MicrophoneError where PortAudio is missing."""
    sounddevice = _import_sounddevice()
    try:
        default = sounddevice.default.device[0]
        systems = sounddevice.query_hostapis()
        devices = enumerate(sounddevice.query_devices())
    except sounddevice.PortAudioError as error:
        raise MicrophoneError(
            f"the system does not tell its microphones ({_reason(error)}); see its sound settings"
        ) from error
    return [
        MicrophoneInfo(
            number,
            device["name"],
            systems[device["hostapi"]]["name"],
            device["max_input_channels"],
            round(device["default_samplerate"]),
            number == default,
        )
        for number, device in devices
        if device["max_input_channels"] > 0
    ]


def find_microphone(wanted: str | None) -> MicrophoneInfo:
    """The one with this number, or the first whose name contains it; None: the system's. Raises MicrophoneError."""
    microphones = list_microphones()
    if not microphones:
        raise MicrophoneError("no microphone found; plug one in, or see the system's sound settings")
    if wanted is None:
        return next((one for one in microphones if one.is_default), microphones[0])
    for one in microphones:
        if wanted == str(one.number):
            return one
    for one in microphones:
        if wanted.lower() in one.name.lower():
            return one
    found = ", ".join(f"{one.number} {one.name!r}" for one in microphones)
    raise MicrophoneError(f"no microphone is called {wanted!r}; found: {found}")


def open_microphone(info: MicrophoneInfo) -> SoundInput:
    """It hears from now on. Raises MicrophoneError."""
    sounddevice = _import_sounddevice()
    try:
        return Microphone(sounddevice, info)
    except sounddevice.PortAudioError as error:
        raise MicrophoneError(
            f"the microphone {info.name!r} cannot be opened ({_reason(error)}); see that no other program "
            "holds it, and that this one may use it"
        ) from error


class Microphone:
    """`SoundInput` on a PortAudio stream; its blocks come in a thread of PortAudio's. Raises PortAudioError."""

    def __init__(self, sounddevice: Any, info: MicrophoneInfo) -> None:
        self.name, self.sample_rate, self.n_lost = info.name, info.sample_rate, 0
        self._loop = asyncio.get_running_loop()
        self._blocks: deque[NDArray[np.float32]] = deque()  # filled by PortAudio's thread
        self._stirred = asyncio.Event()  # a block came, or none will
        self._is_over = False
        options = {
            "device": info.number,
            "samplerate": info.sample_rate,
            "blocksize": round(BLOCK_S * info.sample_rate),
            "dtype": "float32",
            "callback": self._on_block,
            "finished_callback": self._on_finished,
        }
        try:
            self._stream = sounddevice.InputStream(channels=1, **options)
        except sounddevice.PortAudioError:  # some drivers give all channels or none
            self._stream = sounddevice.InputStream(channels=info.n_channels, **options)
        self._stream.start()

    @property
    def waiting_s(self) -> float:
        return len(self._blocks) * BLOCK_S

    async def read(self) -> NDArray[np.float32]:
        if not self._blocks and not self._is_over:
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), SILENT_S)
        if not self._blocks:
            raise MicrophoneError(f"the microphone {self.name!r} gives no more sound; see that it is still plugged in")
        return np.concatenate([self._blocks.popleft() for _ in range(len(self._blocks))])

    def close(self) -> None:
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)

    def _on_block(self, data: NDArray[np.float32], _n: int, _time: Any, status: Any) -> None:
        is_full = self.waiting_s >= MOST_WAITING_S
        self.n_lost += bool(status.input_overflow) or is_full
        if not is_full:  # else not even the loop is told: it may be what is behind
            self._blocks.append(without_bad(data).mean(axis=1, dtype=np.float32))  # PortAudio fills the array again
            self._stir()

    def _on_finished(self) -> None:
        self._is_over = True
        self._stir()

    def _stir(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stirred.set)


def _import_sounddevice() -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped]
    except ImportError as error:
        raise MicrophoneError(
            f"microphones need sounddevice, which does not load ({error}); `pip install sounddevice`"
        ) from error
    except Exception as error:  # its library is not there, or finds no sound system: an error of its own
        raise MicrophoneError(
            f"microphones need PortAudio, which does not load ({error}); on Debian and Ubuntu: "
            "`sudo apt install libportaudio2`"
        ) from error
    return sounddevice


def _reason(error: Exception) -> str:
    """What PortAudio said, without its numbers."""
    return str(error).split(" [")[0]
