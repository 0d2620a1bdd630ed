"""List the recordings in folders, and say what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fdan_edge.audio.kinds import HEAD, SOUNDS, VIDEOS, identify


@dataclass
class Listing:
    """Recordings, and what was left out.

    files: as they were named, and those below the folders that were named, sorted.
    unreadable: a line for each folder that could not be entered.
    others: files below folders that are no sound.
    """

    files: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def find(paths: list[Path]) -> Listing:
    """List the files among `paths`, and the recordings below the folders among them.

    A file below a folder is a recording by its name's ending, or else by its content. Hidden files and folders are
    skipped: macOS leaves a `._NAME.wav` beside every NAME.wav. Symbolic links are followed, each folder once. A
    folder without a recording is listed itself, so that it is reported as a missing file is.
    """
    listing = Listing()
    for path in paths:
        below = _below(path, listing) if path.is_dir() else []
        listing.files.extend(below or ([] if _is_reported(path, listing) else [path]))
    return listing


def _is_reported(path: Path, listing: Listing) -> bool:
    return any(line.startswith(f"{path}: ") for line in listing.unreadable)


def _below(folder: Path, listing: Listing) -> list[Path]:
    files = []
    for path in walk(folder, listing.unreadable):
        if _is_sound(path):
            files.append(path)
        else:
            listing.others.append(path)
    return sorted(files)


def walk(folder: Path, unreadable: list[str] | None = None) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden; see `find`.

    Args:
        folder: to begin with.
        unreadable: gets a line for each folder that cannot be entered.
    """
    entered = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            state = current.stat()
            if (state.st_dev, state.st_ino) in entered:
                continue
            entered.add((state.st_dev, state.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            if unreadable is not None:
                unreadable.append(f"{current}: a folder that cannot be read: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                waiting.append(Path(entry.path))
            else:
                yield Path(entry.path)


def _is_sound(path: Path) -> bool:
    """Tell whether a file is named as sound or video, or is such by its content. A pipe is never opened."""
    if path.suffix.lower() in (*SOUNDS, *VIDEOS):
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            kind = identify(file.read(HEAD))
    except OSError:
        return False
    return kind is not None and bool(kind.reader)
