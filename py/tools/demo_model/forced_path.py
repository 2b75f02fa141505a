"""The likeliest way of letters through frames, and where on it words end. Numpy only.

    labels_of     transcript -> labels: the letters of each word, then WORD_END
    forced_paths  log probabilities of labels at frames -> the label that each frame belongs to
    word_ends     one clip's path -> the frame at which each word ends, and how unlikely the word is there

A network that learned by connectionist temporal classification (CTC) says at each frame which label begins there, or
BLANK. The path has to pass all labels of the transcript in their order, any number of blanks between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
BLANK = 0
WORD_END = len(LETTERS) + 1
N_LABELS = len(LETTERS) + 2
IMPOSSIBLE = -1e30


def labels_of(transcript: str) -> list[int]:
    """Labels of a transcript in lower case; none where one of its words is written with other characters."""
    labels = []
    for word in transcript.split():
        if set(word) - set(LETTERS):
            return []
        labels += [*(LETTERS.index(letter) + 1 for letter in word), WORD_END]
    return labels


def forced_paths(
    log_probs: NDArray[np.float32], n_frames: Sequence[int], labels: Sequence[Sequence[int]]
) -> list[NDArray[np.intp] | None]:
    """log_probs [n_clips, n, N_LABELS], of which clip i fills n_frames[i] -> for each clip and frame the number of the
    label that it belongs to, -1 for blanks; None for a clip with too few frames for its labels.
    """
    n_states = [2 * len(one) + 1 for one in labels]  # blanks before, between and behind the labels
    states = np.full((len(labels), max(n_states)), BLANK)
    for i, one in enumerate(labels):
        states[i, 1 : n_states[i] : 2] = one
    may_skip = np.zeros(states.shape, bool)  # the blank between two different labels
    may_skip[:, 2:] = (states[:, 2:] != BLANK) & (states[:, 2:] != states[:, :-2])

    score = np.full(states.shape, IMPOSSIBLE, np.float32)
    score[:, :2] = 0
    comes_from = np.zeros((max(n_frames), *states.shape), np.int8)
    last_scores = np.empty_like(score)
    ways = np.full((3, *states.shape), IMPOSSIBLE, np.float32)
    for t in range(max(n_frames)):
        if t:
            ways[0] = score
            ways[1, :, 1:] = score[:, :-1]
            ways[2, :, 2:] = np.where(may_skip[:, 2:], score[:, :-2], IMPOSSIBLE)
            comes_from[t] = ways.argmax(axis=0)
            score = ways.max(axis=0)
        score = score + np.take_along_axis(log_probs[:, t], states, axis=1)
        ended = np.asarray(n_frames) == t + 1
        last_scores[ended] = score[ended]
    return [
        _backwards(comes_from[:n, i], last_scores[i], n_states[i]) for i, n in enumerate(n_frames)
    ]  # fmt: skip


def _backwards(comes_from: NDArray[np.int8], last_score: NDArray[np.float32], n_states: int) -> NDArray[np.intp] | None:
    state = n_states - 1
    if n_states > 1 and last_score[state - 1] > last_score[state]:
        state -= 1
    if last_score[state] < IMPOSSIBLE / 2:
        return None
    path = np.empty(len(comes_from), np.intp)
    for t in range(len(comes_from) - 1, -1, -1):
        path[t] = state
        state -= int(comes_from[t, state])
    return np.where(path % 2, path // 2, -1)


@dataclass(frozen=True)
class WordEnd:
    """frame: where the word ends; doubt: nats a letter by which the likeliest labels beat those of the word."""

    frame: int
    doubt: float


def word_ends(path: NDArray[np.intp], log_probs: NDArray[np.float32], labels: Sequence[int]) -> list[WordEnd]:
    """The words of a clip. path [n], log_probs [n, N_LABELS]."""
    said = np.where(path < 0, BLANK, np.asarray(labels)[path])
    lost = log_probs.max(axis=1) - np.take_along_axis(log_probs, said[:, None], axis=1)[:, 0]
    ends = []
    first_frame = first_label = 0
    for i in np.flatnonzero(np.asarray(labels) == WORD_END):
        frames = np.flatnonzero(path == i)
        frame = int(frames[log_probs[frames, WORD_END].argmax()])
        last = int(frames[-1]) + 1
        ends.append(WordEnd(frame, float(lost[first_frame:last].sum()) / int(i + 1 - first_label)))
        first_frame, first_label = last, int(i) + 1
    return ends
