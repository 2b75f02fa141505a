"""Recordings of the demo model's recipe, and where their words end: everything that needs no torch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.demo_model.alignment import UNHEARD, Aligned, document_of
from tools.demo_model.chains import (
    END,
    NEVER,
    NOT_AN_END,
    SAMPLES_PER_FRAME,
    UNKNOWN,
    Chains,
    Utterance,
    together,
    utterances,
)
from tools.demo_model.configuration import AlignmentConfig
from tools.demo_model.forced_path import BLANK, N_LABELS, WORD_END, forced_paths, labels_of, word_ends
from tools.demo_model.recordings import Clip, Pack, end_of_speech, known_word_ends, read_pack, write_pack
from voxtral.errors import AudioError, DocumentError

RATE = 16_000
HEADER = "source\ttranscript\tspeaker\tstart_sample\tn_samples"


def noise(*parts: tuple[float, float], seed: int = 3) -> np.ndarray:
    """Noise of so many seconds and such a level, part by part: int16."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(0, level, round(s * RATE)) for s, level in parts]).round().astype(np.int16)


@pytest.fixture
def pack(tmp_path):
    """Two clips as files, and what they were written from."""
    sound = noise((0.2, 3), (0.5, 2000), (0.2, 3), (1.0, 2000), (0.2, 3))
    clips = (
        Clip("fsdd", "seven", "jackson", 0, round(0.9 * RATE), "digits"),
        Clip("made", "make a mocha", "joe", round(0.9 * RATE), round(1.2 * RATE), "orders", (0.25, 0.3125, 1.0)),
    )
    written = Pack("pack", sound, clips)
    write_pack(written, tmp_path / "pack.ogg", tmp_path / "pack.tsv")
    return written, tmp_path / "pack.ogg", tmp_path / "pack.tsv"


def test_a_pack_in_flac_loses_nothing(pack, tmp_path):
    written, _, tsv = pack
    write_pack(written, tmp_path / "pack.flac", tsv)
    assert (read_pack(tmp_path / "pack.flac", tsv).sound == written.sound).all()


def test_a_pack_is_read_as_it_was_written(pack):
    written, ogg, tsv = pack
    found = read_pack(ogg, tsv)
    assert (found.name, found.sound.dtype, len(found.sound)) == ("pack", np.int16, len(written.sound))
    assert [clip.word_ends_s for clip in found.clips] == [None, (0.25, 0.312, 1.0)]
    first, second = found.clips
    assert (first.source, first.speaker, first.group) == ("fsdd", "jackson", "digits")
    assert second.words == ["make", "a", "mocha"]
    assert np.corrcoef(found.samples(second), written.samples(second))[0, 1] > 0.5  # Opus moved nothing


def test_a_table_without_the_optional_columns(pack):
    _, ogg, tsv = pack
    tsv.write_text(f"{HEADER}\nfsdd\tseven\tjackson\t0\t14400\n")
    (clip,) = read_pack(ogg, tsv).clips
    assert (clip.group, clip.word_ends_s) == ("fsdd", None)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("fsdd\tseven\tjackson\t0", "not as many columns"),
        ("fsdd\tseven\tjackson\t0\t1\t\t\tmore", "not as many columns"),
        ("fsdd\tseven\tjackson\t0.5\t100\t\t", "whole numbers"),
        ("fsdd\tseven\tjackson\t-1\t100\t\t", "inside 0 to"),
        ("fsdd\tseven\tjackson\t33000\t601\t\t", "inside 0 to"),
        ("fsdd\tseven\tjackson\t0\t0\t\t", "inside 0 to"),
        ("fsdd\tseven\tjackson\t0\t16000\t\t0.5,x", "separated by commas"),
        ("fsdd\tseven\tjackson\t0\t16000\t\t0.5,0.6", "2 word ends for 1 words"),
        ("fsdd\tseven one\tjackson\t0\t16000\t\t0.6,0.5", "rising seconds"),
        ("fsdd\tseven\tjackson\t0\t16000\t\tnan", "rising seconds"),
        ("fsdd\tseven\tjackson\t0\t16000\t\t1.01", "rising seconds"),
    ],
)
def test_a_bad_row_is_told_in_one_sentence(pack, row, complaint):
    _, ogg, tsv = pack
    tsv.write_text(f"{HEADER}\tgroup\tword_ends_s\n{row}\n")
    with pytest.raises(DocumentError, match=complaint) as told:
        read_pack(ogg, tsv)
    assert f"{tsv} line 2" in str(told.value)
    assert str(told.value).endswith(".")
    assert "\n" not in str(told.value)


