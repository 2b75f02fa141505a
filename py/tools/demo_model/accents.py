"""English with a foreign accent: the sounds of English words replaced by those that another language has for them.

    ACCENTS   language of eSpeak → what its speakers say instead of an English sound
    accented  the phonemes of an English word -> those for the other language's voice

eSpeak has few English voices and a hundred of other languages. Given phonemes instead of letters, these speak English
with their own sounds, rhythm and melody. The replacements are what teachers of English list as typical.
"""

import re

# Sounds of British English in eSpeak's notation (longest first in _SOUND), and what is near them in most languages
_COMMON = {
    "V": "a", "0": "O", "O2": "O", "A:": "a:", "A@": "a:r", "O@": "Or", "o@": "Or", "i@3": "ier", "i@": "ie",
    "e@": "er", "U@": "ur", "u@": "ue", "3:": "er", "3": "er", "aa": "a", "a#": "a", "@L": "@l", "@2": "@", "@5": "@",
    "I2": "i", "I#": "i", "I": "i", "i:": "i:", "i": "i", "U": "u", "u:": "u:", "E": "e", "O:": "o:", "eI": "ei",
    "aI": "ai", "OI": "oi", "oU": "o:", "aU": "au", "t#": "t", "t2": "t", "d#": "d", "n-": "@n", "?": "t", "l#": "l",
    "r-": "r",
}  # fmt: skip
_NO_TH = {"T": "t", "D": "d"}
_LISPING = {"T": "s", "D": "z"}
_INDIC = {"T": "t", "D": "d", "t": "t.", "t#": "t.", "t2": "t.", "d": "d.", "w": "v", "eI": "e:", "V": "@", "I": "I"}
ACCENTS: dict[str, dict[str, str]] = {
    "de": {**_LISPING, "w": "v", "I": "I", "E": "E", "eI": "e:"},
    "nl": {**_NO_TH, "I": "I", "E": "E", "eI": "e:"},
    "sv": {**_NO_TH, "z": "s", "I": "I", "E": "E", "dZ": "j"},
    "da": {**_NO_TH, "z": "s", "I": "I", "E": "E"},
    "fi": {**_NO_TH, "z": "s", "S": "s", "Z": "s", "tS": "ts", "dZ": "ts", "w": "v", "0": "o", "O2": "o", "O@": "or"},
    "fr": {**_LISPING, "h": "", "oU": "o", "eI": "e:", "E": "E"},
    "es": {**_NO_TH, "z": "s", "v": "B", "h": "x", "Z": "S", "i:": "i", "u:": "u"},
    "it": {**_NO_TH, "h": "", "aU": "aU", "oU": "o"},
    "pt": {**_NO_TH, "E": "E"},
    "ro": {**_LISPING, "E": "E"},
    "el": {"S": "s", "Z": "z", "tS": "ts", "dZ": "dz", "h": "x", "i:": "i", "u:": "u", "oU": "o"},
    "pl": {**_NO_TH, "h": "x", "aI": "aj", "eI": "ej", "OI": "oj", "E": "E"},
    "cs": {**_NO_TH, "w": "v", "E": "E", "aI": "aj", "eI": "ej", "OI": "oj"},
    "ru": {**_LISPING, "w": "v", "h": "x", "r": "R", "aI": "aj", "eI": "ej", "OI": "oj", "oU": "o", "V": "A", "E": "E"},
    "hu": {**_LISPING, "w": "v", "0": "A", "O@": "or", "aI": "aj", "eI": "ej", "OI": "oj"},
    "tr": {**_NO_TH, "w": "v", "aI": "aj", "eI": "ej", "OI": "oj"},
    "id": {**_NO_TH, "v": "f", "Z": "s"},
    "hi": _INDIC,
    "ta": {**_INDIC, "z": "s", "f": "p"},
}
# English words that hardly sound inside a sentence; alone eSpeak gives their full form
WEAK = {"a": "@", "an": "@n", "and": "@nd", "of": "Ov", "the": "D@"}

_SOUND = re.compile(
    "|".join(
        map(re.escape, sorted({*_COMMON, "tS", "dZ", "@", *"pbtdkgfvTDszSZmnNlrwjhaeou"}, key=lambda s: (-len(s), s)))
    )
    + "|."
)


def accented(phonemes: str, language: str) -> str:
    """phonemes: of one word in British English, with the marks of stress, which stay."""
    heard = {**_COMMON, **ACCENTS[language]}
    return "".join(heard.get(sound, sound) for sound in _SOUND.findall(phonemes)).replace("rr", "r")
