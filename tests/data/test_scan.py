"""What a scan counts, and that it names what is broken, twice there or without a label, and goes on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.data import pictures
from fdan_edge.data.corpora import Source
from fdan_edge.data.scan import scan
from fdan_edge.errors import DataError, MissingDependencyError
from tests.conftest import SHARED


def sound(path: Path, seed: int = 0, seconds: float = 0.2) -> Path:
    """A file of noise; equal seeds give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds)), 16000)
    return path


def test_speech(ravdess_tree: Path) -> None:
    (found,) = scan(Source("ravdess", ravdess_tree))
    assert (found.modality, found.items, found.broken) == ("speech", 32, [])
    assert (found.duplicates, found.copies, found.unlabelled, found.splits) == ([], [], {}, {})
    assert found.classes == dict.fromkeys(
        ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 4
    )
    assert found.speakers == dict.fromkeys(("01", "02", "03", "04"), 8)
    seconds = sum(soundfile.info(path).duration for path in ravdess_tree.rglob("*.wav"))
    assert found.hours == pytest.approx(seconds / 3600, abs=1e-4)
    assert json.loads(json.dumps(found.to_dict()))["items"] == 32


def test_faces(fer_tree: Path) -> None:
    (found,) = scan(Source("fer2013", fer_tree))
    assert (found.modality, found.items, found.hours, found.broken) == ("faces", 35, 0, [])
    assert set(found.classes.values()) == {5}
    assert found.splits == {"train": 35}


