"""The reader of ESD, on trees with and without the publisher's parts."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import Item, Source, read
from fdan_edge.data.corpora.esd import skip_reason
from tests.data.corpora.test_registry import touch


def test_folders_give_the_emotion_and_numbers_the_sentence(tmp_path: Path) -> None:
    path = tmp_path / "0011" / "Angry" / "0011_000351.wav"
    touch(path, tmp_path / "0011" / "0011_000352.wav", tmp_path / "0011" / "Angry" / "0021_000351.wav")
    wanted = Item("esd", "0011_000351.wav", path, "angry", speaker="0011", text="en-001")
    assert read(Source("esd", tmp_path), "speech") == [wanted]


def test_the_publishers_parts(tmp_path: Path) -> None:
    parts = {"train": "train", "evaluation": "val", "test": "test"}
    for number, part in enumerate(parts, 1):
        touch(tmp_path / "0001" / "Surprise" / part / f"0001_{1400 + number:06}.wav")
    items = read(Source("esd", tmp_path), "speech")
    assert [(item.split, item.text) for item in items] == [
        (part, f"zh-{number:03}") for number, part in enumerate(parts.values(), 1)
    ]


def test_why_a_file_is_left_out() -> None:
    assert skip_reason("0011/0011_000352.wav").startswith("lies in no folder of an emotion: Neutral, Angry, ")
    assert skip_reason("0011/a.wav") == "its name is not of the form 0011_000351.wav"
