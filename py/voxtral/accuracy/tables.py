"""Tables of recordings: .tsv and .csv files with a header, as people export them, and FLEURS's, which have none.

read_tables    those of a folder, in the order in which they count
Table          rows by the names of their columns
decoded        the text of a file
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from voxtral.errors import AccuracyError

TABLE_SUFFIXES = (".tsv", ".csv")
AUDIO_COLUMNS = ("audio", "path", "file", "file_name")
TEXT_COLUMNS = ("text", "sentence", "transcript", "transcription")
SPEAKER_COLUMNS = ("speaker", "client_id")
PACK_COLUMNS = {"start_sample", "n_samples"}
FIRST_TABLES = ("test", "dev", "train")  # a clip that is in several of Common Voice's tables counts in the first
MOST_FIELD_CHARACTERS = 1 << 20
# raw_transcription, with case and punctuation, is the text: normalisers know what to do with those.
FLEURS_COLUMNS = ["sentence_id", "file_name", "text", "normalised_text", "letters", "num_samples", "gender"]


@dataclass(frozen=True)
class Table:
    """Rows by their line; audio, text: which columns hold them, "" if none does."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]

    @property
    def is_pack(self) -> bool:
        return PACK_COLUMNS.issubset(self.columns)

    @property
    def described(self) -> str:
        """What it has, for sentences."""
        return f"columns {' '.join(', '.join(self.columns).split())[:80]}" if any(self.columns) else "empty"

    @property
    def audio(self) -> str:
        return self._first(AUDIO_COLUMNS)

    @property
    def text(self) -> str:
        return self._first(TEXT_COLUMNS)

    @property
    def speaker(self) -> str:
        return self._first(SPEAKER_COLUMNS)

    def _first(self, names: Sequence[str]) -> str:
        return next((name for name in names if name in self.columns), "")


def read_tables(texts: Mapping[str, bytes | str], name: str) -> dict[str, Table]:
    """Those among a folder's text files, by path; name: of the folder. Raises AccuracyError."""
    paths = sorted((path for path in texts if path.lower().endswith(TABLE_SUFFIXES)), key=_table_order)
    return {path: _read(decoded(texts[path], path, name), f"{name}/{path}") for path in paths}


def _table_order(path: str) -> tuple[int, str]:
    stem = PurePosixPath(path).stem
    return FIRST_TABLES.index(stem) if stem in FIRST_TABLES else len(FIRST_TABLES), path


def decoded(content: bytes | str, path: str, name: str) -> str:
    """A text file as text. Raises AccuracyError."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AccuracyError(
            f"{name}/{path}: expected UTF-8, found another byte at {error.start}; save it as UTF-8"
        ) from (error)


def _read(text: str, where: str) -> Table:
    """A table with a header. TSV has no quotes, as in Common Voice, whose sentences hold them unpaired."""
    delimiter = max("\t,;", key=text.partition("\n")[0].count)
    lines = io.StringIO(text, newline="")
    before = csv.field_size_limit(MOST_FIELD_CHARACTERS)
    try:
        is_tsv = delimiter == "\t"
        reader = (
            csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            if is_tsv
            else csv.reader(lines, delimiter=delimiter)
        )
        first = next(reader, [])
        is_row = is_tsv and _is_of_fleurs(first)
        columns = FLEURS_COLUMNS if is_row else [column.strip().lower() for column in first]
        lined = [(1, first)] if is_row else []
        lined += [(reader.line_num, row) for row in reader if any(row)]
        rows = [(line, dict(zip(columns, row, strict=False))) for line, row in lined]
    except csv.Error as error:
        raise AccuracyError(
            f"{where}: expected a table, found what cannot be read ({error}); export it again"
        ) from error
    finally:
        csv.field_size_limit(before)
    return Table(columns, rows)


def _is_of_fleurs(row: Sequence[str]) -> bool:
    """Whether this is no header, but a line of FLEURS."""
    return len(row) == len(FLEURS_COLUMNS) and row[1].lower().endswith(".wav") and row[5].strip().isdecimal()
