"""What lies in a corpus's folder and is not read is counted, named and told once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fdan_edge.data.corpora import Source, left_out, read, read_visual
from fdan_edge.data.scan import scan
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch
from tests.data.corpora.test_speech import MELD_HEAD

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def sound(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(3200)
    soundfile.write(path, samples, 16000, format="OGG" if path.suffix == ".dat" else "WAV")
    return path


def pointer(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(POINTER.replace(b"12345", b"%05d" % number))
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Two recordings in folders of classes."""
    for number, emotion in enumerate(("happy", "sad")):
        sound(tmp_path / "mine" / emotion / "1.wav", number)
    return tmp_path / "mine"


def written(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join(capfd.readouterr().err.split())


def test_nothing_is_told_of_what_is_read_and_of_notes(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    touch(mine / "README", mine / "happy" / "notes.txt", mine / "happy" / "face.png", mine / "x.bin")
    assert len(read(Source("folder", mine), "speech")) == 2
    assert written(capfd) == ""
    assert scan(Source("folder", mine))[0].left_out == {}


def test_sound_under_other_names_is_told_once_and_listed(mine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = [sound(mine / "happy" / name, n + 9) for n, name in enumerate(("REC001", "a.WAV.part", "voice.dat"))]
    loose = sound(mine / "loose.wav", 20)
    source = Source("folder", mine)
    for _ in range(2):
        assert len(read(source, "speech")) == 2
    assert written(capfd) == (
        f"left out: 4 files that hold sound or video are not read from folder:{mine} "
        f"(loose.wav, happy/REC001, happy/a.WAV.part and 1 more); `fdan-edge data scan folder:{mine}` says why"
    )
    (result,) = scan(source)
    assert result.unlabelled == {"lies in no folder of a class": [str(loose)]}
    assert result.left_out == {
        "WAV by its content, but not named as sound or video: rename it": [str(paths[0]), str(paths[1])],
        "Ogg by its content, but not named as sound or video: rename it": [str(paths[2])],
    }


def test_every_corpus_tells_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound(tmp_path / "wav" / "03a01Fa.wav")
    sound(tmp_path / "wav" / "03a01Fb")
    touch(tmp_path / "wav" / "03a02Fa.mp4")  # the corpus has no videos, so nobody would miss it
    assert len(read(Source("emodb", tmp_path), "speech")) == 1
    assert "left out: 2 files that hold sound or video are not read from emodb:" in written(capfd)


def test_a_video_that_is_read_for_its_faces_is_not_left_out(tmp_path: Path) -> None:
    sound(tmp_path / "Actor_01" / "03-01-03-01-01-01-01.wav")
    touch(tmp_path / "Actor_01" / "01-01-03-01-01-01-01.mp4")
    assert [result.unlabelled for result in scan(Source("ravdess", tmp_path))] == [{}, {}]


def test_before_a_training_only_names_of_no_kind_are_opened(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(*(mine / "happy" / f"{n}{suffix}" for n in range(5) for suffix in (".txt", ".csv", ".png", ".TextGrid")))
    touch(mine / "happy" / "unknown")
    opened: list[str] = []
    original = Path.open

    def record(path: Path, *arguments: Any, **words: Any) -> Any:
        opened.append(path.name)
        return original(path, *arguments, **words)

    monkeypatch.setattr(Path, "open", record)
    read(Source("folder", mine), "speech")
    assert opened == ["unknown"]


def test_folders_that_cannot_be_read(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scandir, shut = os.scandir, {"sad"}

    def refuse(path: Path) -> Any:
        if Path(path).name in shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = Source("folder", mine)
    assert len(read(source, "speech")) == 1
    assert written(capfd) == f"left out: {mine}/sad: a folder that cannot be read: Permission denied"
    assert scan(source)[0].left_out == {"a folder that cannot be read: Permission denied": [f"{mine}/sad"]}
    shut.add("happy")
    with pytest.raises(
        DataError, match=r"happy: a folder that cannot be read: Permission denied, and 1 more folder$"
    ):
        read(source, "speech")


def test_class_folders_may_be_links(mine: Path, tmp_path: Path) -> None:
    sound(tmp_path / "elsewhere" / "2.wav", 5)
    (mine / "angry").symlink_to(tmp_path / "elsewhere")
    (mine / "happy" / "loop").symlink_to(mine)
    assert [item.emotion for item in read(Source("folder", mine), "speech")] == ["angry", "happy", "sad"]


def test_pointers_are_one_line_in_a_training_and_named_in_a_scan(
    mine: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [pointer(mine / "happy" / f"p{n:02}.wav", n % 2) for n in range(12)]
    source = Source("folder", mine)
    assert [item.path.name for item in read(source, "speech")] == ["1.wav", "1.wav"]
    assert written(capfd) == (
        f"left out: 12 of 14 files of folder:{mine} are git-lfs pointers "
        "(happy/p00.wav, happy/p01.wav, happy/p02.wav and 9 more): `git lfs pull` there fetches them"
    )
    (result,) = scan(source)
    assert result.broken == [f"{path}: is a git-lfs pointer: git lfs pull" for path in paths]
    assert result.duplicates == []


def test_a_corpus_of_pointers_alone(tmp_path: Path) -> None:
    pointer(tmp_path / "wav" / "03a01Fa.wav")
    pointer(tmp_path / "wav" / "03a02Fa.wav")
    with pytest.raises(DataError, match=r"2 of 2 files of emodb:.* are git-lfs pointers .*: `git lfs pull` there"):
        read(Source("emodb", tmp_path), "speech")


def test_pointers_of_images(fer_tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pointer(tmp_path / "train" / "happy" / "1.png")
    (tmp_path / "train" / "happy" / "2.png").write_bytes(next(fer_tree.rglob("*.png")).read_bytes())
    assert len(read_visual(Source("fer2013", tmp_path), 3)) == 1
    assert "1 of 2 files of fer2013" in written(capfd)


def meld(root: Path) -> Source:
    """Three rows of two tables, and the clip of one."""
    rows = {"train": (0, 1), "dev": (7,)}
    for part, numbers in rows.items():
        lines = [f"1,Hi,Joey,joy,,110,{number},,,," for number in numbers]
        (root / f"{part}_sent_emo.csv").write_text("\n".join([MELD_HEAD, *lines, ""]))
    touch(root / "train_splits" / "dia110_utt0.mp4")
    return Source("meld", root)


def test_rows_of_meld_without_clips(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = meld(tmp_path)
    assert len(read(source, "speech")) == 1
    assert written(capfd) == (
        f"left out: 2 rows of tables name files that are not in meld:{tmp_path} (train_sent_emo.csv, line 3: "
        f"dia110_utt1, dev_sent_emo.csv, line 2: dia110_utt7); `fdan-edge data scan meld:{tmp_path}` lists them"
    )
    assert scan(source)[0].left_out == {
        "a table names it, and it is not there": [
            "train_sent_emo.csv, line 3: dia110_utt1",
            "dev_sent_emo.csv, line 2: dia110_utt7",
        ]
    }


def test_extracted_sound_is_a_clip_too(tmp_path: Path) -> None:
    source = meld(tmp_path)
    touch(tmp_path / "train" / "dia110_utt1.wav", tmp_path / "dev" / "dia110_utt7.wav")
    assert len(read(source, "speech")) == 3
    assert scan(source)[0].left_out == {}


def test_labels_of_ck_without_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for subject in ("S005", "S006"):
        label = tmp_path / "Emotion" / subject / "001" / f"{subject}_001_00000002_emotion.txt"
        label.parent.mkdir(parents=True)
        label.write_text("3.0000000e+00")
    touch(*(tmp_path / "images" / "S005" / "001" / f"S005_001_0000000{n}.png" for n in (1, 2)))
    assert read_visual(Source("ck", tmp_path), 3)
    line = "S006_001_00000002_emotion.txt: no image of it"
    assert f"left out: 1 row of a table names a file that is not in ck:{tmp_path} ({line})" in written(capfd)


def test_what_is_there_where_nothing_is_read(tmp_path: Path) -> None:
    sound(tmp_path / "Actor_01" / "03-01-03-01-01-01-01")
    with pytest.raises(
        DataError, match=r"no speech found; expected .*; .*/03-01-03-01-01-01-01: WAV by its content"
    ):
        read(Source("ravdess", tmp_path), "speech")
    touch(*(tmp_path / "wav" / f"{n:02}a01Fa.wav" for n in range(9)))
    message = rf"no speech or videos found; expected .*; its files are named as those of emodb:{tmp_path}$"
    with pytest.raises(DataError, match=message):
        scan(Source("ravdess", tmp_path))


@pytest.mark.parametrize(
    ("corpus", "names"),
    [
        ("tess", ("OAF_angry/OAF_back_angry.wav", "YAF_sad/YAF_back_sad.wav")),
        ("ravdess", ("Actor_01/03-01-03-01-01-01-01.wav", "Actor_02/03-01-03-01-01-01-02.wav")),
        ("savee", ("ALL/DC_a01.wav", "ALL/KL_su12.wav")),
        ("crema", ("AudioWAV/1001_DFA_ANG_XX.wav",)),
        ("emodb", ("wav/03a01Fa.wav", "wav/03a01Wa.wav")),
        ("meld", ("train_splits/dia0_utt0.mp4",)),
        ("enterface", ("angry/s1_an_1.avi", "sad/s1_sa_1.avi")),
        ("", ("angry/1.wav", "sad/03a01Fa.wav")),
    ],
)
def test_the_corpus_as_whose_files_are_named(tmp_path: Path, corpus: str, names: tuple[str, ...]) -> None:
    paths = [tmp_path / name for name in names]
    wanted = f"{corpus}:{tmp_path}" if corpus else ""
    assert left_out.suggestion(Source("folder", tmp_path), paths) == wanted
