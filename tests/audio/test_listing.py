"""What is listed in folders, and what is said of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.audio.listing import find


def test_find_takes_files_as_given_and_sound_files_of_folders(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "sub/c.ogg", "notes.txt", "._b.wav", ".trash/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    odd = tmp_path / "notes.txt"
    names = [p.relative_to(tmp_path).as_posix() for p in find([odd, tmp_path, odd]).files]
    assert names == ["notes.txt", "a.FLAC", "b.wav", "sub/c.ogg", "notes.txt"]


def test_find_keeps_a_folder_without_sound(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert find([tmp_path, tmp_path / "none"]).files == [tmp_path, tmp_path / "none"]


def test_find_enters_a_hidden_folder_that_is_named(tmp_path: Path) -> None:
    (tmp_path / ".mine").mkdir()
    (tmp_path / ".mine" / "a.wav").touch()
    assert find([tmp_path / ".mine"]).files == [tmp_path / ".mine" / "a.wav"]


def test_every_recorders_names_and_content_count(tmp_path: Path) -> None:
    names = ("a.m4a", "b.aac", "c.amr", "d.oga", "e.webm", "f.mka", "g.3gp", "h.opus", "i.WMA", "j.mp4")
    for name in names:
        (tmp_path / name).touch()
    soundfile.write(tmp_path / "REC001.wav", np.ones(99), 16000)
    (tmp_path / "REC001.wav").rename(tmp_path / "REC001")
    (tmp_path / "notes.txt").write_text("no sound")
    listing = find([tmp_path])
    assert [path.name for path in listing.files] == ["REC001", *names]
    assert [path.name for path in listing.others] == ["notes.txt"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.wav").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    names = [path.relative_to(tmp_path).as_posix() for path in find([tmp_path / "here"]).files]
    assert names == ["here/gone.wav", "here/link/a.wav"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    (tmp_path / "closed").chmod(0)
    try:
        listing = find([tmp_path])
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert [path.name for path in listing.files] == ["b.wav"]
    assert listing.unreadable == [f"{tmp_path / 'closed'}: not entered: Permission denied"]


def test_a_pipe_among_the_files_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.wav").touch()
    assert [path.name for path in find([tmp_path]).files] == ["a.wav"]
