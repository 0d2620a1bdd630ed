"""Recordings without labels: which files they are, and where they are of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdan_edge.data.corpora import Item, Source, parse_source, read, read_visual
from fdan_edge.data.speech import read_labelled_speech
from fdan_edge.errors import DataError
from tests.data.corpora.test_registry import touch


def speech(root: Path) -> list[Item]:
    return read(Source("unlabelled", root), "speech")


def test_every_sound_file_is_a_recording_without_a_label(tmp_path: Path) -> None:
    root = tmp_path / "calls"
    touch(root / "a.wav", root / "sad" / "deep" / "b.FLAC", root / "a.mp4", root / "notes.txt")
    touch(root / ".hidden" / "d.wav", root / "a.mp3")
    items = speech(root)
    assert [item.id for item in items] == ["calls/a.wav", "calls/sad/deep/b.FLAC"]
    assert {(item.corpus, item.emotion, item.speaker_key, item.text_key) for item in items} == {
        ("unlabelled", "", None, None)
    }
    assert [item.path for item in items] == [root / "a.wav", root / "sad" / "deep" / "b.FLAC"]


def test_videos_without_a_sound_file_of_their_name_are_recordings_too(tmp_path: Path) -> None:
    touch(
        tmp_path / "v" / "c.mp4", tmp_path / "v" / "face.png", tmp_path / "v" / "d.webm", tmp_path / "v" / "d.wav"
    )
    assert [item.id for item in speech(tmp_path / "v")] == ["v/c.mp4", "v/d.wav"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no speech found; expected sound files"):
        speech(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        speech(tmp_path / "none")
    with pytest.raises(DataError, match="write unlabelled:PATH"):
        parse_source("unlabelled:")


def test_it_is_a_target_and_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    source = Source("unlabelled", tmp_path)
    with pytest.raises(DataError) as caught:
        read_labelled_speech([source], calm_as_neutral=True)
    expected = f"unlabelled:{tmp_path}: unlabelled speech cannot be learnt from; give it as --adapt-to"
    assert str(caught.value) == expected
    with pytest.raises(DataError, match="corpus unlabelled has no faces"):
        read_visual(source, 3)
