"""A folder is replaced as a whole, whatever happens on the way, and by one process at a time."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fdan_edge.utils import atomic_folder as module
from fdan_edge.utils.atomic_folder import atomic_folder


def write(target: Path, text: str) -> None:
    with atomic_folder(target) as folder:
        (folder / "a").write_text(text)


def cannot_exchange(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    """As on file systems over a network."""

    def renameat2(*_: Any) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=renameat2))


@pytest.mark.parametrize("exchange", [True, False])
def test_an_old_folder_is_replaced_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exchange: bool
) -> None:
    if not exchange:
        cannot_exchange(monkeypatch)
    write(tmp_path / "deep" / "b", "one")
    write(tmp_path / "deep" / "b", "two")
    assert (tmp_path / "deep" / "b" / "a").read_text() == "two"
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "b"]
    assert ("cannot exchange folders" in capsys.readouterr().err) is not exchange


def test_an_exchange_leaves_no_moment_without_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b", "one")
    renamed: list[Path] = []
    monkeypatch.setattr(Path, "rename", lambda *paths: renamed.extend(paths))
    write(tmp_path / "b", "two")
    assert (renamed, (tmp_path / "b" / "a").read_text()) == ([], "two")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_failure_at_the_end_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    write(tmp_path / "b", "one")
    cannot_exchange(monkeypatch, errno.EIO if exchange else errno.ENOSYS)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Any:
        if to == tmp_path / "b" and not self.name.endswith("-old"):
            raise OSError(errno.EIO, "a broken disk")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match=r"Input/output error|a broken disk"):
        write(tmp_path / "b", "two")
    assert (tmp_path / "b" / "a").read_text() == "one"
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def _killed_in_the_block(target: Path) -> None:
    with atomic_folder(target) as folder:
        (folder / "a").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def _killed_between_the_renames(target: Path) -> None:
    module._exchange = lambda *_: False
    rename = Path.rename

    def killing(self: Path, to: Path) -> Any:
        if to == target:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, to)

    Path.rename = killing  # type: ignore[assignment,method-assign]
    write(target, "half")


def _killed_after_the_exchange(target: Path) -> None:
    module._remove = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    write(target, "two")


def killed(function: Callable[[Path], None], target: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=function, args=(target,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("function", "there"),
    [
        (_killed_in_the_block, "one"),
        (_killed_between_the_renames, None),
        (_killed_after_the_exchange, "two"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_next_one_clears_up_after_a_killed_process(
    tmp_path: Path, function: Callable[[Path], None], there: str | None
) -> None:
    target = tmp_path / "b"
    write(target, "one")
    killed(function, target)
    assert len(list(tmp_path.iterdir())) == 3  # with the lock and one more folder
    assert ((target / "a").read_text() if target.exists() else None) == there

    with atomic_folder(target) as folder:
        assert (target / "a").read_text() == (there or "one")  # it is back at once
        assert set(tmp_path.iterdir()) == {target, folder, tmp_path / ".b.lock"}
        (folder / "a").write_text("three")
    assert (target / "a").read_text() == "three"
    assert list(tmp_path.iterdir()) == [target]


def test_what_an_earlier_version_had_moved_aside_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had no lock file, and may have been killed several times."""
    for name, text, seconds in ((".b-abcdefg_-old", "older", 1), (".b-01234567-old", "old", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(text)
        os.utime(tmp_path / name, (seconds, seconds))
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "b"):
        raise RuntimeError
    assert (tmp_path / "b" / "a").read_text() == "old"
    assert capsys.readouterr().err == f"{tmp_path / 'b'}: an interrupted process had moved it aside; it is back\n"


@pytest.mark.parametrize("name", ["mine", "../mine", "/etc", ".b-mine", ".c-01234567", ".b-01234567/../mine", ""])
def test_a_lock_file_of_others_removes_nothing(tmp_path: Path, name: str) -> None:
    for folder in ("mine", ".b-mine", ".c-01234567"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".b.lock").write_text(name)
    write(tmp_path / "b", "one")
    assert {path.name for path in tmp_path.iterdir()} == {"b", "mine", ".b-mine", ".c-01234567"}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".b.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write(tmp_path / "b", "one")
    assert (tmp_path / "mine").read_text() == "mine"


def test_two_at_once(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "b") as folder:
        with pytest.raises(BlockingIOError, match=f"another process writes it now: '{tmp_path / 'b'}'"):
            write(tmp_path / "b", "two")
        write(tmp_path / "c", "another")
        (folder / "a").write_text("one")
    assert (tmp_path / "b" / "a").read_text() == "one"
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then who lives: nothing is removed."""

    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    (tmp_path / ".b-01234567").mkdir()
    (tmp_path / ".b.lock").write_text(".b-01234567")
    write(tmp_path / "b", "one")
    assert {path.name for path in tmp_path.iterdir()} == {"b", ".b-01234567"}


def test_a_name_as_long_as_a_file_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 127)
    write(target, "one")
    write(target, "two")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere; a user may not."""
    opened = os.open

    def refused(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path / 'b'}'"):
        write(tmp_path / "b", "one")
    assert list(tmp_path.iterdir()) == []


def test_a_mode_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "b", "one")
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700
