"""FER2013 faces (Goodfellow et al. 2013): 48x48 grey images in one folder per class."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.corpora.base import Item, files_below
from fdan_edge.emotions import canonical
from fdan_edge.errors import DataError

LAYOUT = "{train,test}/CLASS/*.jpg (or .png)"
IMAGES = (".jpg", ".jpeg", ".png", ".bmp")


def read_faces(root: Path) -> list[Item]:
    """All faces, train and test alike: the paper trains on all visual samples."""
    items = []
    for name, path in files_below(root, IMAGES):
        try:
            emotion = canonical(path.parent.name)
        except DataError:
            raise DataError(
                f"{path}: its folder {path.parent.name!r} is not an emotion; expected {LAYOUT}"
            ) from None
        items.append(Item("fer2013", name, path, emotion))
    return items