def test_files_that_are_no_pack(pack, tmp_path):
    _, ogg, tsv = pack
    with pytest.raises(AudioError, match="cannot be read as sound"):
        read_pack(tsv, tsv)
    with pytest.raises(DocumentError, match="cannot be read as a table"):
        read_pack(ogg, tmp_path / "none.tsv")
    tsv.write_text("source\ttranscript\tspeaker\tstart_sample\n")
    with pytest.raises(DocumentError, match="no column 'n_samples'"):
        read_pack(ogg, tsv)
    with pytest.raises(DocumentError, match="no tab or line break"):
        write_pack(Pack("x", noise((0.1, 3)), (Clip("a", "b\tc", "d", 0, 9, "e"),)), ogg, tsv)


def test_speech_ends_where_it_falls_into_the_noise():
    assert end_of_speech(noise((0.2, 3), (0.4, 2000), (0.2, 3))) == pytest.approx(0.6, abs=0.01)
    assert end_of_speech(noise((0.2, 90), (0.4, 4000), (0.2, 90))) == pytest.approx(0.6, abs=0.01)
    assert end_of_speech(noise((0.2, 3), (0.4, 2000), (0.1, 200), (0.2, 3))) == pytest.approx(0.7, abs=0.01)


def test_speech_to_the_last_sample_ends_there():
    assert end_of_speech(noise((0.4, 2000))) == pytest.approx(0.4, abs=0.01)
    assert end_of_speech(noise((0.001, 2000))) == pytest.approx(0.001)


def test_noise_that_fades_out_and_clicks_are_no_speech():
    assert end_of_speech(noise((1.0, 250), (0.6, 10000), (2.0, 250), (0.6, 1))) == pytest.approx(1.6, abs=0.01)
    assert end_of_speech(noise((0.2, 3), (0.4, 2000), (0.2, 3), (0.03, 2000), (0.2, 3))) == pytest.approx(0.6, abs=0.01)


def test_only_what_silence_can_tell_is_known():
    def known(source, transcript, sound):
        return known_word_ends(Clip(source, transcript, "", 0, len(sound), source), sound)

    word = noise((0.2, 3), (0.4, 2000), (0.2, 3))
    assert known("picovoice-wake", "jarvis", word) == (pytest.approx(0.6, abs=0.01),)
    assert known("picovoice-wake", "view glass", word) == (None, pytest.approx(0.6, abs=0.01))
    assert known("picovoice-s2i", "a mocha", word) == (None, None)
    assert known("picovoice-s2i", "espresso", word) == (None,)  # not recorded alone
    assert known("picovoice-wake", "jarvis", noise((1.0, 3), (0.4, 2000), (1.0, 3))) == (None,)  # someone heard more
    told = Clip("picovoice-wake", "jarvis", "", 0, len(word), "", (0.5,))
    assert known_word_ends(told, word) == (0.5,)


def test_letters_of_a_transcript():
    assert labels_of("a bee") == [1, WORD_END, 2, 5, 5, WORD_END]
    assert labels_of("i'd")[1] == WORD_END - 1
    assert labels_of("") == labels_of("a 2nd one") == []


def total(path_labels, log_probs):
    return sum(log_probs[t, label] for t, label in enumerate(path_labels))


