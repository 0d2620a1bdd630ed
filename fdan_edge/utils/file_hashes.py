"""Hash files with SHA-256, and remember the hashes while nothing has changed, as git's index does it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fdan_edge.utils.files import FileState, file_state, is_settled, sha256, write_text
from fdan_edge.utils.progress import track
from fdan_edge.utils.small_files import MOST_OF_A_TABLE, read_json
from fdan_edge.utils.threads import in_order, usable_cores

_AHEAD = 32  # files that wait for a thread


class FileHashes:
    """Remembers hashes of files in a table, each with the state of the file that it is of.

    Args:
        table: JSON file of the hashes. If it is missing or damaged, files are hashed again.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self._known = _read(table)
        self._new: dict[str, tuple[FileState, str]] = {}

    def digests(self, paths: list[Path], what: str) -> list[str | None]:
        """Return the hexadecimal SHA-256 of each file; None where it cannot be read.

        A file is read only where its state is new.
        """
        states = [file_state(path) for path in paths]
        stale = [p for p, state in zip(paths, states, strict=True) if state and self._digest(p, state) is None]
        if stale:
            self._hash(stale, what)
        return [state and self._digest(path, state) for path, state in zip(paths, states, strict=True)]

    def _hash(self, paths: list[Path], what: str) -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            entries = track(in_order(pool, _hash_file, paths, _AHEAD), f"check {what}", total=len(paths))
            for path, entry in zip(paths, entries, strict=True):
                if entry:
                    self._known[str(path.absolute())] = self._new[str(path.absolute())] = entry

    def unchanged(self, path: Path) -> bool:
        """Return whether the file is still in the state that its hash is of."""
        state = file_state(path)
        return state is not None and self._digest(path, state) is not None

    def _digest(self, path: Path, state: FileState) -> str | None:
        known, digest = self._known.get(str(path.absolute()), (None, None))
        return digest if known == state else None

    def save(self) -> None:
        """Write the new hashes to the table.

        Raises:
            OSError: the table cannot be written.
        """
        kept = {path: entry for path, entry in self._new.items() if is_settled(entry[0])}
        if kept:
            merged = _read(self._table) | kept  # another process may have written meanwhile
            write_text(self._table, json.dumps({path: [*state, d] for path, (state, d) in merged.items()}))


def _read(table: Path) -> dict[str, tuple[FileState, str]]:
    try:
        values = read_json(table, MOST_OF_A_TABLE)
        return {path: ((v[0], v[1], v[2], v[3]), v[4]) for path, v in values.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _hash_file(path: Path) -> tuple[FileState, str] | None:
    before = file_state(path)
    try:
        digest = sha256(path)
    except OSError:
        return None
    return (before, digest) if before and file_state(path) == before else None
