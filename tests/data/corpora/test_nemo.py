"""The reader of nEMO, on a small tree and on the real one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, read
from fdan_edge.data.corpora.nemo import missing
from tests.conftest import SHARED
from tests.data.corpora.test_registry import touch

TABLE = (
    "file_id\temotion\traw_text\tspeaker_id\nWR0_anger_1.wav\tanger\tTak.\tWR0\nWR0_fear_2.wav\tfear\tNie.\tWR0\n"
)


def test_names_give_speaker_emotion_and_sentence(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "WR0_surprised_64.opus"
    touch(path, tmp_path / "samples" / "WR0_bored_64.opus", tmp_path / "samples" / "readme.wav")
    wanted = Item("nemo", "samples/WR0_surprised_64.opus", path, "surprise", speaker="WR0", text="64")
    assert read(Source("nemo", tmp_path), "speech") == [wanted]


def test_rows_without_a_recording_are_told(tmp_path: Path) -> None:
    touch(tmp_path / "samples" / "WR0_anger_1.flac")  # in another format than the table says
    assert missing(tmp_path) == []
    (tmp_path / "data.tsv").write_text(TABLE)
    assert missing(tmp_path) == ["data.tsv, line 3: WR0_fear_2.wav"]


@pytest.mark.corpora
def test_the_real_one() -> None:
    items = read(Source("nemo", SHARED / "nemo"), "speech")
    counts = Counter(item.emotion for item in items)
    assert counts == {"angry": 540, "fear": 539, "happy": 539, "neutral": 539, "sad": 540, "surprise": 449}
    assert (len({item.speaker for item in items}), len({item.text for item in items})) == (6, 90)
    assert missing(SHARED / "nemo") == []
