"""What is written, where the disk becomes full on the way or may not be written: one line, and nothing half."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fdan_edge.runtime.bundle import MODEL, Bundle, new_bundle
from tests.attack.kill import write_bundle
from tests.helpers.disks import room

Run = Callable[..., tuple[int, str, str]]
Words = Callable[[str, Path], list[str | Path]]

#: What each command writes.
WRITTEN = {"csv": "a.csv", "embeddings": "a.npz", "table": "a.csv", "rttm": "a.rttm"}
_OVERRIDES = 0b110  # capabilities of root by which modes of files count for nothing
_VERSION_3 = 0x20080522


@contextlib.contextmanager
def as_a_user() -> Iterator[None]:
    """Have modes of files count for this thread, though it may be root's."""
    if os.geteuid():
        yield
        return
    libc, who, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    libc.capget(who, sets)
    before = sets[0]
    sets[0] &= ~_OVERRIDES
    libc.capset(who, sets)
    try:
        yield
    finally:
        sets[0] = before
        libc.capset(who, sets)


@pytest.fixture
def words(bundle_folder: Path, ravdess_tree: Path, tmp_path: Path) -> Words:
    """Return the command that writes a file of this name."""
    recording = sorted(ravdess_tree.rglob("*.wav"))[0]
    many = tmp_path / "many"
    many.mkdir()
    for number in range(20):
        (many / f"{number}.wav").symlink_to(recording)

    def command(verb: str, out: Path) -> list[str | Path]:
        commands: dict[str, list[str | Path]] = {
            "csv": ["infer", bundle_folder, many, "--csv", out / "a.csv"],
            "embeddings": ["infer", bundle_folder, many, "--embeddings", out / "a.npz"],
            "table": ["data", "scan", f"ravdess:{ravdess_tree}", "--table", out / "a.csv"],
            "rttm": ["stream", bundle_folder, recording, "--rttm", out / "a.rttm"],
        }
        return commands[verb]

    return command


def fails_in_a_line(run: Run, words: list[str | Path]) -> str:
    code, _, err = run(*words)
    assert (code, err.count("error: "), err.count("Traceback")) == (2, 1, 0)
    return err.rpartition("error: ")[2]


@pytest.mark.parametrize("verb", WRITTEN)
def test_a_disk_that_becomes_full(run: Run, words: Words, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    file = out / WRITTEN[verb]
    if verb != "table":  # which overwrites nothing
        file.write_bytes(b"earlier")
    command = words(verb, out)
    with room(8):
        assert fails_in_a_line(run, command).startswith(f"{file}: File too large")
    there = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".part"}
    assert there == ({} if verb == "table" else {file.name: b"earlier"})


@pytest.mark.parametrize("verb", WRITTEN)
def test_a_folder_that_may_not_be_written(run: Run, words: Words, tmp_path: Path, verb: str) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = words(verb, locked)
    with as_a_user():
        if os.access(locked, os.W_OK, effective_ids=True):
            pytest.skip("this machine lets root write anywhere")
        message = fails_in_a_line(run, command)
    assert message.startswith(str(locked))
    assert message.endswith(": Permission denied\n")
    assert list(locked.iterdir()) == []


def test_a_bundle_in_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    with (
        as_a_user(),
        pytest.raises(PermissionError, match=f"Permission denied: '{locked / 'bundle'}'"),
        new_bundle(locked / "bundle"),
    ):
        pytest.fail("it can be written")
    assert list(locked.iterdir()) == []


def test_a_bundle_on_a_disk_that_becomes_full(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", b"earlier")
    with room(1 << 13), pytest.raises(OSError, match=f"File too large: '{tmp_path / 'bundle'}"):
        write_bundle(tmp_path / "bundle", bytes(1 << 14))
    assert Bundle.open(tmp_path / "bundle").read(MODEL) == b"earlier"
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]
