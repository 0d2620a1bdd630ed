"""What a scan counts, and that it names what is broken and goes on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.corpora import Source
from fdan_edge.errors import DataError, MissingDependencyError
from fdan_edge.scan import scan


def test_speech(ravdess_tree: Path) -> None:
    found = scan(Source("ravdess", ravdess_tree))
    assert (found.modality, found.items, found.broken) == ("speech", 32, [])
    assert found.classes == dict.fromkeys(
        ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 4
    )
    assert found.speakers == dict.fromkeys(("01", "02", "03", "04"), 8)
    seconds = sum(soundfile.info(path).duration for path in ravdess_tree.rglob("*.wav"))
    assert found.hours == pytest.approx(seconds / 3600, abs=1e-4)
    assert json.loads(json.dumps(found.to_dict()))["items"] == 32


def test_faces(fer_tree: Path) -> None:
    found = scan(Source("fer2013", fer_tree))
    assert (found.modality, found.items, found.hours, found.broken) == ("faces", 35, 0, [])
    assert set(found.classes.values()) == {5}


def test_broken_recordings_are_named_and_the_rest_counted(ravdess_tree: Path, tmp_path: Path) -> None:
    actor = tmp_path / "Actor_01"
    shutil.copytree(ravdess_tree / "Actor_01", actor)
    paths = sorted(actor.iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    paths[1].write_bytes(b"")
    soundfile.write(paths[2], np.zeros(16000), 16000)
    found = scan(Source("ravdess", tmp_path))
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
    found = scan(Source("fer2013", tmp_path / "f"))
    assert [line.partition(": ")[0] for line in found.broken] == [str(path) for path in paths[:2]]
    assert found.broken[1] == f"{paths[1]}: not a readable image: not of a known kind"


def test_missing_pillow_is_one_error_and_not_one_for_each_face(
    fer_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match="looking at faces needs pillow"):
        scan(Source("fer2013", fer_tree))


def test_a_folder_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no speech found; expected Actor_NN"):
        scan(Source("ravdess", tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        scan(Source("ravdess", tmp_path / "none"))
