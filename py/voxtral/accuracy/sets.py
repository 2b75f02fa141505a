"""What a folder of recordings with transcripts holds, from the text files in it; sound is never looked at here.

    parse_set     the clips of a folder in one of the layouts below
    is_text_name  which of its files parse_set wants to read
    chosen        some of the clips

Layouts, the first that is there:

    pack          NAME.tsv with start_sample and n_samples, at 16 kHz, beside NAME.ogg (or .flac, …), one stream of all
    librispeech   *.trans.txt with an id and a text on each line, the sound beside it
    table         .csv or .tsv with a column for the file (audio, path, file, file_name) and one for the text (text,
                  sentence, transcript, transcription), as Common Voice has it, or FLEURS's without a header; the sound
                  beside it, in clips/, or anywhere in the folder under this name; of several tables each is a group,
                  and Common Voice's invalidated.tsv is left out, whose recordings do not say their texts

Further columns are read where they are there: group, speaker or client_id, word_ends_s (seconds from the clip's start,
one for each word of the transcript, separated by commas) and said (of clips in which nothing should be understood).
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from voxtral.accuracy.tables import TABLE_SUFFIXES, Table, decoded, read_tables
from voxtral.errors import AccuracyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AUDIO_SUFFIXES = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a", ".webm", ".mp4", ".aac", ".aif", ".aiff")
TRANSCRIPTS_SUFFIX = ".trans.txt"
INVALIDATED = "invalidated"  # of Common Voice: what most of those who listened refused
MOST_SAMPLES = 1 << 40  # two years of sound

EXPECTED = (
    "expected NAME.tsv with start_sample and n_samples beside NAME.ogg, LibriSpeech's *.trans.txt beside their sound, "
    "or a .csv or .tsv with a column audio, path, file or file_name and a column text, sentence, transcript or "
    "transcription"
)


@dataclass(frozen=True)
class ClipEntry:
    """One recording and what is said in it; `transcript` is "" where nothing should be understood.

    audio: the file, by its path in the folder; start_sample, n_samples: which part of it, at 16 kHz; None: all of it.
    word_ends_s: when each word of the transcript ends, in seconds from the clip's start, None: unknown; () if all are.
    said: what is said nevertheless where the transcript is empty.
    """

    id: str
    group: str
    speaker: str
    transcript: str
    audio: str
    start_sample: int | None = None
    n_samples: int | None = None
    word_ends_s: tuple[float | None, ...] = ()
    said: str = ""

    def shifted(self, shift_s: float) -> "ClipEntry":
        """The same clip, begun so many seconds later."""
        return replace(
            self, word_ends_s=tuple(None if end_s is None else end_s + shift_s for end_s in self.word_ends_s)
        )


@dataclass
class Clip:
    """An entry and its sound: mono float32 at 16 kHz, to be iterated once, before the next clip is asked for.

    Iterating raises AudioError. notices: sentences about what was odd about it, complete when it was iterated.
    """

    entry: ClipEntry
    sound: "Iterable[NDArray[np.float32]]"
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RecordingSet:
    """The clips of a folder, those of one stream in their order; notices: sentences about what is missing."""

    name: str
    layout: str
    entries: list[ClipEntry]
    notices: list[str] = field(default_factory=list)


def is_text_name(path: str) -> bool:
    """Whether `parse_set` wants the content of this file."""
    return path.lower().endswith((TRANSCRIPTS_SUFFIX, *TABLE_SUFFIXES))


def parse_set(texts: Mapping[str, bytes | str], names: Collection[str], name: str) -> RecordingSet:
    """The clips of a folder.

    texts: what is in its text files, by their paths in the folder, with "/"; names: the paths of all its files;
    name: what to call it in sentences. Raises AccuracyError.
    """
    found = _Folder(name, names)
    tables = read_tables(texts, name)
    if packs := {path: table for path, table in tables.items() if table.is_pack}:
        layout, entries = "pack", [entry for path, table in packs.items() for entry in _pack(path, table, found)]
    elif trans := sorted(path for path in texts if path.lower().endswith(TRANSCRIPTS_SUFFIX)):
        layout = "librispeech"
        entries = [entry for path in trans for entry in _librispeech(path, decoded(texts[path], path, name), found)]
    elif listed := {path: table for path, table in tables.items() if table.audio and table.text}:
        layout, entries = "table", _listed(listed, found)
    else:
        seen = ", ".join(f"{path} ({table.described})" for path, table in [*tables.items()][:3])
        found_there = seen or f"no .tsv, .csv or *.trans.txt (files: {len(names)})"
        raise AccuracyError(f"{name}: found {found_there}; {EXPECTED}; add one, or choose another folder")
    if not entries:
        missing = f"none of the {found.n_missing} it names (such as {found.missing})" if found.n_missing else ""
        raise AccuracyError(f"{name}: expected recordings, found {missing or 'no line with one'}; complete the folder")
    return RecordingSet(name, layout, _distinct(entries), found.notices())


def chosen(entries: Sequence[ClipEntry], groups: Collection[str] | None, limit: int | None) -> list[ClipEntry]:
    """The clips of these groups, and of each the first `limit`. Raises AccuracyError for a group that is not there."""
    known = dict.fromkeys(entry.group for entry in entries)
    if unknown := [group for group in groups or () if group not in known]:
        raise AccuracyError(f"expected groups among {', '.join(known)}, found {unknown[0]!r}; choose one of these")
    counts = dict.fromkeys(known, 0)
    taken = []
    for entry in entries:
        counts[entry.group] += 1
        if (groups is None or entry.group in groups) and (limit is None or counts[entry.group] <= limit):
            taken.append(entry)
    return taken


# -- files --------------------------------------------------------------------------------------------
class _Folder:
    """Finds sound by what a table calls it, inside the folder alone."""

    def __init__(self, name: str, names: Iterable[str]) -> None:
        self.name = name
        self.n_missing, self.missing = 0, ""
        self._left_out: list[str] = []
        paths = sorted(path for path in names if path.lower().endswith(AUDIO_SUFFIXES))
        stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
        # Of names that differ in their normal form alone, the one as typed; else the first in order of the alphabet.
        self._paths = {_normal(path): path for path in reversed(paths)} | {path: path for path in paths}
        self._stems: dict[str, str] = {}
        for stem, path in (*zip(stems, paths, strict=True), *zip(map(_normal, stems), paths, strict=True)):
            self._stems.setdefault(stem, path)
        self._basenames: dict[str, list[str]] = {}
        for path in paths:
            self._basenames.setdefault(_normal(PurePosixPath(path).name), []).append(path)

    def stem(self, path: str) -> str | None:
        """The sound file of this path but for its suffix."""
        return self._stems.get(path) or self._stems.get(_normal(path))

    def find(self, table: str, typed: str) -> str | None:
        """What a table's line names: beside the table, from the folder on, in clips/, or the only one of its name."""
        typed = typed.strip().replace("\\", "/").removeprefix("./")
        beside = PurePosixPath(table).parent
        for path in (str(beside / typed), typed, str(beside / "clips" / typed)):
            if found := self._paths.get(path) or self._paths.get(_normal(path)) or self.stem(path):
                return found
        alike = self._basenames.get(_normal(typed.rsplit("/", 1)[-1]), [])
        return alike[0] if len(alike) == 1 else None

    def miss(self, typed: str) -> None:
        """Remember that this is not there."""
        self.n_missing += 1
        self.missing = self.missing or " ".join(typed.split())[:80]

    def leave_out(self, path: str, table: Table) -> None:
        """Remember that nothing of this table is heard."""
        rows = "1 recording" if len(table.rows) == 1 else f"{len(table.rows):,} recordings"
        self._left_out.append(
            f"{self.name}: {path} is left out, {rows} that listeners refused; name that table alone to hear them."
        )

    def notices(self) -> list[str]:
        if not self.n_missing:
            return self._left_out
        are = "recording is" if self.n_missing == 1 else "recordings are"
        missing = f"{self.name}: {self.n_missing} {are} not there and left out (such as {self.missing})."
        return [missing, *self._left_out]


