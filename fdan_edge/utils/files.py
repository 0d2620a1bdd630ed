"""Write files to a temporary name and rename them, so that neither a crash nor a power cut leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

#: Size, mtime and ctime in nanoseconds, inode number. A write that leaves all four as they were is not seen;
#: no ordinary program can do that, since nothing but the clock sets ctime.
FileState: TypeAlias = tuple[int, int, int, int]

#: Numbers of the errors of a disk that is full.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OF_SAFETENSORS = r"\.tmp[A-Za-z0-9]{6}"  # it writes to a name of its own before it renames

FRESH_NANOSECONDS = 2_500_000_000  # file systems count time in steps of up to 2 s


@contextlib.contextmanager
def naming(path: Path, *numbers: int) -> Iterator[None]:
    """Name `path` in an error of the system that names no file, as that of a full disk does not.

    Args:
        path: what the block writes.
        numbers: only errors of these; none: all.

    Raises:
        OSError: whatever the block raises, with its number and words.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None or (numbers and error.errno not in numbers):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
            sync(temporary)
        # mkstemp makes files private; give them the mode that open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut cannot take them any more.

    Raises:
        OSError: a file could not be written to the disk.
    """
    # Folders of networks know no such call, some may not be read, and those of Windows cannot be opened.
    unknown = (OSError,) if path.is_dir() else ()
    with contextlib.suppress(*unknown):
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed processes left of files of these names in a folder that nobody else writes into now."""
    temporary = "|".join(
        f"{re.escape(f'.{Path(n).stem}-')}[a-z0-9_]{{8}}{re.escape(Path(n).suffix)}" for n in names
    )
    for path in folder.iterdir():
        if re.fullmatch(f"{temporary}|{_OF_SAFETENSORS}", path.name):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11; Jetsons have 3.10
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_state(path: Path) -> FileState | None:
    """Return the state that a file is in; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- twice as fast as Path.stat, and called for every file
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_settled(state: FileState) -> bool:
    """Return whether any later change would change the state too: not so if it was written just now."""
    return max(state[1:3]) < time.time_ns() - FRESH_NANOSECONDS


def feature_folder() -> Path:
    """Return the folder of the feature cache: $FDAN_EDGE_CACHE, or `features` below `cache_home`."""
    return Path(os.environ.get("FDAN_EDGE_CACHE") or cache_home() / "features")


def cache_home() -> Path:
    """Return the folder of everything that can be computed again.

    A user without a home, as in a container that runs as any number, has a temporary one in each process.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        home = _temporary_home().name
    return Path(home) / "fdan-edge"


@functools.cache
def _temporary_home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fdan-edge-")  # removed with the process
