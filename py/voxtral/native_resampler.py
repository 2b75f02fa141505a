"""Any sample rate to the model's 16 kHz by soxr, as a stream; what resample.py is in the browser."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtral.config import SAMPLE_RATE
from voxtral.errors import AudioError
from voxtral.resample import require_rate


class NativeResampler:
    """feed(samples) → the outputs that are known by now, flush() → the rest. Mono float32.

    Raises AudioError, which calls the sound `name`, for rates outside 1000 … 768000 Hz, and where soxr does not load.
    """

    def __init__(self, rate_in: int, name: str = "the audio") -> None:
        require_rate(rate_in, name)
        self._stream: Any = None
        if rate_in == SAMPLE_RATE:
            return
        try:
            import soxr  # type: ignore[import-untyped]
        except (ImportError, OSError) as error:
            raise AudioError(
                f"{name}: a sample rate of {rate_in} Hz needs soxr, which does not load ({error}); run "
                "`pip install soxr`, or convert it to 16000 Hz"
            ) from error
        self._stream = soxr.ResampleStream(rate_in, SAMPLE_RATE, 1, dtype="float32")

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._stream is None or not len(samples):
            return samples
        return self._next(samples, is_last=False)

    def flush(self) -> NDArray[np.float32]:
        """What only lacked samples past the end; nothing may follow."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._next(nothing, is_last=True)

    def _next(self, samples: NDArray[np.float32], is_last: bool) -> NDArray[np.float32]:
        outputs: NDArray[np.float32] = self._stream.resample_chunk(samples, last=is_last)
        return outputs
