"""Scenes of the demo model's training: which words are due when, and that every example is what its numbers say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.demo_model.configuration import NETWORK, Scenes
from tools.demo_model.recordings import Clip, Pack
from tools.demo_model.scenes import (
    ENDING_TOKENS,
    FIRST_WORD_TOKEN,
    SETTLING_TOKENS,
    Library,
    draw,
    endings,
    kind_of,
    targets,
)
from tools.demo_model.vocabulary import vocabulary_size, words
from voxtral.config import (
    BOS_TOKEN,
    PROMPT_PAD_TOKENS,
    SAMPLE_RATE,
    SAMPLES_PER_TOKEN,
    STREAMING_PAD_TOKEN,
    STREAMING_WORD_TOKEN,
)

WORD = FIRST_WORD_TOKEN
MARK, PAD = STREAMING_WORD_TOKEN, STREAMING_PAD_TOKEN


def test_a_word_is_due_its_delay_after_the_frame_it_ends_in() -> None:
    out = targets([(0.50, WORD + 3)], n_tokens=80, left_pad=32, delay=6)
    at = 32 + 6 + 6  # 0.50 s lies in frame 6
    assert out[at : at + 3].tolist() == [MARK, WORD + 3, PAD]
    assert (out[: PROMPT_PAD_TOKENS + 6] == -1).all()
    assert (np.delete(out[PROMPT_PAD_TOKENS + 6 :], [6, 7]) == PAD).all()


def test_words_of_one_frame_share_a_mark_and_what_is_late_follows_at_once() -> None:
    said = [(0.17, WORD), (0.21, WORD + 1), (0.26, WORD + 2)]  # frames 2, 2 and 3
    out = targets(said, n_tokens=60, left_pad=32, delay=1)
    assert out[35:40].tolist() == [MARK, WORD, WORD + 1, MARK, WORD + 2]


def test_what_finds_no_room_is_left_out_whole() -> None:
    out = targets([(0.0, WORD), (0.5, WORD + 1)], n_tokens=32 + 1 + 7, left_pad=32, delay=1)
    assert out[33:].tolist() == [MARK, WORD, PAD, PAD, PAD, PAD, PAD]


@given(
    st.lists(st.tuples(st.floats(0, 8), st.integers(WORD, WORD + 40)), max_size=30),
    st.sampled_from([32, 76]),
    st.integers(1, 30),
)
def test_words_come_in_order_behind_marks_and_never_early(said, left_pad, delay) -> None:
    out = targets(said, 192, left_pad, delay).tolist()
    due = sorted(said, key=lambda one: one[0])
    written = [(p, token) for p, token in enumerate(out) if token >= WORD]
    assert [token for _, token in written] == [token for _, token in due][: len(written)]
    for (p, _), (end_s, _) in zip(written, due, strict=False):
        assert p >= left_pad + delay + int(end_s * SAMPLE_RATE) // SAMPLES_PER_TOKEN + 1
    for before, after in pairwise(out):
        assert after < WORD or before == MARK or before >= WORD
        assert before != MARK or after >= WORD


def test_an_ear_notices_words_at_the_same_time_whatever_the_delay() -> None:
    out = endings([(0.50, WORD + 3)], 80, 32)
    assert np.flatnonzero(out).tolist() == [32 + 6 + ENDING_TOKENS]
    assert out.max() == 4


def test_the_network_has_a_row_for_every_piece() -> None:
    assert NETWORK.decoder.vocab_size == vocabulary_size() >= FIRST_WORD_TOKEN + len(words())


@pytest.fixture(scope="module")
def library() -> Library:
    random = np.random.default_rng(0)
    clips, sounds, ends = [], [], {}
    rows = [("fsdd", "three", "jackson"), ("fsdd", "nine", "nicolas"), ("fsdd", "three", "theo"),
            ("picovoice-wake", "smart mirror", "unknown"), ("picovoice-s2i", "make me a small mocha", "c1"),
            ("dctts-matthes", "and now for one thing", "matthes"), ("picovoice-s2i", "brew a latte", "c2")]  # fmt: skip
    for i, (source, text, speaker) in enumerate(rows):
        n = 12000 + 3000 * len(text.split())
        sound = np.zeros(n)
        sound[3000:-3000] = random.normal(0, 3000, n - 6000)
        clips.append(Clip(source, text, speaker, sum(map(len, sounds)), n, source))
        sounds.append(sound.astype(np.int16))
        if text != "brew a latte":  # nobody knows when its words end
            n_words = len(text.split())
            ends["train", i] = [(3000 + (n - 6000) * (k + 1) / n_words) / SAMPLE_RATE for k in range(n_words)]
    return Library([Pack("train", np.concatenate(sounds), tuple(clips))], ends, ["theo"])


def test_a_library_holds_nothing_of_held_out_speakers_and_no_words_without_times(library: Library) -> None:
    assert {kind: len(recorded) for kind, (recorded, _) in library.kinds.items()} == {
        "digits": 2, "keywords": 1, "orders": 1, "other_speech": 1,
    }  # fmt: skip
    assert sorted(library.digits) == ["jackson", "nicolas"]
    assert library.kinds["other_speech"][0][0].tokens == ()


def test_kinds_follow_from_words_and_sources() -> None:
    def kind(source: str, text: str) -> str:
        return kind_of(Clip(source, text, "", 0, 1, source))

    assert kind("voices", "eight two") == "digits"
    assert kind("voices", "eight view glass") == "keywords"
    assert kind("voices", "eight ounce latte") == "orders"
    assert kind("other_speech", "one") == kind("voices", "") == "other_speech"


@pytest.mark.parametrize("number", range(40))
def test_a_scene_is_whole_and_the_same_for_the_same_number(library: Library, number: int) -> None:
    scenes = Scenes()
    scene, again = (draw(library, scenes, np.random.default_rng([7, number])) for _ in range(2))
    assert scene.pieces == again.pieces
    assert (scene.inputs == again.inputs).all()
    room = (scenes.n_tokens - scene.left_pad) * SAMPLES_PER_TOKEN
    assert 0 < scene.audio_end <= room
    for before, after in pairwise(scene.pieces):
        assert before.end <= after.destination  # what has been said is never cut by what follows
    for piece in scene.pieces:
        assert piece.source >= 0
        assert piece.source + piece.n_samples <= len(library.stream)
    is_middle = scene.left_pad == 0
    n_settling = scene.delay + (SETTLING_TOKENS if is_middle else PROMPT_PAD_TOKENS)
    assert scene.inputs[0] == (PAD if is_middle else BOS_TOKEN)
    assert (scene.targets[:n_settling] == -1).all()
    assert is_middle or (scene.inputs[1:n_settling] == PAD).all()
    given, wanted = scene.inputs[n_settling + 1 :], scene.targets[n_settling:-1]
    assert (given[(wanted == PAD) | (wanted < 0)] == PAD).all()
    assert np.isin(given[wanted == MARK], [MARK, PAD]).all()  # heard or missed
    assert (given[wanted >= WORD] >= WORD).all()
    assert (scene.targets[n_settling:][scene.inputs[n_settling:] == MARK] >= WORD).all()
    assert (scene.targets[scene.inputs == PAD] < WORD).all()  # no piece without its mark
    due_in_time = scene.endings[: scenes.n_tokens - scene.delay - 10]  # what ends later may find no room
    due_in_time[: n_settling - scene.delay + ENDING_TOKENS] = 0
    none_missed = draw(library, replace(scenes, missed_word=0, missed_all=0), np.random.default_rng([7, number]))
    assert (none_missed.targets >= WORD).sum() >= (due_in_time > 0).sum()


def test_all_that_a_position_depends_on_fits_in_an_example() -> None:
    # else what is further back than any example is new in a long stream, and words are missed there
    assert NETWORK.decoder.n_layers * (NETWORK.decoder.window - 1) <= Scenes().n_tokens


def test_about_half_of_the_examples_begin_in_the_middle_some_inside_a_word(library: Library) -> None:
    scenes = Scenes(middle=0.5)
    drawn = [draw(library, scenes, np.random.default_rng([9, number])) for number in range(100)]
    middles = [scene for scene in drawn if scene.left_pad == 0]
    assert 35 < len(middles) < 65
    assert any(scene.pieces and scene.pieces[0].destination < 0 < scene.pieces[0].end for scene in middles)
    assert any((scene.inputs[:20] >= WORD).any() for scene in middles)  # words said where nothing is expected yet
    assert all(piece.destination >= 0 for scene in drawn if scene.left_pad for piece in scene.pieces)


def test_words_are_missed_with_their_marks_and_in_some_examples_all_up_to_one(library: Library) -> None:
    def missed(scenes: Scenes) -> tuple[int, int]:
        scenes = replace(scenes, late_word=0, middle=0)
        drawn = [draw(library, scenes, np.random.default_rng([8, number])) for number in range(60)]
        marks = [np.flatnonzero(scene.targets[:-1] == MARK) for scene in drawn]
        heard = [scene.inputs[at + 1] == MARK for scene, at in zip(drawn, marks, strict=True)]
        n_behind = sum(int((~each[int(each.argmax()) :]).sum()) for each in heard if each.any())
        return sum(int((~each).sum()) for each in heard), n_behind

    assert missed(replace(Scenes(), missed_word=0, missed_all=0)) == (0, 0)
    n_missed, n_behind_one_heard = missed(replace(Scenes(), missed_word=0, missed_all=1))
    assert n_missed > 60
    assert n_behind_one_heard == 0
    assert missed(replace(Scenes(), missed_word=0.2, missed_all=0))[1] > 20


def test_a_mark_that_comes_late_is_due_until_it_comes(library: Library) -> None:
    n_late = 0
    for number in range(40):
        scenes = replace(Scenes(), missed_word=0, missed_all=0, wrong_token=0, middle=0, late_word=0.5)
        in_time = draw(library, replace(scenes, late_word=0), np.random.default_rng([10, number]))
        late = draw(library, scenes, np.random.default_rng([10, number]))
        assert late.pieces == in_time.pieces
        spoken = [scene.inputs[scene.inputs >= WORD].tolist() for scene in (in_time, late)]
        assert spoken[1] == spoken[0][: len(spoken[1])]
        assert len(spoken[0]) - len(spoken[1]) <= 1  # at the very end a word may be late
        due = late.targets[:-1] == MARK
        is_written = late.inputs[1:] == MARK
        assert (late.inputs[1:][due & ~is_written] == PAD).all()
        waiting = 0
        for is_due, is_there, was_due in zip(due, is_written, in_time.targets[:-1] == MARK, strict=True):
            assert is_due or not is_there
            assert not is_due or waiting or was_due  # never early
            waiting = waiting + 1 if is_due and not is_there else 0
            assert waiting <= scenes.most_late
            n_late += bool(waiting)
    assert n_late > 100
