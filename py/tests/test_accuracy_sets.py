"""Sets of recordings: folders as people have them, made here of a few clips; what is damaged, missing or hostile."""

import csv
import io
import unicodedata

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tools import accuracy_set
from tools.demo_model.recordings import Clip, Pack
from voxtral.accuracy.recordings import clips_of, open_set
from voxtral.accuracy.sets import ClipEntry, chosen, is_text_name, parse_set
from voxtral.config import SAMPLE_RATE
from voxtral.errors import AccuracyError, AudioError
from voxtral.web.places import HERE

RNG = np.random.default_rng(1)
TONES = {name: 0.1 * RNG.standard_normal(n).astype(np.float32) for name, n in (("a", 4000), ("b", 9000), ("c", 5000))}


def write(path, samples, rate=SAMPLE_RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def heard(folder, **options):
    """Every clip's sound, by its id."""
    found, root = open_set(folder)
    return {clip.entry.id: np.concatenate([*clip.sound]) for clip in clips_of(found.entries, root, **options)}


def sentence_of(call, *arguments):
    with pytest.raises(AccuracyError) as raised:
        call(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- layouts ------------------------------------------------------------------------------------------
def test_librispeech(tmp_path):
    chapter = tmp_path / "dev-clean" / "84" / "121123"
    for i, name in enumerate("ab"):
        write(chapter / f"84-121123-000{i}.flac", TONES[name])
    (chapter / "84-121123.trans.txt").write_text(
        "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT\n84-121123-0002 GONE\n"
    )
    found, _ = open_set(tmp_path)
    assert found.layout == "librispeech"
    assert [(e.id, e.group, e.speaker, e.transcript) for e in found.entries] == [
        ("84-121123-0000", "dev-clean", "84", "GO DO YOU HEAR"),
        ("84-121123-0001", "dev-clean", "84", "BUT"),
    ]
    assert found.notices == [f"{tmp_path}: 1 recording is not there and left out (such as 84-121123-0002)."]
    samples = heard(tmp_path)
    np.testing.assert_allclose(samples["84-121123-0001"], TONES["b"], atol=1e-4)
    within, _ = open_set(chapter)  # the folder of one chapter alone
    assert [e.group for e in within.entries] == ["all", "all"]


def test_fleurs(tmp_path):
    """Seven columns without a header, quotes that are part of sentences, several speakers of one sentence."""
    for name, samples in zip(("10", "11"), TONES.values(), strict=False):
        write(tmp_path / "audio" / "test" / f"{name}.wav", samples)
    (tmp_path / "test.tsv").write_text(
        "1675\t10.wav\tIt's 30\" at 9:30.\tit's 30 at 9:30\ti t ' s |\t4000\tMALE\n"
        "1675\t11.wav\tSo it is.\tso it is\ts o |\t9000\tFEMALE\n"
        "1676\t12.wav\tGone.\tgone\tg o n e |\t9000\tFEMALE\n"
    )
    found, _ = open_set(tmp_path)
    assert [(e.id, e.group, e.transcript) for e in found.entries] == [
        ("audio/test/10.wav", "all", "It's 30\" at 9:30."),
        ("audio/test/11.wav", "all", "So it is."),
    ]
    assert found.notices == [f"{tmp_path}: 1 recording is not there and left out (such as 12.wav)."]


def test_common_voice_with_several_tables(tmp_path):
    for name, samples in TONES.items():
        write(tmp_path / "clips" / f"common_voice_{name}.mp3", np.repeat(samples, 2), 32_000)
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
    one, two, three = (f'{name}-client\tcommon_voice_{name}.mp3\t\t"{name}, and no more.\t2\n' for name in "abc")
    (tmp_path / "validated.tsv").write_text(header + one + two + three)
    (tmp_path / "test.tsv").write_text(header + two)
    found, folder = open_set(tmp_path)
    assert found.layout == "table"
    assert [(e.audio, e.group, e.speaker) for e in found.entries] == [
        ("clips/common_voice_b.mp3", "test", "b-client"),
        ("clips/common_voice_a.mp3", "validated", "a-client"),
        ("clips/common_voice_c.mp3", "validated", "c-client"),
    ]
    assert found.entries[0].transcript == '"b, and no more.'
    lengths = [sum(map(len, clip.sound)) for clip in clips_of(found.entries, folder)]
    assert all(abs(n - len(TONES[name])) < 2000 for n, name in zip(lengths, "bac", strict=True))  # MP3 pads
    only, _ = open_set(tmp_path / "test.tsv")
    assert [e.group for e in only.entries] == ["all"]


def test_what_listeners_of_common_voice_refused_is_heard_only_when_it_is_named(tmp_path):
    for name in "abcd":
        write(tmp_path / "clips" / f"{name}.wav", TONES["a"])
    for table, names in {"test": "a", "other": "b", "invalidated": "cd"}.items():
        rows = "".join(f"{name}\t{name}.wav\t{name}, and no more.\n" for name in names)
        (tmp_path / f"{table}.tsv").write_text(f"client_id\tpath\tsentence\n{rows}")
    found, _ = open_set(tmp_path)
    assert [(e.audio, e.group) for e in found.entries] == [("clips/a.wav", "test"), ("clips/b.wav", "other")]
    assert found.notices == [
        f"{tmp_path}: invalidated.tsv is left out, 2 recordings that listeners refused; name that table alone to hear "
        "them."
    ]
    (tmp_path / "other.tsv").unlink()
    assert [e.group for e in open_set(tmp_path)[0].entries] == ["test"]  # the group stays that of --groups test
    named, _ = open_set(tmp_path / "invalidated.tsv")
    assert ([e.audio for e in named.entries], named.notices) == (["clips/c.wav", "clips/d.wav"], [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_any_delimiter_and_names(tmp_path, delimiter):
    write(tmp_path / "deep" / "a.wav", TONES["a"])
    write(tmp_path / "b.ogg", np.repeat(TONES["b"], 3), 48_000)
    rows = [("File_Name", "Transcription", "group"), ("./deep/a.wav", "One, two; three", "x"), ("b", "four", "")]
    text = io.StringIO()
    if delimiter == "\t":
        text.write("".join("\t".join(row) + "\r\n" for row in rows))
    else:
        csv.writer(text, delimiter=delimiter).writerows(rows)
    (tmp_path / "transcripts.csv").write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    found, _ = open_set(tmp_path)
    assert [(e.audio, e.transcript, e.group) for e in found.entries] == [
        ("deep/a.wav", "One, two; three", "x"),
        ("b.ogg", "four", "all"),
    ]
    assert abs(len(heard(tmp_path)["b.ogg"]) - len(TONES["b"])) < 800


def make_pack(folder, rows, samples, name="set"):
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"{name}.flac", samples, SAMPLE_RATE)
    columns = ("source", "transcript", "speaker", "start_sample", "n_samples", "group", "word_ends_s", "said")
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def test_a_pack_is_cut_to_the_sample_in_any_order_even_where_clips_overlap(tmp_path):
    samples = 0.1 * RNG.standard_normal(200_000).astype(np.float32)
    rows = [
        ("s", "two words", "p", 150_000, 50_000, "", ",1.5", ""),
        ("s", "", "", 100, 90_000, "quiet", "", "something else"),
        ("s", "one", "q", 40_000, 70_000, "g", "", ""),
    ]
    make_pack(tmp_path, rows, samples)
    found, _ = open_set(tmp_path)
    assert found.layout == "pack"
    assert [(e.id, e.group, e.speaker, e.transcript, e.word_ends_s, e.said) for e in found.entries] == [
        ("quiet-2", "quiet", "", "", (), "something else"),
        ("g-3", "g", "q", "one", (), ""),
        ("s-1", "s", "p", "two words", (None, 1.5), ""),
    ]
    for entry, part in zip(found.entries, heard(tmp_path).values(), strict=True):
        np.testing.assert_allclose(part, samples[entry.start_sample :][: entry.n_samples], atol=1e-4)


def test_each_clip_of_a_pack_is_as_loud_as_a_file_of_its_own(tmp_path):
    samples = np.concatenate([TONES["a"], 1e-2 * TONES["b"]])
    make_pack(tmp_path, [("s", "x", "", 0, 4000), ("s", "x", "", 4000, 9000)], samples)
    loud, quiet = heard(tmp_path).values()
    assert np.abs(loud).max() == pytest.approx(np.abs(TONES["a"]).max(), rel=1e-3)
    assert np.abs(quiet).max() == pytest.approx(0.1, rel=1e-3)
    _, kept = heard(tmp_path, keeps_level=True).values()
    assert np.abs(kept).max() == pytest.approx(1e-2 * np.abs(TONES["b"]).max(), rel=1e-2)
    notices = [clip for clip in clips_of(open_set(tmp_path)[0].entries, tmp_path) if [*clip.sound] and clip.notices]
    assert ["raised by" in clip.notices[0] for clip in notices] == [True]


def test_a_pack_that_is_cut_short_loses_what_is_gone_alone(tmp_path):
    make_pack(tmp_path, [("s", "x", "", 0, 3000), ("s", "x", "", 3000, 9000), ("s", "x", "", 90_000, 9)], TONES["a"])
    found, folder = open_set(tmp_path)
    first, *others = clips_of(found.entries, folder)
    with pytest.raises(AudioError, match="expected 9 samples of s-3 from 90000 on, found 0; the file is incomplete"):
        [*others[1].sound]
    assert len(others) == 2
    clips = clips_of(found.entries, folder)
    assert sum(map(len, next(clips).sound)) == 3000
    with pytest.raises(AudioError, match="expected 9000 samples of s-2 from 3000 on, found 1000"):
        [*next(clips).sound]
    assert first.entry.id == "s-1"


def test_the_built_in_set_is_what_its_table_says():
    found, folder = open_set(HERE.accuracy_set)
    assert found.layout == "pack"
    assert found.notices == []
    assert sum(file.stat().st_size for file in HERE.accuracy_set.iterdir()) < 3e6
    assert [*dict.fromkeys(e.group for e in found.entries)] == [
        *("digits", "noisy_digits", "quiet_digits", "first_sample", "digit_words", "keywords", "orders"),
        *("other_speech", "silence_noise"),
    ]
    for entry in found.entries:
        assert (entry.transcript == "") == (entry.group in ("other_speech", "silence_noise"))
        ends = [end for end in entry.word_ends_s if end is not None]
        assert ends == sorted(ends)
        assert all(0 < end <= entry.n_samples / SAMPLE_RATE for end in ends)
        assert entry.group not in ("digits", "noisy_digits") or len(ends) == len(entry.transcript.split())
    peaks = {}
    for clip in clips_of(chosen(found.entries, ["digits", "quiet_digits"], 1), folder, keeps_level=True):
        peaks[clip.entry.group] = 20 * np.log10(np.abs(np.concatenate([*clip.sound])).max() + 1e-9)
    assert peaks["quiet_digits"] == pytest.approx(-40, abs=1)  # the codec keeps levels
    assert peaks["digits"] > -20


def test_a_part_of_a_set():
    entries = [ClipEntry(f"{group}{i}", group, "", "x", "a.wav") for group in "abc" for i in range(5)]
    assert [e.id for e in chosen(entries, ["c", "a"], 2)] == ["a0", "a1", "c0", "c1"]
    assert chosen(entries, None, None) == entries
    assert (
        sentence_of(chosen, entries, ["a", "d"], None)
        == "expected groups among a, b, c, found 'd'; choose one of these"
    )


def recordings_of(name, rows):
    """A pack of tones of 0.2 s and a silence of 0.15 s behind each, as its rows say."""
    tone = np.sin(np.arange(3200) * 0.3) * 8000
    sound = np.concatenate([[*tone, *np.zeros(2400)] for _ in rows]).astype(np.int16)
    sound += np.random.default_rng(2).integers(-3, 4, len(sound)).astype(np.int16)
    clips = (Clip(source, text, speaker, 5600 * i, 5600, source) for i, (source, text, speaker) in enumerate(rows))
    return Pack(name, sound, tuple(clips))


def test_the_built_in_set_is_made_alike_every_time_and_words_end_where_it_says(tmp_path, monkeypatch):
    for name, value in (("N_STRINGS", 5), ("N_ALTERED", 2), ("NOISE_S", 0.5)):
        monkeypatch.setattr(accuracy_set, name, value)
    train = recordings_of("train", [("fsdd", str(i % 10), "theo") for i in range(40)] + [("fsdd", "6", "jackson")] * 3)
    order, other = ("picovoice-s2i", "a large latte", "c1"), ("cards", "ten of clubs", "x")
    dev = recordings_of("dev", [("fsdd", "5", "jackson"), ("picovoice-wake", "alexa", "unknown"), order, other])
    items = accuracy_set.make(train, dev, {"dev:0": [9.0], "dev:2": [0.1, 0.15, 0.2]})
    for folder in (tmp_path / "a", tmp_path / "b"):
        accuracy_set.write(items, folder)
    for name in ("set.ogg", "set.tsv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found, folder = open_set(tmp_path / "a")
    assert [entry.id for entry in found.entries] == [item.id for item in items]
    by_group = {entry.group: entry for entry in found.entries}
    assert by_group["orders"].word_ends_s == (0.1, 0.15, 0.2)
    assert by_group["digit_words"].word_ends_s == pytest.approx((0.2,), abs=0.02)
    assert (by_group["other_speech"].transcript, by_group["other_speech"].said) == ("", "ten of clubs")
    for clip in clips_of(chosen(found.entries, ["digits", "first_sample"], 5), folder, keeps_level=True):
        samples = np.concatenate([*clip.sound])
        for end_s in clip.entry.word_ends_s:
            end = round(end_s * SAMPLE_RATE)
            before, behind = (np.abs(samples[i - 160 : i + 160]).max() for i in (end - 700, end + 700))
            assert before > 0.2 > 0.02 > behind


def test_hidden_files_are_no_part_of_a_set(tmp_path):
    """What macOS, editors and notebooks leave beside the files of people."""
    write(tmp_path / "a.wav", TONES["a"])
    (tmp_path / "t.tsv").write_text("path\tsentence\na.wav\tone\n")
    (tmp_path / "._t.tsv").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        \xb0\xff")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "t.tsv").write_text("path\tsentence\na.wav\told\n")
    assert [(e.id, e.group, e.transcript) for e in open_set(tmp_path)[0].entries] == [("a.wav", "all", "one")]


@pytest.mark.parametrize(("typed", "there"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("place", ["", "clips/", "deep/", "été/"])
def test_names_are_the_same_in_every_normal_form(typed, there, place):
    """A table of another system beside files that macOS unpacked."""
    name = unicodedata.normalize(there, f"{place}café.wav")
    table = unicodedata.normalize(typed, "path,text\n" + ("été/" if place == "été/" else "") + "café.wav,one\n")
    (entry,) = parse_set({"t.csv": table}, [name], "set").entries
    assert entry.audio == name
    assert entry.id == unicodedata.normalize("NFC", name)  # so that reports of two systems can be compared
    trans = {unicodedata.normalize(there, "é/é.trans.txt"): unicodedata.normalize(typed, "é-1 ONE")}
    sound = unicodedata.normalize(there, "é/é-1.flac")
    assert parse_set(trans, [sound], "set").entries[0].audio == sound


def test_of_names_that_differ_in_their_form_alone_each_means_itself():
    names = [unicodedata.normalize(form, "café.wav") for form in ("NFC", "NFD")]
    rows = "".join(f"{name.removesuffix(end)},{i}\n" for end in (".wav", "") for i, name in enumerate(names))
    for order in (names, names[::-1]):
        found = parse_set({"t.csv": f"path,text\n{rows}"}, order, "set")
        assert [(entry.audio, entry.transcript) for entry in found.entries] == [(names[0], "0"), (names[1], "1")]
        assert len({entry.id for entry in found.entries}) == 2


# -- what is wrong --------------------------------------------------------------------------------------
PACK = "source\ttranscript\tspeaker\tstart_sample\tn_samples\tword_ends_s\n"


@pytest.mark.parametrize(
    ("texts", "names", "sentence"),
    [
        ({}, ["a.wav"], "set: found no .tsv, .csv or *.trans.txt (files: 1); expected NAME.tsv with start_sample"),
        ({"notes.csv": "name,size\nx,1\n"}, ["a.wav"], "set: found notes.csv (columns name, size); expected NAME.tsv"),
        ({"notes.csv": 'size,"na\nme"\n'}, ["a.wav"], "set: found notes.csv (columns size, na me); expected NAME.tsv"),
        ({"notes.csv": ""}, ["a.wav"], "set: found notes.csv (empty); expected NAME.tsv"),
        ({"t.csv": "path,text\na.wav,x\n"}, [], "expected recordings, found none of the 1 it names (such as a.wav)"),
        (
            {"t.csv": "path,text\n../../etc/passwd,x\n/etc/hosts,x\n"},
            ["b.wav"],
            "none of the 2 it names (such as ../../",
        ),
        ({"t.csv": "path,text\n"}, ["b.wav"], "no line with one"),
        ({"t.csv": b"path,text\n\xff.wav,x\n"}, [], "expected UTF-8, found another byte at 10"),
        ({"t.tsv": PACK + "s\tx\t\t0\t5\n"}, ["u.ogg"], "expected its sound in t.ogg beside it, found none"),
        ({"t.tsv": PACK + "s\tx\t\t-1\t5\n"}, ["t.ogg"], "set/t.tsv, line 2: expected start_sample to be a number of"),
        ({"t.tsv": PACK + "s\tx\t\t1\t0\n"}, ["t.ogg"], "expected n_samples to be a number of samples, found '0'"),
        ({"t.tsv": PACK + "s\tx\t\t1\n"}, ["t.ogg"], "expected n_samples to be a number of samples, found ''"),
        ({"t.tsv": PACK + "s\tx\t\t1\t1" + "0" * 20 + "\n"}, ["t.ogg"], "expected n_samples"),
        (
            {"t.tsv": PACK + "s\tx y\t\t1\t9\t0.5\n"},
            ["t.ogg"],
            "expected word_ends_s to be 2 times in seconds, found '0.5'",
        ),
        ({"t.tsv": PACK + "s\tx\t\t1\t9\tnan\n"}, ["t.ogg"], "expected word_ends_s to be 1 times"),
        (
            {"t.tsv": "start_sample\tn_samples\n0\t5\n"},
            ["t.ogg"],
            "expected a column transcript, found 'start_sample n_samples'",
        ),
        (
            {"t.csv": 'path,text\n"' + "x" * (1 << 21) + '",y'},
            ["b.wav"],
            "found what cannot be read (field larger than",
        ),
    ],
)
def test_what_is_no_set_is_one_sentence(texts, names, sentence):
    assert sentence in sentence_of(parse_set, texts, names, "set")


def test_paths_that_are_no_set(tmp_path):
    assert "no such file or folder" in sentence_of(open_set, tmp_path / "none")
    write(tmp_path / "a.wav", TONES["a"])
    assert "expected a folder, a .tsv" in sentence_of(open_set, tmp_path / "a.wav")
    assert "a.wav" in sentence_of(open_set, tmp_path / "a.wav")


def test_a_table_never_leads_out_of_its_folder(tmp_path):
    write(tmp_path / "secret.wav", TONES["a"])
    write(tmp_path / "set" / "mine.wav", TONES["b"])
    (tmp_path / "set" / "t.csv").write_text(f"path,text\n../secret.wav,x\n{tmp_path / 'secret.wav'},x\nmine.wav,y\n")
    found, _ = open_set(tmp_path / "set")
    assert [entry.audio for entry in found.entries] == ["mine.wav"]
    assert "2 recordings are not there" in found.notices[0]


def test_files_of_the_same_name_in_two_folders_are_not_guessed_at():
    texts = {"t.csv": "path,text\n/data/x/a.wav,1\n/data/b.wav,2\n"}
    found = parse_set(texts, ["one/a.wav", "two/a.wav", "two/b.wav"], "set")
    assert [(entry.audio, entry.transcript) for entry in found.entries] == [("two/b.wav", "2")]


NAMES = ["t.tsv", "u.csv", "x/v.trans.txt", "t.ogg", "x/a.flac", "clips/b.mp3", "b.mp3", "a b.wav"]
CELLS = st.one_of(
    st.sampled_from(
        ["path", "sentence", "start_sample", "n_samples", "transcript", "audio", "group", "word_ends_s", "id"]
    ),
    st.sampled_from(
        ["t.ogg", "b.mp3", "a b.wav", "a", "x/a.flac", "0", "17", "1e3", "0.5,1", "nan", "", '"', "'", "..", "/"]
    ),
    st.text(max_size=6),
)
TABLES = st.builds(
    lambda delimiter, rows, end: end.join(delimiter.join(row) for row in rows),
    st.sampled_from(["\t", ",", ";", " "]),
    st.lists(st.lists(CELLS, max_size=6), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@given(
    st.dictionaries(st.sampled_from(NAMES[:3]), st.one_of(TABLES, TABLES.map(str.encode), st.binary(max_size=60))),
    st.lists(st.sampled_from(NAMES), unique=True),
)
def test_any_files_are_a_set_or_one_sentence(texts, names):
    try:
        found = parse_set(texts, names, "set")
    except AccuracyError as error:
        sentence = str(error)
    else:
        sentence = ""
    assert "\n" not in sentence
    if sentence:
        return
    assert found.entries
    assert {entry.audio for entry in found.entries} <= set(names)
    assert len({entry.id for entry in found.entries}) == len(found.entries)
    assert all(is_text_name(path) for path in texts)
    for entry in found.entries:
        assert (entry.n_samples is not None) == (found.layout == "pack")
        assert len(entry.word_ends_s) in (0, len(entry.transcript.split()))
