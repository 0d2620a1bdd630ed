"""FER2013 faces (Goodfellow et al. 2013): 48x48 grey images in one folder per class, or as rows of a csv."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import pixels, tables
from fdan_edge.data.corpora.registry import IMAGES, Item, files_below
from fdan_edge.data.labels import canonical
from fdan_edge.errors import DataError

LAYOUT = "{train,test}/CLASS/*.jpg (or .png), or fer2013.csv with the columns emotion, pixels, Usage"
FILES = tables.TABLES
_PARTS = {"train": "train", "test": "test", "val": "val", "validation": "val"}


def read_faces(root: Path) -> list[Item]:
    """All faces, train and test alike: the paper trains on all visual samples."""
    if root.is_file():
        return pixels.read_table("fer2013", root)
    images = files_below(root, IMAGES)
    table = None if images else pixels.find_table(root)
    return pixels.read_table("fer2013", table) if table else [_item(name, path) for name, path in images]


def _item(name: str, path: Path) -> Item:
    try:
        emotion = canonical(path.parent.name)
    except DataError:
        raise DataError(f"{path}: its folder {path.parent.name!r} is not an emotion; expected {LAYOUT}") from None
    split = _PARTS.get(path.parent.parent.name.lower())
    return Item("fer2013", name, path, emotion, split=split)