def _normal(path: str) -> str:
    """In NFC, as tables have names; macOS may have them in NFD."""
    return unicodedata.normalize("NFC", path)


# -- layouts ------------------------------------------------------------------------------------------
def _pack(path: str, table: Table, folder: _Folder) -> list[ClipEntry]:
    stem = str(PurePosixPath(path).with_suffix(""))
    audio = folder.stem(stem)
    where = f"{folder.name}/{path}"
    if audio is None:
        raise AccuracyError(
            f"{where}: expected its sound in {PurePosixPath(stem).name}.ogg beside it, found none; add it"
        )
    if not table.text:
        raise AccuracyError(f"{where}: expected a column transcript, found {' '.join(table.columns)[:80]!r}; add it")
    entries = []
    for line, row in table.rows:
        start, n_samples = (_count(row, name, f"{where}, line {line}") for name in ("start_sample", "n_samples"))
        group = row.get("group", "").strip() or row.get("source", "").strip()
        name = row.get("id", "").strip() or f"{group or PurePosixPath(stem).name}-{line - 1}"
        entries.append(_entry(name, group, row, table, audio, f"{where}, line {line}", (start, n_samples)))
    return sorted(entries, key=lambda entry: entry.start_sample or 0)


def _librispeech(path: str, text: str, folder: _Folder) -> list[ClipEntry]:
    """SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt; what of that is not in the path is not known."""
    parent = PurePosixPath(path).parent
    group = parent.parts[-3] if len(parent.parts) >= 3 else ""
    entries = []
    for line in text.split("\n"):
        name, _, transcript = line.strip().partition(" ")
        if not name:
            continue
        audio = folder.stem(str(parent / name))
        if audio is None:
            folder.miss(name)
        else:
            entries.append(ClipEntry(name, group or "all", name.split("-")[0], transcript.strip(), audio))
    return entries


