"""Walking through folders: links, loops and what cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fdan_edge.utils.folders import walk


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_are_listed_but_for_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path / "b.wav", tmp_path / "a" / "c.wav", tmp_path / ".git" / "x.wav", tmp_path / "._b.wav")
    touch(tmp_path / "__MACOSX" / "b.wav")
    assert walk(tmp_path).files == ["b.wav", "a/c.wav"]


def test_links_to_folders_are_followed_once_each(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root / "sad" / "1.wav", tmp_path / "elsewhere" / "2.wav")
    (root / "happy").symlink_to(tmp_path / "elsewhere")
    (root / "joyful").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root / "sad")  # sorted before sad, which keeps its own path
    (root / "sad" / "loop").symlink_to(root)
    (root / "circle").symlink_to(root / "circle")
    tree = walk(root)
    assert sorted(tree.files) == ["circle", "happy/2.wav", "sad/1.wav"]
    assert tree.unreadable == {}


def test_links_to_files_and_to_nowhere_are_files(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.wav").symlink_to(tmp_path / "elsewhere.wav")
    (root / "b.wav").symlink_to(tmp_path / "none.wav")
    assert walk(root).files == ["a.wav", "b.wav"]


def test_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert walk(tmp_path).files == []


def test_a_link_to_a_folder_above_is_named_and_not_entered(tmp_path: Path) -> None:
    root = tmp_path / "x" / "root"
    touch(root / "1.wav", tmp_path / "x" / "private.wav")
    (root / "up").symlink_to(tmp_path)
    tree = walk(root)
    assert tree.files == ["1.wav"]
    assert tree.unreadable == {root / "up": "it links to a folder that this one lies in"}


def test_folders_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "open" / "1.wav", tmp_path / "shut" / "2.wav")
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    tree = walk(tmp_path)
    assert tree.files == ["open/1.wav"]
    assert tree.unreadable == {tmp_path / "shut": "Permission denied"}