def collapsed(path):
    return [label for label, _ in itertools.groupby(path) if label != BLANK]


@given(st.integers(0, 2**31), st.integers(1, 6), st.lists(st.integers(1, 2), min_size=1, max_size=3))
def test_the_forced_path_is_the_likeliest_of_all(seed, n_frames, labels):
    log_probs = np.full((n_frames, N_LABELS), -50, np.float32)
    log_probs[:, :3] = np.random.default_rng(seed).normal(0, 2, (n_frames, 3))
    # the shorter clip is padded, and beside a longer one
    padded = np.concatenate([log_probs, np.full((2, N_LABELS), 9, np.float32)])
    path, _ = forced_paths(np.stack([padded, padded]), [n_frames, n_frames + 2], [labels, [1]])
    ways = [way for way in itertools.product(range(3), repeat=n_frames) if collapsed(way) == labels]
    if not ways:
        assert path is None
        return
    found = [BLANK if place < 0 else labels[place] for place in path]
    assert collapsed(found) == labels
    assert total(found, log_probs) == pytest.approx(max(total(way, log_probs) for way in ways), abs=1e-4)


def test_words_end_where_their_end_is_likeliest():
    labels = labels_of("ab a")
    log_probs = np.full((12, N_LABELS), -9, np.float32)
    log_probs[:, BLANK] = -1
    for frame, label in ((1, 1), (3, 2), (4, WORD_END), (5, WORD_END), (8, 1), (10, WORD_END)):
        log_probs[frame, label] = 0
    log_probs[4, WORD_END] = -0.5
    (path,) = forced_paths(log_probs[None], [12], [labels])
    first, second = word_ends(path, log_probs, labels)
    assert (first.frame, second.frame) == (5, 10)
    assert first.doubt == second.doubt == 0
    log_probs[8] = -9
    log_probs[8, 3] = 0  # somebody said c
    (path,) = forced_paths(log_probs[None], [12], [labels])
    assert [round(word.doubt) for word in word_ends(path, log_probs, labels)] == [0, 4]


