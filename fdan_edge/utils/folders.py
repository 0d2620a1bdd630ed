"""Walk through folders: hidden ones are passed over, symbolic links followed, what cannot be read is named."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

#: What macOS adds to archives; hidden files and folders are passed over as well.
_PASSED_OVER = ("__MACOSX",)


@dataclass
class Tree:
    """What lies below a folder.

    Args:
        files: paths below the folder with /, sorted within each folder; links that lead nowhere are among them.
        unreadable: folder -> why it was not entered.
    """

    files: list[str] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def walk(root: Path) -> Tree:
    """List the files below a folder, each folder once.

    Links to folders are entered after all folders proper: a folder that lies below the root is known by its own
    path, and not by that of a link. A link to a folder that holds the root is not entered, since everything else
    would then be read as well.
    """
    tree = Tree()
    entered: set[tuple[int, int]] = set()
    above = _above(root)
    waiting = deque([""])  # the root and, later, links
    while waiting:
        below = waiting.popleft()
        if below and _identity(root / below) in above:
            tree.unreadable[root / below] = "it links to a folder that this one lies in"
        else:
            _enter(root, below, entered, waiting, tree)
    return tree


def _enter(root: Path, start: str, entered: set[tuple[int, int]], links: deque[str], tree: Tree) -> None:
    """List a folder and those below it, but for links to folders, which are added to `links`."""
    folders = [start]
    while folders:
        below = folders.pop()
        folder = root / below
        try:
            state = folder.stat()
            if (state.st_dev, state.st_ino) in entered:
                continue
            entered.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            tree.unreadable[folder] = error.strerror or type(error).__name__
            continue
        inner: list[str] = []
        for entry in entries:
            name, kind = f"{below}{entry.name}", _kind(entry)
            if entry.name.startswith(".") or entry.name in _PASSED_OVER:
                continue
            if kind == "file":
                tree.files.append(name)
            elif kind:
                (inner if kind == "folder" else links).append(f"{name}/")
        folders.extend(reversed(inner))


def _kind(entry: os.DirEntry[str]) -> str:
    """Return folder, link (to a folder), file or, for pipes and devices, "".

    os.scandir knows what is a file; Path.rglob would ask the disk three times.
    """
    try:
        if entry.is_dir(follow_symlinks=False):
            return "folder"
        if entry.is_dir():
            return "link"
        return "file" if entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()) else ""
    except OSError:  # a link in a circle, or to what may not be seen: opening it will say so
        return "file"


def _above(root: Path) -> set[tuple[int, int]]:
    return {identity for folder in root.resolve().parents if (identity := _identity(folder))}


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return device and inode of a folder; None where it cannot be asked for."""
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
