"""The cache of features on disk, keyed by what is in the files and by the settings.

    ~/.cache/fdan-edge/features/contents.json            hashes of files, see `utils.file_hashes`
    ~/.cache/fdan-edge/features/KIND-SETTINGS/SHARD/     rows.npy, memory-mapped; index.json: which item has which

A shard is a folder that gets its name when it is complete, so it is there as a whole or not at all. It is named
by what is in it: two processes that compute the same one do not collide, and the second leaves the first's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fdan_edge.data import duplicates
from fdan_edge.data.corpora import Item
from fdan_edge.errors import DataError, one_line
from fdan_edge.features.mmap_rows import ItemRows
from fdan_edge.features.parallel import in_parallel
from fdan_edge.utils.file_hashes import FileHashes
from fdan_edge.utils.files import feature_folder
from fdan_edge.utils.messages import warn_once
from fdan_edge.utils.small_files import MOST_OF_A_LIST, read_json

log = logging.getLogger(__name__)

#: The most that a shard holds, unless one item is larger. A killed run loses less than this, and a build holds no
#: more in memory.
SHARD_BYTES = 64 << 20
_ROWS, _INDEX, _CONTENTS = "rows.npy", "index.json", "contents.json"
_NEW = ".new-"
_STORE = re.compile(r"[a-z]+-[0-9a-f]{16}")


@dataclass(frozen=True)
class Features:
    """What is computed from one item: rows (k, ...), k >= 0."""

    rows: NDArray[Any]
    missed: int = 0  # frames in which no face was found


#: Computes the features of one item; DataError for a broken file.
Extractor: TypeAlias = Callable[[Item], Features]
#: The rows of one item, or why there are none.
Result: TypeAlias = ItemRows | DataError


class Store:
    """The shards of one kind of features, computed with the same settings.

    Args:
        kind: for people: lower-case letters.
        settings: everything that the features depend on besides the file and the item's key.
    """

    def __init__(self, kind: str, settings: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.folder = folder() / f"{kind}-{digest[:16]}"
        self.settings = settings
        self._swept = False

    def load(self) -> dict[str, ItemRows]:
        """Open all shards, and return their rows by key. A damaged shard is removed, with a warning."""
        rows: dict[str, ItemRows] = {}
        for shard in sorted(self.folder.glob("[0-9a-f]*")):
            try:
                rows |= _open_shard(shard)
            except Exception as error:  # whatever a damaged file may raise
                if isinstance(error, (OSError, MemoryError)) and not isinstance(error, FileNotFoundError):
                    continue  # not ours to repair, or whole: too many files are open, a server does not answer
                log.warning(f"{shard}: a damaged part of the cache ({one_line(error)}): made anew")
                shutil.rmtree(shard, ignore_errors=True)
        return rows

    def write(self, parts: dict[str, ItemRows]) -> dict[str, ItemRows]:
        """Write the rows of some items as one shard, and return them as they are in it.

        Raises:
            OSError: it cannot be written; nothing of it is left.
        """
        self._sweep()
        entries = [[key, part.count, part.missed] for key, part in parts.items()]
        shard = self.folder / hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]
        temporary = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            with (temporary / _ROWS).open("wb") as file:
                _claim(file)
                size = _write_rows(file, list(parts.values()))
                index = {"settings": self.settings, "bytes": size, "entries": entries}
                _write_index(temporary / _INDEX, index)
                temporary.chmod(0o755)
                _name(temporary, shard)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return _open_shard(shard)

    def _sweep(self) -> None:
        """Remove shards that were left half written by processes that died."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            for left in self.folder.glob(f"{_NEW}*"):
                if _abandoned(left / _ROWS):
                    shutil.rmtree(left, ignore_errors=True)
        self._swept = True


def folder() -> Path:
    """Return the folder in which all features are kept."""
    return feature_folder()


def contents_table() -> FileHashes:
    """Open the table of hashes of files that were read before."""
    return FileHashes(folder() / _CONTENTS)


def clear() -> None:
    """Remove the features, and nothing else that may lie in their folder.

    Raises:
        OSError: something cannot be removed.
    """
    for store in _stores():
        shutil.rmtree(store)
    for table in (
        folder() / _CONTENTS,
        folder() / duplicates.HASHES,
        *folder().glob(f".{Path(_CONTENTS).stem}-*"),
    ):
        table.unlink(missing_ok=True)
    duplicates.forget()


def size() -> int:
    """Add up the bytes of all features on disk."""
    return sum(path.stat().st_size for store in _stores() for path in store.rglob("*") if path.is_file())


def collect(items: list[Item], prepare: Callable[[], Extractor], store: Store | None, what: str) -> list[Result]:
    """Get the features of every item: from the store where it has them, else computed, in parallel, and stored.

    Args:
        items: whose key and file the features depend on.
        prepare: returns what computes an item's features. It is called only where something is to be computed.
            Broken files are tried again every time.
        store: where to look and keep; None: compute everything and keep it in memory.
        what: for the progress bar.

    Returns:
        For each item its rows, or the error of its file.
    """
    collector = _Collector(items, store, what)
    missing = [i for i, result in enumerate(collector.results) if result is None]
    if missing:
        computed = in_parallel(_catching(prepare()), [items[i] for i in missing], what)
        for i, features in zip(missing, computed, strict=True):
            collector.add(i, features)
        collector.flush()
        collector.report()
    return [result for result in collector.results if result is not None]


