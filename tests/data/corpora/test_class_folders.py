"""Which level of folders names the classes of a user's own recordings."""

from __future__ import annotations

import pytest

from fdan_edge.data.corpora.class_folders import place
from fdan_edge.errors import DataError


def words(*names: str) -> list[str]:
    """The classes of files, in their order; "" for one without."""
    places = place(names).of
    return [places[name].word if name in places else "" for name in names]


@pytest.mark.parametrize("front", ["", "wav/", "corpus/audio/", "Data/", "train/wav/", "wav/train/"])
@pytest.mark.parametrize("back", ["", "anna/", "anna/2024/"])
def test_the_level_that_names_emotions_is_taken(front: str, back: str) -> None:
    names = [f"{front}{emotion}/{back}1.wav" for emotion in ("angry", "Happiness", "SAD")]
    assert words(*names) == ["angry", "Happiness", "SAD"]
    assert {place(names).of[name].split for name in names} == {"train" if "train" in front else None}


def test_folders_of_speakers_above_classes() -> None:
    names = [f"{speaker}/{emotion}/1.wav" for speaker in ("anna", "ben", "Joy") for emotion in ("angry", "sad")]
    assert words(*names) == ["angry", "sad"] * 3
    found = place(names)
    assert found.note == "classes are the folders angry, sad, as in Joy/angry/1.wav"
    assert found.others == "Joy, anna, ben"


def test_folders_of_speakers_below_classes() -> None:
    found = place(["angry/anna/1.wav", "sad/anna/1.wav", "sad/ben/1.wav"])
    assert found.note == "classes are the folders angry, sad, as in angry/anna/1.wav"
    assert found.others == "anna"  # ben is in one class only: that may be anything
    assert place(["angry/1.wav", "sad/deep/1.wav"]).note == ""


@pytest.mark.parametrize(
    "form",
    [
        "{part}/{emotion}/1.wav",
        "{emotion}/{part}/1.wav",
        "anna/{part}/{emotion}/1.wav",
        "wav/{part}/{emotion}/1.wav",
    ],
)
def test_parts_at_any_level(form: str) -> None:
    names = [
        form.format(part=part, emotion=emotion)
        for part, emotion in (("train", "sad"), ("Dev", "happy"), ("test", "sad"))
    ]
    found = place(names)
    assert [(found.of[name].word, found.of[name].split) for name in names] == [
        ("sad", "train"),
        ("happy", "val"),
        ("sad", "test"),
    ]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["stressed/1.wav", "relaxed/1.wav"], ["stressed", "relaxed"]),
        (["stressed/anna/1.wav", "relaxed/anna/1.wav"], ["stressed", "relaxed"]),
        (["stressed/Joy/1.wav", "relaxed/ben/1.wav"], ["stressed", "relaxed"]),  # Joy is a name
        (["wav/stressed/1.wav", "wav/relaxed/1.wav"], ["stressed", "relaxed"]),
        (["speech/a/1.wav", "music/b/1.wav"], ["speech", "music"]),
        (["wavs/1.wav"], ["wavs"]),
        (["test/1.wav", "1.wav"], ["", ""]),
    ],
)
def test_classes_of_ones_own_are_at_the_first_level(names: list[str], classes: list[str]) -> None:
    assert words(*names) == classes


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["happy/normal/1.wav", "happy/strong/1.wav", "sad/normal/1.wav"], ["happy", "happy", "sad"]),  # loudness
        (["sad/sad/1.wav", "happy/happy/1.wav"], ["sad", "happy"]),
        (["wav/sad/1.wav", "sad/2.wav", "happy/3.wav"], ["sad", "sad", "happy"]),
        (["anna/sad/1.wav", "anna/happy/1.wav", "ben/bored stiff/1.wav"], ["sad", "happy", "bored stiff"]),
        (["anna/sad/1.wav"], ["sad"]),
        (["wav/sad/1.wav", "wav/2.wav"], ["sad", ""]),
    ],
)
def test_the_likelier_level_is_taken(names: list[str], classes: list[str]) -> None:
    assert words(*names) == classes


@pytest.mark.parametrize(
    ("names", "above", "below"),
    [
        (["angry/calm/1.wav", "happy/neutral/1.wav"], "angry, happy", "calm, neutral"),
        (["anna/sad/1.wav", "ben/sad/2.wav"], "anna, ben", "sad"),  # classes of one's own, or speakers
        (["stressed/1.wav", "stressed/2.wav", "relaxed/sad/3.wav", "relaxed/happy/4.wav", "relaxed/5.wav"],
         "relaxed, stressed", "happy, sad"),
    ],
)  # fmt: skip
def test_two_readings_are_shown_and_a_mark_chooses(names: list[str], above: str, below: str) -> None:
    with pytest.raises(DataError) as caught:
        place(names)
    assert str(caught.value).startswith(
        f"the classes may be the folders {above} or those below them, {below}, as in "
    )
    first = names[0].partition("/")[0]
    marked = [name.replace(f"{first}/", f"{first}!/", 1) for name in names]
    assert words(*marked) == [name.partition("/")[0] for name in marked]
