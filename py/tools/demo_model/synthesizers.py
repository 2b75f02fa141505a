"""Three speech synthesizers of Debian behind one face: what to say, in which voice -> sound and where words end.

    Voice      a synthesizer's voice and how it speaks
    Line       words with the punctuation behind each
    Speech     sound at 16 kHz and the seconds at which words end
    speak_all  the speech of many lines, in order

| package             | program               | licence of the program; of its sound                          |
|---------------------|-----------------------|---------------------------------------------------------------|
| libespeak-ng1       | rules, formants       | GPL-3.0-or-later; the sound is free of it                     |
| libflite1           | CMU Flite 2.2         | BSD-like; voices kal, awb, rms, slt (CMU Arctic): BSD-like    |
| festival            | Festival 2.5          | X11-like                                                      |
| festvox-kallpc16k   | voice kal (diphones)  | X11-like                                                      |
| festvox-kdlpc16k    | voice ked (diphones)  | X11-like                                                      |
| festvox-us-slt-hts  | voice slt (HMM)       | BSD-like, from CMU Arctic                                     |

Flite's and eSpeak's libraries are called through ctypes, since only they tell when words end; festival runs once for
each batch. eSpeak carries its phases from line to line, so samples are the same only for the same lines in a process.
"""

import ctypes
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tools.demo_model.accents import ACCENTS, WEAK, accented
from voxtral.config import SAMPLE_RATE
from voxtral.errors import ConfigError

ENGLISH = "gmw/en"  # eSpeak's British voice, whose phonemes accents start from
PACKAGES = ("libespeak-ng1", "libflite1", "festival", "festvox-kallpc16k", "festvox-kdlpc16k", "festvox-us-slt-hts")
FLITE_VOICES = ("kal", "kal16", "awb", "rms", "slt")
FESTIVAL_VOICES = {
    "kal": "voice_kal_diphone",
    "ked": "voice_ked_diphone",
    "slt": "voice_cmu_us_slt_arctic_hts",
}
FLITE_F0_HZ = {"kal": 95.0, "kal16": 95.0}  # the others carry their own melody, which is only shifted
FESTIVAL_F0_HZ = {"kal": 105.0, "ked": 105.0}
F0_SPREAD = 0.14  # of the mean, festival's own ratio
WORDS_PER_MINUTE = 165  # of eSpeak at speed 1

# Words that a lexicon has wrong, as they should have been spelled
SPELLINGS = {
    "flite": {"latte": "lahtay"},
    "festival": {"latte": "lahtay"},
}


@dataclass(frozen=True)
class Voice:
    """A voice and its manner.

    synthesizer: espeak-ng, flite or festival. name: as that one calls it. speed, pitch: factors. liveliness: how far
    the pitch moves, a factor. tract: above 1 the speaker is smaller, formants and pitch are higher.
    """

    synthesizer: str
    name: str
    speed: float = 1.0
    pitch: float = 1.0
    liveliness: float = 1.0
    tract: float = 1.0

    @property
    def speaker(self) -> str:
        """Whose voice it is: the same whatever the speed."""
        return f"{self.synthesizer}/{self.name}/{self.pitch:.2f}/{self.tract:.2f}"


@dataclass(frozen=True)
class Line:
    """Words in lower case, and what punctuation is behind each: '', ',', '.', '?' or '!'."""

    words: tuple[str, ...]
    marks: tuple[str, ...]

    def text(self, synthesizer: str) -> str:
        spellings = SPELLINGS.get(synthesizer, {})
        return " ".join(spellings.get(word, word) + mark for word, mark in zip(self.words, self.marks, strict=True))


class Speech(NamedTuple):
    """Samples: float32 at 16 kHz, in -1 … 1. word_ends_s: one for each word, None where the synthesizer cannot say."""

    samples: NDArray[np.float32]
    word_ends_s: tuple[float, ...] | None


class _Raw(NamedTuple):
    samples: NDArray[np.int16]
    rate: int
    word_ends_s: list[float] | None


def speak_all(requests: Sequence[tuple[Voice, Line]]) -> list[Speech]:
    """The speech of every line. Raises ConfigError if a synthesizer or a voice is not installed."""
    from_festival = [i for i, (voice, _) in enumerate(requests) if voice.synthesizer == "festival"]
    raws: dict[int, _Raw] = dict(
        zip(from_festival, _festival([requests[i] for i in from_festival]), strict=True) if from_festival else ()
    )
    for i, (voice, line) in enumerate(requests):
        if voice.synthesizer == "espeak-ng":
            raws[i] = _espeak(voice, line)
        elif voice.synthesizer == "flite":
            raws[i] = _flite(voice, line)
    return [_at_16_khz(raws[i], voice.tract) for i, (voice, _) in enumerate(requests)]


