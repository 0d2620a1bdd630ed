"""The reader of MSP-Podcast, on a tree in its publisher's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdan_edge.data.corpora import Source, read
from fdan_edge.data.corpora.msppodcast import missing
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch

ROWS = (
    ("0001_0008", "N", "127", "Test1"),
    ("0002_0001", "A", "Unknown", "Train"),
    ("0002_0002", "H", "12", "Development"),
    ("0003_0001", "C", "13", "Validation"),
    ("0004_0001", "X", "12", "Train"),
    ("0005_0001", "S", "12", "Test2"),
)


def name(number: str) -> str:
    return f"MSP-PODCAST_{number}.wav"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    touch(*(tmp_path / "Audios" / name(number) for number, *_ in ROWS))
    lines = [f"{name(number)},{code},4.2,3.8,4.4,{speaker},Male,{part}" for number, code, speaker, part in ROWS]
    table = tmp_path / "Labels" / "labels_consensus.csv"
    table.parent.mkdir()
    head = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
    table.write_text("\n".join([head, *lines]) + "\n")
    return tmp_path


def test_labels_speakers_and_parts(tree: Path) -> None:
    items = read(Source("msppodcast", tree), "speech")
    assert [(item.path.stem[-9:], item.emotion, item.speaker, item.split) for item in items] == [
        ("0001_0008", "neutral", "127", "test"),
        ("0002_0001", "angry", None, "train"),
        ("0002_0002", "happy", "12", "val"),
        ("0003_0001", "contempt", "13", "val"),
    ]


def test_rows_without_a_recording_are_told(tree: Path) -> None:
    assert missing(tree) == []
    (tree / "Audios" / name("0002_0001")).unlink()
    (tree / "Audios" / name("0004_0001")).unlink()  # of no class: nobody misses it
    assert missing(tree) == ["labels_consensus.csv: MSP-PODCAST_0002_0001"]


def test_without_the_table(tree: Path) -> None:
    with pytest.raises(DataError, match=r"holds recordings but not the table Labels/labels_consensus\.csv"):
        read(Source("msppodcast", tree / "Audios"), "speech")
