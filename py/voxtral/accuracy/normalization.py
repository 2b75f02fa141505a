"""What counts as the same text: references and hypotheses are written alike before they are compared.

    normalizer_named    one of NAMES; its `name`, with a version, belongs into every report

`basic` suits every language. `english` is the normaliser that published English figures are made with, Whisper's, from
the package whisper-normalizer, whose version is part of the name.
"""

import importlib.metadata
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voxtral.errors import AccuracyError

NAMES: Final = ("basic", "english")
BASIC_VERSION: Final = 2  # raise it with every change of what `basic` does
WHISPER_NORMALIZER: Final = "whisper-normalizer"

_PARTS_WORDS = "\u200b"  # the one character without width that does
_APOSTROPHE = re.compile(r"(?<=\w)['’ʼ](?=\w)")


@dataclass(frozen=True)
class Normalizer:
    """A text, normalised: call it. name: with its version, as reports have it."""

    name: str
    normalize: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return " ".join(self.normalize(text).split())


def normalizer_named(name: str) -> Normalizer:
    """Raises AccuracyError for an unknown name, or where the package for it does not load."""
    if name == "basic":
        return Normalizer(f"basic {BASIC_VERSION}", basic)
    if name == "english":
        return _english()
    raise AccuracyError(f"expected a normaliser among {', '.join(NAMES)}, found {name[:40]!r}; choose one of these")


def basic(text: str) -> str:
    """Lower case; compatible characters as one; "don't" as "dont"; other punctuation and symbols as spaces.

    What only tells how letters are set (soft hyphens, joiners of Hindi and Arabic, marks of direction) is left out.
    """
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" or c in _PARTS_WORDS)
    folded = _APOSTROPHE.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()))
    return "".join(" " if unicodedata.category(character)[0] in "PSZC" else character for character in folded)


def _english() -> Normalizer:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer  # type: ignore[import-untyped]

        version = importlib.metadata.version(WHISPER_NORMALIZER)
        normalize = EnglishTextNormalizer()
    except (ImportError, OSError) as error:
        raise AccuracyError(
            f"the normaliser english needs the package {WHISPER_NORMALIZER}, which does not load ({error}); install "
            "it, or take basic"
        ) from error
    return Normalizer(f"english ({WHISPER_NORMALIZER} {version})", normalize)
