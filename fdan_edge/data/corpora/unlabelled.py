"""Recordings without labels: any folder of sound files, as the target that a training is fitted to."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora.registry import VIDEOS, Item, files_below

LAYOUT = "sound files, or else videos, in any folders"


def read_speech(root: Path) -> list[Item]:
    """Every recording below a folder; where no sound file is there, the videos. None has a class or a speaker."""
    found = files_below(root, EXTENSIONS) or files_below(root, VIDEOS)
    # With the folder's name before it, so that two folders are not taken for one.
    return [Item("unlabelled", f"{root.resolve().name}/{name}", path, "") for name, path in found]
