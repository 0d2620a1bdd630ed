"""What is known of files is kept on disk, and forgotten when they change."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fdan_edge.data import duplicates
from fdan_edge.data.corpora import Item
from fdan_edge.utils import files
from fdan_edge.utils.files import feature_folder


def item(path: Path) -> Item:
    return Item("c", path.stem, path, "angry", "1")


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """Two recordings of equal length, of an hour ago, which differ."""
    monkeypatch.setenv("FDAN_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "FRESH_NANOSECONDS", 0)
    for number, name in enumerate("ab"):
        sound = np.random.default_rng(number).normal(size=16000).astype(np.float32) / 9
        soundfile.write(tmp_path / f"{name}.wav", sound, 16000, "FLOAT")
        os.utime(tmp_path / f"{name}.wav", (time.time() - 3600,) * 2)
    return [item(tmp_path / f"{name}.wav") for name in "ab"]


def test_nothing_is_opened_twice(pair: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    assert duplicates.same_sound(pair) == []
    assert (feature_folder() / duplicates.HASHES).is_file()
    duplicates.forget()  # as another process, which has the table on disk

    def opened(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(soundfile, "info", opened)
    assert duplicates.same_sound(pair) == []


def test_a_copy_with_the_other_s_time_stamp_and_size_is_found(pair: list[Item]) -> None:
    """As `cp -p`, tar and archives of a fixed date leave it."""
    assert duplicates.same_sound(pair) == []
    before = pair[1].path.stat()
    pair[1].path.write_bytes(pair[0].path.read_bytes())
    os.utime(pair[1].path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (pair[1].path.stat().st_size, pair[1].path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    duplicates.forget()
    assert duplicates.same_sound(pair) == [pair]


@pytest.mark.parametrize("content", ["", "[]", '{"1 _length x": 7}', "\0"])
def test_a_damaged_table_costs_time_only(pair: list[Item], content: str) -> None:
    feature_folder().mkdir()
    (feature_folder() / duplicates.HASHES).write_text(content)
    pair[1].path.write_bytes(pair[0].path.read_bytes())
    assert duplicates.same_sound(pair) == [pair]


def test_pointers_of_git_lfs_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
        )
    items = [item(tmp_path / f"{name}.wav") for name in "ab"]
    assert duplicates.same_content(items) == duplicates.same_sound(items) == []