class _Collector:
    """Writes what is computed to disk, a shard at a time. Where that fails, the rest stays in memory."""

    def __init__(self, items: list[Item], store: Store | None, what: str) -> None:
        self._items, self._store, self._what = items, store, what
        self._contents = contents_table()
        self._keys: list[str | None] = [None] * len(items)
        self._waiting: list[int] = []
        self._bytes = self._written = 0
        self.results: list[Result | None] = [None] * len(items)
        if store:
            with self._going_on_without():
                self._look_up(store)

    def add(self, i: int, features: Features | DataError) -> None:
        """Take what was computed from item i, and write a shard when there is enough for one."""
        if isinstance(features, DataError):
            self.results[i] = features
            return
        self.results[i] = ItemRows(features.rows, 0, len(features.rows), features.missed)
        # A file that was written to meanwhile is not what its key says.
        if self._store and self._keys[i] and self._contents.unchanged(self._items[i].path):
            self._waiting.append(i)
            self._bytes += features.rows.nbytes
            if self._bytes >= SHARD_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what waits as a shard."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not (self._store and waiting):
            return
        with self._going_on_without():
            parts = {key: part for i in waiting if (key := self._keys[i]) and (part := self._part(i))}
            written = self._store.write(parts)
            for i in waiting:
                self.results[i] = written[str(self._keys[i])]
            self._written += len(waiting)

    def report(self) -> None:
        """Log how much is new on disk, if anything."""
        if self._written:
            log.info(f"features of {self._written} files ({self._what}) are kept in {folder()}")

    def _look_up(self, store: Store) -> None:
        """Set the keys of all items, and the results that the store has."""
        digests = self._contents.digests([item.path for item in self._items], self._what)
        self._keys = [d and f"{d} {item.key}" for d, item in zip(digests, self._items, strict=True)]
        stored = store.load()
        self.results = [stored.get(key) if key else None for key in self._keys]
        self._contents.save()

    def _part(self, i: int) -> ItemRows | None:
        result = self.results[i]
        return result if isinstance(result, ItemRows) else None

    @contextlib.contextmanager
    def _going_on_without(self) -> Iterator[None]:
        """Go on without the store where the disk is full, read-only or the like."""
        try:
            yield
        except OSError as error:
            warn_once(
                f"{folder()}: features cannot be kept: {error.strerror or one_line(error)}; going on without"
            )
            self._store = None


def _catching(extract: Extractor) -> Callable[[Item], Features | DataError]:
    def extract_or_error(item: Item) -> Features | DataError:
        try:
            return extract(item)
        except DataError as error:
            return error

    return extract_or_error


def _stores() -> list[Path]:
    return [path for path in folder().glob("*") if path.is_dir() and _STORE.fullmatch(path.name)]


def _open_shard(shard: Path) -> dict[str, ItemRows]:
    """Open a complete shard, memory-mapped; any exception where it is damaged."""
    index = read_json(shard / _INDEX, MOST_OF_A_LIST)
    bytes_there = (shard / _ROWS).stat().st_size
    if bytes_there != index["bytes"]:
        raise ValueError(f"{bytes_there} of {index['bytes']} bytes")
    block = np.load(shard / _ROWS, mmap_mode="r", allow_pickle=False)
    parts, first = {}, 0
    for key, count, missed in index["entries"]:
        parts[key] = ItemRows(block, first, count, missed)
        first += count
    if first != len(block):
        raise ValueError(f"{len(block)} rows for an index of {first}")
    return parts


def _write_rows(file: IO[bytes], parts: list[ItemRows]) -> int:
    """Write the rows of all items as one array in NumPy's format, and return the size of the file."""
    rows = [part.block[part.first : part.first + part.count] for part in parts]
    header = {
        "descr": np.lib.format.dtype_to_descr(rows[0].dtype),
        "fortran_order": False,
        "shape": (sum(map(len, rows)), *rows[0].shape[1:]),
    }
    np.lib.format.write_array_header_1_0(file, header)
    for of_item in rows:
        file.write(np.ascontiguousarray(of_item).tobytes())
    _to_disk(file)
    return file.tell()


def _write_index(path: Path, index: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(index, file)
        _to_disk(file)


def _to_disk(file: IO[Any]) -> None:
    # Without this a power cut could leave a shard with its name and size, and zeros in it.
    file.flush()
    os.fsync(file.fileno())


def _name(temporary: Path, shard: Path) -> None:
    """Give a complete shard its name."""
    try:
        temporary.rename(shard)
    except OSError:
        if not (shard / _INDEX).is_file():  # else another process wrote the same one meanwhile
            raise


def _claim(file: IO[bytes]) -> None:
    """Mark a file as being written; the lock goes with the process."""
    with contextlib.suppress(OSError):  # a file system without locks: leftovers stay
        fcntl.flock(file, fcntl.LOCK_EX)


def _abandoned(rows: Path) -> bool:
    """Tell whether nobody writes this file any more; one that is still empty may be waiting for its lock."""
    try:
        with rows.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file.seek(0, os.SEEK_END) > 0
    except OSError:
        return False
