"""The words the demo model knows: digits, keywords and the orders of a coffee bar, and the tokenizer made of them.

    DIGITS, KEYWORDS   what is said alone and in strings; two keywords are phrases of two words
    ORDER_WORDS        the words of ORDER_PARTS, the grammar of an order
    order              one order, drawn
    is_order           whether a sentence is an order of that grammar
    words              the vocabulary, in the order of its tokens
    tekken_json        the tokenizer with one piece for each word

The grammar is that of the recorded orders: an opening, up to one each of size, shots and roast in any order, a drink,
and up to two additions, one sweet and one white. Every choice is drawn evenly or nearly so, so that words that a
person rarely says ("twenty ounce") are as frequent as others.
"""

import base64
import json
import re
from pathlib import Path
from random import Random

from voxtral.config import N_SPECIAL_TOKENS
from voxtral.random_model import SPECIAL_NAMES
from voxtral.tekken import N_BYTE_PIECES, UNUSED_MARK

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KEYWORDS = ("computer", "alexa", "jarvis", "snowboy", "smart mirror", "view glass")

OPENINGS = (
    "brew", "can i get", "can i have", "get me", "give me", "i want", "i'd like", "make me", "may i have",
)  # fmt: skip
SIZES = ("small", "medium", "large", "eight ounce", "twelve ounce", "sixteen ounce", "twenty ounce")
SHOTS = ("single shot", "double shot", "triple shot")
ROASTS = ("light roast", "medium roast", "dark roast")
DRINKS = (
    "americano", "cappuccino", "coffee", "drip coffee", "espresso", "house coffee", "iced coffee", "iced mocha",
    "latte", "mocha",
)  # fmt: skip
AMOUNTS = ("some", "a lot of", "lots of", "a bit of", "a little bit of")
SWEETS = ("sugar", "brown sugar", "sweetener")
WHITES = ("milk", "almond milk", "cream", "skim milk", "soy milk", "whole milk")
ORDER_PARTS = (OPENINGS, ("a", "an"), SIZES, SHOTS, ROASTS, DRINKS, ("with", "and"), AMOUNTS, SWEETS, WHITES)
ORDER_WORDS = tuple(sorted({word for part in ORDER_PARTS for phrase in part for word in phrase.split()}))

N_ADDITIONS_WEIGHTS = (1, 2, 2)  # of 0, 1 and 2 additions
PLAIN_CHANCE = 0.4  # of an addition without an amount
MODIFIER_CHANCE = 0.55  # of each of size, shots and roast
VOCABULARY_MULTIPLE = 64  # the size of the embedding's rows, which kernels like to be even

_PATTERN = (  # how texts are cut before merges; part of the file format, of no use where words are pieces
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def order(random: Random) -> str:
    """An order, for example "can i get a large double shot latte with some soy milk"."""
    modifiers = [random.choice(part) for part in (SIZES, SHOTS, ROASTS) if random.random() < MODIFIER_CHANCE]
    random.shuffle(modifiers)
    wish = " ".join([*modifiers, random.choice(DRINKS)])
    article = "an" if wish[0] in "aei" else "a"
    kinds = random.sample((SWEETS, WHITES), random.choices((0, 1, 2), N_ADDITIONS_WEIGHTS)[0])
    additions = " and ".join(_addition(random, kind) for kind in kinds)
    return " ".join([random.choice(OPENINGS), article, wish, *(("with", additions) if additions else ())])


def _addition(random: Random, kind: tuple[str, ...]) -> str:
    thing = random.choice(kind)
    return thing if random.random() < PLAIN_CHANCE else f"{random.choice(AMOUNTS)} {thing}"


def is_order(sentence: str) -> bool:
    """Whether the grammar makes this sentence: also with two sizes or two additions of one kind, as people say them."""
    return _ORDER.fullmatch(sentence) is not None


def _one_of(*parts: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(re.escape(phrase) for part in parts for phrase in part)})"


_ADDITION = f"(?:{_one_of(AMOUNTS)} )?{_one_of(SWEETS, WHITES)}"
_ORDER = re.compile(
    f"{_one_of(OPENINGS)} an? (?:{_one_of(SIZES, SHOTS, ROASTS)} ){{0,4}}{_one_of(DRINKS)}"
    f"(?: with {_ADDITION}(?: and {_ADDITION})?)?"
)


def words() -> tuple[str, ...]:
    """Every word once: the digits, the keywords' words, the words of orders in alphabetic order."""
    keyword_words = (word for keyword in KEYWORDS for word in keyword.split())
    return tuple(dict.fromkeys((*DIGITS, *keyword_words, *ORDER_WORDS)))


def vocabulary_size() -> int:
    """Rows of the embedding: control tokens, bytes and words, filled up to a multiple of VOCABULARY_MULTIPLE."""
    n_used = N_SPECIAL_TOKENS + N_BYTE_PIECES + len(words())
    return -(-n_used // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def tekken_json(path: Path) -> None:
    """Write the tokenizer: 1000 control tokens, 256 bytes, a piece " word" for each word, unused pieces."""
    size = vocabulary_size()
    pieces = [bytes([value]) for value in range(N_BYTE_PIECES)] + [f" {word}".encode() for word in words()]
    n_pieces = size - N_SPECIAL_TOKENS
    pieces += [f" {UNUSED_MARK}{rank}>".encode() for rank in range(len(pieces), n_pieces)]
    document = {
        "config": {
            "pattern": _PATTERN,
            "num_vocab_tokens": n_pieces,
            "default_vocab_size": size,
            "default_num_special_tokens": N_SPECIAL_TOKENS,
            "version": "v13",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": _text(piece)}
            for rank, piece in enumerate(pieces)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": SPECIAL_NAMES.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
            for rank in range(N_SPECIAL_TOKENS)
        ],
        "version": 1,
        "type": "Tekken",
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "transcription_delay_ms": 480,
            "streaming_look_ahead_ms": 2.5,
            "streaming_look_back_ms": 52.5,
            "streaming_n_left_pad_tokens": 32,
            "transcription_format": "streaming",
        },
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def _text(piece: bytes) -> str | None:
    """What a piece says, None for a byte that is no text by itself."""
    return piece.decode() if len(piece) > 1 or piece[0] < 0x80 else None
