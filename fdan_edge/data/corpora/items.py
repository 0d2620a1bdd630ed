"""What every reader returns, items, and how it lists the files of a corpus."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from fdan_edge.audio.kinds import SOUNDS, VIDEOS
from fdan_edge.errors import DataError, printable
from fdan_edge.utils.folders import walk
from fdan_edge.utils.messages import warn_once

__all__ = [
    "IMAGES",
    "SOUNDS",
    "VIDEOS",
    "Item",
    "files_below",
    "preference",
    "recording_key",
    "suffix_of",
    "unique",
]

log = logging.getLogger(__name__)

#: Suffixes of images, in lower case, as SOUNDS and VIDEOS are of the others that are read.
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".tif", ".tiff")
#: Suffixes of formats that lose sound.
_LOSSY = (
    *(".mp3", ".mp2", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".aac", ".wma", ".ac3", ".weba"),
    *(".amr", ".awb", ".3gp", ".3g2", *VIDEOS),
)


@dataclass(frozen=True)
class Item:
    """One recording, face or video, with its label where it has one."""

    corpus: str
    id: str  # the publisher's path with /; the same wherever the corpus, or a part of it, lies
    path: Path
    emotion: str  # one of fdan_edge.data.labels.EMOTIONS, a class of the user's own, or "" without a label
    speaker: str | None = None  # unique within the corpus
    text: str | None = None  # which sentence is spoken; equal sentences have equal texts
    split: str | None = None  # the publisher's part: train, val or test
    clip: str | None = None  # the performance that it shows, where several images or videos show the same one
    folds: tuple[str, ...] = ()  # its part in each of the publisher's folds, "" where it is in none of that fold
    source: str = ""  # which of several folders of the user's own it is from; "" where they are not told apart

    @property
    def key(self) -> str:
        """A name for this item that is unique across corpora."""
        return f"{self.corpus}:{self.id}"

    @property
    def origin(self) -> str:
        """The corpus, and of several folders of the user's own the folder: what `loco` leaves out as a whole."""
        return self.source or self.corpus

    @property
    def speaker_key(self) -> str | None:
        """A name for the speaker that is unique across corpora."""
        return None if self.speaker is None else f"{self.corpus}:{self.speaker}"

    @property
    def text_key(self) -> str | None:
        """A name for the sentence that is unique across corpora."""
        return None if self.text is None else f"{self.corpus}:{self.text}"


def recording_key(key: str) -> str:
    """Cut the file's format off an item's key: one recording may be there as .wav and as .flac."""
    return key.rpartition(".")[0] or key


def preference(item: Item) -> tuple[str, bool, str, Path]:
    """Return a key that sorts the copies of an item, the one to use first: mp3 and its like lose sound."""
    return recording_key(item.key), item.path.suffix.lower() in _LOSSY, item.key, item.path


def unique(items: list[Item], where: str) -> list[Item]:
    """Sort items by key and keep one copy of each.

    Args:
        items: in any order.
        where: what they are of, for the message that says how many copies there are.
    """
    kept: dict[str, Item] = {}
    for item in sorted(items, key=preference):
        kept.setdefault(recording_key(item.key), item)
    if len(kept) < len(items):
        log.info(f"{where}: {len(items) - len(kept)} files are there more than once; one copy of each is used")
    return sorted(kept.values(), key=lambda item: item.key)


def files_below(root: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """List (path below root, path) of the files with one of the suffixes, in upper or lower case.

    Hidden files and folders, and what macOS adds to archives, are skipped. Symbolic links are followed, each
    folder once. Folders that cannot be read are named in a warning.

    Raises:
        DataError: folders cannot be read, and there is no file in the others.
    """
    tree = walk(root)
    if tree.unreadable:
        first, reason = next(iter(tree.unreadable.items()))
        others = len(tree.unreadable) - 1
        more = f", and {others} more folder{'s' if others > 1 else ''}" if others else ""
        text = f"{printable(str(first))}: a folder that cannot be read: {reason}{more}"
        if not tree.files:
            raise DataError(text)
        warn_once(f"left out: {text}")
    # Not Path.suffix: to make paths of twenty thousand files takes a second.
    return [(below, root / below) for below in tree.files if suffix_of(below) in suffixes]


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name or path in lower case, as of Path.suffix; "" where it has none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 -- a path is not made
