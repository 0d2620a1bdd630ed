"""List the recordings in folders, and say what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fdan_edge.audio.kinds import SOUNDS, VIDEOS, kind_of
from fdan_edge.utils.folders import walk


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
    tree = walk(folder)
    files: list[Path] = []
    for path in sorted(folder / name for name in tree.files):
        (files if _is_sound(path) else listing.others).append(path)
    listing.unreadable += [f"{path}: not entered: {reason}" for path, reason in tree.unreadable.items()]
    return files


def _is_sound(path: Path) -> bool:
    """Tell whether a file is named as sound or video, or is such by its content. A pipe is never opened."""
    if path.suffix.lower() in (*SOUNDS, *VIDEOS):
        return True
    kind = kind_of(path)
    return kind is not None and bool(kind.reader)
