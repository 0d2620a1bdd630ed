"""A user's own recordings, as folders and as tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, parse_source, read, unique
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch


def speech(root: Path) -> list[Item]:
    return read(Source("folder", root), "speech")


def table(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


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


def test_a_table(tmp_path: Path) -> None:
    text = 'path,emotion,speaker,split,text\n"sub/a, b.wav",Anger,anna,train,Hello\n./c.wav,own,ben,valid,\n'
    path = table(tmp_path / "data" / "labels.csv", text)
    first, second = sorted(speech(path), key=lambda i: i.emotion)
    assert first == Item(
        "folder", "data/sub/a, b.wav", path.parent / "sub/a, b.wav", "angry", "anna", "Hello", "train"
    )
    assert (second.id, second.emotion, second.split, second.text) == ("data/c.wav", "own", "val", None)
    assert parse_source(f"folder:{path}").path == path


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("t.tsv", "Path\tEmotion\nä.wav\tsad\n", "utf-8"),
        ("t.csv", "path;emotion\r\nä.wav;sad\r\n", "cp1252"),
        ("t.csv", "path,emotion\r\nä.wav,sad\r\n", "utf-8-sig"),
        ("t.tsv", "path\temotion\r\nä.wav\tsad\r\n", "utf-16"),
        ("T.CSV", "emotion, path ,\nsad, ä.wav ,\n\n,,\n", "utf-8"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    (item,) = speech(tmp_path / name)
    assert (item.path, item.emotion, item.speaker) == (tmp_path / "ä.wav", "sad", None)


def test_a_table_of_sounds_faces_and_videos(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", f"path,emotion\na.wav,sad\nb.png,sad\nc.mp4,sad\n{tmp_path}/x/d.wav,sad\n")
    assert [i.path.name for i in speech(path)] == ["a.wav", "d.wav"]
    assert [i.path.name for i in read(Source("folder", path), "faces")] == ["b.png"]
    assert [i.path.name for i in read(Source("folder", path), "videos")] == ["c.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'path'; its columns: none"),
        ("file,emotion\na.wav,sad\n", "line 1: no column 'path'; its columns: file, emotion"),
        ("path,label\na.wav,sad\n", "line 1: no column 'emotion'; its columns: path, label"),
        ("path,emotion\na.wav,sad\n\n,sad\n", "line 4: no path"),
        ("path,emotion\na.wav, \n", "line 2: no emotion"),
        ("path,emotion,speaker\na.wav,sad,\n", "line 2: no speaker"),
        ("path,emotion\na.wav\n", "line 2: 1 values for 2 columns"),
        ("path,emotion,split\na.wav,sad,all\n", "line 2: split 'all' is none of train, val, test"),
        ("path,emotion\na.wav,sad\n./a.wav,happy\n", "line 3: ./a.wav is on line 2 already"),
        ('path,emotion\na.wav,"s\nad"\n', "line 3: emotion 's\\nad' is no name"),
        ("path,emotion\na.doc,sad\n", "line 2: a.doc is not named as a sound, image or video file"),
    ],
)
def test_mistakes_in_a_table_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path / "t.csv", text)
    with pytest.raises(DataError) as caught:
        speech(path)
    assert str(caught.value) == f"{path}, {message}"


def test_other_files_are_no_tables(tmp_path: Path, fails: Callable[..., str]) -> None:
    touch(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"t.xlsx: no such folder or table \(.csv, .tsv\)"):
        speech(tmp_path / "t.xlsx")
    message = fails("data", "scan", f"folder:{table(tmp_path / 't.csv', 'path,emotion')}")
    assert "no speech or faces or videos found; expected CLASS/*.wav" in message
