"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from fdan_edge.utils import files
from fdan_edge.utils.atomic_folder import atomic_folder


def test_text_json_and_bytes(tmp_path: Path) -> None:
    files.write_text(tmp_path / "new" / "a.txt", "ä\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä\n".encode()
    files.write_json(tmp_path / "a.json", {"name": "ä", "n": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "ä", "n": [1, 2]}
    files.write_bytes(tmp_path / "a.json", b"x")
    assert (tmp_path / "a.json").read_bytes() == b"x"


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_power_cut_finds_them_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content first, then the name: what has its name is whole."""
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(("sync", os.fstat(handle).st_ino)))
    rename = os.rename

    def renamed(old: Path, new: Path) -> None:
        calls.append(("rename", Path(old).stat().st_ino))
        rename(old, new)

    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    files.write_text(tmp_path / "a.txt", "text")
    file, folder = (tmp_path / "a.txt").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("sync", file), ("rename", file), ("sync", folder)]
    calls.clear()
    with atomic_folder(tmp_path / "new") as temporary:
        (temporary / "b.txt").write_text("text")
    file, inner = (tmp_path / "new" / "b.txt").stat().st_ino, (tmp_path / "new").stat().st_ino
    assert calls == [("sync", file), ("sync", inner), ("rename", inner), ("sync", folder)]


def test_a_folder_that_may_not_be_read_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop box, or any folder of Windows: the name in it cannot be waited for."""
    opened = os.open

    def refused(path: Path, flags: int, mode: int = 0o777, **options: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return opened(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", refused)
    files.write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text"


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), files.atomic_path(path):
        raise full
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), atomic_folder(path):
        raise full
    other = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "other.wav")
    with pytest.raises(OSError, match=r"other\.wav"), files.atomic_path(path):
        raise other
    unreadable = OSError(errno.EIO, os.strerror(errno.EIO))  # of what the folder is made from, perhaps
    with pytest.raises(OSError, match=r"Input/output error$"), atomic_folder(path):
        raise unreadable
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number that nobody has."""
    monkeypatch.delenv("FDAN_EDGE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    files.write_text(files.feature_folder() / "a", "kept")
    assert (files.feature_folder() / "a").read_text() == "kept"


def test_temporary_name_keeps_the_suffix(tmp_path: Path) -> None:
    """Some writers choose their format by it."""
    with files.atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"


def test_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    files.write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_sha256(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(data)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_leftovers_of_killed_processes_and_nothing_else(tmp_path: Path) -> None:
    ours = (".metrics-a1b2c3d_.json", ".last-abcdefgh.safetensors", "..launcher-abcdefgh", ".tmpAb12Cd")
    others = (".notes-settings.json", ".metrics-settings.yaml", "metrics.json", ".metrics-a1b2c3d.json", ".tmp")
    for name in (*ours, *others):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path, ("metrics.json", "last.safetensors", ".launcher"))
    assert {path.name for path in tmp_path.iterdir()} == set(others)