def _at_16_khz(raw: _Raw, tract: float) -> Speech:
    """Resampled through the spectrum, played `tract` times as fast."""
    n = max(2, round(len(raw.samples) * SAMPLE_RATE / (raw.rate * tract)))
    spectrum = np.fft.rfft(raw.samples / 32768.0)
    n_bins = n // 2 + 1
    kept = np.zeros(n_bins, complex)
    kept[: min(n_bins, len(spectrum))] = spectrum[:n_bins]
    samples = np.fft.irfft(kept, n) * (n / max(1, len(raw.samples)))
    ends = raw.word_ends_s
    return Speech(samples.astype(np.float32), None if ends is None else tuple(end / tract for end in ends))


def _library(name: str, **options: Any) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name, **options)
    except OSError as error:
        raise ConfigError(f"{name} cannot be loaded ({error}); install the packages {' '.join(PACKAGES)}") from None


# --- eSpeak NG ---------------------------------------------------------------------------------------------------


class _EspeakEvent(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_EspeakCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
)
_SYNCHRONOUS, _WORD_EVENT, _UTF_8, _WITH_PHONEMES = 2, 1, 1, 0x100
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_QUIET = 60  # of 100: loud variants clip at more


class _Espeak:
    """The library and what its callback has brought since the last line."""

    def __init__(self) -> None:
        self.library = _library("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        self.sound: list[NDArray[np.int16]] = []
        self.starts_ms: dict[int, int] = {}  # by text position, from 1
        self._callback = _EspeakCallback(self._hear)  # kept: C holds no reference
        self.library.espeak_SetSynthCallback(self._callback)
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _hear(self, samples: Any, n_samples: int, events: Any) -> int:
        if n_samples:
            self.sound.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _WORD_EVENT and events[i].length:
                self.starts_ms.setdefault(events[i].text_position, events[i].audio_position_ms)
            i += 1
        return 0


@cache
def _the_espeak() -> _Espeak:
    return _Espeak()


def _espeak(voice: Voice, line: Line) -> _Raw:
    espeak = _the_espeak()
    language = voice.name.partition("+")[0]
    words = _foreign_words(line.words, language) if language in ACCENTS else line.words
    _choose(voice.name)
    for parameter, value in (
        (_RATE, WORDS_PER_MINUTE * voice.speed / voice.tract),
        (_VOLUME, _QUIET),
        (_PITCH, min(99.0, max(0.0, 50 + 60 * np.log2(voice.pitch)))),
        (_RANGE, min(99.0, 50 * voice.liveliness)),
    ):
        espeak.library.espeak_SetParameter(parameter, round(value), 0)
    espeak.sound.clear()
    espeak.starts_ms.clear()
    written = Line(tuple(words), line.marks).text("espeak-ng").encode()
    espeak.library.espeak_Synth(written, len(written) + 1, 0, 1, 0, _UTF_8 | _WITH_PHONEMES, None, None)
    espeak.library.espeak_Synchronize()
    sound = np.concatenate([*espeak.sound, np.zeros(1, np.int16)])
    position, starts = 1, []
    for word, mark in zip(words, line.marks, strict=True):
        starts.append(espeak.starts_ms.get(position + 2 * word.startswith("[["), -1) / 1000)
        position += len(word) + len(mark) + 1
    complete = starts[0] >= 0 and all(before < after for before, after in pairwise(starts))
    return _Raw(sound, espeak.rate, [*starts[1:], len(sound) / espeak.rate] if complete else None)


def _choose(name: str) -> None:
    if _the_espeak().library.espeak_SetVoiceByName(name.encode()):
        raise ConfigError(f"espeak-ng has no voice {name!r}; see `espeak-ng --voices`")


def _foreign_words(words: Sequence[str], language: str) -> list[str]:
    """Words as the phonemes that a speaker of this language makes of them, in eSpeak's brackets."""
    _choose(ENGLISH)
    known = {**WEAK, **{word: _phonemes(word) for word in words if word not in WEAK}}
    return [f"[[{accented(known[word], language)}]]" for word in words]


@cache
def _phonemes(word: str) -> str:
    """Of the voice that is chosen now."""
    text = ctypes.c_char_p(word.encode())
    found = _the_espeak().library.espeak_TextToPhonemes(ctypes.byref(text), _UTF_8, 0)
    return str(found.decode()).strip().replace(" ", "").replace("_:", "")


# --- Flite -------------------------------------------------------------------------------------------------------


class _FliteVoice(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class _FliteWave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("rate", ctypes.c_int),
        ("n_samples", ctypes.c_int),
        ("n_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


@cache
def _flite_library() -> ctypes.CDLL:
    flite = _library("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
    for name in ("usenglish", "cmulex"):
        _library(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
    pointer, text, real = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
    for name, result, arguments in (
        ("flite_synth_text", pointer, (text, pointer)),
        ("utt_wave", ctypes.POINTER(_FliteWave), (pointer,)),
        ("utt_relation", pointer, (pointer, text)),
        ("relation_head", pointer, (pointer,)),
        ("item_next", pointer, (pointer,)),
        ("ffeature_float", real, (pointer, text)),
        ("ffeature_string", text, (pointer, text)),
        ("feat_set_float", None, (pointer, text, real)),
        ("delete_utterance", None, (pointer,)),
    ):
        function = getattr(flite, name)
        function.restype, function.argtypes = result, arguments
    flite.flite_init()
    return flite


@cache
def _flite_voice(name: str) -> Any:
    _flite_library()
    register = getattr(_library(f"libflite_cmu_us_{name}.so.1", mode=ctypes.RTLD_GLOBAL), f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.POINTER(_FliteVoice), (ctypes.c_char_p,)
    return register(None)


def _flite(voice: Voice, line: Line) -> _Raw:
    flite, chosen = _flite_library(), _flite_voice(voice.name)
    features = chosen.contents.features
    flite.feat_set_float(features, b"duration_stretch", voice.tract / voice.speed)
    if voice.name in FLITE_F0_HZ:
        mean = FLITE_F0_HZ[voice.name] * voice.pitch
        flite.feat_set_float(features, b"int_f0_target_mean", mean)
        flite.feat_set_float(features, b"int_f0_target_stddev", F0_SPREAD * mean * voice.liveliness)
    else:
        flite.feat_set_float(features, b"f0_shift", voice.pitch)
    utterance = flite.flite_synth_text(line.text("flite").encode(), chosen)
    try:
        heard = flite.utt_wave(utterance).contents
        samples = np.ctypeslib.as_array(heard.samples, (heard.n_samples,)).copy()
        ends: list[float] = []
        word = flite.relation_head(flite.utt_relation(utterance, b"Word"))
        while word:
            if flite.ffeature_string(word, b"name").startswith(b"'"):  # i'd are two words to it
                ends.pop()
            ends.append(flite.ffeature_float(word, b"R:SylStructure.daughtern.daughtern.R:Segment.end"))
            word = flite.item_next(word)
        return _Raw(samples, heard.rate, ends if len(ends) == len(line.words) else None)
    finally:
        flite.delete_utterance(utterance)


# --- Festival ----------------------------------------------------------------------------------------------------


def _festival(requests: Sequence[tuple[Voice, Line]]) -> list[_Raw]:
    with tempfile.TemporaryDirectory(prefix="festival") as name:
        folder = Path(name)
        script = folder / "script.scm"
        script.write_text("".join(_scheme(folder, i, *request) for i, request in enumerate(requests)))
        try:
            done = subprocess.run(["festival", "-b", str(script)], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ConfigError(f"festival is not installed; install the packages {' '.join(PACKAGES)}") from None
        if done.returncode:
            raise ConfigError(f"festival stopped with {done.stderr.strip()[-300:]!r}; are its voices installed?")
        ends: dict[int, list[float]] = {i: [] for i in range(len(requests))}
        for row in done.stdout.splitlines():
            i, _, end = row.partition(" ")
            ends[int(i)].append(float(end))
        return [_festival_sound(folder / f"{i}.wav", ends[i], line) for i, (_, line) in enumerate(requests)]


def _scheme(folder: Path, i: int, voice: Voice, line: Line) -> str:
    """What festival shall do for one line. The order matters: choosing a voice undoes its settings."""
    steps = [f"({FESTIVAL_VOICES[voice.name]})", f"(Parameter.set 'Duration_Stretch {voice.tract / voice.speed:.3f})"]
    if voice.name in FESTIVAL_F0_HZ:
        mean = FESTIVAL_F0_HZ[voice.name] * voice.pitch
        spread = F0_SPREAD * mean * voice.liveliness
        steps.append(
            f"(set! int_lr_params '((target_f0_mean {mean:.1f}) (target_f0_std {spread:.1f})"
            " (model_f0_mean 170) (model_f0_std 34)))"
        )
    else:
        speed = voice.speed / voice.tract
        steps.append(f'(set! hts_engine_params (append hts_engine_params (list (list "-r" {speed:.3f}))))')
    steps += [
        f'(set! u (utt.synth (Utterance Text "{line.text("festival")}")))',
        f'(utt.save.wave u "{folder / str(i)}.wav" \'riff)',
        f"(mapcar (lambda (w) (format t \"{i} %f\\n\" (item.feat w 'word_end))) (utt.relation.items u 'Word))",
    ]
    return "\n".join(steps) + "\n"


def _festival_sound(path: Path, ends: list[float], line: Line) -> _Raw:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return _Raw(samples, file.getframerate(), ends if len(ends) == len(line.words) else None)