@pytest.fixture
def material():
    sound = noise((0.2, 3), (0.5, 2000), (0.2, 3), (1.0, 2000), (0.2, 3), (0.4, 900))
    clips = (
        Clip("fsdd", "seven", "jackson", 0, round(0.9 * RATE), "digits", (0.7,)),
        Clip("picovoice-s2i", "a mocha", "5", round(0.9 * RATE), round(1.2 * RATE), "orders"),
        Clip("fsdd", "one", "theo", round(2.1 * RATE), round(0.4 * RATE), "digits"),
        Clip("other", "", "joe", 0, 1000, "other"),
        Clip("other", "16 crowns", "joe", 0, 1000, "other"),
    )
    return utterances([Pack("first", sound[: RATE // 2], ()), Pack("pack", sound, clips)], ["theo"])


def test_clips_with_words_are_utterances(material):
    assert [one.key for one in material] == ["pack:0", "pack:1"]
    assert [one.start for one in material] == [RATE // 2, RATE // 2 + round(0.9 * RATE)]
    assert [one.has_known_ends for one in material] == [True, False]
    assert material[0].gain_db > 24  # dB that would make it as loud as can be


def test_chains_mark_known_ends_where_they_are_heard(material):
    config = AlignmentConfig(batch=50, example_s=6)
    examples = Chains(material, "synthetic", config, 5).draw()
    seven, order = (np.array(one.labels) for one in material)
    n_heard = 0
    for pieces, labels, marks in zip(examples.pieces, examples.labels, examples.marks, strict=True):
        heard = pieces[pieces[:, 1] > 0]
        assert (pieces[len(heard) :] == NEVER).all()
        is_seven = heard[:, 0] == material[0].start
        assert labels.tolist() == [label for is_it in is_seven for label in (seven if is_it else order)]
        ends = heard[:, 2] + heard[:, 1] / heard[:, 3]
        assert (ends <= config.example_s * RATE).all()
        assert (heard[1:, 2] >= ends[:-1] - 1).all()  # never two at once
        wanted = np.rint((heard[is_seven, 2] + 0.7 * RATE / heard[is_seven, 3]) / SAMPLES_PER_FRAME)
        assert np.flatnonzero(marks == END).tolist() == wanted.tolist()
        middles = ((heard[:, 2] + ends) / 2 / SAMPLES_PER_FRAME).astype(int)
        assert [marks[frame] for frame in middles] == [NOT_AN_END if is_it else UNKNOWN for is_it in is_seven]
        n_heard += len(heard)
    assert n_heard > 100


def test_synthetic_and_real_words_are_equally_likely():
    sound = noise((1.0, 2000))
    many = [Clip("made", "two", "robot", 0, RATE // 2, "digits")] * 50
    both = utterances([Pack("pack", sound, (many[0],)), Pack("synthetic", sound, tuple(many))], [])
    pieces = Chains(both, "synthetic", AlignmentConfig(batch=100), 5).draw().pieces
    starts = pieces[pieces[:, :, 1] > 0][:, 0]
    assert np.mean(starts < RATE) == pytest.approx(0.5, abs=0.05)


def test_words_put_behind_each_other(material):
    seven = material[0]
    one, pieces = together([seven, seven], [0.3, 0.1], "string:0", "strings")
    assert one.ends_s == pytest.approx((0.7, 1.7))  # from behind the first gap
    assert pieces[:, 2].tolist() == [0.3 * RATE, 1.3 * RATE]
    assert one.labels == seven.labels * 2


def utterance(key, transcript, *ends_s):
    source = "made" if key.startswith("synthetic") else "orders"
    clip = Clip(source, transcript, "", 0, RATE, source)
    return Utterance(key, clip, 0, 0.0, tuple(labels_of(transcript)), ends_s)


def test_known_ends_stay_and_found_ones_are_moved():
    material = [
        utterance("synthetic:0", "one", 0.4),  # certain: nothing was asked
        utterance("synthetic:1", "one two", None, None),
        utterance("train:0", "view glass", None, 0.8),
        utterance("train:1", "a mocha", None, None),
    ]
    heard = [(0.3, 0.6), (0.95, 0.97), (0.5, 0.99)]
    found = [Aligned(one, ends_s, 0.1) for one, ends_s in zip(material[1:], heard, strict=True)]
    document = document_of(material, found, (-0.1, 0.05), AlignmentConfig())
    assert document["dropped"] == {}
    assert document["word_ends_s"] == {
        "synthetic:0": [0.4],
        "synthetic:1": [0.35, 0.65],
        "train:0": [0.78, 0.8],
        "train:1": [0.4, 0.89],
    }
    late = document_of(material, found, (0.1, 0.05), AlignmentConfig())["word_ends_s"]
    assert late["train:1"] == [0.6, 1.0]  # not behind the clip


def test_only_implausible_transcripts_are_dropped():
    config = AlignmentConfig(most_doubt=2.0, most_doubt_of_median=3.0)
    material = [utterance(f"train:{i}", "mocha", None) for i in range(7)]

    def dropped(*doubts):
        found = [Aligned(one, (0.5,), doubt) for one, doubt in zip(material, doubts, strict=False)]
        found += [Aligned(one, (), UNHEARD) for one in material[len(doubts) :]]
        document = document_of(material, found, (0.0, 0.0), config)
        assert len(document["word_ends_s"]) + len(document["dropped"]) == 7
        return sorted(document["dropped"])

    assert dropped(0.1, 0.1, 0.1, 0.1, 1.9, 2.1) == ["train:5", "train:6"]
    assert dropped(2.5, 2.5, 2.5, 2.5, 2.5, 2.5) == ["train:6"]  # it understands nobody: that tells nothing
    assert dropped() == [f"train:{i}" for i in range(7)]
