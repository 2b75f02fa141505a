"""Every error this package raises on purpose.

    VoxtralError            one sentence for a person: what, where, expected, found, what to do
    ├── AudioError          audio that cannot be read as sound
    ├── ModelFileError      a weights file, shard or tokenizer that is not what it should be
    ├── ConfigError         an option outside what the model allows
    ├── MicrophoneError     none there, or unplugged
    ├── DocumentError       a transcript that is not one, or cannot be written as asked
    ├── AccuracyError       a set of recordings with transcripts, or a report about one, that is not one
    └── DeviceError         the GPU: no adapter, a lost device
        ├── MemoryRefusedError  a buffer it has no room for
        ├── TooSlowError    a model this machine would need far too long for
        └── ShaderError     a kernel that does not compile

`str(error)` is that sentence and is shown to users as it is; nothing else of the error is.
"""


class VoxtralError(Exception):
    """Base of every deliberate error; `str()` is one sentence a user can act on."""


class AudioError(VoxtralError):
    """Audio input that holds no sound we can read."""


class MicrophoneError(VoxtralError):
    """No microphone that can be heard, or one that went away."""


class ModelFileError(VoxtralError):
    """A GGUF file, shard or tokenizer file that is damaged or of another kind."""


class ConfigError(VoxtralError):
    """An option the model cannot run with."""


class DocumentError(VoxtralError):
    """A transcript that is not one, limits of subtitles that make no sense, a format that nobody knows."""


class AccuracyError(VoxtralError):
    """A set of recordings with transcripts that is none, a report that is damaged, a normaliser nobody knows."""


class DeviceError(VoxtralError):
    """The GPU refused something, or went away."""


class MemoryRefusedError(DeviceError):
    """The GPU has no room for a buffer."""


class TooSlowError(DeviceError):
    """It would work, but nobody wants to wait for it; who does may insist."""


class ShaderError(DeviceError):
    """A WGSL kernel was rejected by the device's compiler."""


def in_words(n_bytes: int) -> str:
    """A size for a sentence: '2.5 GB', '57 MB', '512 bytes'."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.{1 if n_bytes < 10 * unit else 0}f} {name}"
    return f"{n_bytes} bytes"
