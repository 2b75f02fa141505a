"""Scenes become mel frames, on the GPU: clips put together, rooms, noise, levels, microphones.

Batch     the scenes of a step as tensors
collate   scenes -> Batch
Renderer  Batch -> mel frames, [batch, 8 n_tokens, 128]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tools.demo_model.configuration import Scenes
from tools.demo_model.scenes import N_PIECES, Library, Scene
from voxtral.config import N_FFT, N_MEL_BINS, SAMPLE_RATE, SAMPLES_PER_MEL_FRAME, SAMPLES_PER_TOKEN
from voxtral.mel import HALF_WINDOW, LOG_FLOOR, N_FREQUENCIES, mel_filters

FADE = 80  # samples, 5 ms: no clicks where clips are cut
N_WARPS = 29  # filter banks, from narrow to wide voices
SPEECH_LEVEL_DB = -20.0  # of speech before everything else
LONGEST_ECHO = SAMPLE_RATE // 2
N_BABBLE = 4  # voices
SILENCE = (LOG_FLOOR + 4) / 4  # in every mel bin


@dataclass(frozen=True)
class Batch:
    """A step's scenes. pieces float64 [batch, N_PIECES, 6]: source, n_samples, destination, speed, gain_db, reverse."""

    pieces: Any
    left_pads: Any  # int64 [batch]
    delays: Any  # int64 [batch]
    audio_ends: Any  # int64 [batch]
    inputs: Any  # int64 [batch, n_tokens]
    targets: Any  # int64 [batch, n_tokens]
    endings: Any  # int64 [batch, n_tokens]

    def to(self, device: Any) -> "Batch":
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


def collate(scenes: Sequence[Scene]) -> Batch:
    pieces = np.zeros((len(scenes), N_PIECES, 6))
    pieces[:, :, 2] = 2**30  # never reached
    pieces[:, :, 3] = 1
    for i, scene in enumerate(scenes):
        for j, piece in enumerate(scene.pieces[:N_PIECES]):
            at = piece.destination + scene.left_pad * SAMPLES_PER_TOKEN
            pieces[i, j] = (piece.source, piece.n_samples, at, piece.speed, piece.gain_db, piece.is_reversed)
    return Batch(
        torch.from_numpy(pieces),
        torch.tensor([scene.left_pad for scene in scenes]),
        torch.tensor([scene.delay for scene in scenes]),
        torch.tensor([scene.audio_end for scene in scenes]),
        torch.from_numpy(np.stack([scene.inputs for scene in scenes])),
        torch.from_numpy(np.stack([scene.targets for scene in scenes])),
        torch.from_numpy(np.stack([scene.endings for scene in scenes])),
    )


