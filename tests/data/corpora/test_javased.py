"""The reader of Java-SED, on a small tree and on the real one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, read
from tests.conftest import SHARED
from tests.data.corpora.test_registry import touch


def test_names_give_actor_sentence_and_emotion(tmp_path: Path) -> None:
    sound, video = tmp_path / "audio" / "01-02-06_07.opus", tmp_path / "video" / "01-02-06_01.mp4"
    touch(sound, video, tmp_path / "audio" / "01-02-07_01.opus", tmp_path / "audio" / "01-02-06_07.txt")
    wanted = Item("javased", "audio/01-02-06_07.opus", sound, "angry", speaker="01", text="02")
    assert read(Source("javased", tmp_path), "speech") == [wanted]
    (item,) = read(Source("javased", tmp_path), "videos")
    assert (item.key, item.emotion, item.speaker) == ("javased:video/01-02-06_01.mp4", "angry", "01")


def test_of_a_recording_in_two_formats_the_better_is_used(tmp_path: Path) -> None:
    touch(tmp_path / "audio" / "01-01-01_03.opus", tmp_path / "audio" / "01-01-01_03.flac")
    assert [item.path.suffix for item in read(Source("javased", tmp_path), "speech")] == [".flac"]


@pytest.mark.corpora
def test_the_real_one() -> None:
    classes = ("angry", "fear", "happy", "neutral", "sad", "surprise")
    for modality, each in (("speech", 280), ("videos", 40)):
        items = read(Source("javased", SHARED / "javased"), modality)
        assert Counter(item.emotion for item in items) == dict.fromkeys(classes, each)
        assert len({item.speaker for item in items}) == 10
