"""Hashes of files: read where a file's state is new, remembered where it is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fdan_edge.utils import file_hashes, files
from fdan_edge.utils.file_hashes import FileHashes
from fdan_edge.utils.files import sha256


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read; what was written just now counts as settled."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(file_hashes, "sha256", counted)
    monkeypatch.setattr(files, "FRESH_NANOSECONDS", 0)
    return names


def digests(table: Path, *paths: Path) -> list[str | None]:
    made = FileHashes(table)
    found = made.digests(list(paths), "files")
    made.save()
    return found


def test_a_file_is_read_once(tmp_path: Path, read_files: list[str]) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    table, paths = tmp_path / "new" / "contents.json", [tmp_path / "a", tmp_path / "none", tmp_path / "b"]
    expected = [sha256(paths[0]), None, sha256(paths[2])]
    assert digests(table, *paths) == expected
    assert digests(table, *paths) == expected
    assert sorted(read_files) == ["a", "b"]


def test_equal_size_and_time_are_not_equal_content(tmp_path: Path, read_files: list[str]) -> None:
    """As after `cp -p` or `touch -r`: ctime and the inode tell."""
    path, table = tmp_path / "a", tmp_path / "contents.json"
    path.write_text("old")
    before = path.stat()
    digests(table, path)
    time.sleep(0.01)
    path.write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert digests(table, path) == [sha256(path)]
    (tmp_path / "b").write_text("two")
    os.utime(tmp_path / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "b").replace(path)
    assert digests(table, path) == [sha256(path)]
    assert read_files == ["a", "a", "a"]


def test_touched_files_are_read_and_remembered_again(tmp_path: Path, read_files: list[str]) -> None:
    path, table = tmp_path / "a", tmp_path / "contents.json"
    path.write_text("a")
    first = digests(table, path)
    os.utime(path, ns=(0, 0))
    assert digests(table, path) == digests(table, path) == first
    assert read_files == ["a", "a"]


def test_what_changed_just_now_is_not_trusted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tick of the file system's clock it could change again and look the same."""
    path, table = tmp_path / "a", tmp_path / "contents.json"
    path.write_text("a")
    digests(table, path)
    assert not table.exists()
    monkeypatch.setattr(files, "FRESH_NANOSECONDS", 0)
    digests(table, path)
    assert table.exists()


def test_unchanged_since(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a")
    made = FileHashes(tmp_path / "contents.json")
    made.digests([path], "files")
    assert made.unchanged(path)
    path.write_text("longer")
    assert not made.unchanged(path)
    path.unlink()
    assert not made.unchanged(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 3}', '{"a": [1, 2]}', "\udcff"])
def test_a_damaged_table_only_costs_the_hashing(tmp_path: Path, text: str) -> None:
    path, table = tmp_path / "a", tmp_path / "contents.json"
    path.write_text("a")
    table.write_bytes(text.encode(errors="surrogateescape"))
    assert digests(table, path) == [sha256(path)]


def test_tables_of_two_processes_are_joined(tmp_path: Path, read_files: list[str]) -> None:
    paths, table = [tmp_path / "a", tmp_path / "b"], tmp_path / "contents.json"
    for path in paths:
        path.write_text(path.name)
    both = [FileHashes(table), FileHashes(table)]
    for made, path in zip(both, paths, strict=True):
        made.digests([path], "files")
        made.save()
    digests(table, *paths)
    assert sorted(read_files) == ["a", "b"]


@pytest.mark.parametrize("seconds", [-2_160_000_000, 0, 13_600_000_000])
def test_files_of_1901_of_1970_and_of_2400(tmp_path: Path, seconds: int) -> None:
    """A change is seen whatever time a file names; one of the future is never taken for settled."""
    path, table = tmp_path / "a", tmp_path / "t.json"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, (seconds, seconds))
        assert digests(table, path) == [sha256(path)]
    state = files.file_state(path)
    assert state is not None
    assert not files.is_settled(state)


@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    """Set back, nothing is remembered; set forward, the state that is remembered is still that of the content."""
    path, table = tmp_path / "a", tmp_path / "t.json"
    now = time.time_ns() + jump * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: now)
    path.write_bytes(b"one")
    assert digests(table, path) == [sha256(path)]
    assert table.exists() == (jump > 0)
    path.write_bytes(b"two")
    assert digests(table, path) == [sha256(path)]
