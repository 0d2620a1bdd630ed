"""Labelled speech of corpora, its classes, and the parts of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.speech import (
    check_overlap,
    choose_part,
    class_names,
    corpora_of,
    known_classes,
    read_labelled_speech,
)
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch

SPLIT = {
    "train": ["r:1.wav", "r:2.wav"],
    "val": ["r:3.wav"],
    "test": ["r:4.wav", "r:5.wav"],
    "speakers": ["r:seen"],
    "texts": [],
    "target": [],
}


def items(names: Sequence[str], corpus: str = "r") -> list[Item]:
    return [Item(corpus, name, Path(name), "sad") for name in names]


def chosen(speech: list[Item], part: str) -> tuple[list[str], str]:
    of_part, description = choose_part(speech, SPLIT, part)
    return [item.id for item in of_part], description


def test_parts() -> None:
    speech = items([f"{n}.wav" for n in range(1, 6)])
    assert chosen(speech, "train") == (["1.wav", "2.wav"], "the run's train part")
    assert chosen(speech, "val") == (["3.wav"], "the run's val part")
    assert chosen(speech, "test") == (["4.wav", "5.wav"], "the run's test part")
    ids, description = chosen(speech, "all")
    assert len(ids) == 5
    assert "training speech included" in description


def test_speech_of_elsewhere_is_unseen_but_training_speech_never_is() -> None:
    ids, description = choose_part([*items(["1.wav", "4.wav"]), *items(["1.wav"], corpus="other")], SPLIT, "test")
    assert [item.key for item in ids] == ["r:4.wav", "other:1.wav"]
    assert description == "speech unseen in training"


def test_another_file_format_does_not_make_training_speech_unseen() -> None:
    ids, description = chosen(items(["1.flac", "3.flac", "4.flac"]), "test")
    assert (ids, description) == (["4.flac"], "1 of 2 recordings of the run's test part")


def test_new_recordings_of_a_training_speaker_are_no_test() -> None:
    new = [
        replace(item, speaker=name) for item, name in zip(items(["8.wav", "9.wav"]), ("seen", "new"), strict=True)
    ]
    assert [item.id for item in choose_part(new, SPLIT, "test")[0]] == ["9.wav"]
    assert len(choose_part(new, {**SPLIT, "speakers": []}, "test")[0]) == 2  # a random split holds no speaker out


def test_sentences_of_the_training_are_no_test_where_sentences_are_held_out() -> None:
    new = [
        replace(item, speaker="seen", text=text)
        for item, text in zip(items(["8.wav", "9.wav"]), ("met", "new"), strict=True)
    ]
    split = {**SPLIT, "speakers": [], "texts": ["r:met"]}
    assert [item.id for item in choose_part(new, split, "test")[0]] == ["9.wav"]
    with pytest.raises(DataError, match="all of this speech, or its sentences, was used in training"):
        choose_part(new[:1], split, "test")
    # A sentence may be called as a speaker is: in RAVDESS both are numbers.
    speakers = {**SPLIT, "speakers": ["r:new"], "texts": []}
    assert [item.id for item in choose_part(new, speakers, "test")[0]] == ["8.wav", "9.wav"]


def test_a_part_that_the_speech_has_nothing_of() -> None:
    with pytest.raises(DataError, match="none of this speech is in the run's val part"):
        choose_part(items(["1.wav"]), SPLIT, "val")


def test_only_training_speech_is_refused() -> None:
    with pytest.raises(
        DataError, match="all of this speech, or its speakers, was used in training or validation; --part all"
    ):
        choose_part(items(["1.wav", "3.wav"]), SPLIT, "test")
    with pytest.raises(DataError, match=r"unknown part 'tst' \(did you mean test\?\)"):
        choose_part(items(["1.wav"]), SPLIT, "tst")


def test_read_speech(ravdess_tree: Path) -> None:
    source = Source("ravdess", ravdess_tree)
    assert "calm" in {item.emotion for item in read_labelled_speech([source], calm_as_neutral=False)}
    merged = read_labelled_speech([source], calm_as_neutral=True)
    assert sum(item.emotion == "neutral" for item in merged) == 8
    overlapping = [source, Source("ravdess", ravdess_tree / "Actor_01")]
    assert [i.key for i in read_labelled_speech(overlapping, calm_as_neutral=True)] == [i.key for i in merged]


def test_class_names() -> None:
    items = [Item("x", str(i), Path("x"), emotion) for i, emotion in enumerate(("sad", "angry", "sad"))]
    assert class_names(items) == ["angry", "sad"]
    with pytest.raises(DataError, match=r"one class only \(sad\)"):
        class_names([items[0], items[2]])


def test_two_tables_that_spell_a_speaker_in_two_ways(tmp_path: Path) -> None:
    sources = []
    for speaker in ("P02", "p02"):
        table = tmp_path / speaker / "t.csv"
        table.parent.mkdir()
        (table.parent / "a.wav").touch()
        table.write_text(f"path,emotion,speaker\na.wav,sad,{speaker}\n")
        sources.append(Source("folder", table))
    with pytest.raises(
        DataError, match=r"^folder:.*, folder:.*: speakers 'P02' \(1 file\) and 'p02' \(1 file\) differ"
    ):
        read_labelled_speech(sources, calm_as_neutral=True)


def test_a_corpus_given_twice(ravdess_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ravdess_tree)
    again = Source("ravdess", tmp_path / "link")
    with pytest.raises(DataError) as caught:
        read_labelled_speech([Source("ravdess", ravdess_tree), again], calm_as_neutral=True)
    assert str(caught.value) == f"{again} is given twice; give every corpus once"


def test_two_folders_of_one_corpus_are_its_parts(tmp_path: Path) -> None:
    """As EMO-DB in two trees, of four and of three classes."""
    letters = {"one": "WFNT", "rest": "AEL"}
    for name, of in letters.items():
        touch(*(tmp_path / name / "wav" / f"03a01{letter}a.wav" for letter in of))
    sources = [Source("emodb", tmp_path / name) for name in letters]
    assert len(read_labelled_speech(sources, calm_as_neutral=True, boredom=True)) == 7
    assert {item.corpus for item in read_labelled_speech(sources, calm_as_neutral=True)} == {"emodb"}


def test_files_that_two_corpora_read(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    touch(tmp_path / "happy" / "03a01Fa.wav")
    sources = [Source("emodb", tmp_path), Source("folder", tmp_path)]
    with pytest.raises(DataError) as caught:
        read_labelled_speech(sources, calm_as_neutral=True)
    path = tmp_path / "happy" / "03a01Fa.wav"
    assert str(caught.value) == f"emodb and folder read the same files, e.g. {path}; give one of them"


def test_chosen_classes(ravdess_tree: Path) -> None:
    source = Source("ravdess", ravdess_tree)
    kept = read_labelled_speech([source], calm_as_neutral=True, classes=("sad", "angry"))
    assert Counter(item.emotion for item in kept) == {"angry": 4, "sad": 4}
    with pytest.raises(DataError, match=r"unknown class 'sat' \(did you mean sad\?\); valid: angry, disgust, "):
        read_labelled_speech([source], calm_as_neutral=True, classes=("sat",))


def test_own_folders_are_told_apart_only_where_there_are_several(tmp_path: Path) -> None:
    for name in ("one", "two"):
        touch(*(tmp_path / name / emotion / f"{name}.wav" for emotion in ("angry", "sad")))
    sources = [Source("folder", tmp_path / name) for name in ("one", "two")]
    both = read_labelled_speech(sources, calm_as_neutral=True)
    assert Counter(item.origin for item in both) == {"folder:one": 2, "folder:two": 2}
    assert corpora_of(both) == ["folder"]
    (alone,) = {item.origin for item in read_labelled_speech(sources[:1], calm_as_neutral=True)}
    assert alone == "folder"


def labelled(classes: dict[str, str]) -> list[Item]:
    """Make a recording of each class of corpora; a class is its first letter."""
    names = {"a": "angry", "h": "happy", "n": "neutral", "s": "sad"}
    return [
        Item(corpus, f"{letter}.wav", Path(letter), names[letter])
        for corpus, letters in classes.items()
        for letter in letters
    ]


def test_classes_that_each_corpus_has() -> None:
    items = labelled({"x": "as", "w": "ahns", "y": "n"})
    classes = ["angry", "happy", "neutral", "sad"]
    assert corpora_of(items) == ["w", "x", "y"]
    # w has all, x two; y, of one class, is masked by nothing.
    assert known_classes(items, classes).astype(int).tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    unlabelled = [*items, Item("x", "u.wav", Path("u"), "")]
    assert (known_classes(unlabelled, classes) == known_classes(items, classes)).all()


def test_a_corpus_that_shares_no_class() -> None:
    check_overlap(labelled({"x": "as", "y": "an", "z": "nh"}))
    check_overlap(labelled({"x": "as"}))
    with pytest.raises(DataError) as caught:
        check_overlap(labelled({"x": "as", "y": "ans", "z": "h"}))
    assert str(caught.value) == (
        "corpus z has no class of the others: happy; they have angry, neutral, sad; --set mask_missing=false lets "
        "all classes compete"
    )
