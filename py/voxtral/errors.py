"""Every error this package raises on purpose.

    VoxtralError            one sentence for a person: what, where, expected, found, what to do
    ├── AudioError          audio that cannot be read as sound
    ├── ModelFileError      a weights file, shard or tokenizer that is not what it should be
    ├── ConfigError         an option outside what the model allows
    └── DeviceError         the GPU: no adapter, a refused buffer, a lost device
        └── ShaderError     a kernel that does not compile

`str(error)` is that sentence and is shown to users as it is; nothing else of the error is.
"""


class VoxtralError(Exception):
    """Base of every deliberate error; `str()` is one sentence a user can act on."""


class AudioError(VoxtralError):
    """Audio input that holds no sound we can read."""


class ModelFileError(VoxtralError):
    """A GGUF file, shard or tokenizer file that is damaged or of another kind."""


class ConfigError(VoxtralError):
    """An option the model cannot run with."""


class DeviceError(VoxtralError):
    """The GPU refused something, or went away."""


class ShaderError(DeviceError):
    """A WGSL kernel was rejected by the device's compiler."""