def test_videos_are_opened(ravdess_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(ravdess_tree / "Actor_01", tmp_path / "Actor_01")
    for name, content in (("01-01-03-01-01-01-01.mp4", b"a video"), ("02-01-03-01-01-01-01.mp4", b"")):
        (tmp_path / "Actor_01" / name).write_bytes(content)
    speech, videos = scan(Source("ravdess", tmp_path))
    assert (speech.modality, speech.items) == ("speech", 8)
    assert (videos.modality, videos.items, videos.classes, videos.hours) == ("videos", 2, {"happy": 2}, 0)
    first, second = videos.broken
    assert first.startswith(f"{tmp_path}/Actor_01/01-01-03-01-01-01-01.mp4: not a readable video")
    assert second == f"{tmp_path}/Actor_01/02-01-03-01-01-01-01.mp4: is empty (0 bytes)"


def test_broken_recordings_are_named_and_the_rest_counted(ravdess_tree: Path, tmp_path: Path) -> None:
    actor = tmp_path / "Actor_01"
    shutil.copytree(ravdess_tree / "Actor_01", actor)
    paths = sorted(actor.iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    paths[1].write_bytes(b"")
    soundfile.write(paths[2], np.zeros(16000), 16000)
    (found,) = scan(Source("ravdess", tmp_path))
    assert found.items == 8
    assert [line.partition(": ")[0] for line in found.broken] == [str(path) for path in paths[:3]]
    assert "is cut short" in found.broken[0]
    assert "is empty" in found.broken[1]
    assert "is silent" in found.broken[2]
    assert found.hours > 0


def test_broken_faces(fer_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(fer_tree, tmp_path / "f")
    paths = sorted((tmp_path / "f" / "train" / "angry").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:60])
    paths[1].write_bytes(b"no image")
    (found,) = scan(Source("fer2013", tmp_path / "f"))
    assert [line.partition(": ")[0] for line in found.broken] == [str(path) for path in paths[:2]]
    assert found.broken[1] == f"{paths[1]}: not a readable image: not of a known kind"


def test_an_image_of_too_many_pixels_is_broken(fer_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 10)
    (found,) = scan(Source("fer2013", fer_tree))
    assert len(found.broken) == found.items
    assert "a picture of 48 x 48; at most 10 pixels are read" in found.broken[0]


def test_equal_files_of_different_names_are_duplicates(tmp_path: Path) -> None:
    actor = tmp_path / "Actor_01"
    first, second = (sound(actor / f"03-01-03-01-0{n}-01-01.wav") for n in (1, 2))
    sound(actor / "03-01-04-01-01-01-01.wav", seed=1)  # of equal size, and another recording
    for name in ("03-01-05-01-01-01-01.wav", "03-01-05-01-02-01-01.wav"):
        (actor / name).write_bytes(b"")  # two empty files are broken, not one recording
    (found,) = scan(Source("ravdess", tmp_path))
    assert found.duplicates == [[str(first), str(second)]]
    assert found.copies == []
    assert len(found.broken) == 2


def test_copies_under_one_name_are_told_from_duplicates(tmp_path: Path) -> None:
    """A copy is used once, so it does no harm; a duplicate is used twice."""
    names = ("Actor_01", "audio_speech_actors_01-24/Actor_01")
    paths = [sound(tmp_path / folder / "03-01-03-01-01-01-01.wav") for folder in names]
    paths.append(sound(tmp_path / "Actor_01" / "03-01-03-01-01-01-01.flac"))
    (found,) = scan(Source("ravdess", tmp_path))
    assert found.items == 1
    assert found.duplicates == []
    assert found.copies == [[str(paths[2]), str(paths[0]), str(paths[1])]]  # the first is used


def test_files_without_a_label_and_why(tmp_path: Path) -> None:
    sound(tmp_path / "Actor_01" / "03-01-03-01-01-01-01.wav")
    song = sound(tmp_path / "Actor_01" / "03-02-03-01-01-01-01.wav")
    other = sound(tmp_path / "notes.wav")
    (tmp_path / "notes.txt").write_text("no sound")
    sound(tmp_path / ".trash" / "old.wav")
    (found,) = scan(Source("ravdess", tmp_path))
    assert found.unlabelled == {
        "a song": [str(song)],
        "its name is not of the form Actor_NN/03-01-EE-II-SS-RR-NN.wav (or .flac)": [str(other)],
    }
    sound(tmp_path / "wav" / "03a01Fa.wav")
    (emodb,) = scan(Source("emodb", tmp_path))
    ((reason, files),) = emodb.unlabelled.items()
    assert reason.startswith("not of the form wav/SSTTTEV.wav")
    assert len(files) == 3


def test_files_beside_those_of_a_table(tmp_path: Path) -> None:
    """The table may lie in a home folder: only the folders of the files that it names are looked at."""
    sound(tmp_path / "sounds" / "a.wav")
    spare = sound(tmp_path / "sounds" / "b.wav")
    sound(tmp_path / "elsewhere" / "c.wav")
    (tmp_path / "labels.csv").write_text("path,emotion\nsounds/a.wav,sad\nsounds/missing.wav,sad\n")
    (found,) = scan(Source("folder", tmp_path / "labels.csv"))
    assert found.unlabelled == {"not in the table": [str(spare)]}
    assert found.broken == [f"{tmp_path}/sounds/missing.wav: no such file"]


def test_missing_pillow_is_one_error_and_not_one_for_each_face(
    fer_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match="looking at faces needs pillow"):
        scan(Source("fer2013", fer_tree))


def test_a_folder_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no speech or videos found; expected Actor_NN"):
        scan(Source("ravdess", tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        scan(Source("ravdess", tmp_path / "none"))


@pytest.mark.corpora
def test_the_recording_that_ravdess_has_twice_is_found() -> None:
    (found,) = scan(Source("ravdess", SHARED / "ravdess" / "Actor_07"))
    ((first, second),) = found.duplicates
    assert [Path(path).stem for path in (first, second)] == ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    assert (found.items, found.broken, found.unlabelled) == (60, [], {})


@pytest.mark.corpora
def test_real_faces_that_are_there_more_than_once() -> None:
    (found,) = scan(Source("fer2013", SHARED / "fer2013"))
    assert (found.items, found.broken, found.splits) == (5291, [], {"test": 655, "train": 4636})
    assert len(found.duplicates) == 120


def test_files_that_are_broken_alike_are_no_duplicates(tmp_path: Path) -> None:
    """As pages that say `404`, which a download left under the names of recordings."""
    sound(tmp_path / "wav" / "03a01Fa.wav")
    for name in ("03a02Fa.wav", "03a04Fa.wav"):
        (tmp_path / "wav" / name).write_bytes(b"<html>not found</html>")
    (found,) = scan(Source("emodb", tmp_path))
    assert len(found.broken) == 2
    assert found.duplicates == []
