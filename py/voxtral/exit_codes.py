"""What the command's exit codes mean; scripts may rely on them."""

import argparse

from voxtral.errors import (
    AccuracyError,
    ConfigError,
    DeviceError,
    DocumentError,
    MicrophoneError,
    ModelFileError,
    VoxtralError,
)

DONE = 0
FAILED = 1  # also what Python itself ends with when a program breaks
WRONG_USE = 2  # as argparse has it
NO_ENGINE = 3
INTERRUPTED = 130
READER_GONE = 141

HELP = """exit codes:
  0    all done
  1    some file could not be used; the others are done
  2    options that are unknown or do not go together
  3    no model, GPU or microphone to work with, or it was lost on the way
  130  interrupted
  141  nobody reads the output any more"""


def code_of(error: VoxtralError, options: argparse.Namespace) -> int:
    """For an error that ended a command. needs_model, among the options: the model is no file it works on."""
    if isinstance(error, ConfigError | DocumentError | AccuracyError):
        return WRONG_USE
    if isinstance(error, ModelFileError):
        return NO_ENGINE if hasattr(options, "needs_model") else FAILED
    return NO_ENGINE if isinstance(error, DeviceError | MicrophoneError) else FAILED
