"""Replace a folder as a whole: a crash or a power cut leaves the old one or the new one under its name.

While NAME is written, there are beside it:

.NAME.lock          locked by the process that writes; it names that process's temporary folder
.NAME-0a1b2c3d      the new folder, until it gets its name
.NAME-0a1b2c3d-old  the old one, for a moment, on file systems that cannot exchange two folders

A killed process leaves them. The next one that writes NAME brings the old folder back, and removes the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from fdan_edge.utils.files import FULL, naming, sync

log = logging.getLogger(__name__)

BUSY = "another process writes it now"
_OLD = "-old"
_LONGEST = 200  # bytes of a name to which something can be added: file systems allow 255
_LOCK_SIZE = 4096  # bytes that are read of a lock file
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` when the block succeeds; an earlier one is kept till then.

    Raises:
        BlockingIOError: another process writes `target` now.
        OSError: it cannot be written; what was there stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target) as lock:
        temporary = target.with_name(f"{_prefix(target)}-{secrets.token_hex(4)}")
        # Before it is there, so that a process that is killed now leaves nothing without a name.
        _write_name(lock, temporary.name, target)
        try:
            temporary.mkdir()
            with naming(target, *FULL):  # much more than writing may happen in the block
                yield temporary
                for path in [*temporary.rglob("*"), temporary]:
                    sync(path)
            _put(temporary, target)
            sync(target.parent)
        finally:
            _remove(temporary, target)


def restore_folder(target: Path) -> None:
    """Bring a folder back that an interrupted process had moved aside, where nothing is in its place."""
    if os.path.lexists(target) or not target.parent.is_dir():
        return
    pattern = re.compile(rf"{re.escape(_prefix(target))}-[a-z0-9_]{{8}}{_OLD}")
    moved = [path for path in target.parent.iterdir() if pattern.fullmatch(path.name) and path.is_dir()]
    if moved:
        max(moved, key=lambda path: path.stat().st_mtime_ns).rename(target)
        log.warning(f"{target}: an interrupted process had moved it aside; it is back")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[int]:
    """Keep other processes from writing `target`, and clear up after one that was killed; yield the lock file."""
    path = target.with_name(f"{_prefix(target)}.lock")
    lock, alone = _lock(path, target)
    try:
        restore_folder(target)
        if alone and (name := _left_name(lock, target)):
            _remove(target.with_name(name), target)
        yield lock
    finally:
        path.unlink(missing_ok=True)  # while it is locked: it is no other's
        os.close(lock)


def _lock(path: Path, target: Path) -> tuple[int, bool]:
    """Lock a lock file; tell whether the file system has locks. The lock ends with the process.

    Who ends removes the file: it may be gone from the folder when its lock is free.
    """
    import fcntl  # Windows has none, and only reads bundles

    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(target)) from None
        alone = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise BlockingIOError(errno.EWOULDBLOCK, BUSY, os.fspath(target)) from None
        except OSError:
            alone = False
        if _is_at(path, lock):
            return lock, alone
        os.close(lock)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _write_name(lock: int, name: str, target: Path) -> None:
    with naming(target):
        os.ftruncate(lock, 0)
        os.pwrite(lock, os.fsencode(name), 0)


def _left_name(lock: int, target: Path) -> str:
    """Return the name of the temporary folder of a process that was killed; "" where there was none."""
    name = os.fsdecode(os.pread(lock, _LOCK_SIZE, 0))
    return name if re.fullmatch(rf"{re.escape(_prefix(target))}-[0-9a-f]{{8}}", name) else ""


def _prefix(target: Path) -> str:
    name = os.fsencode(target.name)
    return f".{target.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()}"


def _old(temporary: Path) -> Path:
    return temporary.with_name(temporary.name + _OLD)


def _put(temporary: Path, target: Path) -> None:
    """Give the new folder its name; the old one is below the temporary name, or that of `_old`, then."""
    if not os.path.lexists(target):
        temporary.rename(target)
    elif not _exchange(temporary, target):
        log.info(f"{target}: this file system cannot exchange folders; for a moment there is none of that name")
        target.rename(_old(temporary))
        temporary.rename(target)


def _remove(temporary: Path, target: Path) -> None:
    """Remove a temporary folder, and the old one unless it is the only one."""
    old = _old(temporary)
    if old.exists() and not os.path.lexists(target):  # the second rename failed
        old.rename(target)
    for path in (temporary, old):
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            log.warning(f"{path}: could not be removed; nothing needs it any more")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or an old C library
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))
