"""Readers of faces, on trees and tables in the publishers' layouts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdan_edge.data.corpora import Item, Source, get_corpus, read
from fdan_edge.data.corpora import pixels as table_of_faces
from fdan_edge.data.scan import scan
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def faces(corpus: str, root: Path) -> list[Item]:
    return read(Source(corpus, root), "faces")


def image(seed: int, side: int = 48) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def row(emotion: int | str, seed: int, usage: str) -> str:
    return f"{emotion},{' '.join(map(str, image(seed).ravel()))},{usage}\n"


def fer_csv(path: Path, head: str = "emotion,pixels,Usage\n") -> Path:
    usages = ("Training", "PublicTest", "PrivateTest")
    path.write_text(head + "".join(row(n, n, usages[n % 3]) for n in range(7)))
    return path


def test_fer2013_csv(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fer_csv(tmp_path / "fer2013.csv")
    items = faces("fer2013", tmp_path)
    assert "its faces are written to" in " ".join(capfd.readouterr().err.split())
    assert Counter(i.emotion for i in items) == dict.fromkeys(
        ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"), 1
    )
    assert Counter(i.split for i in items) == {"train": 3, "val": 2, "test": 2}
    assert {i.emotion: i.id for i in items}["fear"] == "test/fear/000004.pgm"  # the line of the table
    with Image.open({i.emotion: i.path for i in items}["fear"]) as opened:
        assert np.array_equal(np.asarray(opened), image(2))


def test_fer2013_csv_is_written_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fer_csv(tmp_path / "fer2013.csv")
    keys = [i.key for i in faces("fer2013", table)]  # the table itself may be named
    monkeypatch.setattr(table_of_faces, "write_faces", None)  # would fail if it were called
    assert [i.key for i in faces("fer2013", tmp_path)] == keys
    assert len(list((cache / "fdan-edge" / "pixels").iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    table.write_text(table.read_text() + row(3, 9, "Training"))
    assert len(faces("fer2013", tmp_path)) == 8  # another content is another table


def test_fer2013_as_kaggles_challenge_has_it(tmp_path: Path) -> None:
    """icml_face_data.csv has blanks before its columns; train.csv is a part of it, and test.csv has no labels."""
    fer_csv(tmp_path / "icml_face_data.csv", "emotion, pixels, Usage\n")
    pixels = " ".join(["0"] * 48 * 48)
    (tmp_path / "train.csv").write_text("emotion,pixels\n" + f"3,{pixels}\n" * 20)
    (tmp_path / "test.csv").write_text(f"pixels\n{pixels}\n")
    assert len(faces("fer2013", tmp_path)) == 7
    (tmp_path / "icml_face_data.csv").unlink()
    items = faces("fer2013", tmp_path)
    assert (len(items), items[0].split, items[0].id) == (20, None, "all/happy/000002.pgm")
    (labels,) = scan(Source("fer2013", tmp_path))
    assert (len(labels.duplicates), len(labels.duplicates[0]), labels.unlabelled) == (1, 20, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9,0 0 0 0,Training", "emotion '9' is none of 0 to 7"),
        ("happy,0 0 0 0,Training", "emotion 'happy' is none of 0 to 7"),
        ("3,0 0 0 256,Training", "its pixels are not all numbers from 0 to 255"),
        ("3,0 0 0 x,Training", "its pixels are not all numbers from 0 to 255"),
        ("3,0 0 0,Training", "3 pixels are not a square image"),
        ("3,,Training", "0 pixels are not a square image"),
        ("3,0 0 0 0,Tuning", "usage 'Tuning' is none of Training, PublicTest, PrivateTest"),
        ("3,0 0 0 0", "2 values for 3 columns"),
    ],
)
def test_a_damaged_csv_leaves_nothing(tmp_path: Path, cache: Path, text: str, message: str) -> None:
    table = tmp_path / "fer2013.csv"
    table.write_text(f"emotion,pixels,Usage\n3,0 0 0 0,Training\n{text}\n")
    with pytest.raises(DataError) as caught:
        faces("fer2013", tmp_path)
    assert str(caught.value) == f"{table}, line 3: {message}"
    assert not list((cache / "fdan-edge" / "pixels").iterdir())


def test_fer2013_folders_tell_their_parts(fer_tree: Path) -> None:
    assert {i.split for i in faces("fer2013", fer_tree)} == {"train"}
    assert {i.split for i in faces("fer2013", fer_tree / "train")} == {"train"}


def ck_sequence(root: Path, name: str, frames: int, label: int | None) -> None:
    """One sequence of the publisher's: label files hold a number as MATLAB writes it."""
    subject, number = name.split("/")
    stems = [f"{subject}_{number}_{frame:08}" for frame in range(1, frames + 1)]
    touch(*(root / "cohn-kanade-images" / name / f"{stem}.png" for stem in stems))
    (root / "Emotion" / name).mkdir(parents=True)
    if label is not None:
        path = root / "Emotion" / name / f"{stems[-1]}_emotion.txt"
        path.write_text(f"   {label:.7e}\n")


def test_ck_sequences(tmp_path: Path) -> None:
    ck_sequence(tmp_path, "S005/001", 11, 3)
    ck_sequence(tmp_path, "S010/002", 4, 2)
    ck_sequence(tmp_path, "S011/001", 20, None)  # most sequences have an empty folder
    ck_sequence(tmp_path, "S014/005", 3, 7)  # too short to begin in neutral
    touch(tmp_path / "cohn-kanade-images" / "S005" / "001" / ".DS_Store")
    items = faces("ck", tmp_path)
    labels = {i.id: (i.emotion, i.speaker) for i in items if i.speaker == "S005"}
    peaks = {f"S005/001/S005_001_{n:08}.png": ("disgust", "S005") for n in (9, 10, 11)}
    assert labels == {**peaks, "S005/001/S005_001_00000001.png": ("neutral", "S005")}
    assert Counter(i.emotion for i in items) == {"disgust": 3, "contempt": 3, "surprise": 3, "neutral": 2}
    why = get_corpus("ck").skip_reason
    assert why
    assert why("S011/001/S011_001_00000001.png").startswith("of a sequence without a label")
    assert why("photo.png").startswith("its name is not of the form")


@pytest.mark.parametrize("text", ["", "8.0000000e+00", "happy", "2.5"])
def test_ck_names_a_damaged_label(tmp_path: Path, text: str) -> None:
    ck_sequence(tmp_path, "S005/001", 11, 3)
    path = tmp_path / "Emotion" / "S005" / "001" / "S005_001_00000011_emotion.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        faces("ck", tmp_path)
    assert str(caught.value).startswith(f"{path}: unknown emotion number {text!r}")


def test_ck_of_kaggle(tmp_path: Path) -> None:
    folders = {"anger": "angry", "contempt": "contempt", "fear": "fear", "sadness": "sad"}
    for number, word in enumerate(folders):
        touch(tmp_path / "CK+48" / word / f"S010_004_{number:08}.png")
    items = faces("ck", tmp_path)
    assert {i.emotion for i in items} == set(folders.values())
    assert {i.speaker for i in items} == {"S010"}
    assert [i.key for i in faces("ck", tmp_path / "CK+48" / "anger")] == ["ck:angry/S010_004_00000000.png"]


def test_ck_csv(tmp_path: Path) -> None:
    (tmp_path / "ckextended.csv").write_text(
        "emotion,pixels,Usage\n" + row(6, 0, "Training") + row(7, 1, "Training")
    )
    assert {i.emotion for i in faces("ck", tmp_path)} == {"neutral", "contempt"}
