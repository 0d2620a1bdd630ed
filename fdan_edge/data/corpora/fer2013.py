"""FER2013 faces (Goodfellow et al. 2013): 48x48 grey images in one folder per class, or as rows of a csv."""

from __future__ import annotations

from pathlib import Path

from fdan_edge.data.corpora import IMAGES, Corpus, Item, files_below, pixels, tables
from fdan_edge.data.labels import canonical_emotion
from fdan_edge.errors import DataError

_LAYOUT = "{train,test}/CLASS/*.jpg (or .png), or fer2013.csv with the columns emotion, pixels, Usage"
_PARTS = {"train": "train", "test": "test", "val": "val", "validation": "val"}


def read_faces(root: Path) -> list[Item]:
    """List all faces, train and test alike: the paper trains on all visual samples."""
    if root.is_file():
        return pixels.read_table("fer2013", root)
    images = files_below(root, IMAGES)
    table = None if images else pixels.find_table(root)
    return pixels.read_table("fer2013", table) if table else [_item(name, path) for name, path in images]


def _item(name: str, path: Path) -> Item:
    try:
        emotion = canonical_emotion(path.parent.name)
    except DataError:
        raise DataError(f"{path}: its folder {path.parent.name!r} is not an emotion; expected {_LAYOUT}") from None
    split = _PARTS.get(path.parent.parent.name.lower())
    return Item("fer2013", name, path, emotion, split=split)


CORPUS = Corpus(
    name="fer2013",
    title="FER2013 faces (Goodfellow et al. 2013)",
    licence="research use",
    layout=_LAYOUT,
    origin='Kaggle: "Challenges in Representation Learning" (2013)',
    emotions={name: name for name in pixels.CLASSES if name != "contempt"},
    read_faces=read_faces,
    tables=tables.TABLES,
)
