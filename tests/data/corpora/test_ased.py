"""The reader of ASED, on a tree in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import Item, Source, read
from tests.data.corpora.test_registry import touch


def test_names_give_emotion_sentence_and_speaker(tmp_path: Path) -> None:
    path = tmp_path / "01Neutral" / "n1-01-02-02-39.wav"
    touch(path, path.parent / "x1-01-02-02-39.wav")
    wanted = Item("ased", "n1-01-02-02-39.wav", path, "neutral", speaker="39", text="n01")
    assert read(Source("ased", tmp_path), "speech") == [wanted]


def test_all_letters(tmp_path: Path) -> None:
    letters = {"n": "neutral", "f": "fear", "h": "happy", "s": "sad", "a": "angry"}
    touch(*(tmp_path / f"{letter}{n}-01-01-01-01.wav" for n, letter in enumerate(letters, 1)))
    items = read(Source("ased", tmp_path), "speech")
    assert {item.path.stem[0]: item.emotion for item in items} == letters
    assert len({item.text for item in items}) == 5  # each emotion has sentences of its own
