"""The reader of TESS, on trees as its publisher and others distribute it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, read
from tests.data.corpora.test_registry import touch

EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sad",
}


def speech(root: Path) -> list[Item]:
    return read(Source("tess", root), "speech")


def tree(root: Path) -> None:
    for actress in ("OAF", "YAF"):
        for code in EMOTIONS:
            folder = {"ps": "pleasant_surprised"}.get(code, code)
            touch(*(root / f"{actress}_{folder}" / f"{actress}_{word}_{code}.wav" for word in ("back", "bar")))


def test_names_give_actress_word_and_emotion(tmp_path: Path) -> None:
    path = tmp_path / "OAF_Pleasant_surprise" / "OAF_back_ps.wav"
    touch(path, path.parent / "readme.wav", path.parent / "OAF_back_joyless.wav")
    wanted = Item("tess", "OAF_back_ps.wav", path, "surprise", speaker="OAF", text="back")
    assert speech(tmp_path) == [wanted]


def test_all_classes_of_both(tmp_path: Path) -> None:
    tree(tmp_path)
    items = speech(tmp_path)
    assert Counter(i.emotion for i in items) == dict.fromkeys(EMOTIONS.values(), 4)
    assert Counter(i.speaker for i in items) == {"OAF": 14, "YAF": 14}
    assert {i.text for i in items} == {"back", "bar"}


def test_the_file_whose_actress_lacks_a_letter(tmp_path: Path) -> None:
    touch(tmp_path / "OAF_neutral" / "OA_bite_neutral.wav")
    (item,) = speech(tmp_path)
    assert (item.id, item.speaker, item.text) == ("OAF_bite_neutral.wav", "OAF", "bite")


def test_a_folder_within_a_folder_of_its_name_holds_copies(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on Kaggle."""
    name = "TESS Toronto emotional speech set data"
    tree(tmp_path / name)
    tree(tmp_path / name / name)
    assert len(speech(tmp_path)) == 28
    assert "28 files are there more than once" in " ".join(capfd.readouterr().err.split())
