"""The reader of URDU, on a tree in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import Item, Source, read
from tests.data.corpora.test_registry import touch


def test_names_give_speaker_and_emotion(tmp_path: Path) -> None:
    paths = [
        tmp_path / folder / name for folder, name in (("Angry", "SM1_F1_A01.wav"), ("Sad", "SF12_F10_S101.wav"))
    ]
    touch(*paths, tmp_path / "Sad" / "SF12_F10_X101.wav")
    assert read(Source("urdu", tmp_path), "speech") == [
        Item("urdu", "SF12_F10_S101.wav", paths[1], "sad", speaker="SF12"),
        Item("urdu", "SM1_F1_A01.wav", paths[0], "angry", speaker="SM1"),
    ]
