"""Token ids to text, from Mistral's tekken.json; decoding only.

Ids below 1000 are control tokens and never text; id 1000 + i is the bytes of vocabulary entry i. Pieces
are bytes, not text: a character may be spread over several tokens, with control tokens in between.
"""

import codecs
import contextlib
import json
from binascii import a2b_base64
from functools import partial
from operator import itemgetter
from typing import Any

from voxtral.config import N_SPECIAL_TOKENS
from voxtral.errors import ModelFileError

N_BYTE_PIECES = 256  # ids 1000…1255 are the single bytes
MAX_CLOSED_VOCABULARY = 200  # below this many pieces a person can be shown all the words
UNUSED_MARK = "<unused"  # fills up the vocabulary of small models


class Tekken:
    """The pieces of one tokenizer file. `where` names the file in errors."""

    def __init__(self, pieces: list[bytes], specials: dict[int, str], where: str) -> None:
        self._pieces = pieces
        self._specials = specials
        self.where = where

    @classmethod
    def from_json(cls, data: bytes | str, where: str) -> "Tekken":
        """Read the text of a tekken.json. Raises ModelFileError if it is anything else."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"{where}: expected JSON, found {error}; download tekken.json again") from None
        vocabulary = document.get("vocab") if isinstance(document, dict) else None
        if not isinstance(vocabulary, list) or len(vocabulary) < N_BYTE_PIECES:
            raise ModelFileError(
                f"{where}: expected a 'vocab' list of at least {N_BYTE_PIECES} pieces, found none; "
                "use the tekken.json that came with the model"
            )
        settings = document.get("config")
        n_used = _n_used_pieces(settings if isinstance(settings, dict) else {}, len(vocabulary), where)
        return cls(_pieces(vocabulary[:n_used], where), _special_names(document.get("special_tokens")), where)

    @property
    def n_vocab(self) -> int:
        """Number of ids: 1000 control tokens plus the pieces."""
        return N_SPECIAL_TOKENS + len(self._pieces)

    def require(self, vocab_size: int) -> None:
        """Raise ModelFileError unless every id of a model with this many rows has its piece."""
        if vocab_size > self.n_vocab:
            raise ModelFileError(
                f"{self.where}: the model has {vocab_size} tokens, this tokenizer only {self.n_vocab}; "
                "use the tekken.json that came with the model"
            )

    def piece(self, token_id: int) -> bytes:
        """The bytes of one token, b'' for control tokens. Raises ModelFileError for an unknown id."""
        if not 0 <= token_id < self.n_vocab:
            raise ModelFileError(
                f"{self.where}: the model chose token {token_id}, expected an id below {self.n_vocab}; "
                "use the tekken.json that came with the model"
            )
        return self._pieces[token_id - N_SPECIAL_TOKENS] if token_id >= N_SPECIAL_TOKENS else b""

    def special(self, token_id: int) -> str:
        """The name of a control token such as '[STREAMING_PAD]', '' for a piece of text."""
        if not 0 <= token_id < N_SPECIAL_TOKENS:
            return ""
        return self._specials.get(token_id, f"<SPECIAL_{token_id}>")

    def words(self) -> list[str] | None:
        """Every word of a model that knows only a few; None for an open vocabulary."""
        pieces = self._pieces[N_BYTE_PIECES:]
        if not 0 < len(pieces) < MAX_CLOSED_VOCABULARY:
            return None
        words = [piece.decode(errors="replace").strip() for piece in pieces]
        return [word for word in words if word and UNUSED_MARK not in word] or None


def _n_used_pieces(settings: dict[str, Any], n_pieces: int, where: str) -> int:
    """How many vocabulary entries have an id; the 4B file lists 150k and uses 130072."""
    n_special = settings.get("default_num_special_tokens", N_SPECIAL_TOKENS)
    if n_special != N_SPECIAL_TOKENS:
        raise ModelFileError(f"{where}: expected {N_SPECIAL_TOKENS} special tokens, found {n_special!r}")
    vocab_size = settings.get("default_vocab_size", N_SPECIAL_TOKENS + n_pieces)
    if not isinstance(vocab_size, int) or vocab_size < N_SPECIAL_TOKENS + N_BYTE_PIECES:
        raise ModelFileError(
            f"{where}: expected default_vocab_size of at least {N_SPECIAL_TOKENS + N_BYTE_PIECES}, found {vocab_size!r}"
        )
    return vocab_size - N_SPECIAL_TOKENS


def _pieces(entries: list[Any], where: str) -> list[bytes]:
    """The bytes of every entry: of 130,000 on the way to the first word, so first without a loop of Python's own."""
    decode = partial(a2b_base64, strict_mode=True)
    with contextlib.suppress(KeyError, TypeError, ValueError):  # then it is looked at one by one
        if list(map(itemgetter("rank"), entries)) == list(range(len(entries))):
            return list(map(decode, map(itemgetter("token_bytes"), entries)))
    pieces: list[bytes] = []
    entry: Any = None
    try:
        for rank, entry in enumerate(entries):
            if entry.get("rank", rank) != rank:
                raise ValueError
            pieces.append(decode(entry["token_bytes"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        rank = len(pieces)
        raise ModelFileError(
            f"{where}: vocabulary entry {rank} should be rank {rank} with base64 token_bytes, "
            f"found {str(entry)[:80]}; download tekken.json again"
        ) from None
    return pieces


def _special_names(entries: Any) -> dict[int, str]:
    """Names by id; the list is for people only, so what is not understood is left out."""
    names = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("rank"), int) and isinstance(entry.get("token_str"), str):
            names[entry["rank"]] = entry["token_str"]
    return names


class TokenTextStream:
    """Text of a stream of token ids, through one incremental UTF-8 decoder.

    Control tokens do not touch the decoder: [STREAMING_PAD] may fall inside a character.
    """

    def __init__(self, tekken: Tekken) -> None:
        self._tekken = tekken
        self.reset()

    def reset(self) -> None:
        """Begin a new text, dropping an unfinished character."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def is_inside_character(self) -> bool:
        """Whether bytes wait for the rest of their character."""
        return bool(self._decoder.getstate()[0])

    def feed(self, token_id: int) -> str:
        """The characters this token completes, often ''. Raises ModelFileError for an unknown id."""
        return self._decoder.decode(self._tekken.piece(token_id))

    def flush(self) -> str:
        """U+FFFD if the text ends inside a character, else ''; the stream is then as new."""
        rest = self._decoder.decode(b"", final=True)
        self.reset()
        return rest