def _listed(tables: Mapping[str, Table], folder: _Folder) -> list[ClipEntry]:
    """Of several tables each is a group, unless it has groups of its own."""
    entries: dict[str, ClipEntry] = {}
    missing: dict[str, None] = {}
    refused = [path for path in tables if PurePosixPath(path).stem.lower() == INVALIDATED]
    for path, table in tables.items():
        if path in refused and len(refused) < len(tables):
            folder.leave_out(path, table)
            continue
        group = PurePosixPath(path).stem if len(tables) > 1 else "all"
        for line, row in table.rows:
            typed = row.get(table.audio, "").strip()
            audio = folder.find(path, typed) if typed else None
            if audio is None:
                missing.setdefault(typed or f"line {line} of {path}")
            elif audio not in entries:
                own = row.get("group", "").strip() or group
                entries[audio] = _entry(
                    _normal(audio), own, row, table, audio, f"{folder.name}/{path}, line {line}", None
                )
    for typed in missing:
        folder.miss(typed)
    return list(entries.values())


def _entry(
    name: str, group: str, row: Mapping[str, str], table: Table, audio: str, where: str, span: tuple[int, int] | None
) -> ClipEntry:
    transcript = row.get(table.text, "").strip()
    return ClipEntry(
        id=name,
        group=group or "all",
        speaker=row.get(table.speaker, "").strip(),
        transcript=transcript,
        audio=audio,
        start_sample=span[0] if span else None,
        n_samples=span[1] if span else None,
        word_ends_s=_word_ends(row.get("word_ends_s", ""), len(transcript.split()), where),
        said=row.get("said", "").strip(),
    )


def _count(row: Mapping[str, str], column: str, where: str) -> int:
    text = row.get(column, "").strip()
    if (
        not re.fullmatch(r"[0-9]{1,15}", text)
        or not (column == "start_sample" or int(text))
        or int(text) > MOST_SAMPLES
    ):
        raise AccuracyError(f"{where}: expected {column} to be a number of samples, found {text[:40]!r}; correct it")
    return int(text)


def _word_ends(text: str, n_words: int, where: str) -> tuple[float | None, ...]:
    if not text.strip():
        return ()
    fields = [field.strip() for field in text.split(",")]
    try:
        ends = tuple(float(field) if field else None for field in fields)
    except ValueError:
        ends = ()
    if len(ends) != n_words or any(end is not None and not (math.isfinite(end) and end >= 0) for end in ends):
        raise AccuracyError(
            f"{where}: expected word_ends_s to be {n_words} times in seconds, found {text[:40]!r}; correct it or "
            "leave it empty"
        )
    return ends


def _distinct(entries: Sequence[ClipEntry]) -> list[ClipEntry]:
    """Each with an id of its own: what is there already gets a number behind it."""
    ids: set[str] = set()
    distinct = []
    for entry in entries:
        numbers = itertools.count(2)
        id = entry.id
        while id in ids:
            id = f"{entry.id} ({next(numbers)})"
        ids.add(id)
        distinct.append(entry if id == entry.id else replace(entry, id=id))
    return distinct
