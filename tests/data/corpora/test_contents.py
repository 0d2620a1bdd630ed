"""What files are by their first bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.data.corpora import contents
from fdan_edge.data.corpora.contents import pointer_of, sound_under_other_name, sounds_under_other_names

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
@pytest.mark.parametrize("name", ["REC001", "voice.dat", "a.wav.part"])
def test_sound_under_other_names(tmp_path: Path, form: str, name: str) -> None:
    soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 16000), 16000, format=form)
    assert sound_under_other_name(tmp_path / name) is not None
    assert sounds_under_other_names([tmp_path / name]) == [tmp_path / name]
    (tmp_path / name).rename(tmp_path / "a.wav")
    assert sound_under_other_name(tmp_path / "a.wav") is None


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 9000, b"path,emotion\n", b"\x89PNG\r\n", b"PK\x03\x04", POINTER]
)
def test_what_is_no_sound(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "REC001").write_bytes(content)
    assert sound_under_other_name(tmp_path / "REC001") is None
    assert sounds_under_other_names([tmp_path / "REC001"]) == []


def test_texts_are_taken_at_their_names_word_where_time_matters(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.txt", np.zeros(100), 16000, format="WAV")
    assert sounds_under_other_names([tmp_path / "a.txt"]) == []
    assert str(sound_under_other_name(tmp_path / "a.txt")) == "WAV"


def test_of_a_suffix_of_thousands_only_some_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.{number}" for number in range(1000)]
    for path in paths:
        path.write_bytes(b"\1\2\3")
    opened: list[Path] = []
    monkeypatch.setattr(contents, "kind_of", opened.append)
    assert sounds_under_other_names(paths) == []
    assert len(opened) == 20
    monkeypatch.undo()
    soundfile.write(paths[0], np.zeros(100), 16000, format="WAV")
    soundfile.write(paths[1], np.zeros(100), 16000, format="WAV")
    assert sounds_under_other_names(paths) == paths[:2]


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert sound_under_other_name(tmp_path / "pipe") is None
    assert pointer_of(tmp_path / "pipe") == ""


def test_pointers(tmp_path: Path) -> None:
    for name, content in (
        ("lfs", POINTER),
        ("annex", b"/annex/objects/MD5E-s1--0.wav\n"),
        ("other", b"version 1\n"),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "long").write_bytes(POINTER + b" " * 2000)
    (tmp_path / "link").symlink_to("../.git/annex/objects/x/y/MD5E-s1--0.wav")
    (tmp_path / "dangling").symlink_to("none")
    names = ("lfs", "annex", "other", "long", "link", "dangling", "none")
    programs = ["git-lfs", "git-annex", "", "", "git-annex", "", ""]
    assert [pointer_of(tmp_path / name) for name in names] == programs
