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


def test_the_level_of_classes_is_told_and_speakers_are_not_made_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    touch(*(tmp_path / "wav" / who / what / "1.wav" for who in ("anna", "ben") for what in ("anger", "sad")))
    items = speech(tmp_path)
    assert sorted((item.emotion, item.speaker) for item in items) == [("angry", None)] * 2 + [("sad", None)] * 2
    assert " ".join(capfd.readouterr().err.split()) == (
        f"folder:{tmp_path}: classes are the folders anger, sad, as in wav/anna/anger/1.wav; anna, ben are not "
        "taken for speakers, whom a table can name: "
        f"`fdan-edge data scan folder:{tmp_path} --table labels.csv` writes one"
    )


def test_two_levels_of_emotions_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "angry" / "calm" / "1.wav", tmp_path / "happy" / "sad" / "1.wav")
    with pytest.raises(DataError) as caught:
        speech(tmp_path)
    assert str(caught.value) == (
        f"folder:{tmp_path}: the classes may be the folders angry, happy or those below them, calm, sad, as in "
        "angry/calm/1.wav; write an exclamation mark after the name of one that is a class (calm!), or name files "
        "and classes in a table; "
        f"`fdan-edge data scan unlabelled:{tmp_path} --table labels.csv` writes one to fill in"
    )


def test_files_named_as_those_of_a_known_corpus(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(
        *(
            tmp_path / f"{who}_{what}" / f"{who}_back_{what}.wav"
            for who in ("OAF", "YAF")
            for what in ("sad", "ps")
        )
    )
    assert len(speech(tmp_path)) == 4
    message = f"its files are named as those of tess:{tmp_path}, which knows speakers and sentences"
    assert message in " ".join(capfd.readouterr().err.split())


def test_classes_named_as_speakers_with_emotions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "anna_angry" / "1.wav", tmp_path / "Ben-sad" / "1.wav")
    assert {item.emotion for item in speech(tmp_path)} == {"anna_angry", "ben-sad"}
    message = "its classes are named as speakers with emotions (Ben-sad): a table can part them"
    assert message in " ".join(capfd.readouterr().err.split())


def test_sound_and_videos_side_by_side(tmp_path: Path) -> None:
    """As of a recorder and a browser; the sound of a video is preferred to the video."""
    touch(tmp_path / "sad" / "a.wav", tmp_path / "sad" / "b.webm", tmp_path / "happy" / "a.mp4")
    touch(tmp_path / "happy" / "c.m4a", tmp_path / "happy" / "c.mov")
    assert [item.id.partition("/")[2] for item in speech(tmp_path)] == [
        "happy/a.mp4",
        "happy/c.m4a",
        "sad/a.wav",
        "sad/b.webm",
    ]


def test_sound_extracted_into_another_folder(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("video/sad/a.mp4", "video/sad/b.mp4", "audio/sad/a.wav")))
    assert [item.path.name for item in speech(tmp_path)] == ["a.wav", "b.mp4"]
