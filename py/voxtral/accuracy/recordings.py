"""Sets on this machine: a folder's clips, and their sound, which is read as it is needed and never held whole.

open_set    a folder, or one table in it; set_name_of: what reports call it
Clip        an entry and its sound, once
clips_of    of these entries, in the order of `sets`
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxtral.accuracy.sets import Clip, ClipEntry, RecordingSet, is_text_name, parse_set
from voxtral.audio_file import open_file
from voxtral.errors import AccuracyError, AudioError
from voxtral.sample_queue import SampleQueue
from voxtral.sound import Levels

BUILT_IN = "built in"  # what reports call the set that comes with the app
MOST_TEXT_BYTES = 1 << 28
MOST_FILES = 1_000_000


def open_set(path: Path) -> tuple[RecordingSet, Path]:
    """A set, and the folder its files are in. Raises AccuracyError."""
    if not path.exists():
        raise AccuracyError(f"{path}: no such file or folder; give a folder of recordings with transcripts")
    folder = path if path.is_dir() else path.parent
    if path != folder and not is_text_name(path.name):
        raise AccuracyError(f"{path}: expected a folder, a .tsv, a .csv or a *.trans.txt, found another file")
    names = []
    for file in folder.rglob("*"):
        inside = file.relative_to(folder)
        # Hidden files are no part of a set: beside t.tsv, macOS leaves ._t.tsv on disks of others, which is no text.
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            names.append(inside.as_posix())
        if len(names) > MOST_FILES:
            raise AccuracyError(
                f"{path}: expected a set of recordings, found more than {MOST_FILES} files; name another"
            )
    wanted = [path.name] if path != folder else [name for name in names if is_text_name(name)]
    texts = {name: _read(folder / name) for name in sorted(wanted)}
    return parse_set(texts, names, str(path if path == folder else folder)), folder


def set_name_of(path: Path | None) -> str:
    """For reports; None: the set that comes with the app."""
    return BUILT_IN if path is None else path.resolve().name


def clips_of(entries: Sequence[ClipEntry], folder: Path, keeps_level: bool = False) -> Iterator[Clip]:
    """Clips with their sound; keeps_level: very quiet ones are not raised, as they otherwise are (sound.Levels)."""
    for (audio, is_pack), of_file in groupby(entries, lambda entry: (entry.audio, entry.n_samples is not None)):
        if is_pack:
            yield from _pack(list(of_file), folder, keeps_level)
        else:
            for entry in of_file:
                notices: list[str] = []
                yield Clip(entry, _file(folder, audio, notices, keeps_level), notices)


def _read(path: Path) -> bytes:
    try:
        if (n_bytes := path.stat().st_size) > MOST_TEXT_BYTES:
            raise AccuracyError(f"{path}: expected transcripts, found {n_bytes} bytes; split it")
        return path.read_bytes()
    except OSError as error:
        raise AccuracyError(f"{path}: cannot be read ({error.strerror}); check the permissions") from error


def _file(folder: Path, audio: str, notices: list[str], keeps_level: bool) -> Iterator[NDArray[np.float32]]:
    """Sentences name the file as the set does, because they go into reports, which are for others, too."""
    path = folder / audio
    try:
        with open_file(path, lambda sentence: notices.append(sentence.replace(str(path), audio)), keeps_level) as sound:
            yield from sound
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), audio)) from error


def _pack(entries: list[ClipEntry], folder: Path, keeps_level: bool) -> Iterator[Clip]:
    """Clips of one stream, which is decoded once; entries: by their start. Each is as loud as if it were a file."""
    queue, stream = SampleQueue(), _file(folder, entries[0].audio, [], keeps_level=True)
    for entry in entries:
        notices: list[str] = []
        yield Clip(entry, _part(entry, queue, stream, notices, keeps_level), notices)


def _part(
    entry: ClipEntry, queue: SampleQueue, stream: Iterator[NDArray[np.float32]], notices: list[str], keeps_level: bool
) -> Iterator[NDArray[np.float32]]:
    assert entry.start_sample is not None
    assert entry.n_samples is not None
    end = entry.start_sample + entry.n_samples
    for piece in stream if queue.end < end else ():
        queue.append(piece)
        queue.take(entry.start_sample - queue.start)
        if queue.end >= end:
            break
    queue.take(entry.start_sample - queue.start)
    samples = queue.between(entry.start_sample, end)
    if len(samples) < entry.n_samples:
        raise AudioError(
            f"{entry.audio}: expected {entry.n_samples} samples of {entry.id} from {entry.start_sample} on, found "
            f"{len(samples)}; the file is incomplete, make or fetch it again"
        )
    if keeps_level:
        yield samples
        return
    levels = Levels(entry.id, notices.append)
    for piece in (levels.feed(samples), levels.flush()):
        if len(piece):
            yield piece
