"""Makes app/examples/sunrise.webm, the video of the captions example: sample recordings over a drawn sunrise.

    PYTHONPATH=py python -m tools.example_video

Needs the package av (`pip install '.[audio]'`) and numpy. The speech keeps the licences of the recordings
(static/samples/LICENSES.md), the picture is this file's.
"""

import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "static" / "samples"
TARGET = ROOT / "app" / "examples" / "sunrise.webm"
CLIPS = ("keywords_1", "digits_1", "keywords_3", "digits_3")
PAUSE_S = 0.8
SAMPLE_RATE = 16_000
OPUS_RATE = 48_000
WIDTH, HEIGHT, FRAMES_PER_S = 768, 432, 15
NIGHT_TOP, NIGHT_LOW = np.array([20, 18, 44]), np.array([92, 52, 84])
DAY_TOP, DAY_LOW = np.array([96, 158, 206]), np.array([255, 214, 158])
SUN = np.array([255, 236, 190])
HILLS = (
    (0.60, 0.050, 2.2, 0.4, (72, 66, 98)),
    (0.72, 0.060, 3.1, 2.1, (50, 54, 78)),
    (0.85, 0.045, 4.3, 4.0, (26, 32, 48)),
)


def speech() -> NDArray[np.int16]:
    """The clips with pauses around them, int16 [n_samples] at 16 kHz."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.int16)
    pieces = [pause]
    for name in CLIPS:
        with wave.open(str(SAMPLES / f"{name}.wav")) as clip:
            pieces += [np.frombuffer(clip.readframes(clip.getnframes()), np.int16), pause]
    return np.concatenate(pieces)


def picture(progress: float) -> NDArray[np.uint8]:
    """The sunrise at 0 … 1 of its time, uint8 [HEIGHT, WIDTH, 3]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = x / HEIGHT, y / HEIGHT  # the unit is the height
    top = NIGHT_TOP + (DAY_TOP - NIGHT_TOP) * progress
    low = NIGHT_LOW + (DAY_LOW - NIGHT_LOW) * min(1.0, 1.6 * progress)
    image = top + (low - top) * np.clip(y / 0.7, 0, 1)[..., None] ** 1.5
    from_sun = np.hypot(x - 1.2, y - (0.78 - 0.55 * progress))
    glow = 0.6 * np.exp(-from_sun * 4.5)[..., None] * (0.4 + 0.6 * progress)
    image += (SUN - image) * glow
    image += (SUN - image) * np.clip((0.085 - from_sun) * HEIGHT, 0, 1)[..., None]
    for depth, (level, swing, waves, phase, colour) in enumerate(HILLS, 1):
        ridge = (
            level + swing * np.sin(waves * x + phase + 0.12 * depth * progress) + 0.3 * swing * np.sin(2.7 * waves * x)
        )
        lit = np.array(colour) * (0.35 + 0.9 * progress)
        image += (lit - image) * np.clip((y - ridge) * HEIGHT, 0, 1)[..., None]
    pixels: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def frames(length_s: float) -> Iterator[av.VideoFrame]:
    """The whole film."""
    n_frames = round(length_s * FRAMES_PER_S)
    for i in range(n_frames):
        yield av.VideoFrame.from_ndarray(picture(i / n_frames), format="rgb24")


def main() -> None:
    """Write the film."""
    samples = speech()
    with av.open(str(TARGET), "w", format="webm") as film:
        video = film.add_stream("libvpx-vp9", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = 0
        video.options = {"crf": "38", "b": "0", "row-mt": "1"}
        sound = film.add_stream("libopus", rate=OPUS_RATE, layout="mono")
        sound.bit_rate = 48_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(format="s16", layout="mono", rate=OPUS_RATE)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            film.mux(sound.encode(piece))
        for image in [*frames(len(samples) / SAMPLE_RATE), None]:
            film.mux(video.encode(image))
    print(f"{TARGET}: {TARGET.stat().st_size / 1e3:.0f} kB, {len(samples) / SAMPLE_RATE:.1f} s")


if __name__ == "__main__":
    main()
