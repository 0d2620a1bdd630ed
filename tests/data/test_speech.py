"""Labelled speech of corpora, its classes, and the parts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source
from fdan_edge.data.speech import choose_part, class_names, read_labelled_speech
from fdan_edge.errors import DataError

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
    assert len(read_labelled_speech([*sources[:1], *sources[:1]], calm_as_neutral=True)) == 1
