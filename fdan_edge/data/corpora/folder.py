"""A user's own recordings or faces: one folder per class, or a table that names files and their labels."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from fdan_edge.audio.decode import EXTENSIONS
from fdan_edge.data.corpora import tables
from fdan_edge.data.corpora.registry import IMAGES, VIDEOS, Item, files_below
from fdan_edge.data.labels import EMOTIONS, known
from fdan_edge.errors import DataError
from fdan_edge.utils.progress import say

LAYOUT = (
    "CLASS/*.wav (or {train,val,test}/CLASS/*.wav); or name a .csv or .tsv with the columns path, emotion and, "
    "where known, speaker, split and text"
)
FILES = tables.TABLES
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def read_speech(root: Path) -> list[Item]:
    """The recordings of all classes; where no sound file is there, the videos.

    A class is what the known emotion is called here where its name means one (anger is angry), and a class of
    the user's own, in lower case, where not. Folders name no speakers; a table may.

    Raises:
        DataError: a table lacks a column or a value, or labels a file twice; the message names the line.
    """
    return _items(root, EXTENSIONS) or _items(root, VIDEOS)


def read_faces(root: Path) -> list[Item]:
    """The images, as `read_speech`."""
    return _items(root, IMAGES)


def read_videos(root: Path) -> list[Item]:
    """The videos, as `read_speech`."""
    return _items(root, VIDEOS)


def _items(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = _of_table(root, suffixes) if root.is_file() else _of_folders(root, suffixes)
    own = Counter(item.emotion for item in items if item.emotion not in EMOTIONS)
    if own:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(own.items()))
        say(f"folder:{root}: classes of your own, beside the known emotions: {named}")
    return items


def _of_folders(root: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items = []
    for name, path in files_below(root, suffixes):
        folders = Path(name).parts[:-1]
        split = _PARTS.get(folders[0].lower()) if len(folders) > 1 else None
        if folders:
            word = folders[1] if split else folders[0]
            items.append(Item("folder", _identity(root, name), path, _class(word), split=split))
    return items


def _of_table(table: Path, suffixes: tuple[str, ...]) -> list[Item]:
    items: list[Item] = []
    seen: dict[str, int] = {}  # id -> line
    for line, values in tables.rows(table, ("path", "emotion")):
        try:
            item = _item(table, values)
        except ValueError as error:
            raise DataError(f"{table}, line {line}: {error}") from None
        if item.id in seen:
            raise DataError(f"{table}, line {line}: {values['path']} is on line {seen[item.id]} already")
        seen[item.id] = line
        if item.path.suffix.lower() in suffixes:
            items.append(item)
    return items


def _item(table: Path, values: dict[str, str]) -> Item:
    """One row; ValueError says what is wrong with it."""
    for column in ("path", "emotion", "speaker"):
        if not values.get(column, "-"):
            raise ValueError(f"no {column}")
    part = values.get("split", "").lower()
    if part and part not in _PARTS:
        raise ValueError(f"split {values['split']!r} is none of train, val, test")
    if not values["emotion"].isprintable():
        raise ValueError(f"emotion {values['emotion']!r} is no name")
    path = Path(os.path.normpath(table.parent / Path(values["path"].replace("\\", "/")).expanduser()))
    if path.suffix.lower() not in (*EXTENSIONS, *IMAGES, *VIDEOS):
        raise ValueError(f"{values['path']} is not named as a sound, image or video file")
    below = Path(os.path.relpath(path, table.parent)).as_posix()
    speaker, text = values.get("speaker"), values.get("text")
    emotion = _class(values["emotion"])
    return Item("folder", _identity(table.parent, below), path, emotion, speaker, text or None, _PARTS.get(part))


def _identity(root: Path, name: str) -> str:
    """With the folder's name before it, so that two folders of the user's are not taken for one."""
    return f"{root.resolve().name}/{name}"


def _class(word: str) -> str:
    return known(word) or word.strip().lower()
