"""A user's own recordings in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, read, unique
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError, LabelError
from tests.data.corpora.test_registry import touch


def speech(root: Path) -> list[Item]:
    return read(Source("folder", root), "speech")


def test_folders_are_classes(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    touch(root / "Anger" / "a.wav", root / "happiness" / "deep" / "b.FLAC", root / "SUPRISE" / "c.wav")
    touch(root / "loose.wav", root / "Anger" / "notes.txt", root / "Anger" / "face.png")
    items = {i.id: i.emotion for i in speech(root)}
    assert items == {
        "mine/Anger/a.wav": "angry",
        "mine/happiness/deep/b.FLAC": "happy",
        "mine/SUPRISE/c.wav": "surprise",
    }
    assert [i.id for i in read(Source("folder", root), "faces")] == ["mine/Anger/face.png"]


def test_classes_of_ones_own_are_kept_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "Stressed" / "a.wav", tmp_path / "stressed " / "b.wav", tmp_path / "joy" / "c.wav")
    touch(tmp_path / "boredom" / "d.wav")
    items = read_labelled_speech([Source("folder", tmp_path)], calm_as_neutral=True)
    assert sorted(i.emotion for i in items) == ["boredom", "happy", "stressed", "stressed"]
    written = " ".join(capfd.readouterr().err.split())
    assert written == f"folder:{tmp_path}: classes of your own, beside the known emotions: stressed (2)"


def test_folders_may_be_parted(tmp_path: Path) -> None:
    touch(
        tmp_path / "train" / "sad" / "a.wav",
        tmp_path / "Dev" / "sad" / "b.wav",
        tmp_path / "test" / "sad" / "c.wav",
    )
    assert [i.split for i in speech(tmp_path)] == ["val", "test", "train"]
    assert {i.emotion for i in speech(tmp_path)} == {"sad"}


def test_two_folders_of_ones_own_are_two(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "sad" / "1.wav", tmp_path / "b" / "sad" / "1.wav")
    assert len(unique([*speech(tmp_path / "a"), *speech(tmp_path / "b")], "both")) == 2


def test_folders_of_parts_name_no_class(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a.wav", tmp_path / "train" / "sad" / "b.wav")
    assert [(i.path.name, i.emotion) for i in speech(tmp_path)] == [("b.wav", "sad")]


@pytest.mark.parametrize("folder", ["mine", "mine/train"])
def test_files_in_no_folder_of_a_class(tmp_path: Path, fails: Callable[..., str], folder: str) -> None:
    touch(tmp_path / folder / "b.wav", tmp_path / folder / "a.wav")
    message = fails("data", "scan", f"folder:{tmp_path}/mine")
    first = "a.wav" if folder == "mine" else "train/a.wav"
    assert message.startswith(
        f"folder:{tmp_path}/mine: {first} and 1 more lie in no folder of a class; expected CLASS"
    )
    assert message.endswith(
        f"`fdan-edge data scan unlabelled:{tmp_path}/mine --table labels.csv` writes one to fill in"
    )


def test_images_in_no_folder_of_a_class(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png lies in no folder of a class; .* speaker, split and text$"):
        read(Source("folder", tmp_path), "faces")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("wavs/a.wav", "is one class, wavs"),
        ("sad/a.wav", "is one class, sad"),
        ("a.wav", "has no folder for each class"),
    ],
)
def test_a_table_beside_what_names_no_classes(tmp_path: Path, name: str, what: str) -> None:
    touch(tmp_path / name)
    (tmp_path / "labels.csv").write_text("path,emotion\n")
    with pytest.raises(DataError) as caught:
        speech(tmp_path)
    assert str(caught.value) == (
        f"folder:{tmp_path}: {what}; a table of labels lies there: give folder:{tmp_path}/labels.csv"
    )


def test_a_table_beside_classes_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "sad" / "a.wav", tmp_path / "happy" / "b.wav")
    (tmp_path / "notes.csv").write_text("date,who\n")
    assert len(speech(tmp_path)) == 2
    assert capfd.readouterr().err == ""
    (tmp_path / "labels.csv").write_text("path,emotion\n")
    assert len(speech(tmp_path)) == len(speech(tmp_path)) == 2
    assert capfd.readouterr().err == (
        f"folder:{tmp_path}: labels are the folders' names; "
        f"folder:{tmp_path}/labels.csv takes them from the table there\n"
    )


def test_folders_that_are_likely_slips_are_refused_together(tmp_path: Path) -> None:
    for name, count in (("angry", 9), ("angrry", 1), ("call center", 2), ("Call-Center", 1)):
        touch(*(tmp_path / name / f"{n}.wav" for n in range(count)))
    with pytest.raises(LabelError) as caught:
        speech(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert caught.value.mistakes == (
        "class 'angrry' (1 file): did you mean angry? If it is a class of its own, write angrry!",
        "classes 'call center' (2 files) and 'call-center' (1 file) differ only in case, blanks, punctuation or "
        "zeros before a number: write one name",
    )


def test_a_mark_says_that_a_class_is_no_slip(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "angrry!" / "a.wav", tmp_path / "ANGRY " / "b.wav", tmp_path / "sad!" / "c.wav")
    touch(*(tmp_path / "hapy" / f"{n}.wav" for n in range(5)))
    assert {i.emotion for i in speech(tmp_path)} == {"angrry", "angry", "hapy", "sad"}
    written = " ".join(capfd.readouterr().err.split())
    assert written.endswith("beside the known emotions: angrry (1), hapy (5; did you mean happy?)")


def test_other_files_are_neither(tmp_path: Path) -> None:
    touch(tmp_path / "t.xlsx")
    with pytest.raises(
        DataError, match=r"t.xlsx: is not a folder or table \(.csv, .tsv\); save the spreadsheet as CSV"
    ):
        speech(tmp_path / "t.xlsx")
