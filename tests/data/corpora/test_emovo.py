"""The reader of EMOVO, on a tree in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import Item, Source, read
from tests.data.corpora.test_registry import touch


def test_names_give_emotion_actor_and_sentence(tmp_path: Path) -> None:
    path = tmp_path / "EMOVO" / "m1" / "dis-m1-b1.wav"
    touch(path, tmp_path / "EMOVO" / "m1" / "dis-m4-b1.wav", tmp_path / "EMOVO" / "m1" / "readme.wav")
    wanted = Item("emovo", "dis-m1-b1.wav", path, "disgust", speaker="m1", text="b1")
    assert read(Source("emovo", tmp_path), "speech") == [wanted]


def test_all_words(tmp_path: Path) -> None:
    words = {
        "dis": "disgust",
        "gio": "happy",
        "neu": "neutral",
        "pau": "fear",
        "rab": "angry",
        "sor": "surprise",
        "tri": "sad",
    }
    touch(*(tmp_path / "f2" / f"{word}-f2-d1.wav" for word in words))
    items = read(Source("emovo", tmp_path), "speech")
    assert {item.path.stem[:3]: item.emotion for item in items} == words