class Renderer:
    """Makes sound of scenes; random numbers come from its own generator."""

    def __init__(self, library: Library, scenes: Scenes, device: Any, seed: int) -> None:
        self._scenes, self._device = scenes, device
        self._stream = torch.from_numpy(library.stream).to(device)
        self._n = scenes.n_tokens * SAMPLES_PER_TOKEN
        self._generator = torch.Generator(device).manual_seed(seed)
        others = [sound.start for part in library.kinds["other_speech"] for sound in part]
        self._others = torch.tensor([s for s in others if s + self._n < len(library.stream)], device=device)
        self._filters = torch.stack(
            [_warped_filters(1 + scenes.warp * (2 * i / (N_WARPS - 1) - 1)) for i in range(N_WARPS)]
        ).to(device)
        self._window = torch.hann_window(N_FFT, device=device)
        self._assembled = torch.compile(assembled) if device.type == "cuda" else assembled

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, generator=self._generator, device=self._device) * (high - low) + low

    def _chance(self, n: int, share: float) -> Tensor:
        return self._uniform(n, 0, 1) < share

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._device)

    def mel(self, batch: Batch) -> Tensor:
        """Mel frames of a step: float32 [batch, 8 n_tokens, 128]."""
        sound, is_inside = self._assembled(self._stream, batch.pieces, self._n)
        sound = self._noisy(self._spoken(self._recorded(sound, is_inside)))
        sound = self._levelled(sound)
        places = torch.arange(self._n, device=self._device)
        begins = batch.left_pads[:, None] * SAMPLES_PER_TOKEN
        heard = (places >= begins) & (places < begins + batch.audio_ends[:, None])
        return self._frames(sound * heard)

    def _recorded(self, sound: Tensor, is_inside: Tensor) -> Tensor:
        """Some with noise that is there as long as a clip is, as where recordings were cut out of noise."""
        n, scenes = len(sound), self._scenes
        power = sound.square().sum(1) / is_inside.sum(1).clamp(min=1)
        power = power * 10 ** (-self._uniform(n, *scenes.recorded_snr_db) / 10)
        return sound + self._noise(n) * is_inside * (power.sqrt() * self._chance(n, scenes.recorded_noise))[:, None]

    def _spoken(self, sound: Tensor) -> Tensor:
        """Voices through what recorded them, some with the echo of a room: noise that dies away."""
        n, scenes = len(sound), self._scenes
        size = 1 << (self._n + LONGEST_ECHO - 1).bit_length()
        spectrum = torch.fft.rfft(sound, size)
        spectrum *= 10 ** (self._curve(n, size // 2 + 1, scenes.voice_db, scenes.voice_narrow) / 20)
        spectrum *= torch.fft.rfft(self._echo(n), size)
        return torch.fft.irfft(spectrum, size)[:, : self._n]

    def _echo(self, n: int) -> Tensor:
        """What a click becomes: [n, LONGEST_ECHO]."""
        seconds = torch.arange(LONGEST_ECHO, device=self._device) / SAMPLE_RATE
        decay = torch.exp(-6.9 * seconds / self._uniform(n, 0.1, 0.7)[:, None])
        echo = self._normal(n, LONGEST_ECHO) * decay
        echo[:, : SAMPLE_RATE // 500] = 0
        share = torch.where(self._chance(n, self._scenes.reverb), 10 ** (self._uniform(n, -18, 0) / 20), 0)
        echo *= (share / echo.square().sum(1).sqrt())[:, None]
        echo[:, 0] = 1
        return echo

    def _curve(self, n: int, n_bins: int, knots_db: float, narrow: float) -> Tensor:
        """Gains in dB [n, n_bins] of frequencies up to 8 kHz: smooth curves, and telephones."""
        knots = self._normal(n, 1, 9) * (knots_db * self._uniform(n, 0, 1.4))[:, None, None]
        curve = torch.nn.functional.interpolate(knots, n_bins, mode="linear", align_corners=True)[:, 0]
        hz = torch.arange(n_bins, device=self._device) * (SAMPLE_RATE / 2 / (n_bins - 1))
        usual = self._chance(n, 0.6)
        top = torch.where(usual, self._uniform(n, 3300, 4200), self._uniform(n, 2800, 7000))[:, None]
        bottom, width = self._uniform(n, 20, 350)[:, None], self._uniform(n, 100, 800)[:, None]
        telephone = -60 * ((hz - top) / width).clamp(0, 1) - 30 * ((bottom - hz) / 200).clamp(0, 1)
        return curve + torch.where(self._chance(n, narrow)[:, None], telephone, 0)

    def _noisy(self, sound: Tensor) -> Tensor:
        n, scenes = len(sound), self._scenes
        active = sound.abs() > 1e-4
        power = sound.square().sum(1) / active.sum(1).clamp(min=1)
        power = torch.where(active.any(1), power, 10 ** (SPEECH_LEVEL_DB / 10))
        snr = self._uniform(n, *scenes.snr_db)
        noise = self._noise(n)
        noise = torch.where(self._chance(n, scenes.babble)[:, None], self._babble(n), noise)
        scale = (power * 10 ** (-snr / 10) / noise.square().mean(1).clamp(min=1e-12)).sqrt()
        scale = torch.where(self._chance(n, scenes.clean), 0, scale)
        return sound + noise * scale[:, None]

    def _noise(self, n: int) -> Tensor:
        """Between white and brown, some with the mains' hum, some swelling."""
        size = 1 << (self._n - 1).bit_length()
        bins = torch.arange(size // 2 + 1, device=self._device).clamp(min=8) * (SAMPLE_RATE / size)
        tilt = self._uniform(n, 0, 1.0).square()[:, None] * 3
        spectrum = torch.complex(self._normal(n, size // 2 + 1), self._normal(n, size // 2 + 1))
        noise = torch.fft.irfft(spectrum * (bins / 1000) ** (-tilt / 2), size)[:, : self._n]
        noise = noise / noise.square().mean(1, keepdim=True).sqrt()
        seconds = torch.arange(self._n, device=self._device) / SAMPLE_RATE
        mains = torch.where(self._chance(n, 0.5), 50.0, 60.0)[:, None]
        hum = sum(torch.sin(2 * math.pi * mains * k * seconds) / k for k in (1, 2, 3, 5))
        noise = noise + hum * (self._chance(n, 0.12) * self._uniform(n, 0.5, 4))[:, None]
        swelling = 1 + 0.8 * torch.sin(2 * math.pi * self._uniform(n, 0.05, 1.5)[:, None] * seconds)
        return torch.where(self._chance(n, 0.3)[:, None], noise * swelling, noise)

    def _babble(self, n: int) -> Tensor:
        if not len(self._others):
            return self._noise(n)
        places = torch.arange(self._n, device=self._device)
        voices = torch.zeros(n, self._n, device=self._device)
        for _ in range(N_BABBLE):
            which = torch.randint(len(self._others), (n,), generator=self._generator, device=self._device)
            voices += self._stream[self._others[which][:, None] + places].float() / 32768
        return voices

    def _levelled(self, sound: Tensor) -> Tensor:
        """The loudest sample at a level of the whole range, mostly a usual one; some too loud, some in 16 bits."""
        n, scenes = len(sound), self._scenes
        usual = self._chance(n, scenes.usual_level)
        level = torch.where(usual, self._uniform(n, *scenes.usual_level_db), self._uniform(n, *scenes.level_db))
        level = torch.where(self._chance(n, 0.04), self._uniform(n, 3, 12), level)  # clipped
        peak = sound.abs().amax(1).clamp(min=1e-6)
        sound = (sound * (10 ** (level / 20) / peak)[:, None]).clamp(-1, 1)
        whole = torch.round(sound * 32768) / 32768
        return torch.where(self._chance(n, scenes.sixteen_bits)[:, None], whole, sound)

    def _frames(self, sound: Tensor) -> Tensor:
        n, scenes = len(sound), self._scenes
        curve = self._curve(n, N_FREQUENCIES, scenes.microphone_db, scenes.microphone_narrow)
        power = _power(sound, self._window) * 10 ** (curve / 10)[:, :, None]
        filters = self._filters[torch.randint(N_WARPS, (n,), generator=self._generator, device=self._device)]
        mel = _log_mel((filters @ power).transpose(1, 2))
        bands = self._stretch(n, N_MEL_BINS, scenes.mask_bins) | self._stretch(n, N_MEL_BINS, scenes.mask_bins)
        hidden = bands[:, None] | self._stretch(n, mel.shape[1], scenes.mask_frames)[:, :, None]
        return torch.where(hidden & self._chance(n, scenes.masked)[:, None, None], SILENCE, mel)

    def _stretch(self, n: int, size: int, longest: int) -> Tensor:
        """A stretch of up to `longest` places, anywhere: bool [n, size]."""
        begin, length = self._uniform(n, 0, size)[:, None], self._uniform(n, 0, longest)[:, None]
        places = torch.arange(size, device=self._device)
        return (places >= begin) & (places < begin + length)


def plain_mel(sound: Tensor) -> Tensor:
    """Mel frames of padded sound [batch, n_samples], nothing changed: [batch, n_samples / 160, 128]."""
    window = torch.hann_window(N_FFT, device=sound.device)
    filters = torch.from_numpy(mel_filters().copy()).to(sound.device)
    return _log_mel((filters @ _power(sound, window)).transpose(1, 2))


def _power(sound: Tensor, window: Tensor) -> Tensor:
    """Spectra [batch, N_FREQUENCIES, n_samples / 160], frame t centred on sample 160 t."""
    padded = torch.nn.functional.pad(sound, (HALF_WINDOW, HALF_WINDOW))
    spectrum = torch.stft(padded, N_FFT, SAMPLES_PER_MEL_FRAME, window=window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square())[:, :, :-1]


def _log_mel(power: Tensor) -> Tensor:
    return (power.clamp(min=1e-10).log10().clamp(min=LOG_FLOOR) + 4) / 4


def _warped_filters(factor: float) -> Tensor:
    """The filter bank of a voice whose frequencies are `factor` times as high: [128, N_FREQUENCIES]."""
    filters = mel_filters()
    places = np.arange(N_FREQUENCIES)
    sources = np.clip(places * factor, 0, N_FREQUENCIES - 1)
    warped = np.stack([np.interp(sources, places, row) for row in filters]) * factor
    return torch.from_numpy(warped.astype(np.float32).reshape(N_MEL_BINS, N_FREQUENCIES))


def assembled(stream: Tensor, pieces: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """The pieces in their places, float32 [batch, n_samples], and how much a place is inside one, 0 … 1; later pieces
    end earlier ones.
    """
    places = torch.arange(n_samples, device=stream.device)
    begins = pieces[:, :, 2].contiguous()
    which = torch.searchsorted(begins, places.double().expand(len(pieces), -1).contiguous(), right=True) - 1
    is_any, which = which >= 0, which.clamp(min=0)

    def of(column: int) -> Tensor:
        return pieces[:, :, column].float().gather(1, which)

    sources = pieces[:, :, 0].long().gather(1, which)
    offset, speed, length = places - of(2), of(3), of(1)
    position = offset * speed
    is_inside = is_any & (position < length - 1)
    fade = (offset / FADE).clamp(0, 1) * ((length - 1 - position) / speed / FADE).clamp(0, 1)
    position = torch.where(of(5) > 0, length - 1 - position, position)
    whole = position.floor()
    f = position - whole
    at = sources + whole.long()
    last = len(stream) - 1
    a, b, c, d = (stream[(at + k).clamp(0, last)].float() for k in (-1, 0, 1, 2))
    # a cubic through the two samples, with the slopes of their neighbours
    value = b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))
    gain = 10 ** ((of(4) + SPEECH_LEVEL_DB) / 20) / 32768
    inside = fade * is_inside
    return value * gain * inside, inside
